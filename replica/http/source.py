"""A primary that serves over HTTP, as a `Source`: the other side of docs/protocol.md."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from threading import Lock
from typing import Self
from urllib.parse import quote

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, MAX_CHUNK_BYTES, Chunk
from bootledger.errors import InvalidValue, SlotInvalid, SnapshotLost
from bootledger.positions import check_node_id, check_text, check_u64
from bootledger.replica.http import answers
from bootledger.replica.http.access import Access
from bootledger.replica.http.addresses import Address, check_token, parse_address
from bootledger.replica.http.asking import Asking
from bootledger.replica.http.compression import Compression
from bootledger.replica.http.fetching import Fetcher, range_of
from bootledger.replica.http.heartbeat import Heartbeat
from bootledger.replica.http.mirrors import Standing
from bootledger.replica.http.retrying import wait
from bootledger.replica.http.transport import Answer, Link
from bootledger.replica.ports import (
    Change,
    LastChange,
    Pause,
    Pin,
    Rejected,
    SourceIdentity,
    go_on,
    unnoticed,
)
from bootledger.replica.records import KEY_MAX_BYTES, VALUE_MAX_BYTES
from bootledger.replica.seal import SEALED_PART_MAX_BYTES
from bootledger.replica.wire import (
    MAX_WAIT_MS,
    Pinned,
    PinRequest,
    PrimaryInfo,
    Publishing,
    Slot,
    SlotRequest,
)

__all__ = ["Access", "Compression", "HttpSource"]

_CHANGE_HEAD_BYTES = 32
"""What a change takes at most beyond its key and its value, and changes beyond those they are."""
_MOST_CHANGES = 2**20


class HttpSource:
    """Keeps the promises of `Source`, `LongPolling`, `ChecksHistory` and `ChecksChunks`.

    Thread-safe. One request is tried a few times within some seconds; then `SourceUnavailable`
    says why. Nothing is asked when it is opened: an address where nobody answers is not an error
    yet. Once the primary has told that slots become invalid when their replica is idle, it hears of
    this one regularly until `close`, however long nothing else is asked.
    """

    def __init__(
        self, ask: Asking, mirrors: Sequence[Link], *, slot: str, compression: Compression
    ) -> None:
        self._links = (ask.link, *mirrors)
        self._ask = ask
        self._fetcher = Fetcher(self._ask, mirrors, compression)
        self._slot = slot
        self._slot_held = False
        self._heartbeat = Heartbeat(self.info)
        self._lock = Lock()
        self._sizes: dict[str, int] = {}
        self._digests: dict[str, str] = {}

    @classmethod
    def open(
        cls,
        url: str,
        *,
        slot: str,
        access: Access | None = None,
        mirrors: Sequence[str] = (),
        compression: Compression = "auto",
        connections: int = 16,
    ) -> Self:
        """Return the source at `url`, http or https; `slot` holds the log there for this replica.

        `mirrors` are base URLs under which TOKEN/data.mdb lies: plain file servers or object
        stores, which are asked for chunks besides the primary, and get no token. `connections` is
        how many chunks each of them is asked for at once; further calls wait, up to a limit.

        Raises `InvalidValue` for what is no address, for a token that would travel in clear text to
        another machine, and for unusable certificates.
        """
        access = access or Access()
        check_node_id(slot)
        if check_u64(connections, "connections") < 1:
            raise InvalidValue("connections must be at least 1")
        if compression not in ("auto", "on", "off"):
            raise InvalidValue(f"compression is auto, on or off, not {compression!r}")
        address = parse_address(url)
        places = [parse_address(mirror, "a mirror's address") for mirror in mirrors]
        if len({address, *places}) != 1 + len(places):
            raise InvalidValue(f"a mirror is named twice, or is the primary: {', '.join(mirrors)}")
        if access.secret and not address.is_private and not access.insecure:
            raise InvalidValue(
                f"a token would travel in clear text to {address.host}",
                hint="use https, or say that the network in between is safe",
            )
        context = access.context() if address.scheme == "https" else None
        return cls(
            Asking(Link(address, context, connections), access.sent()),
            [Link(place, _mirror_context(place, access), connections) for place in places],
            slot=slot,
            compression=compression,
        )

    def info(self) -> PrimaryInfo:
        """Return which database this is and where it stands; a sign of life for the slot."""
        target = f"/v1/primary?slot={quote(self._slot, safe='')}"
        info = self._ask("GET", target, partial(_message, PrimaryInfo))
        self._heartbeat.within(info.slot_idle_ms)
        return info

    def identity(self) -> SourceIdentity:
        """Return which database this is."""
        return self.info().identity

    def last_lsn(self) -> int:
        """Return the LSN of the newest change, 0 before the first."""
        return self.info().last_lsn

    def pin(self, intent_id: str, generation: int, pause: Pause = go_on) -> Pin:
        """Ask for a base backup, and again until it is there: as `Source.pin`."""
        check_u64(generation, "generation")
        request = PinRequest(
            intent_id=check_text(intent_id, "intent id"), generation=generation, slot=self._slot
        )
        while True:
            answer, wait_s = self._ask(
                "POST", "/v1/base-backups", _pinned_or_publishing, body=request
            )
            if isinstance(answer, Pinned):
                break
            wait(wait_s, pause)
        with self._lock:
            self._sizes[f"{answer.token}/{MANIFEST_NAME}"] = answer.manifest_size_bytes
            self._sizes[f"{answer.token}/{DATA_NAME}"] = answer.size_bytes
            self._digests[f"{answer.token}/{DATA_NAME}"] = answer.manifest_digest
        return answer.pin

    def read_manifest(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the encoded manifest; fewer bytes only at its end.

        Raises `SnapshotLost` if the token is gone, `InvalidValue` for more than `MAX_CHUNK_BYTES`.
        """
        _check_part(offset_bytes, length_bytes)
        pieces = bytearray()
        while True:
            piece_bytes = min(length_bytes - len(pieces), SEALED_PART_MAX_BYTES)
            piece = self._read(token, MANIFEST_NAME, offset_bytes + len(pieces), piece_bytes)
            pieces += piece
            if len(piece) < SEALED_PART_MAX_BYTES or len(pieces) == length_bytes:
                return bytes(pieces)

    def read_chunk(self, token: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return that part of the base backup, from the primary; otherwise as `read_manifest`."""
        _check_part(offset_bytes, length_bytes)
        return self._read(token, DATA_NAME, offset_bytes, length_bytes)

    def fetch_chunk(self, token: str, chunk: Chunk, rejected: Rejected = unnoticed) -> bytes:
        """Return the bytes that are `chunk`: as `ChecksChunks.fetch_chunk`."""
        return self._fetcher.fetch(check_token(token), chunk, rejected)

    def changes(self, after_lsn: int, limit: int) -> Sequence[Change]:
        """Return changes after an LSN, and acknowledge those up to it: as `Source.changes`.

        Raises `SlotInvalid` (a `LogWindowLost`) if the slot is invalid and stays so.
        """
        return self.changes_within(after_lsn, limit, 0.0)

    def changes_within(self, after_lsn: int, limit: int, wait_s: float) -> Sequence[Change]:
        """As `changes`, but wait up to `wait_s` for the first one, and no more than a minute."""
        return self._following(after_lsn, None, limit, wait_s)

    def changes_following(
        self, last: LastChange, limit: int, wait_s: float = 0.0
    ) -> Sequence[Change]:
        """As `changes_within` after `last`, if the primary has no other change at that LSN."""
        return self._following(last.lsn, last.digest, limit, wait_s)

    def _following(
        self, after_lsn: int, digest: str | None, limit: int, wait_s: float
    ) -> list[Change]:
        check_u64(after_lsn, "after_lsn")
        if check_u64(limit, "limit") < 1:
            raise InvalidValue("limit must be at least 1")
        wait_ms = min(max(int(wait_s * 1000), 0), MAX_WAIT_MS)
        limit = min(limit, _MOST_CHANGES)
        if not self._slot_held:
            self._hold_slot(after_lsn)
        try:
            return self._changes(after_lsn, digest, limit, wait_ms)
        except SlotInvalid:
            # What it held may be there still: the log is cut later than slots are invalidated.
            self._hold_slot(after_lsn)
            return self._changes(after_lsn, digest, limit, wait_ms)

    def release(self, token: str) -> None:
        """Say that the base backup is not needed any more. Harmless when repeated."""
        with suppress(SnapshotLost):
            self._ask(
                "DELETE",
                f"/v1/base-backups/{check_token(token)}",
                lambda answer, asked: answers.check_sealed(answer, asked, HTTPStatus.NO_CONTENT),
            )
        with self._lock:
            for name in (DATA_NAME, MANIFEST_NAME):
                self._sizes.pop(f"{token}/{name}", None)
                self._digests.pop(f"{token}/{name}", None)

    def standings(self) -> list[Standing]:
        """Return what is held against each place that chunks come from, the primary first."""
        return self._fetcher.standings()

    def close(self) -> None:
        """Close the connections. Base backups and the slot stay."""
        self._heartbeat.stop()
        self._fetcher.close()
        for link in self._links:
            link.close()

    def _read(self, token: str, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        file = f"{check_token(token)}/{name}"
        with self._lock:
            size = self._sizes.get(file)
            digest = self._digests.get(file)
        if size is not None and offset_bytes >= size:
            return b""
        asked_bytes = max(length_bytes, 1)  # a range of no bytes cannot be asked for
        match = {} if digest is None else {"If-Match": f'"{digest}"'}
        found = self._ask(
            "GET",
            f"/v1/base-backups/{file}",
            lambda answer, asked: answers.part(
                answer,
                asked,
                offset_bytes,
                asked_bytes,
                size_bytes=size,
                digest=digest,
                sealed=name == MANIFEST_NAME,
            ),
            most_bytes=asked_bytes,
            headers=range_of(offset_bytes, asked_bytes) | match,
        )
        with self._lock:
            self._sizes[file] = found.size_bytes
        return found.data[:length_bytes]

    def _changes(
        self, after_lsn: int, digest: str | None, limit: int, wait_ms: int
    ) -> list[Change]:
        compare = "" if digest is None else f"&after_digest={digest}"
        most_bytes = KEY_MAX_BYTES + VALUE_MAX_BYTES + _CHANGE_HEAD_BYTES * (limit + 1)
        return self._ask(
            "GET",
            f"/v1/changes?after={after_lsn}&limit={limit}&wait_ms={wait_ms}"
            f"&slot={quote(self._slot, safe='')}{compare}",
            lambda answer, asked: answers.changes(answer, asked, after_lsn, limit),
            most_bytes=most_bytes,
            wait_s=wait_ms / 1000,
        )

    def _hold_slot(self, lsn: int) -> None:
        name = quote(self._slot, safe="").replace(".", "%2E")  # or else `..` would be a way up
        slot = self._ask(
            "PUT", f"/v1/slots/{name}", partial(_message, Slot), body=SlotRequest(lsn=lsn)
        )
        if slot.invalid_because is not None:
            raise SlotInvalid(f"slot {self._slot}: {slot.invalid_because}")
        self._slot_held = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _message(kind: type[answers.T], answer: Answer, asked: str) -> answers.T:
    return answers.message(answer, asked, kind)


def _pinned_or_publishing(answer: Answer, asked: str) -> tuple[Pinned | Publishing, float]:
    kind: type[Pinned | Publishing] = Publishing if answer.status == HTTPStatus.ACCEPTED else Pinned
    found = answers.message(answer, asked, kind, HTTPStatus.OK, HTTPStatus.ACCEPTED)
    if isinstance(found, Pinned):
        check_token(found.token)
    return found, answers.retry_after_s(answer)


def _check_part(offset_bytes: int, length_bytes: int) -> None:
    check_u64(offset_bytes, "offset_bytes")
    if check_u64(length_bytes, "length_bytes") > MAX_CHUNK_BYTES:
        raise InvalidValue(f"{length_bytes} bytes at once, {MAX_CHUNK_BYTES} are allowed")


def _mirror_context(place: Address, access: Access) -> ssl.SSLContext | None:
    return access.mirror_context() if place.scheme == "https" else None
