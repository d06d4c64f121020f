"""The manifests of base backups, kept open: not every chunk pays for a check of the whole."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from bootledger.basebackup.manifest import Manifest
from bootledger.basebackup.publishing import open_manifest
from bootledger.errors import BootledgerError, SnapshotLost
from bootledger.files import translated
from bootledger.residency import keep_residency_low

_KEPT = 16


class Manifests:
    """Some manifests, mapped and checked. Thread-safe. Base backups that are shared have one."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, ...], tuple[Path, Manifest]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: Path) -> Manifest:
        """Return the manifest in the file at `path`; nobody closes it.

        Raises `SnapshotLost` if there is none, otherwise what `open_manifest` raises.
        """
        with translated(path):
            try:
                stat = path.stat()
                key = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
                with self._lock:
                    if key in self._kept:
                        self._kept.move_to_end(key)
                        _, manifest = self._kept[key]
                        self._kept[key] = (path, manifest)
                        return manifest
                manifest = _opened(path)
            except FileNotFoundError:
                raise SnapshotLost(f"{path} was released") from None
        keep_residency_low(path)
        with self._lock:
            _, kept = self._kept.setdefault(key, (path, manifest))
            if len(self._kept) > _KEPT:
                # Somebody may be using it: it is let go of by the last one who does.
                self._kept.popitem(last=False)
        return kept

    def forget_released(self) -> None:
        """Let go of those that are gone from where they were last opened: they take up the disk."""
        with self._lock:
            for key, (path, _) in list(self._kept.items()):
                with translated(path):
                    if not path.exists():
                        del self._kept[key]


def _opened(path: Path) -> Manifest:
    try:
        return open_manifest(path)
    except BootledgerError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise error.__cause__ from error
        raise
