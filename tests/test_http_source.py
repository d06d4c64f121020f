"""A replica's view of a real `bootledger serve`: what a `LocalSource` of the same primary says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3
from replicas import CHUNK_BYTES, make_primary
from servers import (
    OPERATE_TOKEN,
    READ_TOKEN,
    Certificates,
    Server,
    certificates,
    server,
    token_file,
)
from speaking import Speaker

from bootledger.basebackup.manifest import MAX_CHUNK_BYTES, Manifest, decode
from bootledger.errors import (
    DivergedHistory,
    InvalidValue,
    NotAllowed,
    SnapshotLost,
    SourceUnavailable,
    Stopped,
)
from bootledger.files import Files
from bootledger.primary.source import LocalSource
from bootledger.replica.http.source import Access, HttpSource
from bootledger.replica.ports import ChecksChunks, LongPolling, Pin, Source
from bootledger.replica.seal import SEALED_PART_MAX_BYTES

pytestmark = pytest.mark.xdist_group("http-source")

SLOT = "../replica ä.1"
TOKEN_ACCESS = Access(token=READ_TOKEN)


@dataclass
class Both:
    """The same primary, over HTTP and from its directory."""

    server: Server
    http: HttpSource
    local: LocalSource
    pin: Pin

    @property
    def manifest(self) -> Manifest:
        return decode(self.http.read_manifest(self.pin.token, 0, MAX_CHUNK_BYTES))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Serve a primary that asks for tokens, and pin a base backup."""
    directory = tmp_path_factory.mktemp("served")
    make_primary(directory / "primary", records=3000)
    with (
        server(directory / "primary", "--tokens", token_file(directory)) as started,
        LocalSource.open(directory / "primary", Files(), chunk_bytes=CHUNK_BYTES) as local,
        HttpSource.open(started.address, slot=SLOT, access=TOKEN_ACCESS) as source,
    ):
        yield Both(started, source, local, source.pin("intent", 1))


def test_it_keeps_every_promise_of_a_source(both: Both) -> None:
    """It is a source that waits for news and checks chunks, as far as types can tell."""
    source: Source = both.http
    waits: LongPolling = both.http
    assert isinstance(both.http, ChecksChunks)
    assert source is waits


def test_identity_and_position_are_the_primarys(both: Both) -> None:
    """Over HTTP it is the same database at the same LSN."""
    assert both.http.identity() == both.local.identity()
    assert both.http.last_lsn() == both.local.last_lsn() == both.http.info().last_lsn == 3000


