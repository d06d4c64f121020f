"""A target has one owner, one identity, and a CURRENT that moves in one step and only forward."""

import itertools
import json
import os
import random
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import lmdb
import mount_namespace
import processes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import CrashingFiles, Look, Scenario, every_pair, every_single, fresh_place

from bootledger.errors import (
    CorruptRecord,
    DivergedHistory,
    ForeignTarget,
    InvalidValue,
    TargetBusy,
    Unavailable,
    UnknownFormat,
)
from bootledger.files import Files, is_locked
from bootledger.positions import U64_MAX
from bootledger.replica import readers
from bootledger.replica.readers import generation_name, parse_generation, read_current
from bootledger.replica.target import Target, current_directory, open_current

SOURCE = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


@pytest.fixture
def place() -> Iterator[Path]:
    """Give an empty directory, in memory if the machine can."""
    with fresh_place() as path:
        yield path


def _open(
    path: Path, files: Files | None = None, *, source: str = SOURCE, node: str = "node-1"
) -> Target:
    return Target.open(path, files or Files(), source_database_id=source, node_id=node)


def _make(path: Path, generations: int, promoted: int | None = None) -> None:
    """Make a target of some generations, one of them promoted, and a ledger beside them."""
    with _open(path) as target:
        for generation in range(1, generations + 1):
            directory = target.create_generation(generation)
            (directory / "data.mdb").write_bytes(b"database %d" % generation)
        if promoted is not None:
            target.promote(promoted)
    (path / "ledger").mkdir()
    (path / "ledger" / "data.mdb").write_bytes(b"the ledger")


def _tree(path: Path) -> dict[str, bytes | None]:
    """Return every name below `path` with its content; None where it has none."""
    return {
        str(item.relative_to(path)): item.read_bytes() if item.is_file() else None
        for item in sorted(path.rglob("*"))
    }


# --- Opening --------------------------------------------------------------------------------------


def test_a_missing_target_is_made_with_nothing_in_service(place: Path) -> None:
    """The first open writes whose it is, and that no generation is in service yet."""
    with _open(place / "target") as target:
        assert target.current() is None
        assert target.generations() == []
        created_at_ms = target.identity.created_at_ms
        target_id = target.identity.target_id
    assert json.loads((place / "target" / "identity").read_bytes()) == {
        "format": 1,
        "source_database_id": SOURCE,
        "node_id": "node-1",
        "target_id": target_id,
        "created_at_ms": created_at_ms,
    }
    assert UUID(target_id)
    assert (place / "target" / "CURRENT").read_bytes() == b"none\n"


def test_an_empty_directory_with_a_ledger_is_taken(place: Path) -> None:
    """The ledger may be there first, and so may what a file system puts into its root."""
    for name in ("ledger", "lost+found"):
        (place / name).mkdir()
    (place / ".ledger.creating.lock").touch()
    with _open(place) as target:
        assert target.current() is None


def test_ones_own_target_is_opened_again_as_it_was(place: Path) -> None:
    """Identity, CURRENT, generations and the ledger are what they were."""
    _make(place / "target", 2, promoted=2)
    before = _tree(place)
    with _open(place / "target") as target:
        assert (target.current(), target.generations()) == (2, [1, 2])
    assert _tree(place) == before


@pytest.mark.parametrize(("source", "node"), [("another-source", "node-1"), (SOURCE, "node-2")])
def test_a_target_of_another_source_or_node_is_refused(place: Path, source: str, node: str) -> None:
    """The refusal names both sides, and nothing is touched, not even the lock file."""
    _make(place / "target", 1, promoted=1)
    (place / "target" / "owner.lock").unlink()
    before = _tree(place)
    with pytest.raises(ForeignTarget, match="belongs to node 'node-1' of source") as caught:
        _open(place / "target", source=source, node=node)
    assert source in str(caught.value)
    assert node in str(caught.value)
    assert caught.value.hint
    assert _tree(place) == before


