"""Whether an LMDB file is sound in its structure, found out without LMDB.

LMDB trusts its file: a damaged one can crash the process that opens it. So this comes before
anything opens it, and reads the file as bytes. The walk through its pages takes seconds for every
hundred megabytes; so that writers need not wait for it, it walks a copy. A file that has no writers
is walked where it lies.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from lmdb.verify import VerifyError, verify

from bootledger.errors import CorruptRecord, OutOfSpace, Unavailable
from bootledger.files import Files, translated, write_all
from bootledger.shared_environment import DATA_NAME, DEFAULT_WAIT_S, write_lock

SPARE_BYTES = 64 * 2**20
"""What the copy leaves free: room that writers need meanwhile is not for looking at them."""

_PIECE_BYTES = 2**20
_ASK_EVERY_S = 0.25
_problems_of: Callable[[str], list[str]] = verify  # which has no types of its own


def check_environment(path: Path, files: Files, *, wait_s: float = DEFAULT_WAIT_S) -> None:
    """Walk every page of the data file in the directory `path`, as it is at one moment.

    A writer waits for as long as reading both files from memory takes, some tenths of a
    second a gigabyte. The copy that is walked has no name: nothing is left of it, whoever dies.

    Raises `CorruptRecord` naming the first thing that is wrong and how many more there are,
    `StoreBusy` if another process writes for longer than `wait_s`, `OutOfSpace` if there is room
    for the copy neither beside the file nor in the directory for temporary files.
    """
    data = path / DATA_NAME
    with translated(data), data.open("rb", buffering=0) as original:
        room = _room_for(os.fstat(original.fileno()).st_size, path)
        with translated(room), tempfile.TemporaryFile(dir=room, buffering=0) as copy:
            _make_equal(copy.fileno(), original.fileno())  # what takes long, while writers go on
            with write_lock(path, files, wait_s):
                _make_equal(copy.fileno(), original.fileno())
            try:
                problems = _problems_of(f"/dev/fd/{copy.fileno()}")
            except VerifyError as error:
                problems = [str(error)]
    _refuse(problems, data, hint="do not open it; restore it from a copy")


def check_unopened(path: Path, pause: Callable[[], None]) -> None:
    """Walk every page of the data file in the directory `path`, where it lies.

    For a file that nobody has open, and that nobody writes to meanwhile. The walk is a process of
    its own, which takes 2 bytes of memory a page; it ends with this call, whatever happens.
    `pause` is called a few times a second; what it raises ends the walk.

    Raises `CorruptRecord` naming the first thing that is wrong and how many more there are,
    `Unavailable` if the file cannot be read or the walk was cut short.
    """
    data = path / DATA_NAME
    with subprocess.Popen(  # noqa: S603 - this interpreter, our own words and a path
        [sys.executable, "-P", "-c", _WALK, os.fspath(data)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as walk:
        try:
            printed, errors = _ended(walk, pause)
        except BaseException:  # also of the simulated dead: nobody waits for the walk any more
            walk.kill()
            raise
    if walk.returncode != 0:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unavailable(f"the check of {data} ended with {walk.returncode}: {last}")
    _refuse(
        json.loads(printed),
        data,
        hint="it was not opened; it is what the source sent: look at the base backup there",
    )


_WALK = """
import json, sys
from lmdb.verify import VerifyError, verify
try:
    problems = verify(sys.argv[1])
except VerifyError as error:
    problems = [str(error)]
json.dump(problems, sys.stdout)
"""


def _ended(walk: subprocess.Popen[bytes], pause: Callable[[], None]) -> tuple[bytes, bytes]:
    while True:
        try:
            return walk.communicate(timeout=_ASK_EVERY_S)
        except subprocess.TimeoutExpired:
            pause()


def _refuse(problems: list[str], data: Path, *, hint: str) -> None:
    """Raise `CorruptRecord` if there are problems."""
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CorruptRecord(f"{data} is not a sound LMDB file: {problems[0]}{more}", hint=hint)


def _make_equal(copy_fd: int, original_fd: int) -> None:
    """Write what differs; holes stay holes, and what is equal already is only read."""
    size_bytes = os.fstat(original_fd).st_size
    os.ftruncate(copy_fd, size_bytes)
    for offset_bytes in range(0, size_bytes, _PIECE_BYTES):
        piece = os.pread(original_fd, _PIECE_BYTES, offset_bytes)
        if piece != os.pread(copy_fd, len(piece), offset_bytes):
            write_all(copy_fd, piece, offset_bytes)


def _room_for(size_bytes: int, path: Path) -> Path:
    """Return the directory for a copy: the file's own, or that for temporary files."""
    places = (path, Path(tempfile.gettempdir()))
    for place in places:
        if shutil.disk_usage(place).free >= size_bytes + SPARE_BYTES:
            return place
    raise OutOfSpace(
        f"checking {path / DATA_NAME} takes a copy of its {size_bytes} bytes, and neither "
        f"{places[0]} nor {places[1]} has room for it and {SPARE_BYTES} bytes to spare",
        hint="free some space, or name a directory with room in TMPDIR",
    )
