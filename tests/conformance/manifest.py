"""Judges `manifest/`: what decodes, to what, what is refused, and what may be constructed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bootledger.basebackup.reddb_manifest import (
    BaseBackupChunkRef,
    BaseBackupPlan,
    PrimaryReplicaBaseBackupManifest,
)
from conformance.answers import (
    A_PANIC_IS_AN_ERROR,
    DEATHS,
    Json,
    Unknown,
    only,
    ours,
    read_json,
    theirs,
    verdicts,
)
from conformance.verdicts import Comparison, Verdict

RULES = (A_PANIC_IS_AN_ERROR,)
FIELDS = "timeline start_lsn checkpoint_lsn snapshot_relative_path snapshot_bytes snapshot_checksum"
CHUNK_FIELDS = "ordinal snapshot_offset bytes checksum relative_path"


def manifest_json(manifest: PrimaryReplicaBaseBackupManifest) -> Json:
    """Return a manifest in the shape of the reference's answers."""
    fields = {name: getattr(manifest, name) for name in FIELDS.split()}
    chunks = [dict(zip(CHUNK_FIELDS.split(), chunk, strict=True)) for chunk in manifest.chunks]
    return {**fields, "chunks": chunks}


def manifest_of(fields: Mapping[str, Json]) -> PrimaryReplicaBaseBackupManifest:
    """Return the manifest that an answer describes, valid or not."""
    only(fields, f"{FIELDS} chunks")
    return PrimaryReplicaBaseBackupManifest(
        *(fields[name] for name in FIELDS.split()), chunks_of(fields)
    )


def chunks_of(fields: Mapping[str, Json]) -> tuple[BaseBackupChunkRef, ...]:
    """Return the chunks that an answer describes."""
    for chunk in fields["chunks"]:
        only(chunk, CHUNK_FIELDS)
    names = CHUNK_FIELDS.split()
    return tuple(BaseBackupChunkRef(*map(chunk.get, names)) for chunk in fields["chunks"])


def plan_of(fields: Mapping[str, Json]) -> BaseBackupPlan:
    """Return which base backup an answer is about."""
    return BaseBackupPlan(fields["timeline"], fields["start_lsn"], fields["checkpoint_lsn"])


def encoded(case: Mapping[str, Json], folder: Path) -> Iterator[bytes]:
    """Yield the bytes of a case, from the text and from the file, whichever there are."""
    if "hex" in case:
        yield bytes.fromhex(case["hex"])
    if "file" in case:
        yield (folder / case["file"]).read_bytes()


def walk_valid(path: Path) -> Iterator[Verdict]:
    """Judge what decodes, and that every file has the bytes of a case."""
    cases = read_json(path)

    def compare(case: Mapping[str, Json]) -> Iterator[Comparison]:
        only(case, "name bytes decoded reencode_identical reencoded_hex hex file note")
        for data in encoded(case, path.parent):
            yield Comparison(case, case.get("bytes", len(data)), len(data))
            answer = ours(lambda data=data: _decoded(data))
            again = data.hex() if case["reencode_identical"] else case["reencoded_hex"]
            yield Comparison(case, {"ok": [case["decoded"], again]}, answer)
        if not {"hex", "file"} & set(case):
            raise Unknown("a case without bytes")

    yield from verdicts(cases, compare, RULES)
    known = {data for case in cases for data in encoded(case, path.parent)}
    for file in sorted((path.parent / "bin").glob("*")):
        if file.read_bytes() not in known:
            yield Verdict(f"bin/{file.name}", wrong="no case has these bytes")


def _decoded(data: bytes) -> Json:
    manifest = PrimaryReplicaBaseBackupManifest.decode(data)
    return [manifest_json(manifest), manifest.encode().hex()]


def walk_invalid(path: Path) -> Iterator[Verdict]:
    """Judge what is refused."""

    def compare(case: Mapping[str, Json]) -> Iterator[Comparison]:
        only(case, "name hex file error note panic process_died_with_signal")
        deaths = {key: case[key] for key in DEATHS & set(case)}
        answer = deaths or theirs({"err": case["error"]}, of_files=True)
        for data in encoded(case, path.parent):
            yield Comparison(case, answer, ours(lambda data=data: _decoded(data)))
        if not {"hex", "file"} & set(case):
            raise Unknown("a case without bytes")

    yield from verdicts(read_json(path), compare, RULES)


def _new(args: Mapping[str, Json]) -> PrimaryReplicaBaseBackupManifest:
    only(args, FIELDS)
    return PrimaryReplicaBaseBackupManifest.new(plan_of(args), *_snapshot(args))


def _incremental(args: Mapping[str, Json]) -> PrimaryReplicaBaseBackupManifest:
    fields = args.get("manifest", args)
    only(fields, f"{FIELDS} chunks")
    return PrimaryReplicaBaseBackupManifest.incremental(
        plan_of(fields), *_snapshot(fields), chunks_of(fields)
    )


def _snapshot(fields: Mapping[str, Json]) -> tuple[str, int, int]:
    return (
        fields["snapshot_relative_path"],
        fields["snapshot_bytes"],
        fields["snapshot_checksum"],
    )


CONSTRUCTORS: Mapping[str, Callable[..., PrimaryReplicaBaseBackupManifest]] = {
    "new": _new,
    "incremental": _incremental,
}


def walk_constructors(path: Path) -> Iterator[Verdict]:
    """Judge what may be constructed, and how it is encoded."""

    def compare(case: Mapping[str, Json]) -> Iterator[Comparison]:
        only(case, "name call args result note")
        construct = CONSTRUCTORS[case["call"]]

        def call() -> Json:
            manifest = construct(case["args"])
            return {"manifest": manifest_json(manifest), "hex": manifest.encode().hex()}

        yield Comparison(case, theirs(case["result"], of_files=True), ours(call))

    yield from verdicts(read_json(path), compare, RULES)
