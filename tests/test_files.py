"""The port to the file system: atomic replacement, locks, allocation, errors by who must act."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import processes
import pytest
from worlds import DiesAt

from bootledger.errors import OutOfSpace, ReadOnly, SimulatedCrash, Unavailable
from bootledger.files import Files, LockHeld, is_locked, translated
from bootledger.residency import release_pages


@pytest.mark.parametrize("point", ["it.writing", "it.written", "it.renamed", "it.synced"])
def test_replace_shows_the_old_content_or_the_new_at_every_point(
    tmp_path: Path, point: str
) -> None:
    """Whenever the process dies, the file is whole; a repetition completes it."""
    path = tmp_path / "CURRENT"
    Files().replace(path, b"old", name="it")
    with pytest.raises(SimulatedCrash):
        DiesAt(point).replace(path, b"new", name="it")
    assert path.read_bytes() == (b"old" if point in ("it.writing", "it.written") else b"new")
    Files().replace(path, b"new", name="it")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["CURRENT"]


def test_a_lock_keeps_others_out_and_names_its_holder(tmp_path: Path) -> None:
    """A lock is held once, also within one process and against the object that holds it."""
    path = tmp_path / "lock"
    lock = Files().lock(path).acquire(words="a rather long name of the first holder")
    for other in (lock, Files().lock(path)):
        with pytest.raises(LockHeld) as held:
            other.acquire()
        assert held.value.holder == "a rather long name of the first holder"
    lock.release()
    assert not lock.held
    with Files().lock(path).acquire(words="second") as second:
        assert second.holder() == "second"
    assert not is_locked(path)


def test_a_lock_falls_with_its_process(tmp_path: Path) -> None:
    """SIGKILL releases a lock at once; its file stays and keeps nobody out."""
    path = tmp_path / "lock"
    child = processes.start(
        """
        import sys
        from pathlib import Path
        from bootledger.files import Files
        lock = Files().lock(Path(sys.argv[1])).acquire()
        print("held", flush=True)
        sys.stdin.read()
        """,
        path,
    )
    try:
        processes.wait_for_line(child)
        assert is_locked(path)
        with pytest.raises(LockHeld, match=f"pid {child.pid}"):
            Files().lock(path).acquire()
    finally:
        processes.kill(child)
    assert path.exists()
    assert not is_locked(path)
    Files().lock(path).acquire().release()


def test_a_dropped_lock_is_released(tmp_path: Path) -> None:
    """A lock that nobody can release any more does not outlive its object."""
    path = tmp_path / "lock"
    Files().lock(path).acquire()
    assert not is_locked(path)


def test_a_lock_on_a_file_that_lost_its_name_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened the file before its holder removed it does not end up beside everybody."""
    path = tmp_path / "lock"
    first = Files().lock(path).acquire()
    flock = fcntl.flock

    def first_leaves_in_between(fd: int, operation: int) -> None:
        first.release(remove=True)
        flock(fd, operation)

    monkeypatch.setattr("bootledger.locks.fcntl.flock", first_leaves_in_between)
    second = Files().lock(path).acquire()
    assert second.held
    assert path.exists()
    monkeypatch.undo()
    assert is_locked(path)