def test_proxies_of_the_environment_are_not_used(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other programs go through is not where a token goes."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with HttpSource.open(both.server.address, slot=SLOT, access=TOKEN_ACCESS) as source:
        assert source.last_lsn() == 3000


def test_a_pin_is_repeated_with_the_same_answer(both: Both) -> None:
    """The same intent and generation get the same base backup, and it describes itself."""
    assert both.http.pin("intent", 1) == both.pin
    assert (both.manifest.digest, both.manifest.checkpoint_lsn) == (
        both.pin.manifest_digest,
        both.pin.lsn,
    )


@pytest.mark.parametrize("length", [0, 1, 100, SEALED_PART_MAX_BYTES, 2**22])
@pytest.mark.parametrize("method", ["read_manifest", "read_chunk"])
def test_any_part_of_a_file_is_the_same(both: Both, method: str, length: int) -> None:
    """Parts at the beginning, inside, across the end and beyond it are those of the directory."""
    size = both.pin.size_bytes if method == "read_chunk" else both.pin.manifest_size_bytes
    for source in (both.http, HttpSource.open(both.server.address, slot="x", access=TOKEN_ACCESS)):
        for offset in (0, 1, size // 2, size - 1, size, size + 1, 2**40):
            assert getattr(source, method)(both.pin.token, offset, length) == getattr(
                both.local, method
            )(both.pin.token, offset, length)


@pytest.mark.parametrize("compression", ["auto", "on", "off"])
def test_every_chunk_is_checked_and_right(both: Both, compression: str) -> None:
    """Compressed or not, from eight threads at once, all chunks are those of the manifest."""
    with (
        HttpSource.open(
            both.server.address,
            slot=SLOT,
            access=TOKEN_ACCESS,
            compression=compression,
        ) as source,
        ThreadPoolExecutor(8) as threads,
    ):
        chunks = list(both.manifest.chunks()) * 5
        fetched = threads.map(lambda chunk: source.fetch_chunk(both.pin.token, chunk), chunks)
        assert all(
            chunk.objection(data) is None for chunk, data in zip(chunks, fetched, strict=True)
        )


@pytest.mark.parametrize(("after", "limit"), [(0, 1), (0, 700), (2990, 100), (3000, 5)])
def test_changes_are_the_same(both: Both, after: int, limit: int) -> None:
    """Changes after any LSN are those of the directory, and none at the end."""
    assert both.http.changes(after, limit) == both.local.changes(after, limit)


def test_news_are_waited_for_in_vain(both: Both) -> None:
    """Without news a wait ends with none."""
    assert both.http.changes_within(3000, 5, 0.2) == []


def test_what_is_acknowledged_is_held_for_the_slot(both: Both) -> None:
    """The slot bears the replica's name, whatever is in it, and stands at what it has."""
    for lsn in (1234, 3000):
        both.http.changes(lsn, 1)
    operator = {"Authorization": f"Bearer {OPERATE_TOKEN}"}
    told = urllib3.request("GET", f"{both.server.address}/v1/slots", headers=operator).json()
    assert [slot["acknowledged_lsn"] for slot in told if slot["name"] == SLOT] == [3000]


REFUSED: dict[str, tuple[type[Exception], Callable[[Source, str], object]]] = {
    "unknown token": (SnapshotLost, lambda source, _: source.read_chunk("intent.2", 0, 1)),
    "unknown manifest": (SnapshotLost, lambda source, _: source.read_manifest("i.2", 0, 1)),
    "token that is a path": (SnapshotLost, lambda source, _: source.read_chunk("../..", 0, 1)),
    "too much": (
        InvalidValue,
        lambda source, token: source.read_chunk(token, 0, MAX_CHUNK_BYTES + 1),
    ),
    "before the start": (InvalidValue, lambda source, token: source.read_manifest(token, -1, 1)),
    "no limit": (InvalidValue, lambda source, _: source.changes(0, 0)),
    "negative LSN": (InvalidValue, lambda source, _: source.changes(-1, 1)),
    "intent that is no name": (InvalidValue, lambda source, _: source.pin("A/..", 1)),
    "negative generation": (InvalidValue, lambda source, _: source.pin("intent", -1)),
    "beyond the newest": (DivergedHistory, lambda source, _: source.changes(3001, 1)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_directory_refuses_is_refused(both: Both, what: str) -> None:
    """Both raise the same kind of error."""
    kind, call = REFUSED[what]
    for source in (both.local, both.http):
        with pytest.raises(kind):
            call(source, both.pin.token)


def test_a_base_backup_is_released_twice(both: Both) -> None:
    """To release again is harmless; the bytes are gone then, and what was known of them."""
    with HttpSource.open(both.server.address, slot="releases", access=TOKEN_ACCESS) as source:
        pin = source.pin("released", 1)
        for _ in range(2):
            source.release(pin.token)
        assert not source._sizes
        assert not source._digests
        source.release("never-there.1")
        source.release("../..")
        with pytest.raises(SnapshotLost):
            source.read_chunk(pin.token, 0, 10)


def test_a_pin_that_takes_long_asks_whether_to_go_on(both: Both) -> None:
    """While another publication holds the primary's lock, the wait can be ended."""
    asked = []

    def pause() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise Stopped("enough")

    lock = Files().lock(both.server.primary / "basebackups" / "publishing.lock")
    with (
        HttpSource.open(both.server.address, slot="waits", access=TOKEN_ACCESS) as source,
        lock.acquire(),
        pytest.raises(Stopped, match="enough"),
    ):
        source.pin("another", 1, pause)


def test_a_restart_is_not_noticed(both: Both) -> None:
    """Connections of before a restart are replaced without a word, and tokens stay."""
    chunk = both.manifest.chunk(0)
    both.server.restart()
    assert both.http.last_lsn() == 3000
    assert both.http.fetch_chunk(both.pin.token, chunk, _never) is not None


def _never(*told: object) -> None:
    raise AssertionError(f"rejected: {told}")


def test_without_the_right_token_nothing_is_told(both: Both) -> None:
    """A missing and a wrong token are refused at once."""
    for access in (Access(), Access(token="w" * 32)):
        with (
            HttpSource.open(both.server.address, slot=SLOT, access=access) as source,
            pytest.raises(NotAllowed),
        ):
            source.info()


def test_a_token_is_never_shown(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    """Neither `repr`, nor errors, nor the logs of any library have the token."""
    caplog.set_level(logging.DEBUG)
    secret = "w" * 32
    with HttpSource.open(both.server.address, slot=SLOT, access=Access(token=secret)) as source:
        with pytest.raises(NotAllowed) as refused:
            source.info()
        shown = f"{Access(token=secret)!r} {source!r} {vars(refused.value)} {refused.getrepr()}"
    assert secret not in shown + caplog.text
    with pytest.raises(InvalidValue) as bad:
        Access(token=f"{secret}\r\nX: y")
    assert secret not in str(bad.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host",
        "https://host/?token=hunter2",
        "http://host/#hunter2",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://host:0",
        "http://ho st",
        "http://host\\@hunter2",
        "http://host/a/../b",
        "",
        None,
    ],
)
def test_what_is_no_address_is_refused_without_a_secret(url: object) -> None:
    """User names, queries and fragments are refused, as is what is no URL, and not repeated."""
    for open_it in (
        lambda: HttpSource.open(url, slot="x"),
        lambda: HttpSource.open("http://host", slot="x", mirrors=[url]),
    ):
        with pytest.raises(InvalidValue) as refused:
            open_it()
        assert "hunter2" not in str(refused.value) + refused.value.hint


def test_a_token_travels_in_clear_text_only_if_that_is_allowed() -> None:
    """Over http a token goes to this machine alone, unless somebody says otherwise."""
    with pytest.raises(InvalidValue, match="clear text") as refused:
        HttpSource.open("http://db.example:7433", slot="x", access=TOKEN_ACCESS)
    assert "https" in refused.value.hint
    insecure = Access(token=READ_TOKEN, insecure=True)
    for url, access in (
        ("http://db.example", insecure),
        ("https://db.example", TOKEN_ACCESS),
        ("http://localhost:1", TOKEN_ACCESS),
        ("http://[::1]:1", TOKEN_ACCESS),
        ("http://db.example", Access()),
    ):
        HttpSource.open(url, slot="x", access=access).close()


def test_a_mirror_gets_no_token(both: Both) -> None:
    """Whatever a mirror answers, the token was not in its requests."""
    seen: list[dict[str, str]] = []

    def lost(asked: object) -> bytes:
        seen.append(asked.headers)
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    with (
        Speaker(lost) as mirror,
        HttpSource.open(
            both.server.address, slot=SLOT, access=TOKEN_ACCESS, mirrors=[mirror.url]
        ) as source,
    ):
        for chunk in list(both.manifest.chunks()) * 3:
            source.fetch_chunk(both.pin.token, chunk)
    assert seen
    assert not any("authorization" in headers for headers in seen)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make a certificate authority, and what it has signed."""
    return certificates(tmp_path_factory.mktemp("tls"))


def test_tls_needs_the_right_authority_and_certificate(
    known: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both it is told who the primary is; without either it is said that TLS failed."""
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between tries
    make_primary(tmp_path / "primary")
    client = {"certificate": known.client_certificate, "key": known.client_key}
    with server(tmp_path / "primary", *known.options, "--client-ca", known.ca) as started:
        with HttpSource.open(
            started.address, slot="x", access=Access(ca=known.ca, **client)
        ) as source:
            chunk = decode(
                source.read_manifest(source.pin("i", 1).token, 0, MAX_CHUNK_BYTES)
            ).chunk(0)
            assert source.fetch_chunk(source.pin("i", 1).token, chunk)
        for access, words in (
            (Access(ca=known.ca), ""),  # how a missing certificate ends depends on the moment
            (Access(**client), "TLS failed: the certificate is not believed"),
        ):
            with (
                HttpSource.open(started.address, slot="x", access=access) as source,
                pytest.raises(SourceUnavailable) as failed,
            ):
                source.info()
            assert failed.value.hint
            assert words in str(failed.value)


def test_unusable_certificates_are_refused_at_the_door(known: Certificates, tmp_path: Path) -> None:
    """A missing file, one that is none, a key of another certificate, and half of a pair."""
    (tmp_path / "junk").write_text("junk")
    for bad in (
        {"ca": tmp_path / "missing"},
        {"ca": tmp_path / "junk"},
        {"certificate": known.client_certificate, "key": known.server_key},
    ):
        with pytest.raises(InvalidValue):
            HttpSource.open("https://127.0.0.1:1", slot="x", access=Access(**bad))
    with pytest.raises(InvalidValue):
        Access(certificate=known.client_certificate)


def test_a_slot_lives_as_long_as_its_replica_is_there_though_it_asks_nothing(
    tmp_path: Path,
) -> None:
    """Of two slots, the one whose source is still open is valid when the other is idle too long."""
    make_primary(tmp_path / "primary")
    with (
        server(tmp_path / "primary", "--slot-idle", 2, limits={"enforce_every_s": 0.2}) as started,
        HttpSource.open(started.address, slot="busy") as busy,
    ):
        with HttpSource.open(started.address, slot="gone") as gone:
            for source in (busy, gone):  # the busy one is heard of first
                source.info()
                source.changes(0, 1)
        slots = _slots(started)
        while slots["gone"] is None:
            time.sleep(0.1)
            slots = _slots(started)
        assert "idle-timeout" in slots["gone"]
        assert slots["busy"] is None


def _slots(started: Server) -> dict[str, str | None]:
    answer = urllib3.request("GET", f"{started.address}/v1/slots")
    return {slot["name"]: slot.get("invalid_because") for slot in answer.json()}