@pytest.mark.parametrize("name", ["notes.txt", "data.mdb", "gen-0001/data.mdb", ".hidden"])
def test_a_directory_of_something_else_is_refused(place: Path, name: str) -> None:
    """What has content and no identity is not a target; the refusal says what was found."""
    file = place / "target" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"precious")
    before = _tree(place)
    with pytest.raises(ForeignTarget, match=Path(name).parts[0]):
        _open(place / "target")
    assert _tree(place) == before


def test_a_target_whose_identity_was_removed_is_refused(place: Path) -> None:
    """A CURRENT in service without an identity is somebody's data, not an unfinished creation."""
    _make(place / "target", 1, promoted=1)
    (place / "target" / "identity").unlink()
    with pytest.raises(ForeignTarget, match="CURRENT, gen-0001"):
        _open(place / "target")


IDS = b'"source_database_id": "s", "target_id": "t"'


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"\0" * 4096,
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"format": "1"}',
        b'{"format": 0, "node_id": "n", %s, "created_at_ms": 1}' % IDS,
        b'{"format": 1, "source_database_id": "s", "node_id": "n", "created_at_ms": 1}',
        b'{"format": 1, "node_id": "n", %s}' % IDS,
        b'{"format": 1, "node_id": "", %s, "created_at_ms": 1}' % IDS,
        b'{"format": 1, "node_id": "n", %s, "created_at_ms": -1}' % IDS,
        b'{"format": 1, "node_id": "n", %s, "created_at_ms": 1, "more": 1}' % IDS,
    ],
)
def test_an_identity_that_cannot_be_read_is_corrupt(place: Path, record: bytes) -> None:
    """An unreadable identity is an error, never an empty target, and stays as it is."""
    _make(place / "target", 1, promoted=1)
    (place / "target" / "identity").write_bytes(record)
    before = _tree(place)
    with pytest.raises(CorruptRecord, match="identity"):
        _open(place / "target")
    assert _tree(place) == before


def test_a_newer_format_is_refused_by_name(place: Path) -> None:
    """Whatever a newer version wrote besides is not looked at."""
    place.joinpath("identity").write_bytes(b'{"format": 2, "whatever": [1, 2]}')
    with pytest.raises(UnknownFormat, match="format 2"):
        _open(place)


@pytest.mark.parametrize(
    "line",
    [
        None,
        b"",
        b"\n",
        b"gen-0001",
        b"gen-0001\n\n",
        b"gen-1\n",
        b"gen-00001\n",
        b"gen-0000\n",
        b"gen-0002\n",
        b"gen-abc\n",
        b"../gen-0001\n",
        b"NONE\n",
        b"\xff\n",
        b"gen-" + b"1" * 5000 + b"\n",
    ],
)
def test_a_current_that_names_no_database_is_corrupt(place: Path, line: bytes | None) -> None:
    """A damaged or missing CURRENT never counts as "nothing yet": that would delete what it hid."""
    _make(place / "target", 1, promoted=1)
    current = place / "target" / "CURRENT"
    with _open(place / "target") as target:
        current.unlink()
        if line is not None:
            current.write_bytes(line)
        before = _tree(place)
        for use in (
            target.current,
            target.remove_unused,
            lambda: target.promote(1),
            lambda: open_current(target.path).__enter__(),
        ):
            with pytest.raises(CorruptRecord, match="CURRENT"):
                use()
    with pytest.raises(CorruptRecord, match="CURRENT"):
        _open(place / "target")
    assert _tree(place) == before


def test_paths_that_cannot_be_a_target_are_refused(place: Path) -> None:
    """A file, a missing parent, NUL, a circle of links: each refused, and nothing is created."""
    (place / "file").write_bytes(b"a file")
    (place / "circle").symlink_to(place / "circle")
    before = _tree(place)
    for path in ("file", "file/below", "no/parent", "nul\0", "circle", "\ud800"):
        with pytest.raises(InvalidValue):
            _open(place / path)
    assert _tree(place) == before


