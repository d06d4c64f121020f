"""What RedDB and we answer, in one form: values, kinds of errors, files."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from bootledger.basebackup.reddb_errors import (
    Decode,
    File,
    InvalidField,
    InvalidOperation,
    Io,
    MissingField,
)
from bootledger.errors import BootledgerError
from conformance.verdicts import Verdict

Case: TypeAlias = dict[str, object]
Json: TypeAlias = object


class Unreadable(Exception):
    """The vector holds something that this walker does not know; the message says what."""


def load(path: Path) -> Json:
    """Return the content of a vector file; integers stay exact."""
    return json.loads(path.read_text(encoding="ascii"))


def cases(path: Path) -> list[Case]:
    """Return the cases of a vector file that is a list of them."""
    loaded = load(path)
    if not isinstance(loaded, list) or not all(isinstance(case, dict) for case in loaded):
        raise Unreadable(f"{path} is not a list of cases")
    return loaded


def guarded(name: str, walk: Callable[[], Verdict]) -> Verdict:
    """Return the verdict on a case; one that cannot be walked is a wrong one, and says why."""
    try:
        return walk()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this case's and no other's
        return Verdict(name, wrong=f"cannot be walked: {type(error).__name__}: {error}")


def text_of(case: Mapping[str, object], name: str, folder: Path) -> bytes:
    """Return an input that is given as text under `name`, as hex, or as a file."""
    match case:
        case {"hex": str(digits)}:
            return bytes.fromhex(digits)
        case _ if isinstance(text := case.get(name), str):
            return text.encode()
        case {"file": str(file)}:
            return (folder / file).read_bytes()
    raise Unreadable(f"no {name}, hex or file in {sorted(case)}")


# --- errors -------------------------------------------------------------------------------------


def theirs(result: Json) -> Json:
    """Return RedDB's result with its error, if it is one, reduced to what is compared."""
    match result:
        case {"ok": value}:
            return {"ok": value}
        case {"err": dict(error)} | {"error": dict(error)}:
            return {"err": _their_kind(error)}
        case {"panic": _} | {"process_died_with_signal": _}:
            return {"died": True}
    raise Unreadable(f"neither a value nor an error: {result!r:.200}")


def _their_kind(error: dict[str, object]) -> list[object]:
    match error:
        case {"kind": "File", "file_error": dict(inner)}:
            return ["File", *_their_kind(inner)]
        case {"kind": "Io"}:
            return ["Io", error.get("os_error")]
        case {"kind": str(kind)}:
            return [kind, error.get("field")]
    raise Unreadable(f"an error without a kind: {error!r:.200}")


def ours(call: Callable[[], Json], kind_of: Callable[[BootledgerError], list[object]]) -> Json:
    """Return what `call` answers, in the form of `theirs`."""
    try:
        return {"ok": call()}
    except BootledgerError as error:
        return {"err": kind_of(error)}


def wire_kind(error: BootledgerError) -> list[object]:
    """Return the kind of an error of the wire, by its name there."""
    return [type(error).__name__, getattr(error, "field", None)]


def file_kind(error: BootledgerError) -> list[object]:
    """Return the kind of an error of the files, by RedDB's name."""
    match error:
        case InvalidOperation():
            return ["InvalidOperation", None]
        case Io():
            return ["Io", error.os_error]
    return [type(error).__name__, None]


def backup_kind(error: BootledgerError) -> list[object]:
    """Return the kind of an error of a base backup, by the seed's name."""
    match error:
        case File():
            return ["File", *file_kind(error)]
        case MissingField():
            return ["MissingField", error.field]
        case InvalidField():
            return ["InvalidField", error.field]
        case Decode():
            return ["Decode", None]
    return file_kind(error)


# --- files --------------------------------------------------------------------------------------


@contextmanager
def empty_root() -> Iterator[Path]:
    """Make a directory for one case."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    root = Path(tempfile.mkdtemp(prefix="bootledger-case-", dir=memory))
    try:
        yield root
    finally:
        shutil.rmtree(root)


def put(root: Path, before: Json, directories: Json = ()) -> None:
    """Make the files and directories that are there before a case begins."""
    if not isinstance(before, list) or not isinstance(directories, list | tuple):
        raise Unreadable(f"not a list of files: {before!r:.80} {directories!r:.80}")
    for directory in directories:
        (root / str(directory)).mkdir(parents=True, exist_ok=True)
    for entry in before:
        match entry:
            case {"path": str(path), "dir": True}:
                (root / path).mkdir(parents=True, exist_ok=True)
                continue
            case {"path": str(path), "symlink": str(to)}:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).symlink_to(to)
                continue
            case {"path": str(path)}:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(text_of(entry, "text", root))
            case _:
                raise Unreadable(f"not a file: {entry!r:.80}")


def tree(root: Path) -> list[Case]:
    """Return the files below `root`, as the vectors list them, without their bytes."""
    found: list[Case] = []
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found.append({"path": name, "symlink": str(path.readlink())})
        elif path.is_dir():
            if not any(path.iterdir()):
                found.append({"path": f"{name}/", "dir": True})
        else:
            data = path.read_bytes()
            found.append(
                {
                    "path": name,
                    "size": len(data),
                    "crc32": zlib.crc32(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
            )
    return sorted(found, key=lambda entry: str(entry["path"]))


def their_tree(listed: Json) -> list[Case]:
    """Return a tree of the vectors in the form of `tree`."""
    if not isinstance(listed, list):
        raise Unreadable(f"not a tree: {listed!r:.80}")
    return sorted(
        ({name: value for name, value in entry.items() if name != "hex"} for entry in listed),
        key=lambda entry: str(entry["path"]),
    )
