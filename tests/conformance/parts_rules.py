"""What is different on purpose about the files of a base backup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from posixpath import normpath

from bootledger.basebackup.reddb_layout import atomic_temp_path
from bootledger.basebackup.reddb_manifest import BaseBackupChunkRef, leads_out
from conformance.answers import FILE_KINDS, Json
from conformance.trees import EMPTY_DIRECTORY, ROOT, file_entry, their_tree
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
        any(_is_no_place(path) for path in paths)
        or any(_leads_out(*link) for link in _links(asked))
        or any(PurePosixPath(path) in _temporary(paths) for path, _ in _links(asked))
    )


def _temporary(paths: Iterable[str]) -> set[PurePosixPath]:
    """What RedDB calls the parts while it writes them."""
    return {PurePosixPath(atomic_temp_path(PurePosixPath(path))) for path in paths}


def _stays(comparison: Comparison) -> bool:
    """Whether ours refused what theirs did, or has no more in its root than what may be there."""
    asked, wanted, answer = comparison.asked, comparison.theirs, comparison.ours
    if not _could_leave(asked):
        return False
    if not _is_answer(answer):
        return not _is_answer(wanted) and _only_what_may_be(asked, wanted, answer)
    if "err" in answer:
        return _is_file_error(answer)
    return "err" in wanted and _is_right(asked, answer)


def _only_what_may_be(
    asked: object, wanted: Mapping[str, Json], answer: Mapping[str, Json]
) -> bool:
    """Whether each file of ours is theirs, a sound part, or was there; and nothing got lost.

    What theirs has and ours has not are parts that ours refused, and links that ours replaced.
    """
    planted = _planted(asked)
    parts = _parts(asked)
    known = all(
        entry in (wanted.get(name), planted.get(name), EMPTY_DIRECTORY)
        or _is_part(parts, name, entry)
        for name, entry in answer.items()
    )
    return known and all(
        name in answer
        for name, entry in wanted.items()
        if _is_ordinary_part(parts, name, entry)
        or (name not in parts and planted.get(name, EMPTY_DIRECTORY)[0] == "file")
    )


def _is_ordinary_part(parts: Mapping[str, BaseBackupChunkRef], name: str, entry: Json) -> bool:
    """Whether an entry is a sound part under a path that nobody has a reason to refuse."""
    return _is_part(parts, name, entry) and not _is_no_place(parts[name].relative_path)


def _is_no_place(path: str) -> bool:
    """Whether a path leads out of the root, or names no file of its own."""
    return leads_out(path) or path.rpartition("/")[2] in ("", ".")


def _planted(asked: object) -> Mapping[str, Json]:
    """What was there, or was put there, by the names that a tree gives it."""
    if not isinstance(asked, Mapping):
        return {}
    entries = [*(asked.get("planted") or ()), *(asked.get("mutation") or ())]
    return {
        entry["path"]: file_entry(bytes.fromhex(entry["hex"]))
        if "size" not in entry and "hex" in entry
        else their_tree([entry])[entry["path"]]
        for entry in entries
    }


def _parts(asked: object) -> Mapping[str, BaseBackupChunkRef]:
    """The chunks of the manifest, by the names that a tree gives their parts."""
    if not isinstance(asked, Mapping) or "manifest" not in asked:
        return {}
    return {normpath(chunk.relative_path): chunk for chunk in asked["manifest"].chunks}


def _is_part(parts: Mapping[str, BaseBackupChunkRef], name: str, entry: Json) -> bool:
    chunk = parts.get(name)
    return chunk is not None and entry[:3] == ["file", chunk.chunk_bytes, chunk.checksum]


def _is_answer(value: object) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and bool({"ok", "err"} & set(value))


def _is_file_error(answer: Mapping[str, Json]) -> bool:
    """Whether an answer is one of the refusals that working with files has."""
    error = answer["err"]
    return error["kind"] == "File" and error["file_error"]["kind"] in FILE_KINDS


def _is_right(asked: object, answer: Mapping[str, Json]) -> bool:
    """Whether an answer is what the manifest says that a call which succeeds must answer."""
    if not isinstance(asked, Mapping) or "manifest" not in asked:
        return False
    manifest = asked["manifest"]
    match answer:
        case {"ok": bool(done)}:
            return done
        case {"ok": {"len": int(size), "crc32": int(checksum)}}:
            return (size, checksum) == (manifest.snapshot_bytes, manifest.snapshot_checksum)
        case {"ok": list(ordinals)}:
            known = [chunk.ordinal for chunk in manifest.chunks]
            return all(ordinal in known for ordinal in ordinals)
    return False


def _spares(comparison: Comparison) -> bool:
    """Whether ours still has what theirs destroyed: a part called like a temporary file."""
    parts = {PurePosixPath(path) for path in _manifest_paths(comparison.asked)}
    if not parts & _temporary(map(str, parts)):
        return False
    wanted, answer = comparison.theirs, comparison.ours
    if not _is_answer(answer):
        chunks = _parts(comparison.asked)
        sound = {name for name, entry in wanted.items() if _is_part(chunks, name, entry)}
        others = {name for name in wanted if name not in chunks and name[-1] != "/"}
        return all(answer.get(name) == wanted[name] for name in others | sound) and all(
            entry in (wanted.get(name), _planted(comparison.asked).get(name))
            or _is_part(chunks, name, entry)
            for name, entry in answer.items()
        )
    if "err" in wanted:
        if "err" in answer:
            return _is_file_error(answer)
        return _is_right(comparison.asked, answer)
    recovered = wanted["ok"], answer.get("ok")
    if not all(isinstance(each, list) for each in recovered):
        return False
    return all(each in recovered[1] for each in recovered[0]) and _is_right(
        comparison.asked, answer
    )


def _only_leftovers(comparison: Comparison) -> bool:
    """Whether theirs has nothing more than directories of parts that were never put into place."""
    wanted, answer = comparison.theirs, comparison.ours
    if _is_answer(wanted) or _is_answer(answer) or not isinstance(wanted, Mapping):
        return False
    if any(STAGING_MARK in name and wanted.get(name) != answer[name] for name in answer):
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
