"""Real data for the demonstration: the files of this Python, cut into records."""

from __future__ import annotations

import itertools
import sysconfig
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 256 * 1024
_KEY_MAX_BYTES = 480


def real_records(size_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield records of at least `size_bytes` in all, made of the files of this Python.

    A key is a file's path and the number of the piece, a value up to `PIECE_BYTES` of its bytes.
    The standard library comes first, then the installed packages; if that is not enough, the same
    files again under other names.
    """
    total = 0
    for copy in itertools.count(1):
        for root in ("stdlib", "purelib"):
            base = Path(sysconfig.get_path(root))
            for path in sorted(base.rglob("*")):
                for key, value in _pieces(path, f"{copy}/{root}/{path.relative_to(base)}"):
                    yield key, value
                    total += len(key) + len(value)
                    if total >= size_bytes:
                        return
        if not total:
            raise FileNotFoundError(f"{sysconfig.get_path('stdlib')} holds no files")


def _pieces(path: Path, name: str) -> Iterator[tuple[bytes, bytes]]:
    prefix = name.encode(errors="surrogateescape")
    if len(prefix) > _KEY_MAX_BYTES or path.is_symlink() or not path.is_file():
        return
    with path.open("rb") as file:
        for number in itertools.count():
            piece = file.read(PIECE_BYTES)
            if not piece:
                return
            yield prefix + b"#%06d" % number, piece
