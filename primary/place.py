"""Where a primary's database was when it was opened, and whether it still is."""

from __future__ import annotations

from pathlib import Path

from bootledger.basebackup.manifest import DATA_NAME
from bootledger.errors import SourceUnavailable


class Place:
    """The place of a database's file. Raises `SourceUnavailable` if there is none."""

    def __init__(self, directory: Path) -> None:
        self._data = directory / DATA_NAME
        self._found = self._look()

    def check(self) -> None:
        """Raise `SourceUnavailable` if the file has left its place, or another one took it.

        LMDB would go on reading a file that was deleted or replaced underneath it.
        """
        if self._look() != self._found:
            raise SourceUnavailable(
                f"{self._data} is another file now: the primary was moved or replaced",
                hint="open the source again",
            )

    def _look(self) -> tuple[int, int]:
        try:
            stat = self._data.stat()
        except OSError as error:
            raise SourceUnavailable(f"the primary is gone: {error}") from error
        return stat.st_dev, stat.st_ino