@pytest.mark.parametrize(("source", "node"), [("", "n"), ("s", ""), ("s", "n" * 10_240)])
def test_ids_that_cannot_be_written_are_refused(place: Path, source: str, node: str) -> None:
    """Bad ids are refused before the directory is made."""
    with pytest.raises(InvalidValue):
        _open(place / "target", source=source, node=node)
    assert _tree(place) == {}


def test_a_relative_path_is_followed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the open it is the same directory, wherever the process goes, by whatever name."""
    (place / "here").mkdir()
    (place / "link").symlink_to(place / "here")
    monkeypatch.chdir(place / "here")
    with _open(Path("../link/target")) as target:
        assert target.path == (place / "here" / "target").resolve()
        monkeypatch.chdir("/")
        target.create_generation(1)
    assert (place / "here" / "target" / "gen-0001").is_dir()


# --- One owner ------------------------------------------------------------------------------------

OWN = """
    import sys
    from pathlib import Path
    from bootledger.files import Files
    from bootledger.replica.target import Target
    target = Target.open(
        Path(sys.argv[1]), Files(), source_database_id=sys.argv[2], node_id="node-1"
    )
    print("owned", flush=True)
    sys.stdin.read()
"""


def test_a_second_owner_is_refused_until_the_first_is_killed(place: Path) -> None:
    """The refusal names the pid of the live owner; a death of any kind lets go."""
    owner = processes.start(OWN, place / "target", SOURCE)
    try:
        assert processes.wait_for_line(owner) == "owned"
        with pytest.raises(TargetBusy, match=rf"\bpid {owner.pid}\b"):
            _open(place / "target")
    finally:
        processes.kill(owner)
    _open(place / "target").close()


def test_a_second_handle_in_the_same_process_is_refused(place: Path) -> None:
    """Ownership belongs to the handle, not to whoever shares its process."""
    with _open(place / "target"), pytest.raises(TargetBusy, match=f"pid {os.getpid()}"):
        _open(place / "target")
    _open(place / "target").close()


def _assert_powerless(target: Target, error: type[Exception]) -> None:
    before = _tree(target.path)
    for change in (
        lambda: target.create_generation(9),
        lambda: target.promote(2),
        target.remove_unused,
    ):
        with pytest.raises(error):
            change()
    assert _tree(target.path) == before


def test_a_closed_target_changes_nothing(place: Path) -> None:
    """A zombie that kept the handle is refused by every method that changes something."""
    _make(place / "target", 2, promoted=1)
    target = _open(place / "target")
    target.close()
    target.close()
    _assert_powerless(target, InvalidValue)
    assert target.current() == 1


@pytest.mark.parametrize("replaced", [False, True])
def test_an_owner_whose_lock_file_is_gone_changes_nothing(place: Path, replaced: bool) -> None:
    """Without its lock file it keeps nobody out, so it may not act as if it did."""
    _make(place / "target", 2, promoted=1)
    with _open(place / "target") as target:
        (place / "target" / "owner.lock").unlink()
        with ExitStack() as stack:
            if replaced:
                stack.enter_context(_open(place / "target"))
            _assert_powerless(target, TargetBusy)


def test_a_forked_child_changes_nothing(place: Path) -> None:
    """A child shares the lock by accident; it is refused, and its end does not free the target."""
    _make(place / "target", 2, promoted=1)
    processes.run(
        """
        import os, sys
        from pathlib import Path
        from bootledger.errors import WrongProcess
        from bootledger.files import Files, is_locked
        from bootledger.replica.target import Target
        target = Target.open(
            Path(sys.argv[1]), Files(), source_database_id=sys.argv[2], node_id="node-1"
        )
        child = os.fork()
        if child == 0:
            refused = 0
            for change in (
                lambda: target.create_generation(9),
                lambda: target.promote(2),
                lambda: target.remove_unused(),
            ):
                try:
                    change()
                except WrongProcess:
                    refused += 1
            target.close()
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        assert is_locked(target.path / "owner.lock")
        assert target.current() == 1
        target.promote(2)
        """,
        place / "target",
        SOURCE,
    )


# --- Generations ----------------------------------------------------------------------------------


@given(st.integers(1, U64_MAX))
def test_a_generation_is_its_name(generation: int) -> None:
    """Every generation has one name, and the name leads back to it."""
    assert parse_generation(generation_name(generation)) == generation


@given(st.one_of(st.text(), st.from_regex(r"gen-\d{1,25}", fullmatch=True)))
def test_no_other_name_is_a_generation(name: str) -> None:
    """A name that is parsed is exactly the name that would be written."""
    generation = parse_generation(name)
    assert generation is None or generation_name(generation) == name


@pytest.mark.parametrize("generation", [0, -1, 1.0, True, U64_MAX + 1, "1", None])
def test_a_generation_that_is_no_number_from_1_is_refused(place: Path, generation: int) -> None:
    """Nothing is created for it."""
    with _open(place / "target") as target:
        before = _tree(place)
        for use in (target.directory, target.create_generation, target.promote):
            with pytest.raises(InvalidValue):
                use(generation)
        assert _tree(place) == before


def test_other_names_are_left_alone(place: Path) -> None:
    """What is not exactly a generation's directory is neither listed nor removed."""
    _make(place / "target", 2, promoted=2)
    strays = ["gen-abc", "gen-1", "gen-00003", "gen-0000", "gen-0003x", "Gen-0003", "gen-٠٠٠٣"]
    for name in strays:
        (place / "target" / name).mkdir()
    (place / "target" / "gen-0004").write_bytes(b"a file")
    (place / "target" / "gen-0005").symlink_to(place / "target" / "gen-0002")
    with _open(place / "target") as target:
        assert target.generations() == [1, 2]
        assert target.remove_unused() == [1]
    assert {*strays, "gen-0002", "gen-0004", "gen-0005"} <= set(_tree(place / "target"))


