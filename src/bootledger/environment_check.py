"""Whether an LMDB file is sound in its structure, found out without LMDB.

LMDB trusts its file: a damaged one can crash the process that opens it. So this comes before
anything opens it, and reads the file as bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lmdb.verify import VerifyError, verify

from bootledger.errors import CorruptRecord
from bootledger.files import Files, translated
from bootledger.shared_environment import DATA_NAME, DEFAULT_WAIT_S, write_lock

_problems_of: Callable[[str], list[str]] = verify  # which has no types of its own


def check_environment(path: Path, files: Files, *, wait_s: float = DEFAULT_WAIT_S) -> None:
    """Walk every page of the data file in the directory `path`, while no writer of ours writes.

    Raises `CorruptRecord` naming the first thing that is wrong and how many more there are,
    `StoreBusy` if another process writes for longer than `wait_s`.
    """
    data = path / DATA_NAME
    with write_lock(path, files, wait_s), translated(data):
        try:
            problems = _problems_of(os.fspath(data))
        except VerifyError as error:
            problems = [str(error)]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CorruptRecord(
            f"{data} is not a sound LMDB file: {problems[0]}{more}",
            hint="do not open it; restore it from a copy",
        )
