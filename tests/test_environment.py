"""The rules of LMDB, each kept: with real processes where the rule is about processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import mount_namespace
import processes
import pytest
from broken_disk import break_data_file

from bootledger.environment import (
    MIB,
    WRITE_LOCK_NAME,
    Databases,
    Environment,
    Transaction,
    close_all,
    create_environment,
)
from bootledger.errors import (
    CorruptRecord,
    InvalidValue,
    OutcomeUnknown,
    SimulatedCrash,
    StoreBusy,
    Unavailable,
    WrongProcess,
)
from bootledger.files import Files
from bootledger.replica.intent_log import IntentLog
from bootledger.shared_environment import _shared

NAMES = ("a", "b")
FILES = Files()
SMALL_MAP_BYTES = 64 * 4096

CHILD = """
import os, signal, sys, time
from pathlib import Path
from bootledger.environment import Environment, create_environment
from bootledger.errors import *
from bootledger.files import Files
path = Path(sys.argv[1])
def put(key, value):
    return lambda txn, db: txn.put(key, value, db=db["a"])
def get(key):
    return lambda txn, db: txn.get(key, db=db["a"])
def open_it(files=Files(), **options):
    return Environment.open(path, ("a", "b"), files, name="it", **options)
class At(Files):
    def __init__(self, name, do):
        self.name, self.do = name, do
    def point(self, name):
        if name == self.name:
            self.do()
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def nothing(_txn: Transaction, _db: Databases) -> None:
    """Initialise nothing."""


def put(key: bytes, value: bytes) -> Callable[[Transaction, Databases], None]:
    """Work that puts one value into database `a`."""

    def work(txn: Transaction, db: Databases) -> None:
        assert txn.put(key, value, db=db["a"])

    return work


def get(key: bytes) -> Callable[[Transaction, Databases], bytes | None]:
    """Work that gets one value from database `a`."""
    return lambda txn, db: txn.get(key, db=db["a"])


class At(Files):
    """Calls `do` at every point of that name."""

    def __init__(self, name: str, do: Callable[[], object]) -> None:
        self.name = name
        self.do = do

    def point(self, name: str) -> None:
        """Call it, if this is the one."""
        if name == self.name:
            self.do()


