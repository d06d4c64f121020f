"""Which target a bootstrap works in, as its begin records it."""

from __future__ import annotations

import msgspec

from bootledger.positions import check_text


class TargetRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which target a bootstrap works in: its id, for programs, and where it was, for people.

    A target may be moved, so `path` (None where it cannot be written as text) proves nothing.
    """

    target_id: str
    path: str | None = None

    def __post_init__(self) -> None:
        """Check both texts."""
        check_text(self.target_id, "target id")
        if self.path is not None:
            check_text(self.path, "target path")
