"""Recording: what strace tells becomes what really happened, or is refused by name."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from losses import recorded

from bootledger.errors import Unavailable
from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss import (
    ACKNOWLEDGEMENTS,
    Acknowledge,
    CannotTrace,
    RecordedRunFailed,
    Trace,
    Unmodelled,
    record,
    record_command,
)
from bootledger.simulation.powerloss.calls import calls
from bootledger.simulation.powerloss.disk import Disk, Rules
from bootledger.simulation.powerloss.image import PAGE_BYTES
from bootledger.simulation.powerloss.operations import Acknowledge as Promise
from bootledger.simulation.powerloss.operations import Sync, SyncAll, Write
from bootledger.simulation.powerloss.places import read_place

RW = os.O_RDWR | os.O_CREAT


def _replayed(trace: Trace) -> dict[str, bytes | str | None]:
    disk = Disk(trace.base, Rules.STRICT)
    for operation in trace.operations:
        disk.do(operation)
    disk.sync(SyncAll())
    return disk.durable.tree()


def _same_as_real(run: Callable[[Path], None]) -> Trace:
    """Record `run`, and assert that its trace leaves what it left."""
    with fresh_place() as place:
        (place / "before").mkdir()
        (place / "before" / "file").write_bytes(b"before" * 2000)
        os.link(place / "before" / "file", place / "second name")
        (place / "link").symlink_to("before/file")
        trace = recorded(lambda place, _: run(place), place)
        assert _replayed(trace) == read_place(place).tree()
    return trace


def _in_its_place(path: Path, data: bytes) -> None:
    fd = os.open(path, RW)
    os.write(fd, data)
    os.close(fd)


# --- What is followed -----------------------------------------------------------------------------


def test_positions_are_followed_through_every_way_to_write() -> None:
    """write, writev, pwrite, pwritev, append, seek, read, dup: each byte is where it really is."""

    def run(place: Path) -> None:
        fd = os.open(place / "a", RW)
        os.write(fd, b"0123456789")
        os.writev(fd, [b"ab", b"", b"cd"])
        os.pwrite(fd, b"P", 3)
        os.pwritev(fd, [b"x", b"yz"], 20)
        os.lseek(fd, 5, os.SEEK_SET)
        os.read(fd, 2)
        os.write(fd, b"R")
        again = os.dup(fd)
        os.write(again, b"D")
        os.lseek(again, 3, os.SEEK_END)
        os.write(fd, b"E")
        third = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 60)
        os.close(fd)
        os.write(third, b"T")
        os.dup2(third, again)
        os.write(again, b"2")
        end = os.open(place / "a", os.O_WRONLY | os.O_APPEND)
        os.write(end, b"appended")
        os.pwrite(third, b"!", 0)
        fcntl.fcntl(third, fcntl.F_SETFL, os.O_APPEND)
        os.lseek(third, 0, os.SEEK_SET)
        os.write(third, b"also appended")

    assert len([each for each in _same_as_real(run).operations if isinstance(each, Write)]) == 12


def test_names_are_followed_through_every_way_to_change_them() -> None:
    """Directories, renames onto others, links, relative paths, open files without a name."""

    def run(place: Path) -> None:
        (place / "d" / "e").mkdir(parents=True)
        _in_its_place(place / "d" / "e" / "f", b"f")
        (place / "d" / "e" / "f").rename(place / "g")
        (place / "before" / "file").replace(place / "g")
        os.link(place / "g", place / "d" / "h")
        (place / "d" / "h").rename(place / "g")  # both are one file: nothing happens
        (place / "d").rename(place / "D")
        os.chdir(place / "D")
        os.mkdir("relative")  # noqa: PTH102
        os.symlink("../g", "s")  # noqa: PTH211
        Path("e").rmdir()
        here = os.open("relative", os.O_RDONLY)
        fd = os.open("x", RW, dir_fd=here)
        os.unlink("x", dir_fd=here)
        os.write(fd, b"nobody sees this")
        os.rename("h", "y", src_dir_fd=os.open(".", os.O_RDONLY), dst_dir_fd=here)
        os.fchdir(here)
        os.rename("y", "z")  # noqa: PTH104
        _in_its_place(place / "link", b"through a link")
        (place / "link").unlink()

    _same_as_real(run)


def test_sizes_are_followed() -> None:
    """Cut, grown, allocated, truncated at opening, and holes between."""

    def run(place: Path) -> None:
        fd = os.open(place / "a", RW)
        os.write(fd, b"x" * 3 * PAGE_BYTES)
        os.ftruncate(fd, PAGE_BYTES + 7)
        os.pwrite(fd, b"far", 5 * PAGE_BYTES)
        os.truncate(place / "before" / "file", 3)
        os.posix_fallocate(fd, 0, 100)
        os.posix_fallocate(fd, 0, 2**20)
        os.ftruncate(fd, 2**20 + 1)
        os.close(os.open(place / "second name", os.O_WRONLY | os.O_TRUNC))
        _in_its_place(place / "second name", b"2")

    _same_as_real(run)


def test_syncs_and_promises_stand_where_they_were_made() -> None:
    """fsync, fdatasync, a directory's fsync, O_DSYNC and what was acknowledged, in their order."""

    def run(place: Path, acknowledge: Acknowledge) -> None:
        fd = os.open(place / "a", RW)
        os.write(fd, b"a")
        os.fsync(fd)
        acknowledge(b"first\0 \xff")
        os.fdatasync(fd)
        os.fsync(os.open(place, os.O_RDONLY))
        acknowledge(b"")
        os.write(os.open(place / "a", os.O_WRONLY | os.O_DSYNC), b"d")
        acknowledge(b"third" * 5000)
        os.sync()

    with fresh_place() as place:
        trace = recorded(run, place)
    told = [
        operation.data if isinstance(operation, Promise) else type(operation).__name__
        for operation in trace.operations
    ]
    first = ["Make", "Write", "Sync", b"first\0 \xff", "Sync", "Sync", b""]
    assert told == [*first, "Write", b"third" * 5000, "SyncAll"]
    syncs = [each.path for each in trace.operations if isinstance(each, Sync)]
    assert syncs == ["a", "a", ""]
    assert [name for name, _ in trace.syncs()] == ["a#1", "a#2", ".#1", "a#3", "syncall .#1"]