def open_it(
    path: Path, *, files: Files = FILES, wait_s: float = 10.0, **options: int
) -> Environment:
    """Open the environment, its points named `it`."""
    return Environment.open(path, NAMES, files, name="it", wait_s=wait_s, **options)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A new environment's directory; whatever a test left open is closed after it."""
    path = tmp_path / "environment"
    assert create_environment(path, NAMES, nothing, FILES)
    yield path
    close_all()
    assert not _shared


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in a child until it prints a line; kill it after the block."""
    process = processes.start(CHILD + code, *arguments)
    try:
        processes.wait_for_line(process)
        yield process
    finally:
        processes.kill(process)


# --- Creation -----------------------------------------------------------------------------------

CREATION_POINTS = (
    "remove.starting",
    "directory.making",
    "environment.building",
    "environment.built",
    "environment.renamed",
    "environment.created",
    "lock.removing",
)


@pytest.mark.parametrize("point", CREATION_POINTS)
def test_a_creation_killed_at_any_point_is_repeated(tmp_path: Path, point: str) -> None:
    """After SIGKILL the path holds nothing or a whole environment, and the next try succeeds."""
    path = tmp_path / "environment"
    code = 'create_environment(path, ("a", "b"), put(b"k", b"v"), At(sys.argv[2], die))'
    killed = processes.start(CHILD + code, path, point)
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    whole = point in CREATION_POINTS[4:]
    assert path.exists() is whole
    assert create_environment(path, NAMES, put(b"k", b"v"), FILES) is not whole
    with open_it(path) as env:
        assert env.read(get(b"k")) == b"v"
    assert {entry.name for entry in tmp_path.iterdir()} - {".environment.creating.lock"} == {
        "environment"
    }


def test_creation_passes_every_point_that_is_tested(tmp_path: Path) -> None:
    """The list of points above is all there are."""
    passed: list[str] = []

    class Recording(Files):
        def point(self, name: str) -> None:
            passed.append(name)

    create_environment(tmp_path / "environment", NAMES, nothing, Recording())
    assert tuple(passed) == CREATION_POINTS


def test_a_name_that_is_not_durable_yet_is_made_so_by_the_next_to_open(path: Path) -> None:
    """Whoever finds an environment syncs its parent: the creator may have died before it did."""
    synced: list[Path] = []

    class Recording(Files):
        def sync_directory(self, path: Path) -> None:
            synced.append(path)

    assert not create_environment(path, NAMES, nothing, Recording())
    assert synced == [path.parent]


def test_a_failed_first_record_leaves_nothing_in_place(tmp_path: Path) -> None:
    """If the first records cannot be written, the path does not appear."""

    def fail(_txn: Transaction, _db: Databases) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        create_environment(tmp_path / "it", NAMES, fail, FILES)
    assert not (tmp_path / "it").exists()
    assert create_environment(tmp_path / "it", NAMES, nothing, FILES)


def test_creation_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    """A file, a directory with something in it and a missing parent are refused untouched."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "full", tmp_path / "none" / "it"):
        with pytest.raises(InvalidValue, match=str(path.parent)):
            create_environment(path, NAMES, nothing, FILES)
    assert (tmp_path / "file").read_text() == "mine"
    assert [entry.name for entry in (tmp_path / "full").iterdir()] == ["file"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert create_environment(tmp_path / "link", NAMES, nothing, FILES)
    assert (tmp_path / "empty" / "data.mdb").is_file()


def test_of_many_creators_one_creates(tmp_path: Path) -> None:
    """Processes that race to create one environment all end up with the same one."""
    path = tmp_path / "environment"
    code = """
print(create_environment(path, ("a", "b"), put(b"by", str(os.getpid()).encode()), Files()))
print(open_it().read(get(b"by")).decode())
"""
    racers = [processes.start(CHILD + code, path) for _ in range(4)]
    answers = [racer.communicate(timeout=60)[0].split() for racer in racers]
    assert sorted(created for created, _ in answers) == ["False", "False", "False", "True"]
    assert len({creator for _, creator in answers}) == 1


def test_the_format_is_not_chosen_by_the_surroundings(tmp_path: Path) -> None:
    """LMDB_DEFAULT_LIB_VERSION=1 in a creator's environment does not change the data file."""
    path = tmp_path / "environment"
    code = 'create_environment(path, ("a", "b"), put(b"k", b"v"), Files()); open_it().close()'
    version = {**os.environ, "LMDB_DEFAULT_LIB_VERSION": "1"}
    subprocess.run([sys.executable, "-c", CHILD + code, str(path)], env=version, check=True)
    data = (path / "data.mdb").read_bytes()[:32]
    magic, format_version = (int.from_bytes(data[i : i + 4], sys.byteorder) for i in (16, 20))
    assert (magic, format_version) == (0xBEEFC0DE, 1)


# --- Opening ------------------------------------------------------------------------------------


def test_what_is_no_environment_is_refused(tmp_path: Path) -> None:
    """Nothing there, junk, an empty file and other databases are told apart, and untouched."""
    with pytest.raises(InvalidValue, match="no database"):
        open_it(tmp_path / "missing")
    for name, junk in (("junk", b"x" * 8192), ("empty", b"")):
        (tmp_path / name).mkdir()
        data = tmp_path / name / "data.mdb"
        data.write_bytes(junk)
        with pytest.raises(CorruptRecord, match=name):
            open_it(tmp_path / name)
        assert data.read_bytes() == junk
    create_environment(tmp_path / "other", ("c",), nothing, FILES)
    kept: list[InvalidValue] = []  # with its traceback, which refers to what was half open
    for _ in range(2):
        with pytest.raises(InvalidValue, match="of another kind") as raised:
            open_it(tmp_path / "other")
        kept.append(raised.value)


def test_an_environment_that_lost_a_name_is_damaged(path: Path) -> None:
    """Most of ours is there: it is ours, and not something else."""
    with pytest.raises(CorruptRecord, match="No matching key"):
        Environment.open(path, (*NAMES, "c"), FILES, name="it")


def test_a_path_is_open_once_under_all_its_names(path: Path, tmp_path: Path) -> None:
    """A link, a relative name and a second name of the data file join the open environment."""
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "second").mkdir()
    os.link(path / "data.mdb", tmp_path / "second" / "data.mdb")
    names = (path, tmp_path / "link", Path(os.path.relpath(path)), tmp_path / "second")
    handles = [open_it(name) for name in names]
    assert len(_shared) == 1
    handles[1].write(put(b"k", b"v"))
    for handle in handles:
        assert handle.read(get(b"k")) == b"v"
        handle.close()
        handle.close()
    assert not _shared


