"""Where the ledger is that a person named."""

from __future__ import annotations

from pathlib import Path

from bootledger.errors import InvalidValue
from bootledger.replica.target import LEDGER_NAME


def ledger_path(path: Path) -> Path:
    """Return the ledger that `path` is, or that the target at `path` holds.

    Raises `InvalidValue` if there is neither.
    """
    for candidate in (path / LEDGER_NAME, path):
        if (candidate / "data.mdb").is_file():
            return candidate
    raise InvalidValue(f"there is no ledger at {path}", hint="name a ledger or a target directory")