def test_making_a_generation_again_keeps_what_is_in_it(place: Path) -> None:
    """Creation repeats harmlessly: a resumed copy finds its candidate."""
    with _open(place / "target") as target:
        directory = target.create_generation(12)
        (directory / "data.mdb").write_bytes(b"half a copy")
        assert target.create_generation(12) == directory == target.directory(12)
        assert (directory / "data.mdb").read_bytes() == b"half a copy"
        assert target.generations() == [12]


def test_what_is_in_service_or_older_is_never_a_candidate(place: Path) -> None:
    """Readers use it: whoever wants to write there has a history that is not this target's."""
    _make(place / "target", 2, promoted=2)
    with _open(place / "target") as target:
        before = _tree(place)
        for generation in (1, 2):
            with pytest.raises(DivergedHistory, match="CURRENT names generation 2") as refused:
                target.create_generation(generation, UUID(int=7))
            assert f"bootledger abort LEDGER {UUID(int=7)}" in refused.value.hint
        assert _tree(place) == before
        assert target.create_generation(3).is_dir()


def test_the_owner_of_a_candidate_mends_the_word_for_whom_it_is(place: Path) -> None:
    """A damaged `intent` file is named, never its directory, and written again by its owner."""
    with _open(place / "target") as target:
        file = target.create_generation(1, UUID(int=7)) / "intent"
        file.write_bytes(b"\xff\n")
        with pytest.raises(CorruptRecord, match="which is no intent") as damaged:
            target.made_for(1)
        assert f"remove the file {file} " in damaged.value.hint
        assert target.remove_made_for(UUID(int=7)) == ([], [])
        target.create_generation(1, UUID(int=7))
        assert target.made_for(1) == UUID(int=7)


def test_promoting_what_is_no_database_is_refused(place: Path) -> None:
    """A generation that is missing, without data.mdb or with an empty one stays out of service."""
    _make(place / "target", 1, promoted=1)
    with _open(place / "target") as target:
        target.create_generation(3)
        (target.create_generation(4) / "data.mdb").touch()
        before = _tree(place)
        for generation in (2, 3, 4):
            with pytest.raises(InvalidValue, match="no database"):
                target.promote(generation)
        assert _tree(place) == before