def test_removing_a_lock_file_never_lets_two_in(tmp_path: Path) -> None:
    """Threads that take, remove and release one lock are never inside together."""
    path = tmp_path / "lock"
    inside, most, rounds = 0, 0, 30

    def work() -> None:
        nonlocal inside, most
        for _ in range(rounds):
            lock = Files().lock(path).acquire(wait_s=30)
            inside += 1
            most = max(most, inside)
            inside -= 1
            lock.release(remove=True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not path.exists()


def test_asking_whether_a_lock_is_held_never_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that somebody only looks at, which takes an instant, is not taken for held."""
    path = tmp_path / "lock"
    path.touch()
    asker = os.open(path, os.O_RDONLY)
    fcntl.flock(asker, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as `is_locked` does
    monkeypatch.setattr("bootledger.locks.time.sleep", lambda _: os.close(asker))
    lock = Files().lock(path).acquire()
    assert lock.held


def test_the_dead_remove_no_lock_file_but_hold_no_lock(tmp_path: Path) -> None:
    """After a simulated crash a release changes nothing on disk, yet the lock is free."""
    path = tmp_path / "lock"
    lock = DiesAt("lock.removing").lock(path).acquire()
    with pytest.raises(SimulatedCrash):
        lock.release(remove=True)
    assert path.exists()
    assert not is_locked(path)


def test_a_lock_in_a_directory_that_vanished_is_an_error_not_a_loop(tmp_path: Path) -> None:
    """Waiting for a lock ends at once when its directory is gone."""
    with pytest.raises(Unavailable, match="No such file"):
        Files().lock(tmp_path / "gone" / "lock").acquire(wait_s=30)


def test_a_file_is_allocated_read_and_written_at_offsets(tmp_path: Path) -> None:
    """An allocated file has its size at once; only what was written counts as data."""
    path = tmp_path / "candidate"
    with Files().open(path, size_bytes=1_000_000) as file:
        assert file.size_bytes() == 1_000_000
        file.write_at(500_000, b"here")
        file.sync()
        assert file.read_at(499_999, 6) == b"\0here\0"
        assert file.read_at(999_999, 10) == b"\0"
        for start, end in file.written(0, 1_000_000):
            assert start < end <= 1_000_000
        assert any(start <= 500_000 < end for start, end in file.written(0, 1_000_000))
        assert list(file.written(1_000_000, 1_000_000)) == []
    with Files().open(path, size_bytes=1000) as file:
        assert file.size_bytes() == 1000


@pytest.mark.parametrize("size_bytes", [2**50, 2**63 - 1, 2**63, 2**64 - 1])
def test_no_size_is_too_large_to_be_refused(tmp_path: Path, size_bytes: int) -> None:
    """More than the disk has, or any file can have: no room, and no file is left behind."""
    path = tmp_path / "candidate"
    with pytest.raises(OutOfSpace, match=str(size_bytes)):
        Files().open(path, size_bytes=size_bytes)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"what was there")
    with pytest.raises(OutOfSpace):
        Files().open(path, size_bytes=size_bytes)
    assert path.read_bytes() == b"what was there"


def test_removing_is_repeatable_for_files_directories_and_links(tmp_path: Path) -> None:
    """What is gone may be removed again; a link is removed, not what it points to."""
    files, kept = Files(), tmp_path / "kept"
    kept.mkdir()
    link = tmp_path / "link"
    link.symlink_to(kept)
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "file").touch()
    for path in (link, tmp_path / "directory", tmp_path / "directory"):
        files.remove(path)
        assert not path.exists()
    assert kept.is_dir()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), OutOfSpace),
        (OSError(122, "Disk quota exceeded"), OutOfSpace),
        (OSError(30, "Read-only file system"), ReadOnly),
        (OSError(13, "Permission denied"), ReadOnly),
        (OSError(5, "Input/output error"), Unavailable),
    ],
)
def test_errors_of_the_system_say_who_must_act(
    tmp_path: Path, error: OSError, expected: type[Unavailable]
) -> None:
    """An errno becomes one error of ours, which carries the path and keeps the cause."""
    with pytest.raises(Unavailable, match=str(tmp_path)) as raised, translated(tmp_path):
        raise error
    assert type(raised.value) is expected
    assert raised.value.__cause__ is error


def resident_bytes(path: Path) -> int:
    """How much of the mappings of `path` is resident, from /proc/self/smaps."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.split()[0].endswith(":"):
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_releasing_pages_keeps_every_byte(tmp_path: Path) -> None:
    """A released mapping is no longer resident, and reads and writes through it are intact."""
    import mmap  # noqa: PLC0415 - only where it works

    path = tmp_path.resolve() / "data"
    path.write_bytes(b"x" * 1_000_000)
    fd = os.open(path, os.O_RDWR)
    try:
        with mmap.mmap(fd, 1_000_000) as mapping:
            mapping[10] = ord("y")
            assert mapping[:].count(b"x") == 999_999
            assert resident_bytes(path) > 900_000
            release_pages(path)
            assert resident_bytes(path) == 0
            assert mapping[9:12] == b"xyx"
    finally:
        os.close(fd)
