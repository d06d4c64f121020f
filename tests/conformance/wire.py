"""RedDB's payloads: what they decode to, how they are written, what staging makes of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
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
from bootledger.errors import BootledgerError
from bootledger.files import Files
from conformance.answers import (
    A_PANIC_IS_AN_ERROR,
    Json,
    Unknown,
    our_error,
    ours,
    read_json,
    their_error,
    verdicts,
)
from conformance.outcomes import empty_root
from conformance.trees import our_tree, plant, their_tree
from conformance.verdicts import Comparison, Verdict

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
        raise Unknown(f"not the fields of a payload: {fields!r:.80}")
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
    """Return what a payload decodes to, or how it is refused."""
    try:
        value = kind.decode(payload)
    except ReplicaBaseBackupError as error:
        return {"err": wire_error(error)}
    fields = plain(value)
    if isinstance(value, WalStreamAck) and isinstance(fields, dict):
        fields["reply_hex"] = WalStreamAckReply.to(value).encode().encode().hex()
    return {"ok": fields}


def wire_error(error: ReplicaBaseBackupError) -> Json:
    """Return an error by the name that it has on the wire."""
    return {"kind": type(error).__name__, "field": getattr(error, "field", None)}


def backup_error(error: BootledgerError) -> Json:
    """Return an error by the name that it has for a base backup."""
    if isinstance(error, InvalidField):
        return {"kind": "InvalidField", "field": error.field}
    return our_error(error)


def told(result: Mapping[str, Json]) -> Json:
    """Return one of their results without its wording; a field that is absent is null there."""
    if "err" in result:
        return {"err": their_error(result["err"])}
    return {name: value for name, value in result.items() if name != "stage"}


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


def _payload_bytes(case: Mapping[str, Json]) -> bytes:
    match case:
        case {"payload": str(text)}:
            return text.encode("utf-8", "surrogatepass")
        case {"payload_hex": str(digits)}:
            return bytes.fromhex(digits)
    raise Unknown(f"no payload in {sorted(case)}")


def _other_payload(case: Mapping[str, Json]) -> Iterator[Comparison]:
    kind = KINDS.get(str(case["kind"]))
    if kind is None:
        raise Unknown(f"unknown payload {case['kind']!r}")
    match case:
        case {"direction": "round_trip"}:
            payload = made(kind, case["fields"])
            encoded = payload.encode() if isinstance(payload, Payload) else None
            yield Comparison(case["fields"], case["encoded"], encoded)
            expected = told(case["decoded"])
            yield Comparison(
                case["encoded"], expected, decoded(kind, str(case["encoded"]).encode())
            )
        case {"direction": "decode"}:
            yield Comparison(
                case["payload"], told(case["result"]), decoded(kind, _payload_bytes(case))
            )
        case _:
            raise Unknown(f"unknown direction {case.get('direction')!r}")


def _chunk_encode(case: Mapping[str, Json]) -> Iterator[Comparison]:
    payload = made(BaseBackupChunk, case["fields"])
    encoded = payload.encode() if isinstance(payload, BaseBackupChunk) else ""
    yield Comparison(case["fields"], case["encoded"], encoded)
    if "decoded" in case:
        yield Comparison(encoded, told(case["decoded"]), decoded(BaseBackupChunk, encoded.encode()))


def _token(case: Mapping[str, Json]) -> Iterator[Comparison]:
    yield Comparison(case["token"], case["lsn"], lsn_of_token(str(case["token"])))


def _error_mapping(case: Mapping[str, Json]) -> Iterator[Comparison]:
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
                raise Unknown(f"unknown kind {kind!r}")
            error = errors[kind]()
            assert isinstance(error, Decode | MissingField | InvalidField)
            yield Comparison(case["wire"], told({"err": mapped}), {"err": backup_error(error)})
        case _:
            raise Unknown(f"not a mapping: {case!r:.80}")


def _broken(case: Mapping[str, Json]) -> Iterator[Comparison]:
    payload = _payload_bytes(case)
    with empty_root() as root:
        plant(root, case.get("before", []))
        try:
            chunk = BaseBackupChunk.decode(payload)
        except ReplicaBaseBackupError as error:
            stage, answer = "decode_json", {"err": wire_error(error)}
        else:
            stage, answer = "stage", _stage(chunk, root)
        yield Comparison(payload, told(case["result"]), answer)
        yield Comparison(payload, case["result"].get("stage", stage), stage)
        yield Comparison(payload, their_tree(case.get("tree_after", [])), our_tree(root))


def _stage(chunk: BaseBackupChunk, root: Path) -> Json:
    try:
        return {"ok": staged(stage_basebackup_snapshot_chunk(chunk, root, Files()))}
    except BootledgerError as error:
        return {"err": backup_error(error)}


def _sequence(case: Mapping[str, Json]) -> Iterator[Comparison]:
    responses = case["responses"]
    if not isinstance(responses, list):
        raise Unknown("responses are not a list")
    with empty_root() as root:
        manifest: PrimaryReplicaBaseBackupManifest | None = None
        for response in responses:
            payload = _payload_bytes(response)
            chunk = BaseBackupChunk.decode(payload)
            yield Comparison(payload, response["decoded"], plain(chunk))
            answer = stage_basebackup_snapshot_chunk(chunk, root, Files())
            manifest = answer.manifest if answer else manifest
            yield Comparison(payload, response["staged"], staged(answer))
        yield Comparison("files", their_tree(case["staged_tree"]), our_tree(root))
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

        yield Comparison("read", told(case["read_snapshot_parts"]), ours(read))


def walk_other_payloads(path: Path) -> Iterator[Verdict]:
    """Judge every payload but the base backup's: what it decodes to, how it is written."""
    return verdicts(read_json(path), _other_payload, (A_PANIC_IS_AN_ERROR,))


def walk_chunk_encode(path: Path) -> Iterator[Verdict]:
    """Judge how the base backup's payload is written."""
    return verdicts(read_json(path), _chunk_encode, ())


def walk_snapshot_token(path: Path) -> Iterator[Verdict]:
    """Judge which LSN a primary reads out of a token."""
    return verdicts(read_json(path), _token, ())


def walk_error_mapping(path: Path) -> Iterator[Verdict]:
    """Judge what an error of the wire is to a base backup."""
    return verdicts(read_json(path), _error_mapping, ())


def walk_snapshot_broken(path: Path) -> Iterator[Verdict]:
    """Judge what is refused of a base backup's payload, by whom, and what is written."""
    return verdicts(read_json(path), _broken, (A_PANIC_IS_AN_ERROR,))


def walk_snapshot_sequences(path: Path) -> Iterator[Verdict]:
    """Judge whole conversations: decoded, staged, recovered and read back."""
    return verdicts(read_json(path), _sequence, ())