def test_promotion_goes_forward_and_repeats(place: Path) -> None:
    """The same generation again is harmless; an older one would show readers the past."""
    _make(place / "target", 3)
    with _open(place / "target") as target:
        for generation in (1, 1, 3, 3):
            target.promote(generation)
            assert target.current() == generation
            assert current_directory(place / "target") == target.directory(generation)
        with pytest.raises(InvalidValue, match="older than 3"):
            target.promote(2)
        assert (place / "target" / "CURRENT").read_bytes() == b"gen-0003\n"


def test_removal_spares_what_is_in_service_and_what_is_kept(place: Path) -> None:
    """Everything else goes; the ledger and the identity stay."""
    _make(place / "target", 5, promoted=3)
    before = _tree(place / "target")
    with _open(place / "target") as target:
        assert target.remove_unused(keep=lambda: (5, 7)) == [1, 2, 4]
        assert target.remove_unused(keep=lambda: (5, 7)) == []
        assert target.generations() == [3, 5]
    gone = tuple(generation_name(generation) for generation in (1, 2, 4))
    assert _tree(place / "target") == {
        name: data for name, data in before.items() if not name.startswith(gone)
    }


def test_before_the_first_promotion_only_what_is_kept_stays(place: Path) -> None:
    """CURRENT says `none`, so that candidates of earlier attempts can go."""
    _make(place / "target", 3)
    with _open(place / "target") as target:
        assert target.remove_unused(keep=lambda: [2]) == [1, 3]
        assert target.generations() == [2]


def test_with_nothing_to_remove_nobody_is_asked_what_to_keep(place: Path) -> None:
    """What to keep takes looking at the ledger: that is spared where all is in service."""

    def keep() -> list[int]:
        raise AssertionError("asked for nothing")

    _make(place / "target", 1, promoted=1)
    with _open(place / "target") as target:
        assert target.remove_unused(keep) == []


# --- Readers --------------------------------------------------------------------------------------


def test_what_a_reader_holds_stays_until_it_lets_go(place: Path) -> None:
    """The hold is on a generation, not on CURRENT: that moves on meanwhile."""
    _make(place / "target", 2, promoted=1)
    with _open(place / "target") as target:
        with open_current(place / "target") as one, open_current(place / "target") as another:
            target.promote(2)
            assert target.remove_unused() == []
            assert one == another
            assert (one / "data.mdb").read_bytes() == b"database 1"
            with open_current(place / "target") as newer:
                assert (newer / "data.mdb").read_bytes() == b"database 2"
        assert target.remove_unused() == [1]


def test_a_reader_that_is_killed_lets_go(place: Path) -> None:
    """The operating system releases the hold; the next removal takes the generation."""
    _make(place / "target", 2, promoted=1)
    reader = processes.start(
        """
        import sys
        from pathlib import Path
        from bootledger.replica.target import open_current
        with open_current(Path(sys.argv[1])) as directory:
            print(directory.name, flush=True)
            sys.stdin.read()
        """,
        place / "target",
    )
    try:
        assert processes.wait_for_line(reader) == "gen-0001"
        with _open(place / "target") as target:
            target.promote(2)
            assert target.remove_unused() == []
    finally:
        processes.kill(reader)
    with _open(place / "target") as target:
        assert target.remove_unused() == [1]