def test_a_closed_handle_is_closed_and_the_others_are_not(path: Path) -> None:
    """The last handle closes the environment; a closed one says so; another can be opened."""
    first, second = open_it(path), open_it(path)
    first.close()
    for use in (first.read, first.write):
        with pytest.raises(InvalidValue, match="was closed"):
            use(nothing)
    second.write(put(b"k", b"v"))
    second.close()
    with lmdb.open(str(path), max_dbs=2) as env, env.begin() as txn:  # really closed: no error
        assert txn.get(b"k", db=env.open_db(b"a", txn=txn)) == b"v"
    with open_it(path) as third:
        assert third.read(get(b"k")) == b"v"


def test_other_databases_on_an_open_environment_are_refused(path: Path) -> None:
    """Two callers that disagree about what a path holds find out at once."""
    with open_it(path), pytest.raises(InvalidValue, match="is open with"):
        Environment.open(path, ("c",), FILES, name="it")


def test_handles_survive_a_death_of_the_process_around_them(path: Path) -> None:
    """After `close_all` an old handle and a new one share one environment again."""
    old = open_it(path)
    close_all()
    new = open_it(path)
    old.write(put(b"k", b"v"))
    assert new.read(get(b"k")) == b"v"
    assert len(_shared) == 1
    new.close()
    assert old.read(get(b"k")) == b"v"
    old.close()
    assert not _shared


def test_an_environment_that_was_replaced_is_opened_anew(path: Path) -> None:
    """A new environment at the path of a deleted one is not taken for it, same inode or not."""
    with open_it(path) as env:
        env.write(put(b"k", b"old"))
    for _ in range(5):
        open_it(path)
        close_all()
        FILES.remove(path)
        create_environment(path, NAMES, nothing, FILES)
        with open_it(path) as env:
            assert env.read(get(b"k")) is None


def test_opening_leaves_no_descriptor_and_no_map_behind(path: Path) -> None:
    """Open and close, write and reopen: the process holds as many files as before."""

    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text().count(str(path))
        return sum(1 for _ in Path("/proc/self/fd").iterdir()), maps

    open_it(path).close()
    before = held()
    for number in range(20):
        with open_it(path) as env:
            env.write(put(b"k", b"%d" % number))
            env._shared.reopen()
            assert env.read(get(b"k")) == b"%d" % number
    assert held() == before
    for _ in range(20):
        with pytest.raises(InvalidValue):
            Environment.open(path, ("c",), FILES, name="it")
    assert held() == before


