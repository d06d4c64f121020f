"""The claims of the LMDB adapter as files: one lock file for each intent or node that is owned.

A lock file that nobody holds means nothing. Its owner takes it away when it lets go; a death leaves
it behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

from bootledger.artefacts import NOT_OURS, Artefact, Finding
from bootledger.files import is_locked, translated

_SUFFIX = ".lock"


def claim_path(owners: Path, claimed: UUID) -> Path:
    """Return the lock file of the claim on `claimed`."""
    return owners / f"{claimed}{_SUFFIX}"


def claims(owners: Path, remove: Callable[[Path], bool]) -> Iterator[Finding]:
    """Yield every lock file in `owners`; those that nobody holds may be removed, by `remove`."""
    with translated(owners):
        paths = sorted(owners.iterdir())
    for path in paths:
        if not _is_claim(path):
            yield Finding(Artefact.at(path, "something else", NOT_OURS))
        elif is_locked(path):
            yield Finding(Artefact.at(path, "claim", "a live process holds it"))
        else:
            artefact = Artefact.at(path, "claim", "the process that held it died")
            yield Finding(artefact, partial(remove, path))


def _is_claim(path: Path) -> bool:
    try:
        claimed = UUID(path.stem)
    except ValueError:
        return False
    return path == claim_path(path.parent, claimed) and path.is_file() and not path.is_symlink()