def test_a_reader_that_is_overtaken_tries_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CURRENT moves, and the old generation goes, between reading its name and holding it."""
    _make(place / "target", 3, promoted=1)
    with _open(place / "target") as target:
        hold = readers.shared_hold
        overtaking = iter([2, 3])

        @contextmanager
        def overtaken(path: Path) -> Iterator[bool]:
            for generation in itertools.islice(overtaking, 1):
                target.promote(generation)
                target.remove_unused(keep=lambda: [3])
            with hold(path) as held:
                yield held

        monkeypatch.setattr(readers, "shared_hold", overtaken)
        with open_current(place / "target") as directory:
            assert directory.name == "gen-0003"
            assert target.generations() == [3]


def test_a_reader_keeps_no_lock_that_an_owner_or_lmdb_needs(place: Path) -> None:
    """It holds one file of ours, shared: neither the owner nor a writer of the database waits."""
    _make(place / "target", 1, promoted=1)
    with open_current(place / "target") as directory:
        with _open(place / "target"):
            assert not is_locked(directory / "readers.lock")
        assert sorted(path.name for path in directory.iterdir()) == ["data.mdb", "readers.lock"]


def test_a_reader_is_told_what_is_not_there(place: Path) -> None:
    """No target, no database yet, and a hold that cannot be had are three different answers."""
    for path in (place, place / "missing", place / "nul\0"):
        with pytest.raises(InvalidValue), open_current(path):
            pass
    _make(place / "target", 1)
    with pytest.raises(Unavailable, match="no database yet"), open_current(place / "target"):
        pass
    with _open(place / "target") as target:
        target.promote(1)
        (target.directory(1) / "readers.lock").unlink()
    with pytest.raises(CorruptRecord, match="gen-0001"), open_current(place / "target"):
        pass


PROMOTE_FOREVER = """
    import sys
    from pathlib import Path
    import lmdb
    from bootledger.files import Files
    from bootledger.replica.target import Target
    with Target.open(
        Path(sys.argv[1]), Files(), source_database_id=sys.argv[2], node_id="node-1"
    ) as target:
        generation = max(target.generations(), default=0)
        while True:
            generation += 1
            directory = target.create_generation(generation)
            with lmdb.open(str(directory)) as env, env.begin(write=True) as txn:
                for key in range(40):
                    txn.put(b"%d" % key, b"%d " % generation * 100)
            target.promote(generation)
            target.remove_unused()
            print(generation, flush=True)
"""

READ_FOREVER = """
    import select, sys
    from pathlib import Path
    import lmdb
    from bootledger.replica.target import open_current
    seen = []
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        with open_current(Path(sys.argv[1])) as directory:
            with lmdb.open(str(directory), readonly=True, create=False) as env:
                for _ in range(3):
                    with env.begin() as txn:
                        found = {value for _, value in txn.cursor()}
                        count = txn.stat()["entries"]
                    generation = int(directory.name[4:])
                    assert (count, found) == (40, {b"%d " % generation * 100}), (directory, found)
        seen.append(generation)
        if len(seen) == 1:
            print("reading", flush=True)
    assert seen == sorted(seen), "an older value after a newer one"
    print(len(seen), len(set(seen)))
