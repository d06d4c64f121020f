"""RedDB's ready marker: written, decoded, read beside a database, and promoted."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from bootledger.basebackup.reddb_layout import (
    rebootstrap_pending_path,
    rebootstrap_previous_path,
    rebootstrap_ready_marker_path,
)
from bootledger.basebackup.reddb_marker import (
    ReplicaRebootstrapReadyMarker,
    cleanup_rebootstrap,
    discard_rebootstrap_ready_marker,
    promote_rebootstrap,
    read_rebootstrap_ready_marker,
)
from bootledger.files import Files
from conformance.answers import (
    A_PANIC_IS_AN_ERROR,
    Json,
    Unknown,
    ours,
    read_json,
    theirs,
    verdicts,
)
from conformance.outcomes import empty_root, text_of
from conformance.trees import our_tree, plant, their_tree
from conformance.verdicts import Comparison, Rule, Verdict

ROOT = "<ROOT>"


@dataclass(frozen=True)
class Asked:
    """An operation on a database at `data_path` below the root, and the tree before it."""

    op: str
    data_path: Path
    before: Mapping[str, Json]

    def has(self, path: Path, *, directory: bool = False) -> bool:
        """Whether there is something, or a directory, under a name below the root."""
        name = path.as_posix()
        there = any(each.startswith(f"{name}/") for each in self.before)
        return there or (not directory and name in self.before)


def _looks_first(comparison: Comparison) -> bool:
    """A promotion that cannot be carried out says so before anything has moved."""
    match comparison:
        case Comparison(Asked("promote", before=before) as asked, [{"err": _}, _], [answer, after]):
            return bool(after == before and answer == _said_first(asked))
    return False


def _said_first(asked: Asked) -> Json:
    """Return our answer to a promotion that cannot be carried out, None to one that can be."""
    data_path, pending = asked.data_path, rebootstrap_pending_path(asked.data_path)
    marker = asked.has(rebootstrap_ready_marker_path(data_path))
    if not asked.has(pending):
        wanted = marker or not asked.has(data_path)
        return _no_file(errno.ENOENT) if wanted else {"ok": False}
    if not marker:
        return _no_file(errno.ENOENT)
    places = (data_path, rebootstrap_previous_path(data_path), pending)
    is_directory = any(asked.has(path, directory=True) for path in places)
    return _no_file(errno.EISDIR) if is_directory else None


def _no_file(system: int) -> Json:
    return {"err": {"kind": "File", "file_error": {"kind": "Io", "system": system}}}


RULES = (A_PANIC_IS_AN_ERROR, Rule("promote-looks-first", _looks_first))


def _encode(case: Mapping[str, Json], folder: Path) -> Iterator[Comparison]:
    marker = _marker(case["fields"])
    yield Comparison(case["fields"], case["text"], marker.encode())
    if "file" in case:
        content = (folder / str(case["file"])).read_bytes()
        yield Comparison(case["fields"], content, marker.encode().encode())
    if "decoded" in case:
        decoded = ReplicaRebootstrapReadyMarker.decode(str(case["text"]))
        yield Comparison(case["text"], case["decoded"], vars(decoded))


def _marker(fields: Json) -> ReplicaRebootstrapReadyMarker:
    match fields:
        case {"pending_path": str(path), "checkpoint_lsn": int(lsn), "timeline": int(timeline)}:
            return ReplicaRebootstrapReadyMarker(path, lsn, timeline)
    raise Unknown(f"not the fields of a marker: {fields!r:.80}")


def _decode(case: Mapping[str, Json], folder: Path) -> Iterator[Comparison]:
    text = text_of(case, "text", folder)
    answer = ours(lambda: vars(ReplicaRebootstrapReadyMarker.decode(text)))
    yield Comparison(text, theirs(case["result"], of_files=True), answer)


def _read(case: Mapping[str, Json], folder: Path) -> Iterator[Comparison]:
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
                raise Unknown(f"no marker in {sorted(case)}")

        def read() -> Json:
            marker = read_rebootstrap_ready_marker(data_path)
            path = marker.pending_path.replace(str(root), ROOT)
            return {**vars(marker), "pending_path": path}

        yield Comparison(case.get("marker_text"), theirs(case["result"], of_files=True), ours(read))


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


def _planted(entry: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return a file that is told by its text as the vectors tell it elsewhere, by its bytes."""
    if "text" not in entry:
        return entry
    return {"path": entry["path"], "hex": entry["text"].encode().hex()}


def _promote(case: Mapping[str, Json], folder: Path) -> Iterator[Comparison]:
    operation = OPERATIONS.get(str(case["op"]))
    if operation is None:
        raise Unknown(f"unknown op {case['op']!r}")
    with empty_root() as root:
        plant(root, map(_planted, case["before"]))
        for directory in case.get("before_dirs", []):
            (root / directory).mkdir(parents=True, exist_ok=True)
        data_path = Path(_here(case["data_path"], root))
        before = our_tree(root)
        result = ours(lambda: operation(data_path))
        yield Comparison(
            Asked(str(case["op"]), data_path.relative_to(root), before),
            [theirs(case["result"], of_files=True), their_tree(case["tree_after"])],
            [result, our_tree(root)],
        )


Compare: TypeAlias = Callable[[Mapping[str, Json], Path], Iterator[Comparison]]
PARTS: Mapping[str, Compare] = {
    "encode": _encode,
    "decode": _decode,
    "read": _read,
    "promote": _promote,
}


def walk(path: Path) -> Iterator[Verdict]:
    """Judge every part of the file."""
    for part, cases in read_json(path).items():
        if part in PARTS:
            yield from verdicts(cases, partial(PARTS[part], folder=path.parent), RULES)
        else:
            yield Verdict(part, wrong=f"nobody walks {part!r}")