def test_slots_of_dead_readers_are_cleared_at_open(path: Path) -> None:
    """A reader killed inside of a transaction does not hold pages back for ever."""
    keeper = """
env = open_it()
print("open", flush=True)
sys.stdin.read()
"""
    reader = """
def work(txn, db):
    print("reading", flush=True)
    sys.stdin.read()
open_it().read(work)
"""
    with child(keeper, path):  # while anybody has it open, LMDB itself clears nothing
        with child(reader, path) as killed:
            pass
        with lmdb.open(str(path), max_dbs=2) as env:
            assert str(killed.pid) in env.readers()
        with open_it(path) as handle, handle._shared.inside() as (env, _):
            assert env.readers() == "(no active readers)\n"


# --- Writers ------------------------------------------------------------------------------------


def test_another_writer_is_waited_for_and_named(path: Path) -> None:
    """Who writes too long for our patience is named by its pid; nothing was written by us."""
    code = """
def work(txn, db):
    txn.put(b"k", b"theirs", db=db["a"])
    print("writing", flush=True)
    sys.stdin.read()
open_it().write(work)
"""
    with open_it(path, wait_s=0.1) as env:
        with child(code, path) as other:
            with pytest.raises(StoreBusy, match=f"pid {other.pid}"):
                env.write(put(b"k", b"ours"))
            assert env.read(get(b"k")) is None
        # SIGKILL inside of a write transaction: nothing of it is there, and we may go on.
        assert env.read(get(b"k")) is None
        env.write(put(b"k", b"ours"))
        assert env.read(get(b"k")) == b"ours"


def test_opening_does_not_wait_without_end_for_a_stuck_writer(path: Path) -> None:
    """Opening needs LMDB's mutex; it gives up by our lock, which can be interrupted."""
    code = """
def work(txn, db):
    print("writing", flush=True)
    sys.stdin.read()
open_it().write(work)
"""
    with child(code, path) as other, pytest.raises(StoreBusy, match=f"pid {other.pid}"):
        open_it(path, wait_s=0.1)
    open_it(path, wait_s=0.1).close()


def test_a_writer_killed_at_any_point_leaves_all_or_nothing(path: Path) -> None:
    """Before the commit nothing is there, after it everything; the next writer is not kept out."""
    code = 'open_it(At(sys.argv[2], die)).write(put(sys.argv[2].encode(), b"v"))'
    for point, expected in (("it.writing", None), ("it.committing", None), ("it.committed", b"v")):
        killed = processes.start(CHILD + code, path, point)
        killed.communicate(timeout=60)
        assert killed.returncode == -9
        with open_it(path, wait_s=5) as env:
            assert env.read(get(point.encode())) == expected
            env.write(put(b"next", b"v"))


def test_work_that_raises_writes_nothing(path: Path) -> None:
    """An exception of any kind undoes the whole transaction and passes unchanged."""
    with open_it(path) as env:
        for error in (
            ValueError("x"),
            KeyboardInterrupt(),
            SimulatedCrash("x"),
            CorruptRecord("x"),
        ):

            def work(txn: Transaction, db: Databases, error: BaseException = error) -> None:
                txn.put(b"k", b"v", db=db["a"])
                raise error

            with pytest.raises(type(error)) as raised:
                env.write(work)
            assert raised.value is error
            assert env.read(get(b"k")) is None
        env.write(put(b"k", b"v"))
        assert env.read(get(b"k")) == b"v"


