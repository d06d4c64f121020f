"""How far a long piece of work has got, told to whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Watch: TypeAlias = Callable[[int, int], None]
"""Is told how much is done and how much there is, again and again, in one unit for both."""


def watch_nothing(_done: int, _total: int) -> None:
    """Show nothing."""