def test_other_places_and_lock_files_are_no_part_of_it(tmp_path: Path) -> None:
    """Elsewhere anything goes; of a lock file only its name counts, and LMDB's table not at all."""

    def run(place: Path) -> None:
        (tmp_path / "elsewhere").write_bytes(b"x")
        fd = os.open(place / "lock.mdb", RW)
        os.ftruncate(fd, PAGE_BYTES)
        mmap.mmap(fd, PAGE_BYTES)[0:1] = b"x"
        _in_its_place(place / "owner.lock", b"pid 1")
        (place / "owner.lock").rename(place / "other.lock")

    with fresh_place() as place:
        trace = recorded(lambda place, _: run(place), place)
    assert _replayed(trace) == {"other.lock": b""}
    assert not any(isinstance(operation, Write) for operation in trace.operations)


def test_a_thread_and_a_child_that_only_look_do_no_harm() -> None:
    """One writes; what others read, or write elsewhere, is nobody's business."""

    def run(place: Path) -> None:
        reader = threading.Thread(target=(place / "before" / "file").read_bytes)
        reader.start()
        reader.join()
        child = os.fork()
        if not child:
            Path("/dev/null").write_bytes(b"x")
            os._exit(0)
        os.waitpid(child, 0)
        _in_its_place(place / "a", b"a")

    _same_as_real(run)


def test_any_program_can_be_recorded() -> None:
    """A command, its children included, makes its promises through a file that it is told of."""
    code = (
        "import os, sys\n"
        "fd = os.open(sys.argv[1] + '/a', os.O_WRONLY | os.O_CREAT)\n"
        "os.write(fd, b'a'); os.fsync(fd)\n"
        f"open(os.environ['{ACKNOWLEDGEMENTS}'], 'ab').write(b'a is there')\n"
    )
    with fresh_place() as place:
        command = ["/bin/sh", "-c", '"$@"; true', "sh", sys.executable, "-c", code, str(place)]
        try:
            trace = record_command(command, place)
        except CannotTrace as error:
            pytest.skip(f"NO POWER LOSS WAS SIMULATED ON THIS MACHINE: {error}")
        assert _replayed(trace) == read_place(place).tree() == {"a": b"a"}
        assert trace.operations[-1] == Promise(b"a is there")
        with pytest.raises(RecordedRunFailed, match="ended with 3: oh"):
            record_command(["/bin/sh", "-c", "echo oh >&2; exit 3"], place)


# --- What is refused ------------------------------------------------------------------------------


def _two_threads(place: Path) -> None:
    _in_its_place(place / "a", b"a")
    other = threading.Thread(target=_in_its_place, args=(place / "b", b"b"))
    other.start()
    other.join()


def _two_processes(place: Path) -> None:
    _in_its_place(place / "a", b"a")
    child = os.fork()
    if not child:
        _in_its_place(place / "b", b"b")
        os._exit(0)
    os.waitpid(child, 0)


