"""What a publication asks and tells whoever wants it, and what it does if nobody does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Hold: TypeAlias = Callable[[int], bool]
"""Asked to keep the changes after an LSN; says whether they are kept, False if they are gone."""
Given: TypeAlias = Callable[[str], None]
"""Told which token will be given out: its directory is there, its base backup is not yet."""


def trust(_lsn: int) -> bool:
    """Hold nothing: nobody prunes."""
    return True


def tell_nobody(_token: str) -> None:
    """Note no token."""


def none_does(_token: str) -> bool:
    """Have no token give way."""
    return False


def ignore(_done_bytes: int, _size_bytes: int) -> None:
    """Show no progress."""
