"""Judges `parts/`: names, listings, and sequences of operations with every file after each step."""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath

from bootledger.basebackup import reddb_layout
from bootledger.basebackup.reddb_layout import (
    PrimaryReplicaFilePlan,
    basebackup_chunk_relative_path,
)
from bootledger.basebackup.reddb_manifest import BaseBackupPlan, PrimaryReplicaBaseBackupManifest
from bootledger.basebackup.reddb_parts import (
    read_snapshot_parts,
    recover_staged_chunk_parts,
    stage_chunk_part,
    verify_snapshot_parts,
)
from bootledger.basebackup.reddb_publishing import (
    write_basebackup_manifest,
    write_basebackup_snapshot_parts,
)
from bootledger.files import Files
from conformance.answers import (
    A_PANIC_IS_AN_ERROR,
    Json,
    Unknown,
    only,
    ours,
    read_json,
    theirs,
    verdicts,
)
from conformance.manifest import manifest_json, manifest_of, plan_of
from conformance.parts_rules import NO_LEFTOVERS, NO_PART_IS_DESTROYED, PARTS_STAY_IN_THE_ROOT
from conformance.trees import ROOT, become, our_tree, plant, their_tree
from conformance.verdicts import Comparison, Verdict

RULES = (A_PANIC_IS_AN_ERROR, PARTS_STAY_IN_THE_ROOT, NO_PART_IS_DESTROYED, NO_LEFTOVERS)

FILES = Files()