def _map(place: Path) -> None:
    fd = os.open(place / "a", RW)
    os.ftruncate(fd, PAGE_BYTES)
    mmap.mmap(fd, PAGE_BYTES)


def _send(place: Path) -> None:
    source = os.open("/etc/passwd", os.O_RDONLY)
    os.sendfile(os.open(place / "a", RW), source, 0, 10)


def _copy(place: Path) -> None:
    _in_its_place(place / "a", b"a")
    os.copy_file_range(os.open(place / "a", RW), os.open(place / "b", RW), 1)


def _nameless(place: Path) -> None:
    os.open(place, os.O_RDWR | os.O_TMPFILE)


def _comes_from_elsewhere(place: Path) -> None:
    outside = place.parent / f"{place.name}.outside"
    outside.write_bytes(b"x")
    outside.rename(place / "a")


def _pipe(place: Path) -> None:
    os.mkfifo(place / "a")


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (_two_threads, "both write"),
        (_two_processes, "both write"),
        (_map, "'a' is mapped shared and writable"),
        (_send, "moved without being shown: sendfile"),
        (_copy, "moved without being shown: copy_file_range"),
        (_nameless, "without a name"),
        (_comes_from_elsewhere, "comes from elsewhere"),
        (_pipe, "mknod"),
    ],
)
def test_what_the_model_has_no_word_for_is_refused(run: Callable[[Path], None], words: str) -> None:
    """Nothing that changes the place is passed over in silence."""
    with fresh_place() as place, pytest.raises(Unmodelled, match=words):
        recorded(lambda place, _: run(place), place)


def test_a_descriptor_of_before_is_refused() -> None:
    """What was open before the fork has a position that nobody knows."""
    with (
        fresh_place() as place,
        (place / "a").open("wb", buffering=0) as file,
        pytest.raises(Unmodelled, match="open before the recording"),
    ):
        recorded(lambda _place, _: file.write(b"x") and None, place)


def test_a_run_that_fails_says_why() -> None:
    """The child's own words are in the error, and a death by signal is told, too."""

    def fails(acknowledge: Acknowledge) -> None:
        raise ZeroDivisionError("of all things")

    def dies(acknowledge: Acknowledge) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with fresh_place() as place:
        recorded(lambda _place, _: None, place)
        with pytest.raises(RecordedRunFailed, match="ZeroDivisionError: of all things"):
            record(fails, place)
        with pytest.raises(RecordedRunFailed, match="ended with -9"):
            record(dies, place)


def test_without_strace_nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Missing, or not allowed to: an `Unavailable` that says so, and the run never began."""
    place = tmp_path / "place"
    place.mkdir()

    def run(acknowledge: Acknowledge) -> None:
        (place / "a").write_bytes(b"ran")

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotTrace, match="not installed") as missing:
        record(run, place)
    assert isinstance(missing.value, Unavailable)
    strace = tmp_path / "strace"
    strace.write_text("#!/bin/sh\necho 'strace: ptrace(PTRACE_SEIZE): Operation not permitted' >&2")
    strace.chmod(0o755)
    with pytest.raises(CannotTrace, match="not permitted"):
        record(run, place)
    with pytest.raises(CannotTrace, match="not permitted"):
        record_command(["/bin/true"], place)
    assert not any(place.iterdir())


def test_a_string_that_was_cut_is_refused() -> None:
    """Half of the bytes would be worse than none; what is no call of strace's is told."""
    (call,) = calls(['1  write(3<\\x61>, "\\x61"..., 9) = 9'])
    with pytest.raises(Unmodelled, match="cut short"):
        call.string(1)
    with pytest.raises(Unmodelled, match="strace wrote 'nonsense'"):
        list(calls(["nonsense"]))


def test_a_call_that_was_interrupted_by_another_thread_is_one_call() -> None:
    """Calls count in the order in which they returned."""
    lines = [
        '1  write(3<\\x61>, "\\x62", 1 <unfinished ...>',
        "2  close(4<\\x63>) = 0",
        "1  <... write resumed>) = 1",
        "2  +++ exited with 0 +++",
        "1  fsync(3<\\x61>) = -1 EIO (Input/output error)",
    ]
    found = list(calls(lines))
    assert [(each.thread, each.name, each.result) for each in found] == [
        (2, "close", 0),
        (1, "write", 1),
        (1, "fsync", -1),
    ]
    assert found[1].string(1) == b"b"
    assert str(found[1]) == 'write(3<a>, "b", 1)'