"""


def test_readers_see_whole_generations_in_order_while_the_owner_is_killed(place: Path) -> None:
    """An owner that promotes and removes is killed again and again; readers never notice."""
    moments = random.Random(4)
    first = processes.start(PROMOTE_FOREVER, place / "target", SOURCE)
    assert processes.wait_for_line(first) == "1"
    watching = [processes.start(READ_FOREVER, place / "target") for _ in range(2)]
    for reader in watching:
        assert processes.wait_for_line(reader) == "reading"
    processes.kill(first)
    promoted = 1
    for _ in range(6):
        owner = processes.start(PROMOTE_FOREVER, place / "target", SOURCE)
        try:
            for _ in range(moments.randrange(5, 50)):
                line = processes.wait_for_line(owner)
            assert int(line) > promoted
            promoted = int(line)
        finally:
            processes.kill(owner)
        current = read_current(place / "target")
        assert current is not None
        assert current >= promoted
    for reader in watching:
        out, err = reader.communicate("stop", timeout=60)
        assert (reader.returncode, err) == (0, "")
        reads, generations = map(int, out.split())
        assert reads >= generations > 20
    with _open(place / "target") as target:
        target.remove_unused()
        assert target.generations() == [target.current()]
        with open_current(target.path) as directory, lmdb.open(str(directory)) as env:
            assert env.stat()["entries"] == 40


# --- Crashes --------------------------------------------------------------------------------------


def _current_was(*allowed: int | None) -> Look:
    def look(place: Path) -> None:
        assert read_current(place / "target") in allowed
        assert (place / "target" / "ledger" / "data.mdb").read_bytes() == b"the ledger"

    return look


def _uncrashed(scenario: Scenario) -> dict[str, bytes | None]:
    with fresh_place() as place:
        scenario.prepare(place)
        scenario.run(CrashingFiles(), place)
        return _without_identity(place)


def _without_identity(place: Path) -> dict[str, bytes | None]:
    tree = _tree(place)
    assert tree.pop("target/identity") is not None  # it holds the time of creation
    return tree


def _explore(
    run: Callable[[CrashingFiles, Path], None],
    *,
    at_least: int,
    prepare: Look = lambda place: None,
    after_crash: Look = lambda place: None,
) -> None:
    """Crash everywhere, once and twice; the end must be the same as without."""
    expected = _uncrashed(Scenario(run, prepare))

    def the_same_end(place: Path) -> None:
        assert _without_identity(place) == expected

    scenario = Scenario(run, prepare, after_crash, the_same_end)
    every_single(scenario, at_least=at_least)
    every_pair(scenario, at_least=at_least)


def test_creation_survives_every_crash_and_every_pair() -> None:
    """A creation that died is completed by the next open."""

    def create(files: CrashingFiles, place: Path) -> None:
        with _open(place / "target", files) as target:
            assert target.current() is None

    _explore(create, at_least=9)


def test_promotion_survives_every_crash_and_every_pair() -> None:
    """CURRENT names the old generation or the new one at every point, and the new one at last."""

    def promote(files: CrashingFiles, place: Path) -> None:
        with _open(place / "target", files) as target:
            target.promote(2)

    _explore(
        promote,
        at_least=6,
        prepare=lambda place: _make(place / "target", 2, promoted=1),
        after_crash=_current_was(1, 2),
    )


def test_removal_survives_every_crash_and_every_pair() -> None:
    """What is in service and what is kept are whole at every point; the rest goes at last."""

    def remove(files: CrashingFiles, place: Path) -> None:
        with _open(place / "target", files) as target:
            target.remove_unused(keep=lambda: [5])

    def spared(place: Path) -> None:
        _current_was(4)(place)
        for generation in (4, 5):
            file = place / "target" / generation_name(generation) / "data.mdb"
            assert file.read_bytes() == b"database %d" % generation

    _explore(
        remove,
        at_least=9,
        prepare=lambda place: _make(place / "target", 5, promoted=4),
        after_crash=spared,
    )


def test_replacing_a_generation_survives_every_crash_and_every_pair() -> None:
    """From the candidate's directory to the removal of the old database, as the loop does it."""

    def replace(files: CrashingFiles, place: Path) -> None:
        with _open(place / "target", files) as target:
            if target.current() != 2:  # the swap is all that is done again once it was licensed
                directory = target.create_generation(2)
                files.replace(directory / "data.mdb", b"database 2", name="candidate")
            target.promote(2)
            target.remove_unused()

    _explore(
        replace,
        at_least=14,
        prepare=lambda place: _make(place / "target", 1, promoted=1),
        after_crash=_current_was(1, 2),
    )


def test_a_removal_that_stopped_halfway_is_finished(place: Path) -> None:
    """Whatever a kill left of a removed generation, the next removal takes the rest."""
    names = ["data.mdb", "readers.lock"]
    for left in ([], names[:1], names[1:]):
        _make(place / f"target-{len(left)}{left}", 2, promoted=1)
        with _open(place / f"target-{len(left)}{left}") as target:
            target.promote(2)
            for name in set(names) - set(left):
                (target.directory(1) / name).unlink()
            assert target.remove_unused() == [1]
            assert target.generations() == [2]


# --- Disks that are read-only or full -------------------------------------------------------------

