"""Trees of files: what lies below a directory, in the shape of the reference's answers.

A tree maps a path to what is there: a file's length and digest, a link's target, or that it is an
empty directory. `<ROOT>` stands for the directory itself.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from conformance.answers import Json, Unknown, only

EMPTY_DIRECTORY = "an empty directory"
ROOT = "<ROOT>"


def our_tree(root: Path) -> dict[str, Json]:
    """Return what lies below `root`; links are not followed."""
    return dict(_entries(root, root)) if root.is_dir() else {}


def _entries(root: Path, directory: Path) -> Iterator[tuple[str, Json]]:
    for path in sorted(directory.iterdir()):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            yield name, ["link", str(path.readlink()).replace(str(root), ROOT)]
        elif not path.is_dir():
            yield name, file_entry(path.read_bytes())
        elif any(path.iterdir()):
            yield from _entries(root, path)
        else:
            yield f"{name}/", EMPTY_DIRECTORY


def file_entry(data: bytes) -> Json:
    """Return what a tree says of a file with these bytes."""
    return ["file", len(data), zlib.crc32(data), sha256(data).hexdigest()]


def their_tree(entries: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    """Return a tree as the reference lists it."""
    return {entry["path"]: _their_entry(entry) for entry in entries}


def _their_entry(entry: Mapping[str, Json]) -> Json:
    only(entry, "path size crc32 sha256 hex dir symlink")
    if "symlink" in entry:
        return ["link", entry["symlink"]]
    if "dir" in entry:
        return EMPTY_DIRECTORY
    told = ["file", entry["size"], entry["crc32"], entry["sha256"]]
    if "hex" in entry and file_entry(bytes.fromhex(entry["hex"])) != told:
        raise Unknown(f"{entry['path']} is not what its own sums say")
    return told


def plant(root: Path, entries: Iterable[Mapping[str, Json]]) -> None:
    """Put files, directories and links below `root`, in the place of what is there."""
    for entry in entries:
        only(entry, "path size crc32 sha256 hex dir symlink")
        path = root / entry["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.is_file():
            path.unlink()
        if "symlink" in entry:
            path.symlink_to(entry["symlink"].replace(ROOT, str(root)))
        elif "dir" in entry:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(bytes.fromhex(entry["hex"]))


def become(root: Path, entries: Iterable[Mapping[str, Json]]) -> None:
    """Make the tree below `root` the one of `entries`: somebody else changed it."""
    wanted = {entry["path"]: entry for entry in entries}
    there = our_tree(root)
    for name in there.keys() - wanted.keys():
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, entry in wanted.items():
        if there.get(name) != _their_entry(entry):
            plant(root, [entry])
