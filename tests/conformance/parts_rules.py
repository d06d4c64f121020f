"""What is different on purpose about the files of a base backup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from posixpath import normpath

from bootledger.basebackup.reddb_layout import atomic_temp_path
from bootledger.basebackup.reddb_manifest import leads_out
from conformance.trees import ROOT
from conformance.verdicts import Comparison, Rule

STAGING_MARK = ".redbase.parts.tmp-"
"""What RedDB's own directories for parts in the making have in their names."""


def _manifest_paths(asked: object) -> Iterator[str]:
    if isinstance(asked, Mapping) and "manifest" in asked:
        yield from (chunk.relative_path for chunk in asked["manifest"].chunks)


def _links(asked: object) -> Iterator[tuple[str, str]]:
    if isinstance(asked, Mapping):
        entries = [*(asked.get("planted") or ()), *(asked.get("mutation") or ())]
        yield from ((each["path"], each["symlink"]) for each in entries if "symlink" in each)


def _leads_out(path: str, target: str) -> bool:
    """Whether a link below the root points to something that is not."""
    if target.startswith("/") and not f"{target}/".startswith(f"{ROOT}/"):
        return True
    inside = target.removeprefix(ROOT).lstrip("/") if target.startswith(ROOT) else None
    place = normpath(f"{PurePosixPath(path).parent}/{target}" if inside is None else inside or ".")
    return place == ".." or place.startswith("../")


def _could_leave(asked: object) -> bool:
    """Whether a path, or a link, leads out of the root, or a path names no file of its own.

    A link that has a temporary name is one that would be written through.
    """
    paths = list(_manifest_paths(asked))
    return (
        any(leads_out(path) or path.rpartition("/")[2] in ("", ".") for path in paths)
        or any(_leads_out(*link) for link in _links(asked))
        or any(PurePosixPath(path) in _temporary(paths) for path, _ in _links(asked))
    )


def _temporary(paths: Iterable[str]) -> set[PurePosixPath]:
    """What RedDB calls the parts while it writes them."""
    return {PurePosixPath(atomic_temp_path(PurePosixPath(path))) for path in paths}


def _stays(comparison: Comparison) -> bool:
    if not _could_leave(comparison.asked):
        return False
    answers = comparison.theirs, comparison.ours
    return not _is_answer(comparison.ours) or any("err" in answer for answer in answers)


def _is_answer(value: object) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and bool({"ok", "err"} & set(value))


def _spares(comparison: Comparison) -> bool:
    """Whether ours still has what theirs destroyed: a part called like a temporary file."""
    parts = {PurePosixPath(path) for path in _manifest_paths(comparison.asked)}
    if not parts & _temporary(map(str, parts)):
        return False
    wanted, answer = comparison.theirs, comparison.ours
    if not _is_answer(answer):
        others = {name for name in wanted if PurePosixPath(name) not in parts}
        return all(answer.get(name) == wanted[name] for name in others if name[-1] != "/")
    if "err" in wanted:
        return True
    recovered = wanted["ok"], answer.get("ok")
    return all(isinstance(each, list) for each in recovered) and {*recovered[0]} <= {*recovered[1]}


def _only_leftovers(comparison: Comparison) -> bool:
    """Whether theirs has nothing more than directories of parts that were never put into place."""
    wanted, answer = comparison.theirs, comparison.ours
    if _is_answer(wanted) or _is_answer(answer) or not isinstance(wanted, Mapping):
        return False
    leftovers = {name for name in wanted if STAGING_MARK in name}
    kept = {name for name in wanted.keys() | answer.keys() if STAGING_MARK not in name}
    # A directory that has nothing else in it is empty for us, and is not listed for them.
    empty = {name for name in kept if name[-1] == "/" and _has_one_of(name, leftovers)}
    return bool(leftovers) and all(wanted.get(name) == answer.get(name) for name in kept - empty)


def _has_one_of(directory: str, names: Iterable[str]) -> bool:
    return any(name.startswith(directory) for name in names)


PARTS_STAY_IN_THE_ROOT = Rule("parts-stay-in-the-root", _stays)
NO_PART_IS_DESTROYED = Rule("no-part-is-destroyed", _spares)
NO_LEFTOVERS = Rule("no-leftovers", _only_leftovers)
