"""RedDB's payloads: what they decode to, how they are written, what staging makes of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

from bootledger.basebackup.reddb_errors import (
    Decode,
    InvalidField,
    MissingField,
    ReplicaBaseBackupError,
)
from bootledger.basebackup.reddb_fields import InvalidHex, NotJson, NotObject
from bootledger.basebackup.reddb_layout import ReplicaCatchupMode
from bootledger.basebackup.reddb_manifest import PrimaryReplicaBaseBackupManifest
from bootledger.basebackup.reddb_parts import read_snapshot_parts
from bootledger.basebackup.reddb_snapshot import (
    StagedBaseBackupChunk,
    recover_staged_basebackup_chunks,
    stage_basebackup_snapshot_chunk,
)
from bootledger.basebackup.reddb_stream import (
    CatchupModeReply,
    WalRecord,
    WalStreamAck,
    WalStreamAckReply,
    WalStreamChunk,
    WalStreamOpen,
)
from bootledger.basebackup.reddb_wire import (
    BaseBackupChunk,
    BaseBackupRequest,
    ListedChunk,
    lsn_of_token,
)
from bootledger.files import Files
from conformance.outcomes import (
    Case,
    Json,
    Unreadable,
    backup_kind,
    cases,
    empty_root,
    file_kind,
    guarded,
    ours,
    put,
    their_tree,
    theirs,
    tree,
    wire_kind,
)
from conformance.verdicts import Comparison, Rule, Verdict, Walker, judge

RULES: tuple[Rule, ...] = ()

Payload: TypeAlias = (
    BaseBackupRequest
    | BaseBackupChunk
    | CatchupModeReply
    | WalStreamOpen
    | WalStreamChunk
    | WalStreamAck
    | WalStreamAckReply
)
KINDS: Mapping[str, type[Payload]] = {
    kind.__name__: kind
    for kind in (
        BaseBackupRequest,
        BaseBackupChunk,
        CatchupModeReply,
        WalStreamOpen,
        WalStreamChunk,
        WalStreamAck,
        WalStreamAckReply,
    )
}
BINARY = {
    "snapshot_chunk",
    "snapshot_hex",
    "metadata_binary",
    "metadata_json",
    "basebackup_manifest",
    "basebackup_chunk",
    "data",
}
"""Fields whose values are bytes, and hex in the vectors."""


# --- values -------------------------------------------------------------------------------------


def plain(value: object) -> Json:
    """Return a decoded payload, or a part of one, as the vectors write it."""
    match value:
        case ReplicaCatchupMode():
            return value.value
        case bytes():
            return value.hex()
        case tuple() | list():
            return [plain(element) for element in value]
        case None | bool() | int() | str():
            return value
    return {name: plain(inner) for name, inner in vars(value).items()}


def made(kind: type, fields: Json) -> object:
    """Return the payload that a vector describes by its fields."""
    if not isinstance(fields, dict):
        raise Unreadable(f"not the fields of a payload: {fields!r:.80}")
    return kind(**{name: _value(name, value) for name, value in fields.items()})


def _value(name: str, value: Json) -> object:
    match name, value:
        case "mode", str(mode):
            return ReplicaCatchupMode(mode)
        case "catchup", dict():
            return made(CatchupModeReply, value)
        case "records", list(records):
            return tuple(made(WalRecord, record) for record in records)
        case "basebackup_chunks", list(chunks):
            return tuple(made(ListedChunk, chunk) for chunk in chunks)
        case _, str(digits) if name in BINARY:
            return bytes.fromhex(digits)
    return value


def decoded(kind: type[Payload], payload: bytes) -> Json:
    """Return what a payload decodes to, in the form of `theirs`."""

    def decode() -> Json:
        value = kind.decode(payload)
        fields = plain(value)
        if isinstance(value, WalStreamAck) and isinstance(fields, dict):
            fields["reply_hex"] = WalStreamAckReply.to(value).encode().encode().hex()
        return fields

    return ours(decode, wire_kind)


def staged(answer: StagedBaseBackupChunk | None) -> Json:
    """Return what staging answered, as the vectors write it."""
    if answer is None:
        return None
    manifest = answer.manifest
    return {
        "chunk_ordinal": answer.chunk_ordinal,
        "manifest": {
            "timeline": manifest.timeline,
            "start_lsn": manifest.start_lsn,
            "checkpoint_lsn": manifest.checkpoint_lsn,
            "snapshot_relative_path": manifest.snapshot_relative_path,
            "snapshot_bytes": manifest.snapshot_bytes,
            "snapshot_checksum": manifest.snapshot_checksum,
            "chunks": [
                {
                    "ordinal": chunk.ordinal,
                    "snapshot_offset": chunk.snapshot_offset,
                    "bytes": chunk.chunk_bytes,
                    "checksum": chunk.checksum,
                    "relative_path": chunk.relative_path,
                }
                for chunk in manifest.chunks
            ],
        },
        "next_snapshot_offset": answer.next_snapshot_offset,
        "snapshot_complete": answer.snapshot_complete,
        "snapshot_offset": answer.snapshot_offset,
    }


# --- the files ----------------------------------------------------------------------------------


def _payload_bytes(case: Case) -> bytes:
    match case:
        case {"payload": str(text)}:
            return text.encode("utf-8", "surrogatepass")
        case {"payload_hex": str(digits)}:
            return bytes.fromhex(digits)
    raise Unreadable(f"no payload in {sorted(case)}")


def _other_payload(case: Case) -> Iterator[Comparison]:
    kind = KINDS.get(str(case["kind"]))
    if kind is None:
        raise Unreadable(f"unknown payload {case['kind']!r}")
    match case:
        case {"direction": "round_trip"}:
            payload = made(kind, case["fields"])
            encoded = payload.encode() if isinstance(payload, Payload) else None
            yield Comparison(case["fields"], case["encoded"], encoded)
            theirs_decoded = theirs(case["decoded"])
            yield Comparison(
                case["encoded"], theirs_decoded, decoded(kind, str(case["encoded"]).encode())
            )
        case {"direction": "decode"}:
            yield Comparison(
                case["payload"], theirs(case["result"]), decoded(kind, _payload_bytes(case))
            )
        case _:
            raise Unreadable(f"unknown direction {case.get('direction')!r}")


def _chunk_encode(case: Case) -> Iterator[Comparison]:
    payload = made(BaseBackupChunk, case["fields"])
    encoded = payload.encode() if isinstance(payload, BaseBackupChunk) else ""
    yield Comparison(case["fields"], case["encoded"], encoded)
    if "decoded" in case:
        yield Comparison(
            encoded, theirs(case["decoded"]), decoded(BaseBackupChunk, encoded.encode())
        )


def _token(case: Case) -> Iterator[Comparison]:
    yield Comparison(case["token"], case["lsn"], lsn_of_token(str(case["token"])))


def _error_mapping(case: Case) -> Iterator[Comparison]:
    """What is raised for the wire is, by its class, what the base backup makes of it."""
    match case:
        case {"wire": {"kind": str(kind), "field": field}, "mapped": dict(mapped)}:
            errors: Mapping[str, Callable[[], ReplicaBaseBackupError]] = {
                "NotJson": lambda: NotJson(""),
                "NotObject": lambda: NotObject(""),
                "MissingField": lambda: MissingField(str(field)),
                "InvalidField": lambda: InvalidField(str(field)),
                "InvalidHex": lambda: InvalidHex(str(field)),
            }
            if kind not in errors:
                raise Unreadable(f"unknown kind {kind!r}")
            error = errors[kind]()
            assert isinstance(error, Decode | MissingField | InvalidField)
            yield Comparison(case["wire"], theirs({"err": mapped}), {"err": backup_kind(error)})
        case _:
            raise Unreadable(f"not a mapping: {case!r:.80}")


def _broken(case: Case) -> Iterator[Comparison]:
    payload = _payload_bytes(case)
    match case["result"]:
        case {"stage": str(their_stage)}:
            pass
        case _:
            raise Unreadable(f"no stage in {case['result']!r:.80}")
    with empty_root() as root:
        put(root, case.get("before", []))
        try:
            chunk = BaseBackupChunk.decode(payload)
        except ReplicaBaseBackupError as error:
            stage, answer = "decode_json", {"err": wire_kind(error)}
        else:
            stage, answer = "stage", ours(lambda: _stage(chunk, root), backup_kind)
        yield Comparison(payload, [their_stage, theirs(case["result"])], [stage, answer])
        yield Comparison(payload, their_tree(case["tree_after"]), tree(root))


def _stage(chunk: BaseBackupChunk, root: Path) -> Json:
    return staged(stage_basebackup_snapshot_chunk(chunk, root, Files()))


def _sequence(case: Case) -> Iterator[Comparison]:
    responses = case["responses"]
    if not isinstance(responses, list):
        raise Unreadable("responses are not a list")
    with empty_root() as root:
        manifest: PrimaryReplicaBaseBackupManifest | None = None
        for response in responses:
            payload = _payload_bytes(response)
            chunk = BaseBackupChunk.decode(payload)
            yield Comparison(payload, response["decoded"], plain(chunk))
            answer = stage_basebackup_snapshot_chunk(chunk, root, Files())
            manifest = answer.manifest if answer else manifest
            yield Comparison(payload, response["staged"], staged(answer))
        yield Comparison("files", their_tree(case["staged_tree"]), tree(root))
        if manifest is None:
            manifest = PrimaryReplicaBaseBackupManifest.decode(
                bytes.fromhex(str(case["manifest_hex"]))
            )
        recovered = recover_staged_basebackup_chunks(manifest, root, Files())
        yield Comparison("recover", case["recovered"], sorted(recovered))
        whole = manifest

        def read() -> Json:
            data = b"".join(read_snapshot_parts(whole, root))
            return {"crc32": zlib.crc32(data), "hex": data.hex(), "len": len(data)}

        yield Comparison("read", theirs(case["read_snapshot_parts"]), ours(read, file_kind))


Compare: TypeAlias = Callable[[Case], Iterator[Comparison]]


def _judged(name: str, compare: Compare, case: Case) -> Verdict:
    return judge(name, compare(case), RULES)


def _walker(compare: Compare) -> Walker:
    def walk(path: Path) -> Iterator[Verdict]:
        for number, case in enumerate(cases(path)):
            name = str(case.get("name", case.get("kind", number)))
            yield guarded(name, partial(_judged, name, compare, case))

    return walk


WALKERS: Mapping[str, Walker] = {
    "wire/other_payloads.json": _walker(_other_payload),
    "wire/chunk_encode.json": _walker(_chunk_encode),
    "wire/snapshot_token.json": _walker(_token),
    "wire/error_mapping.json": _walker(_error_mapping),
    "wire/snapshot_broken.json": _walker(_broken),
    "wire/snapshot_sequences.json": _walker(_sequence),
}