@contextmanager
def fresh_root() -> Iterator[Path]:
    """Make the directory that `<ROOT>` stands for, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="bootledger-conformance-") as path:
        root = Path(path).resolve() / "root"
        root.mkdir()
        yield root


# --- names --------------------------------------------------------------------------------------


def walk_layout(path: Path) -> Iterator[Verdict]:
    """Judge what files are called."""
    found = read_json(path)
    yield from verdicts(found["primary_paths"], _compare_primary_paths, RULES)
    yield from verdicts(found["replica_sidecars"], _compare_sidecars, RULES)
    for unknown in found.keys() - {"primary_paths", "replica_sidecars"}:
        yield Verdict(unknown, wrong="nobody judges these")


def _compare_primary_paths(case: Mapping[str, Json]) -> Iterator[Comparison]:
    only(case, "name note args result")
    args = case["args"]
    only(
        args,
        "root plan_timeline timeline start_lsn checkpoint_lsn ordinal lsn segment_bytes",
    )
    plan = PrimaryReplicaFilePlan(Path(args["root"]), args["plan_timeline"], args["segment_bytes"])
    backup = plan_of(args)
    index = plan.wal_segment_index(args["lsn"])
    yield Comparison(
        args,
        _plain(case["result"]),
        _plain(
            {
                "basebackup_dir": plan.basebackup_dir,
                "basebackup_path": plan.basebackup_path(backup),
                "chunk_path": basebackup_chunk_relative_path(backup, args["ordinal"]),
                "end": plan.wal_segment_end_lsn(index),
                "parts_dir": plan.basebackup_parts_dir(backup),
                "start": plan.wal_segment_start_lsn(index),
                "timeline_dir": plan.timeline_dir,
                "timeline_history_path": plan.timeline_history_path,
                "wal_dir": plan.wal_dir,
                "wal_segment_index": index,
                "wal_segment_path": plan.wal_segment_path(args["lsn"]),
            }
        ),
    )


def _compare_sidecars(case: Mapping[str, Json]) -> Iterator[Comparison]:
    only(case, "name note data_path paths")
    data_path = Path(case["data_path"])
    marker = reddb_layout.rebootstrap_ready_marker_path(data_path)
    yield Comparison(
        data_path,
        _plain(case["paths"]),
        _plain(
            {
                "intent_log": reddb_layout.rebootstrap_intent_log_path(data_path),
                "pending": reddb_layout.rebootstrap_pending_path(data_path),
                "previous": reddb_layout.rebootstrap_previous_path(data_path),
                "primary_replica_root": reddb_layout.primary_replica_root(data_path),
                "ready": marker,
                "ready_tmp": reddb_layout.atomic_temp_path(marker),
                "staging": reddb_layout.rebootstrap_staging_root(data_path),
            }
        ),
    )


def _plain(paths: Mapping[str, object]) -> Json:
    """Return paths compared by their components; what is no path stays as it is."""
    return {
        name: value if isinstance(value, int) else str(PurePosixPath(value))
        for name, value in paths.items()
    }


# --- which base backup --------------------------------------------------------------------------


def walk_catchup_mode(path: Path) -> Iterator[Verdict]:
    """Judge how a replica catches up, and from which base backup."""

    def compare(case: Mapping[str, Json]) -> Iterator[Comparison]:
        only(case, "name note plan_timeline available_from_lsn replica_lsn manifests result")
        plan = PrimaryReplicaFilePlan(Path("/"), case["plan_timeline"])
        there = [manifest_of(manifest) for manifest in case["manifests"]]
        lsns = case["available_from_lsn"], case["replica_lsn"]
        selected = plan.select_basebackup_for_catchup(lsns[0], there)
        answer = {
            "selected": selected and manifest_json(selected),
            "simple": plan.catchup_mode(*lsns).value,
            "with_basebackups": plan.catchup_mode(*lsns, there).value,
        }
        yield Comparison(case, case["result"], answer)

    yield from verdicts(read_json(path), compare, RULES)


def walk_list_basebackups(path: Path) -> Iterator[Verdict]:
    """Judge which base backups there are; where two rank the same, their order says nothing."""

    def compare(case: Mapping[str, Json]) -> Iterator[Comparison]:
        only(case, "name note files result")
        with fresh_root() as root:
            plan = PrimaryReplicaFilePlan(root)
            if case["files"] is not None:
                plan.basebackup_dir.mkdir(parents=True)
                plant(plan.basebackup_dir, case["files"])
            answer = ours(lambda: [manifest_json(each) for each in plan.list_basebackups()])
            wanted = theirs(case["result"], of_files=True)
            yield Comparison(case, _ranked(wanted), _ranked(answer))

    yield from verdicts(read_json(path), compare, RULES)


def in_order(value: Json) -> str:
    """Return a key that sorts values whatever they are."""
    return json.dumps(value, sort_keys=True)


def _ranked(answer: Json) -> Json:
    if "ok" not in answer:
        return answer
    ranks = [(each["timeline"], each["checkpoint_lsn"]) for each in answer["ok"]]
    return {"ranks": ranks, "each": sorted(answer["ok"], key=in_order)}


# --- the replica's operations -------------------------------------------------------------------


def walk_stage_recover_read(path: Path) -> Iterator[Verdict]:
    """Judge sequences of operations: each answer, and the tree after each step."""
    yield from verdicts(read_json(path), _compare_steps, RULES)


def _compare_steps(case: Mapping[str, Json]) -> Iterator[Comparison]:
    only(case, "name note manifest before steps")
    manifest = manifest_of(case["manifest"])
    planted = list(case["before"] or ())
    with fresh_root() as root:
        plant(root, planted)
        for step in case["steps"]:
            asked = {"manifest": manifest, "planted": planted, "step": step}
            if "result" in step:
                answer = ours(_operation(manifest, root, step))
                wanted = theirs(step["result"], of_files=True)
                yield Comparison(asked, wanted, _as_much(wanted, answer))
            elif "files" in step:
                planted += step["files"]
                plant(root, step["files"])
            else:  # files were taken away, or changed in a way that only the tree tells
                planted += step["tree"]
                become(root, step["tree"])
            if "tree" in step:
                yield Comparison(asked, their_tree(step["tree"]), our_tree(root))


def _operation(
    manifest: PrimaryReplicaBaseBackupManifest, root: Path, step: Mapping[str, Json]
) -> Callable[[], Json]:
    """Return what a step does."""

    def stage() -> Json:
        data = bytes.fromhex(step["bytes"])
        stage_chunk_part(manifest, root, step["ordinal"], data, FILES)
        return True

    def verify() -> Json:
        verify_snapshot_parts(manifest, root)
        return True

    def read() -> Json:
        snapshot = b"".join(read_snapshot_parts(manifest, root))
        digests = {"crc32": zlib.crc32(snapshot), "sha256": sha256(snapshot).hexdigest()}
        return {"hex": snapshot.hex(), "len": len(snapshot), **digests}

    only(step, "op ordinal bytes result tree note")
    match step["op"]:
        case "stage_chunk_part":
            return stage
        case "recover_staged_chunk_parts":
            return lambda: sorted(recover_staged_chunk_parts(manifest, root, FILES))
        case "read_snapshot_parts":
            return read
        case "verify_snapshot_parts":
            return verify
        case unknown:
            raise Unknown(f"unknown operation {unknown!r}")


def _as_much(wanted: Json, answer: Json) -> Json:
    """Return of our answer what theirs tells, where it tells less: long snapshots have no hex."""
    told, ours_told = wanted.get("ok"), answer.get("ok")
    if isinstance(told, Mapping) and isinstance(ours_told, Mapping) and told.keys() <= {*ours_told}:
        return {"ok": {key: ours_told[key] for key in told}}
    return answer


# --- the primary's operations -------------------------------------------------------------------


def walk_write_snapshot_parts(path: Path) -> Iterator[Verdict]:
    """Judge how a snapshot is cut into parts, once and again, and the tree after each time."""
    yield from verdicts(read_json(path), _compare_writes, RULES)


def _compare_writes(case: Mapping[str, Json]) -> Iterator[Comparison]:
    only(
        case,
        "name note args before result tree_after mutation tree_mutated "
        "second_call_args second_result tree_after_second",
    )
    with fresh_root() as root:
        plant(root, case["before"] or ())
        yield from _compare_write(case, root, case["args"], case["result"], case["tree_after"])
        if "tree_mutated" in case:
            become(root, case["tree_mutated"])
        elif "mutation" in case:
            raise Unknown("a mutation that no tree tells")
        if "second_call_args" in case:
            args, result = case["second_call_args"], case["second_result"]
            yield from _compare_write(case, root, args, result, case["tree_after_second"])


def _compare_write(
    case: Mapping[str, Json],
    root: Path,
    args: Mapping[str, Json],
    result: Mapping[str, Json],
    tree: Iterable[Mapping[str, Json]],
) -> Iterator[Comparison]:
    only(
        args,
        "root plan_timeline timeline start_lsn checkpoint_lsn chunk_bytes snapshot write_manifest",
    )
    plan = PrimaryReplicaFilePlan(
        Path(args["root"].replace(ROOT, str(root))), args["plan_timeline"]
    )
    snapshot = bytes.fromhex(args["snapshot"])

    def call() -> Json:
        return _written(
            root,
            plan,
            plan_of(args),
            snapshot,
            args["chunk_bytes"],
            with_manifest=args["write_manifest"],
        )

    asked = {"args": args, "planted": case["before"] or (), "mutation": case.get("tree_mutated")}
    yield Comparison(asked, _written_by_them(result), ours(call))
    yield Comparison(asked, their_tree(tree), our_tree(root))


def _written(
    root: Path,
    plan: PrimaryReplicaFilePlan,
    backup: BaseBackupPlan,
    snapshot: bytes,
    chunk_bytes: int,
    *,
    with_manifest: bool,
) -> Json:
    """Cut `snapshot` into parts, and answer as they do."""
    source = root.parent / "snapshot"
    source.write_bytes(snapshot)
    with FILES.open(source) as file:
        manifest = write_basebackup_snapshot_parts(plan, backup, file, chunk_bytes, FILES)
    paths = {
        "basebackup_dir": plan.basebackup_dir,
        "basebackup_path": plan.basebackup_path(backup),
        "parts_dir": plan.basebackup_parts_dir(backup),
    }
    answer = {
        "manifest": manifest_json(manifest),
        "hex": manifest.encode().hex(),
        **{name: str(path).replace(str(root), ROOT) for name, path in paths.items()},
    }
    if with_manifest:
        path = plan.basebackup_path(backup)
        answer["write"] = ours(lambda: write_basebackup_manifest(manifest, path, FILES) or True)
    return answer


def _written_by_them(result: Mapping[str, Json]) -> Json:
    answer = theirs(result, of_files=True)
    if "ok" in answer and "write" in answer["ok"]:
        write = theirs(answer["ok"]["write"], of_files=True)
        return {"ok": {**answer["ok"], "write": write}}
    return answer


# --- one whole set ------------------------------------------------------------------------------


def walk_tree(path: Path) -> Iterator[Verdict]:
    """Judge one set of files as a primary left it: listed, read back, and made again by us."""
    yield from verdicts([read_json(path)], lambda case: _compare_tree(case, path.parent), RULES)


def _compare_tree(case: Mapping[str, Json], folder: Path) -> Iterator[Comparison]:
    only(case, "name note result tree")
    snapshot = (folder / "tree.snapshot.bin").read_bytes()
    wanted = their_tree(case["tree"])
    result = _written_by_them(case["result"])
    told = manifest_of(result["ok"]["manifest"])
    backup = BaseBackupPlan(told.timeline, told.start_lsn, told.checkpoint_lsn)
    plan = PrimaryReplicaFilePlan(folder / "tree", backup.timeline)
    yield Comparison("the files", wanted, our_tree(plan.root))
    yield Comparison("the list", [told], plan.list_basebackups())
    there = b"".join(read_snapshot_parts(told, plan.basebackup_dir))
    yield Comparison("the snapshot", snapshot.hex(), there.hex())
    with fresh_root() as root:
        ours_plan = PrimaryReplicaFilePlan(root, backup.timeline)
        size = told.chunks[0].chunk_bytes
        answer = ours(lambda: _written(root, ours_plan, backup, snapshot, size, with_manifest=True))
        yield Comparison("the answer", result, answer)
        yield Comparison("the files again", wanted, our_tree(root))
