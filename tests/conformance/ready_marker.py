"""RedDB's ready marker: written, decoded, read beside a database, and promoted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

from bootledger.basebackup.reddb_layout import rebootstrap_ready_marker_path
from bootledger.basebackup.reddb_marker import (
    ReplicaRebootstrapReadyMarker,
    cleanup_rebootstrap,
    discard_rebootstrap_ready_marker,
    promote_rebootstrap,
    read_rebootstrap_ready_marker,
    write_rebootstrap_ready_marker,
)
from bootledger.files import Files
from conformance.outcomes import (
    Case,
    Json,
    Unreadable,
    empty_root,
    file_kind,
    guarded,
    load,
    ours,
    put,
    text_of,
    their_tree,
    theirs,
    tree,
)
from conformance.verdicts import Comparison, Rule, Verdict, Walker, judge

ROOT = "<ROOT>"


def _looks_first(comparison: Comparison) -> bool:
    """A promotion that cannot be carried out says so before anything has moved."""
    match comparison:
        case Comparison(("promote", before), [{"err": _}, _], [{"err": _} | {"ok": False}, after]):
            return after == before
    return False


RULES = (Rule("promote-looks-first", _looks_first),)


def _encode(case: Case, folder: Path) -> Iterator[Comparison]:
    marker = _marker(case["fields"])
    yield Comparison(case["fields"], case["text"], marker.encode())
    if "file" in case:
        content = (folder / str(case["file"])).read_bytes()
        with empty_root() as root:
            write_rebootstrap_ready_marker(root / "main.rdb", marker, Files())
            written = rebootstrap_ready_marker_path(root / "main.rdb").read_bytes()
        yield Comparison(case["fields"], content, written)
    if "decoded" in case:
        decoded = ReplicaRebootstrapReadyMarker.decode(str(case["text"]))
        yield Comparison(case["text"], case["decoded"], vars(decoded))


def _marker(fields: Json) -> ReplicaRebootstrapReadyMarker:
    match fields:
        case {"pending_path": str(path), "checkpoint_lsn": int(lsn), "timeline": int(timeline)}:
            return ReplicaRebootstrapReadyMarker(path, lsn, timeline)
    raise Unreadable(f"not the fields of a marker: {fields!r:.80}")


def _decode(case: Case, folder: Path) -> Iterator[Comparison]:
    text = text_of(case, "text", folder)
    answer = ours(lambda: vars(ReplicaRebootstrapReadyMarker.decode(text)), file_kind)
    yield Comparison(text, theirs(case["result"]), answer)


def _read(case: Case, folder: Path) -> Iterator[Comparison]:
    with empty_root() as root:
        data_path = Path(_here(case["data_path"], root))
        match case:
            case {"marker_text": None}:
                pass
            case {"marker_text": str(text)}:
                rebootstrap_ready_marker_path(data_path).write_text(_here(text, root))
            case {"marker_hex": str(digits)}:
                rebootstrap_ready_marker_path(data_path).write_bytes(bytes.fromhex(digits))
            case _:
                raise Unreadable(f"no marker in {sorted(case)}")

        def read() -> Json:
            marker = read_rebootstrap_ready_marker(data_path)
            path = marker.pending_path.replace(str(root), ROOT)
            return {**vars(marker), "pending_path": path}

        yield Comparison(case.get("marker_text"), theirs(case["result"]), ours(read, file_kind))


def _here(text: Json, root: Path) -> str:
    return str(text).replace(ROOT, str(root))


def _promoted(data_path: Path) -> Json:
    return promote_rebootstrap(data_path, Files())


def _discarded(data_path: Path) -> Json:
    discard_rebootstrap_ready_marker(data_path, Files())
    return True


def _cleaned(data_path: Path) -> Json:
    cleanup_rebootstrap(data_path, Files())
    return True


OPERATIONS: Mapping[str, Callable[[Path], Json]] = {
    "promote": _promoted,
    "marker_discard": _discarded,
    "cleanup": _cleaned,
}


def _promote(case: Case, folder: Path) -> Iterator[Comparison]:
    operation = OPERATIONS.get(str(case["op"]))
    if operation is None:
        raise Unreadable(f"unknown op {case['op']!r}")
    with empty_root() as root:
        put(root, case["before"], case.get("before_dirs", []))
        data_path = Path(_here(case["data_path"], root))
        before = tree(root)
        result = ours(lambda: operation(data_path), file_kind)
        yield Comparison(
            (case["op"], before),
            [theirs(case["result"]), their_tree(case["tree_after"])],
            [result, tree(root)],
        )


Compare: TypeAlias = Callable[[Case, Path], Iterator[Comparison]]
PARTS: Mapping[str, Compare] = {
    "encode": _encode,
    "decode": _decode,
    "read": _read,
    "promote": _promote,
}


def _walk(path: Path) -> Iterator[Verdict]:
    loaded = load(path)
    if not isinstance(loaded, dict):
        yield Verdict(path.name, wrong="not an object of lists of cases")
        return
    for part, listed in loaded.items():
        compare = PARTS.get(part)
        if compare is None:
            yield Verdict(part, wrong=f"nobody walks {part!r}")
            continue
        for number, case in enumerate(listed):
            name = f"{part} {case.get('name', number)}"
            yield guarded(name, partial(_judged, name, compare, case, path.parent))


def _judged(name: str, compare: Compare, case: Case, folder: Path) -> Verdict:
    return judge(name, compare(case, folder), RULES)


WALKERS: Mapping[str, Walker] = {"ready_marker/marker.json": _walk}
