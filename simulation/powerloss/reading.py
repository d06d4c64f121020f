"""Calls into operations: follows descriptors and positions as the kernel did. Pure.

What the model has no word for is refused by name (`Unmodelled`), never passed over: a writable
shared mapping, a second thread or process that writes, a call that moves bytes without showing
them. Permissions, owners, times and extended attributes are not part of the model.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable

from bootledger.simulation.powerloss.calls import Call, Unmodelled, calls
from bootledger.simulation.powerloss.image import Image
from bootledger.simulation.powerloss.namespace import Namespace, is_lock, is_nothing
from bootledger.simulation.powerloss.operations import (
    Acknowledge,
    Kind,
    Operation,
    Sync,
    SyncAll,
    Write,
)
from bootledger.simulation.powerloss.processes import FOLLOWED, Open, Process

_SYNCED = {"O_SYNC", "O_DSYNC", "RWF_SYNC", "RWF_DSYNC"}
_WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2")
_OPENS = ("open", "openat", "openat2", "creat")
_BLIND = ("copy_file_range", "sendfile", "splice", "vmsplice", "mknod", "mknodat", "ioctl")
_INVISIBLE = ("io_uring_setup", "io_setup", "open_by_handle_at")
_CLONES = ("clone", "clone3", "fork", "vfork")

TRACED = (
    *(*_WRITES, *_OPENS, *_BLIND, *_INVISIBLE, *_CLONES, *FOLLOWED),
    *("fsync", "fdatasync", "sync", "syncfs", "ftruncate", "truncate", "fallocate", "mmap"),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "symlink", "symlinkat"),
)
"""The calls that strace is to show."""


def operations(
    lines: Iterable[str], place: str, acknowledgements: str, base: Image, directory: str
) -> list[Operation]:
    """Return what the calls in `lines` did to `place`, which held `base` before.

    What is written to the file `acknowledgements` are the promises. `directory` is the working
    directory that the process began in. All paths are absolute. Raises `Unmodelled`.
    """
    reader = _Reader(place, acknowledgements, base, directory)
    for call in calls(lines):
        reader.read(call)
    return reader.operations


class _Reader:
    def __init__(self, place: str, acknowledgements: str, base: Image, directory: str) -> None:
        self.operations: list[Operation] = []
        self._place = place
        self._acknowledgements = acknowledgements
        self._directory = directory
        self._namespace = Namespace(base)
        self._threads: dict[int, Process] = {}
        self._early: dict[int, list[Call]] = {}
        self._writer: int | None = None
        self._readers: dict[str, Callable[[Call, Process], None]] = {
            **dict.fromkeys(_WRITES, self._write),
            **dict.fromkeys(_OPENS, self._open),
            **dict.fromkeys(_BLIND, self._blind),
            **dict.fromkeys(_INVISIBLE, self._invisible),
            **dict.fromkeys(_CLONES, self._clone),
            **dict.fromkeys(FOLLOWED, self._follow),
            **dict.fromkeys(("fsync", "fdatasync"), self._sync),
            **dict.fromkeys(("sync", "syncfs"), self._sync_all),
            **dict.fromkeys(("mkdir", "mkdirat", "symlink", "symlinkat"), self._make),
            **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat"), self._move),
            **dict.fromkeys(("unlink", "unlinkat", "rmdir"), self._remove),
            "ftruncate": self._truncate,
            "truncate": self._truncate,
            "fallocate": self._allocate,
            "mmap": self._map,
        }

    def read(self, call: Call) -> None:
        """Follow one call."""
        if not self._threads:
            self._threads[call.thread] = Process(self._directory)
        process = self._threads.get(call.thread)
        if process is None:  # its first calls returned before the one that made it
            self._early.setdefault(call.thread, []).append(call)
        elif call.result >= 0 and (reader := self._readers.get(call.name)) is not None:
            reader(call, process)

    # --- What changes the disk -------------------------------------------------------------------

    def _did(self, call: Call, *done: Operation | None) -> None:
        changes = [operation for operation in done if operation is not None]
        if not changes:
            return
        if self._writer is None:
            self._writer = call.thread
        if self._writer != call.thread:
            raise Unmodelled(
                f"threads {self._writer} and {call.thread} both write: {call}",
                hint="the order of their writes is not known: record one that writes alone",
            )
        self.operations += changes

    def _write(self, call: Call, process: Process) -> None:
        target = call.descriptor(0)
        if target.path == self._acknowledgements:
            self.operations.append(Acknowledge(call.string(1)[: call.result]))
            return
        if (path := self._relative(target.path)) is None:
            return
        file = process.file(call)
        flags = call.flags(len(call.arguments) - 1) if call.name == "pwritev2" else frozenset()
        positioned = {"pwrite64": -1, "pwritev": -1, "pwritev2": -2}.get(call.name)
        offset_bytes = -1 if positioned is None else int(call.arguments[positioned])
        at_position = offset_bytes < 0
        if file.append or "RWF_APPEND" in flags:
            offset_bytes = self._namespace.sizes[file.inode]
        elif at_position:
            offset_bytes = file.position_bytes
        if at_position:
            file.position_bytes = offset_bytes + call.result
        if is_lock(path) or not call.result:
            return
        data = call.pieces() if "iov_base" in call.text else call.string(1)
        self._namespace.written(file.inode, offset_bytes + call.result)
        synced = file.synced or bool(flags & _SYNCED)
        self._did(call, Write(path, file.inode, offset_bytes, data[: call.result], synced))

    def _open(self, call: Call, process: Process) -> None:
        process.files.pop(call.result, None)
        path = self._relative(call.told_path())
        if path is None:
            return
        index = 2 if call.name.startswith("openat") else 1
        flags = frozenset(call.arguments[index].removeprefix("{flags=").split("|"))
        if call.name == "creat":
            flags = frozenset(("O_CREAT", "O_TRUNC"))
        if "O_TMPFILE" in flags:
            raise Unmodelled(f"a file without a name is made: {call}")
        inode = self._namespace.find(path)
        if inode is None and "O_CREAT" in flags:
            self._did(call, self._namespace.make(path, Kind.FILE))
        elif inode is not None and "O_TRUNC" in flags and not is_lock(path):
            self._did(call, self._namespace.resize(path, inode, 0))
        process.files[call.result] = Open(
            self._namespace.existing(path),
            append="O_APPEND" in flags,
            synced=bool(flags & _SYNCED),
        )

    def _make(self, call: Call, process: Process) -> None:
        link = call.name.startswith("symlink")
        path = self._path(call, process, 1 if link else 0, at=call.name.endswith("at"))
        if path is not None:
            kind = Kind.SYMLINK if link else Kind.DIRECTORY
            target = call.path(0) if link else ""
            self._did(call, self._namespace.make(path, kind, target))

    def _move(self, call: Call, process: Process) -> None:
        at = call.name not in {"rename", "link"}
        path = self._path(call, process, 0, at=at)
        to = self._path(call, process, 2 if at else 1, at=at)
        if path is None and to is None:
            return
        if path is None or to is None or call.flags(4) & {"RENAME_EXCHANGE", "RENAME_WHITEOUT"}:
            raise Unmodelled(f"a name comes from elsewhere, or goes there: {call}")
        move = self._namespace.link if "link" in call.name else self._namespace.rename
        self._did(call, move(path, to))

    def _remove(self, call: Call, process: Process) -> None:
        path = self._path(call, process, 0, at=call.name.endswith("at"))
        if path is not None:
            self._did(call, self._namespace.remove(path))

    def _truncate(self, call: Call, process: Process) -> None:
        if call.name == "truncate":
            path = self._path(call, process, 0, at=False)
            inode = self._namespace.existing(path) if path is not None else -1
        else:
            path = self._relative(call.descriptor(0).path)
            inode = -1 if path is None else process.file(call).inode
        if path is not None and not is_lock(path):
            self._did(call, self._namespace.resize(path, inode, call.number(1)))

    def _allocate(self, call: Call, process: Process) -> None:
        path = self._relative(call.descriptor(0).path)
        if path is None or is_lock(path) or call.arguments[1] == "FALLOC_FL_KEEP_SIZE":
            return
        if call.arguments[1] != "0":
            raise Unmodelled(f"bytes are changed without being shown: {call}")
        inode = process.file(call).inode
        size_bytes = max(self._namespace.sizes[inode], call.number(2) + call.number(3))
        self._did(call, self._namespace.resize(path, inode, size_bytes))

    def _sync(self, call: Call, process: Process) -> None:
        path = self._relative(call.descriptor(0).path)
        if path is not None:
            self._did(call, Sync(path, process.file(call).inode))

    def _sync_all(self, call: Call, process: Process) -> None:
        self._did(call, SyncAll())

    # --- Processes ---------------------------------------------------------------------------

    def _follow(self, call: Call, process: Process) -> None:
        process.follow(call)

    def _clone(self, call: Call, process: Process) -> None:
        shared = "CLONE_FILES" in call.text
        self._threads[call.result] = process if shared else process.forked()
        for early in self._early.pop(call.result, ()):
            self.read(early)

    # --- What cannot be followed -----------------------------------------------------------------

    def _blind(self, call: Call, process: Process) -> None:
        if call.name == "ioctl" and not call.arguments[1].startswith("FI"):
            return
        if any(self._relative(path) is not None for path in _paths(call)):
            raise Unmodelled(f"bytes are moved without being shown: {call}")

    def _invisible(self, call: Call, process: Process) -> None:
        raise Unmodelled(f"what is written by way of {call.name} cannot be seen")

    def _map(self, call: Call, process: Process) -> None:
        target = call.descriptor(4)
        path = self._relative(target.path)
        if path is None or "MAP_PRIVATE" in call.flags(3):
            return
        if "PROT_WRITE" in call.flags(2):
            raise Unmodelled(
                f"{path!r} is mapped shared and writable: what is written there cannot be seen",
                hint="LMDB does so with writemap=True; the default mode can be recorded",
            )
        process.mapped.append((call.result, call.result + call.number(1), path))

    # --- Paths -----------------------------------------------------------------------------------

    def _path(self, call: Call, process: Process, index: int, *, at: bool) -> str | None:
        return self._relative(process.path(call, index, at=at))

    def _relative(self, path: str) -> str | None:
        path = posixpath.normpath(path)
        if path == self._place:
            return ""
        prefix = f"{self._place}/"
        if not path.startswith(prefix) or is_nothing(path):
            return None
        return path.removeprefix(prefix)


def _paths(call: Call) -> list[str]:
    found = [call.descriptor(i).path for i, text in enumerate(call.arguments) if "<" in text]
    return found + [call.path(i) for i, text in enumerate(call.arguments) if text[:1] == '"']
