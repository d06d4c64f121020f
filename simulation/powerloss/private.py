"""A directory of a process's own under a name that others use, too: a private mount. Linux only."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from bootledger.simulation.forks import fork

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount_private(place: Path) -> None:
    """Put a file system in memory over `place`, for this process and its children alone.

    The process must have one thread. Raises `OSError` where the machine allows no mounts.
    """
    uid, gid = os.getuid(), os.getgid()
    try:
        _call("unshare", _LIBC.unshare(_CLONE_NEWNS))
    except PermissionError:
        _call("unshare", _LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _call("mount", _LIBC.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    _call("mount", _LIBC.mount(b"tmpfs", os.fsencode(place), b"tmpfs", ctypes.c_ulong(0), None))


def _call(name: str, result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


@cache
def can_mount() -> bool:
    """Return whether `mount_private` works on this machine."""
    child = fork()
    if not child:
        status = 1
        try:
            mount_private(Path("/"))
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0
