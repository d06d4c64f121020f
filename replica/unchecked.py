"""The mark of a copy that came over a network and must be checked before anything opens it.

It lies beside the bytes, so that whoever goes on with the copy knows, however it is started.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bootledger.files import Files, translated

UNCHECKED_NAME = "unchecked"


def mark(directory: Path, files: Files) -> None:
    """Say that what lies in `directory` is not to be opened unchecked. Durable; may be repeated."""
    path = directory / UNCHECKED_NAME
    if not is_marked(directory):
        files.replace(path, b"", name="unchecked")


def is_marked(directory: Path) -> bool:
    """Return whether what lies in `directory` has yet to be checked."""
    path = directory / UNCHECKED_NAME
    with translated(path):
        return path.exists()


def check(directory: Path, check_unopened: Callable[[], None], files: Files) -> None:
    """Call `check_unopened`, and let what it does not refuse be opened from now on."""
    check_unopened()
    files.remove(directory / UNCHECKED_NAME)
