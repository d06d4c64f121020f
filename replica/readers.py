"""Reading a replica while it is replaced: which database is current, and a hold on it.

A target is a directory of generations, `gen-0001/`, `gen-0002/`, …, and a file `CURRENT` that names
the one in service. CURRENT is replaced in one step, moves only to a higher generation, and says
`none` before the first. It is never missing: a target without it was damaged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME
from bootledger.basebackup.publishing import open_manifest
from bootledger.errors import CorruptRecord, InvalidValue, Unavailable
from bootledger.files import translated
from bootledger.locks import shared_hold
from bootledger.positions import U64_MAX, check_text, check_u64

IDENTITY_NAME = "identity"
CURRENT_NAME = "CURRENT"
READERS_LOCK_NAME = "readers.lock"
INTENT_NAME = "intent"
NO_GENERATION = "none"
_NOT_DATA = {MANIFEST_NAME, INTENT_NAME, READERS_LOCK_NAME, "lock.mdb"}
"""What else lies in a generation's directory."""
_PREFIX = "gen-"
_REPAIR = (
    "put the name of the directory that was in service there, or `none` if there was none (a "
    "directory that was never promoted must not be named), and a line feed"
)


def generation_name(generation: int) -> str:
    """Return the directory name of a generation, which counts from 1: `gen-0012`."""
    if check_u64(generation, "generation") == 0:
        raise InvalidValue("generations are numbered from 1, not 0")
    return f"{_PREFIX}{generation:04d}"


def parse_generation(name: str) -> int | None:
    """Return the generation of a directory name, None if it is not exactly one's name."""
    digits = name.removeprefix(_PREFIX)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(U64_MAX))):
        return None
    generation = int(digits)
    sound = 0 < generation <= U64_MAX and name == f"{_PREFIX}{generation:04d}"
    return generation if sound else None


def read_current(path: Path) -> int | None:
    """Return the generation that the CURRENT of the target at `path` names, None if it says none.

    Raises `InvalidValue` if there is no target, `CorruptRecord` if CURRENT is missing from one or
    says anything else. Whether the generation is there is not looked at.
    """
    file = path / CURRENT_NAME
    try:
        with translated(file):
            line = file.read_bytes()[:100].decode(errors="replace")
    except ValueError as error:
        raise InvalidValue(f"{str(path)!r:.80} cannot be a path: {error}") from error
    except Unavailable as error:
        if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise
        if (path / IDENTITY_NAME).exists():
            raise CorruptRecord(f"{file} is missing", hint=_REPAIR) from error
        raise InvalidValue(f"there is no target at {path}") from error
    name = line.removesuffix("\n")
    generation = parse_generation(name)
    if line == name or (generation is None and name != NO_GENERATION):
        raise CorruptRecord(f"{file} says {line!r}, which names no generation", hint=_REPAIR)
    return generation


def checked_current(path: Path) -> int | None:
    """Return what `read_current` does, once its database is known to be there.

    Raises `CorruptRecord` also if CURRENT names a generation without a database. For the owner,
    under whom CURRENT does not move.
    """
    generation = read_current(path)
    if generation is not None and not has_database(path / generation_name(generation)):
        raise CorruptRecord(
            f"{path / CURRENT_NAME} names {generation_name(generation)}, which has no database",
            hint=_REPAIR,
        )
    return generation


def current_directory(path: Path) -> Path:
    """Return the directory of the database in service of the target at `path`.

    It may be replaced, and removed, at any time: to read it for longer, use `open_current`. Raises
    `Unavailable` before the first promotion, else as `read_current`.
    """
    generation = read_current(path)
    if generation is None:
        raise Unavailable(f"{path} has no database yet", hint="wait for its bootstrap to end")
    return path / generation_name(generation)


@contextlib.contextmanager
def open_current(path: Path) -> Iterator[Path]:
    """Hold the database in service of the target at `path`, and yield its directory.

    A reader gets one generation, whole, which stays on disk for as long as the block runs, whatever
    is promoted meanwhile; never parts of two. To see a newer one, leave the block and enter again:
    what comes then is the same or a newer generation, never an older one. The owner may go on
    applying changes to it, so LMDB's rule holds inside: one read transaction, one version.

    Reading the target is enough permission for the hold. A reader that dies lets go. Raises as
    `current_directory`, and `CorruptRecord` if CURRENT names what is not there.
    """
    path = path.absolute()
    while True:
        directory = current_directory(path)
        with shared_hold(directory / READERS_LOCK_NAME) as held:
            # Between reading CURRENT and holding, it may have moved on and been removed. What
            # CURRENT names while it is held stays: the owner removes only what it does not name.
            if current_directory(path) != directory:
                continue
            if not held or not has_database(directory):
                raise CorruptRecord(f"{path / CURRENT_NAME} names {directory.name}, not a database")
            yield directory
            return


def has_database(directory: Path) -> bool:
    """Return whether `directory` holds a database file that is not empty.

    Raises `CorruptManifest` as `data_file`.
    """
    with translated(directory), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return data_file(directory).stat().st_size > 0
    return False


def data_file(directory: Path) -> Path:
    """Return the one file that the generation in `directory` consists of.

    That is `data.mdb` if it is there, else what its manifest names. Raises `CorruptManifest` if
    that cannot be believed.
    """
    database = directory / DATA_NAME
    if database.exists() or not (directory / MANIFEST_NAME).exists():
        return database
    with open_manifest(directory / MANIFEST_NAME) as manifest:
        return directory / manifest.path


def check_data_name(name: str) -> str:
    """Return `name` if a generation may consist of a file of that name.

    Raises `InvalidValue` if it is more than one name, hidden, or that of something else there.
    """
    check_text(name, "name", max_bytes=200)
    if "/" in name or "\\" in name or name.startswith(".") or name in _NOT_DATA:
        raise InvalidValue(
            f"a copy cannot have the name {name!r}",
            hint=f"give it one without slashes and a dot before it, and none of "
            f"{', '.join(sorted(_NOT_DATA))}",
        )
    return name
