"""What a finished or aborted copy leaves in its spool, and what the next one needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bootledger.artefacts import Artefact, Finding
from bootledger.errors import CorruptRecord, TargetBusy
from bootledger.files import Files
from bootledger.replica.sources.spool import Spool, is_spool, leftovers

_KIND = "spool"


def spool_artefacts(path: Path, files: Files, needed: str | None) -> Iterator[Finding]:
    """Yield what the directory `path` is and holds if it is the spool of a copy; else nothing.

    `needed` says why it stays as it is, None that no copy goes on with it. The version that was
    seen last stays in any case: the next copy compares the source with it.
    """
    if not is_spool(path):
        return
    if needed is not None:
        yield Finding(Artefact.at(path, _KIND, needed))
        return

    def clear() -> bool:
        try:
            with closing(Spool(path, files)) as spool:
                spool.clear()
        except (TargetBusy, CorruptRecord):
            return False  # somebody works there; or a person has to look at the version first
        return True

    for left in leftovers(path):
        yield Finding(Artefact.at(left, _KIND, "no unfinished copy goes on with it"), clear)
    version = path / "version"
    yield Finding(Artefact.at(version, _KIND, "the next copy compares the source with it"))
