"""What the kernel keeps for a process while a trace is read: its descriptors, where it is. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field

from bootledger.simulation.powerloss.calls import Call, Unmodelled


@dataclass
class Open:
    """An open file description: shared by the descriptors that were duplicated from one."""

    inode: int
    position_bytes: int = 0
    append: bool = False
    synced: bool = False


@dataclass
class Process:
    """The descriptors of a process that lead into the place, its directory, its mappings."""

    directory: str
    files: dict[int, Open] = field(default_factory=dict)
    mapped: list[tuple[int, int, str]] = field(default_factory=list)

    def forked(self) -> Process:
        """Return what a child of this process begins with."""
        return Process(self.directory, dict(self.files), list(self.mapped))

    def file(self, call: Call) -> Open:
        """Return what the first argument of `call`, a descriptor of the place, stands for."""
        file = self.files.get(call.descriptor(0).number)
        if file is None:
            raise Unmodelled(
                f"a descriptor that was open before the recording is used: {call}",
                hint="open everything inside of what is recorded",
            )
        return file

    def path(self, call: Call, index: int, *, at: bool) -> str:
        """Return the absolute path at `index`; with `at`, after the directory it is relative to."""
        if at:
            return posixpath.join(call.descriptor(index).path, call.path(index + 1))
        return posixpath.join(self.directory, call.path(index))

    def follow(self, call: Call) -> None:
        """Follow a call that changes nothing on the disk."""
        if (follow := _FOLLOWED.get(call.name)) is not None:
            follow(self, call)

    def _read(self, call: Call) -> None:
        if (file := self.files.get(call.descriptor(0).number)) is not None:
            file.position_bytes += call.result

    def _seek(self, call: Call) -> None:
        if (file := self.files.get(call.descriptor(0).number)) is not None:
            file.position_bytes = call.result

    def _duplicate(self, call: Call) -> None:
        file = self.files.get(call.descriptor(0).number)
        if call.name != "fcntl" or call.arguments[1].startswith("F_DUPFD"):
            self.files.pop(call.result, None)
            if file is not None:
                self.files[call.result] = file
        elif call.arguments[1] == "F_SETFL" and file is not None:
            file.append = "O_APPEND" in call.flags(2)

    def _close(self, call: Call) -> None:
        self.files.pop(call.descriptor(0).number, None)

    def _close_range(self, call: Call) -> None:
        if "CLOSE_RANGE_CLOEXEC" not in call.flags(2):
            first, last = call.number(0), call.number(1)
            for number in [number for number in self.files if first <= number <= last]:
                del self.files[number]

    def _go(self, call: Call) -> None:
        at = call.name == "fchdir"
        self.directory = call.descriptor(0).path if at else self.path(call, 0, at=False)

    def _unmap(self, call: Call) -> None:
        start = call.number(0)
        end = start + call.number(1)
        self.mapped[:] = [each for each in self.mapped if each[1] <= start or each[0] >= end]

    def _protect(self, call: Call) -> None:
        if "PROT_WRITE" not in call.flags(2):
            return
        start = call.number(0)
        for first, last, path in self.mapped:
            if first < start + call.number(1) and start < last:
                raise Unmodelled(f"the mapping of {path!r} is made writable: {call}")


_FOLLOWED: dict[str, Callable[[Process, Call], None]] = {
    "read": Process._read,  # noqa: SLF001 - the table of this class
    "readv": Process._read,  # noqa: SLF001
    "lseek": Process._seek,  # noqa: SLF001
    "dup": Process._duplicate,  # noqa: SLF001
    "dup2": Process._duplicate,  # noqa: SLF001
    "dup3": Process._duplicate,  # noqa: SLF001
    "fcntl": Process._duplicate,  # noqa: SLF001
    "close": Process._close,  # noqa: SLF001
    "close_range": Process._close_range,  # noqa: SLF001
    "chdir": Process._go,  # noqa: SLF001
    "fchdir": Process._go,  # noqa: SLF001
    "munmap": Process._unmap,  # noqa: SLF001
    "mprotect": Process._protect,  # noqa: SLF001
}
FOLLOWED = tuple(_FOLLOWED)
"""The calls that change nothing on the disk but have to be seen."""