ON_A_DISK = """
from bootledger.errors import OutOfSpace, ReadOnly
from bootledger.files import Files
from bootledger.replica.target import Target, open_current

def open_target(name="target"):
    return Target.open(base / name, Files(), source_database_id="s", node_id="n")

def make(target, *generations):
    for generation in generations:
        (target.create_generation(generation) / "data.mdb").write_bytes(b"%d" % generation)

def refused(error, change):
    try:
        change()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")

def names():
    return {str(path.relative_to(base)) for path in base.rglob("*")}
"""


def _on_a_disk(place: Path, code: str) -> None:
    """Run `code` where `base` is a disk of its own, with the helpers above."""
    mount_namespace.run(ON_A_DISK + textwrap.dedent(code), place / "disk")


def test_a_read_only_disk_is_named_and_still_read(place: Path) -> None:
    """Nothing can be owned there, old or new; readers read on."""
    _on_a_disk(
        place,
        """
        with open_target() as target:
            make(target, 1)
            target.promote(1)
        (base / "empty").mkdir()
        mount("-o", "remount,ro", base)
        before = names()
        for name in ("target", "empty", "new"):
            refused(ReadOnly, lambda: open_target(name))
        with open_current(base / "target") as directory:
            assert (directory / "data.mdb").read_bytes() == b"1"
        assert names() == before
        print("done")
        """,
    )


def test_a_disk_that_turns_read_only_stops_every_change(place: Path) -> None:
    """An owner whose disk was remounted gets the reason, and CURRENT stays."""
    _on_a_disk(
        place,
        """
        with open_target() as target:
            make(target, 1, 2, 3)
            target.promote(1)
            target.promote(2)
            # A remount refuses while the lock file is open for writing; a mount over it does not.
            mount("--bind", base, base)
            mount("-o", "remount,bind,ro", base)
            before = names()
            refused(ReadOnly, lambda: target.create_generation(4))
            refused(ReadOnly, lambda: target.promote(3))
            refused(ReadOnly, target.remove_unused)
            assert target.current() == 2
            assert names() == before
        print("done")
        """,
    )


def test_a_full_disk_changes_nothing_and_removal_frees_it(place: Path) -> None:
    """Promotion says that there is no room and leaves CURRENT; removal needs none; then it goes."""
    _on_a_disk(
        place,
        """
        with open_target() as target:
            make(target, 1, 2, 3)
            (target.directory(1) / "data.mdb").write_bytes(bytes(100 * 1024))
            target.promote(2)
            fill(base / "filler")
            before = names()
            refused(OutOfSpace, lambda: target.promote(3))
            assert target.current() == 2
            assert names() - before <= {"target/gen-0003/readers.lock"}
            assert target.remove_unused(keep=lambda: [3]) == [1]
            target.promote(3)
            assert target.current() == 3
        print("done")
        """,
    )


def test_a_disk_without_room_for_another_file_can_be_cleared(place: Path) -> None:
    """To remove what was never promoted, not even an empty file has to be made."""
    _on_a_disk(
        place,
        """
        mount("-t", "tmpfs", "-o", "nr_inodes=20", "tmpfs", base)
        with open_target() as target:
            make(target, 1, 2)
            try:
                for number in range(20):
                    (base / f"filler-{number}").touch()
            except OSError:
                pass
            refused(OutOfSpace, lambda: target.create_generation(3))
            refused(OutOfSpace, lambda: target.promote(1))
            assert target.current() is None
            assert target.remove_unused(keep=lambda: [2]) == [1]
            target.promote(2)
        print("done")
        """,
    )


def test_a_target_on_a_full_disk_is_made_once_there_is_room(place: Path) -> None:
    """A creation without room leaves nothing that looks like a target, and repeats."""
    _on_a_disk(
        place,
        """
        fill(base / "filler")
        refused(OutOfSpace, open_target)
        assert not (base / "target" / "identity").exists()
        (base / "filler").unlink()
        with open_target() as target:
            assert target.current() is None
        print("done")
        """,
    )