def test_many_threads_write_through_one_handle(path: Path) -> None:
    """Handles may be shared by threads; every write is one transaction in its own thread."""

    def add(txn: Transaction, db: Databases) -> None:
        txn.put(b"n", b"%d" % (int(txn.get(b"n", b"0", db=db["a"])) + 1), db=db["a"])

    with open_it(path) as one, open_it(path) as other:
        threads = [
            threading.Thread(target=lambda env=env: [env.write(add) for _ in range(25)])
            for env in (one, one, other, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.read(get(b"n")) == b"100"


def test_several_processes_write(path: Path) -> None:
    """Writers of several processes take turns; no write is lost."""
    code = """
def add(txn, db):
    txn.put(b"n", b"%d" % (int(txn.get(b"n", b"0", db=db["a"])) + 1), db=db["a"])
env = open_it()
for _ in range(50):
    env.write(add)
"""
    writers = [processes.start(CHILD + code, path) for _ in range(3)]
    for writer in writers:
        _, err = writer.communicate(timeout=60)
        assert writer.returncode == 0, err
    with open_it(path) as env:
        assert env.read(get(b"n")) == b"150"


def test_a_transaction_inside_of_a_transaction_is_refused(path: Path) -> None:
    """Calling back into the environment would deadlock when the map must grow: it is an error."""
    with open_it(path) as env, open_it(path) as other:
        for outer in (env.read, env.write):
            with pytest.raises(RuntimeError, match="inside of a transaction"):
                outer(lambda _txn, _db: other.read(nothing))
        env.write(put(b"k", b"v"))


def test_a_handle_is_refused_after_a_fork_and_a_new_one_works(path: Path) -> None:
    """The child of a fork may not use its parent's handle, but may open its own."""
    code = """
env = open_it()
env.write(put(b"k", b"parent"))
pid = os.fork()
if pid == 0:
    for use in (env.read, env.write):
        try:
            use(get(b"k"))
            os._exit(1)
        except WrongProcess as error:
            assert str(os.getppid()) in str(error)
    env.close()
    with open_it() as own:
        assert own.read(get(b"k")) == b"parent"
        own.write(put(b"k", b"child"))
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert env.read(get(b"k")) == b"child"
env.write(put(b"k", b"parent again"))
env.close()
print(open_it().read(get(b"k")).decode())
"""
    assert processes.run(CHILD + code, path) == "parent again\n"


def test_wrong_process_names_both(path: Path) -> None:
    """A handle that says another pid than this one is refused at every door."""
    with open_it(path) as env:
        env._shared.pid += 1
        try:
            for use in (env.read, env.write):
                with pytest.raises(WrongProcess, match=str(os.getpid())):
                    use(nothing)
            with pytest.raises(WrongProcess):
                env.copy(path)
        finally:
            env._shared.pid -= 1


# --- The map ------------------------------------------------------------------------------------


def test_a_full_map_grows_and_the_work_is_redone_whole(path: Path) -> None:
    """MapFull undoes the transaction, the map grows, and the work runs again from its start."""
    runs = 0

    def work(txn: Transaction, db: Databases) -> None:
        nonlocal runs
        runs += 1
        assert txn.get(b"first", db=db["a"]) is None
        txn.put(b"first", b"v", db=db["a"])
        for number in range(100):
            txn.put(b"%03d" % number, b"x" * 10_000, db=db["a"])

    with open_it(path, map_size_bytes=SMALL_MAP_BYTES) as env:
        env.write(work)
        assert runs > 1
        assert env.read(lambda txn, db: txn.stat(db["a"])["entries"]) == 101
        assert env._shared.map_size_bytes > MIB


def test_a_map_that_another_process_grew_is_taken_over(path: Path) -> None:
    """MapResized is no error: readers and writers take the new size and go on."""
    code = """
def work(txn, db):
    for number in range(200):
        txn.put(b"%03d" % number, b"x" * 10_000, db=db["a"])
open_it().write(work)
"""
    with open_it(path, map_size_bytes=SMALL_MAP_BYTES) as env:
        env.write(put(b"k", b"v"))
        processes.run(CHILD + code, path)
        assert env.read(get(b"199")) == b"x" * 10_000
    with open_it(path, map_size_bytes=SMALL_MAP_BYTES) as env:
        processes.run(CHILD + code.replace("range(200)", "range(600)"), path)
        env.write(put(b"k", b"w"))
        assert env.read(get(b"599")) == b"x" * 10_000


def test_growing_waits_for_readers_of_the_process(path: Path) -> None:
    """The map never moves under a reader: it sees its snapshot to the end."""
    inside, grown = threading.Event(), threading.Event()
    seen: list[bytes | None] = []

    def read(txn: Transaction, db: Databases) -> None:
        inside.set()
        grown.wait(0.2)
        seen.extend(txn.get(key, db=db["a"]) for key in (b"k", b"big"))

    with open_it(path, map_size_bytes=SMALL_MAP_BYTES) as env:
        env.write(put(b"k", b"v"))
        reader = threading.Thread(target=env.read, args=(read,))
        reader.start()
        assert inside.wait(30)
        env.write(put(b"big", b"x" * 4 * SMALL_MAP_BYTES))
        grown.set()
        reader.join()
        assert seen == [b"v", None]
        assert env.read(get(b"big")) == b"x" * 4 * SMALL_MAP_BYTES


# --- Failures -----------------------------------------------------------------------------------


def test_a_failed_commit_is_an_unknown_outcome_and_the_handle_goes_on(path: Path) -> None:
    """The environment is opened again underneath; readers of other threads never see a failure."""
    done = threading.Event()
    failures: list[Exception] = []
    reads = 0

    def read_on(env: Environment) -> None:
        nonlocal reads
        while not done.is_set():
            try:
                assert env.read(get(b"before")) == b"v"
                reads += 1
            except Exception as error:  # noqa: BLE001 - collected, and asserted to be none
                failures.append(error)
                return

    broken = False

    def break_it() -> None:
        if broken:
            break_data_file(path)

    with open_it(path, files=At("it.committing", break_it)) as env:
        env.write(put(b"before", b"v"))
        reader = threading.Thread(target=read_on, args=(env,))
        reader.start()
        try:
            for number in range(5):
                broken = True
                with pytest.raises(OutcomeUnknown, match="the commit to"):
                    env.write(put(b"lost", b"%d" % number))
                broken = False
                assert env.read(get(b"lost")) in (None, b"%d" % number)
                env.write(put(b"after", b"%d" % number))
                assert env.read(get(b"after")) == b"%d" % number
        finally:
            done.set()
            reader.join()
        assert failures == []
        assert reads > 0


def test_an_environment_that_cannot_be_reopened_says_so_and_recovers(path: Path) -> None:
    """If opening again fails, each use fails with the reason, until it works again."""
    aside = path.with_name("aside")

    def break_it() -> None:
        break_data_file(path)
        path.rename(aside)

    with open_it(path, files=At("it.committing", break_it)) as env:
        with pytest.raises(OutcomeUnknown):
            env.write(put(b"k", b"v"))
        for _ in range(2):
            with pytest.raises(Unavailable, match="No such file"):
                env.read(get(b"k"))
        aside.rename(path)
        assert env.read(get(b"k")) is None


def test_a_key_that_is_too_long_is_refused(path: Path) -> None:
    """What LMDB cannot take as a key is the caller's mistake."""
    with open_it(path) as env:
        for key in (b"", b"k" * 512):
            with pytest.raises(InvalidValue, match="too long"):
                env.write(put(key, b"v"))
        env.write(put(b"k" * 511, b"v"))


ON_SMALL_DISK = (
    CHILD
    + """
path = base / "environment"
create_environment(path, ("a", "b"), put(b"k", b"v"), Files())
"""
)


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    """On a really full disk a write is OutOfSpace; what was there stays, and room helps at once."""
    mount_namespace.run(
        ON_SMALL_DISK
        + """
env = open_it()
ballast = base / "ballast"
fill(ballast)
for size in (10, 5000, 300_000):
    try:
        env.write(put(b"new", b"x" * size))
    except OutOfSpace as error:
        assert str(path) in str(error)
    else:
        assert size == 10  # a page that was free already
assert env.read(get(b"k")) == b"v"
try:
    env.copy(base)
except OutOfSpace: pass
else: raise SystemExit("copied onto a full disk")
(base / "data.mdb").unlink()
ballast.unlink()
env.write(put(b"new", b"x" * 300_000))
assert env.read(get(b"new")) == b"x" * 300_000
print("done")
""",
        tmp_path / "mount",
    )


def test_a_write_that_the_full_disk_cut_short_is_out_of_space(tmp_path: Path) -> None:
    """LMDB calls a short write an input/output error; with no room left it is a full disk."""
    mount_namespace.run(
        ON_SMALL_DISK
        + """
env = open_it()
for left in (2, 3, 5, 9):
    ballast = base / "ballast"
    os.truncate(ballast, fill(ballast) - left * 4096)
    try:
        env.write(lambda t, d: [t.put(b"%d" % i, b"x" * 3000, db=d["a"]) for i in range(400)])
        raise SystemExit("written onto a full disk")
    except OutOfSpace: pass
    assert env.read(get(b"k")) == b"v"
    assert env.read(get(b"0")) is None
    ballast.unlink()
print("done")
""",
        tmp_path / "mount",
    )


def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    """Where nothing can be written, opening and creating say so, with the path."""
    mount_namespace.run(
        ON_SMALL_DISK
        + """
mount("-o", "remount,ro", str(base))
for use in (open_it, lambda: create_environment(base / "new", ("a", "b"), put(b"", b""), Files())):
    try:
        use()
        raise SystemExit("opened on a read-only file system")
    except ReadOnly as error:
        assert str(base) in str(error)
print("done")
""",
        tmp_path / "mount",
    )


# --- Copies -------------------------------------------------------------------------------------


def test_a_copy_is_whole_and_compact_while_writers_go_on(path: Path, tmp_path: Path) -> None:
    """A copy opens on its own, holds one moment's data, and its points are passed."""
    passed: list[str] = []

    class Recording(Files):
        def point(self, name: str) -> None:
            passed.append(name)

    target = tmp_path / "copy"
    target.mkdir()
    with open_it(path, files=Recording()) as env:
        env.write(put(b"k", b"v" * 100_000))
        env.write(put(b"k", b"w"))
        env.copy(target)
        env.write(put(b"k", b"later"))
    assert passed == [
        *("it.writing", "it.committing", "it.committed") * 2,
        "it.copying",
        *("it.writing", "it.committing", "it.committed"),
    ]
    assert (target / "data.mdb").stat().st_size < (path / "data.mdb").stat().st_size
    with open_it(target) as env:
        assert env.read(get(b"k")) == b"w"


def test_nothing_here_opens_the_lock_file_of_lmdb() -> None:
    """Opening lock.mdb once, even to look, would drop LMDB's own lock in this process."""
    source = Path(__file__).parents[1] / "src" / "bootledger"
    for file in source.glob("*.py"):
        code = [line for line in file.read_text().splitlines() if "lock.mdb" in line]
        assert all(line.lstrip().startswith(("#", "-", "hint=")) for line in code), file
    assert WRITE_LOCK_NAME != "lock.mdb"


def test_a_file_that_was_cut_is_an_error_and_kills_nobody(tmp_path: Path) -> None:
    """A page beyond the end of the file would be a bus error; here it is an error of ours."""
    open_ledger = """
    import sys
    from bootledger.errors import Corrupted
    from bootledger.replica.intent_log import IntentLog
    try:
        with IntentLog.open(sys.argv[1], create=False) as log:
            log.list_unfinished()
            log.store.read(0, 1000)
    except Corrupted:
        print("corrupted")
    """
    with IntentLog.open(tmp_path / "ledger") as log:
        handle = log.begin("n", 0, 9)
        for lsn in range(400):
            handle.checkpoint(lsn, 1)
        handle.close()
    whole = (tmp_path / "ledger" / "data.mdb").read_bytes()
    for size_bytes in range(8192, len(whole), 16 * 4096):
        (tmp_path / "ledger" / "data.mdb").write_bytes(whole[:size_bytes])
        assert processes.run(open_ledger, tmp_path / "ledger") == "corrupted\n"
