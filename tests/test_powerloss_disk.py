"""The model of a disk without power: what it may leave, by examples and by laws."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import Script, Tree, all_of

from bootledger.errors import InvalidValue
from bootledger.simulation.powerloss import Rules, States
from bootledger.simulation.powerloss.image import Image
from bootledger.simulation.powerloss.namespace import Namespace
from bootledger.simulation.powerloss.operations import (
    ROOT,
    Write,
)

STRICT, EXT4 = Rules.STRICT, Rules.EXT4
PAGE = 4096


def _old_file() -> Script:
    script = Script()
    script.make("file")
    script.write("file", b"old")
    script.sync("file")
    script.sync("")
    script.acknowledge(b"there")
    return script


def _trees(found: Iterable[Tree]) -> set[tuple[tuple[str, bytes | str | None], ...]]:
    return {tuple(sorted(tree.items())) for tree in found}


def _same(found: list[Tree], *expected: Tree) -> bool:
    return _trees(found) == _trees(list(expected))


# --- Examples -------------------------------------------------------------------------------------


def test_a_file_that_was_never_synced_may_be_anything_it_was() -> None:
    """Not there, empty, as long as it was and all zeros, or whole."""
    script = Script()
    script.make("file")
    script.write("file", b"data")
    zeros, whole = {"file": bytes(4)}, {"file": b"data"}
    assert _same(script.left_at_the_end(), {}, {"file": b""}, zeros, whole)
    assert _same(script.left_at_the_end(EXT4), {}, {"file": b""}, whole)


def test_a_synced_file_has_its_bytes_and_perhaps_no_name() -> None:
    """Under the strict rules a file's fsync says nothing of its name; a journal keeps it."""
    script = Script()
    script.make("file")
    script.write("file", b"data")
    script.sync("file")
    assert _same(script.left_at_the_end(), {}, {"file": b"data"})
    assert _same(script.left_at_the_end(EXT4), {"file": b"data"})
    script.sync("")
    assert _same(script.left_at_the_end(), {"file": b"data"})


def test_a_rename_is_one_step() -> None:
    """Of a replaced file there is the old content or the new one, under every name at all times."""
    script = _old_file()
    script.make("new")
    script.write("new", b"new")
    script.sync("new")
    script.rename("new", "file")
    old, new, both = {"file": b"old"}, {"file": b"new"}, {"file": b"old", "new": b"new"}
    assert _same(script.left_at_the_end(), old, new, both)
    assert _same(script.left_at_the_end(EXT4), both, new)  # the journal has the new name already
    script.sync("")
    assert _same(script.left_at_the_end(), new)


def test_a_rename_without_a_sync_may_leave_an_empty_file() -> None:
    """The mistake of them all: the name is there, the bytes are not."""
    script = _old_file()
    script.make("new")
    script.write("new", b"new")
    script.rename("new", "file")
    script.sync("")
    for rules in Rules:
        assert {"file": b""} in script.left_at_the_end(rules)


def test_a_link_and_a_removal_are_two_steps() -> None:
    """What is renamed by hand can be lost under the strict rules, and not with a journal."""
    script = _old_file()
    script.link("file", "other")
    script.remove("file")
    old, other = {"file": b"old"}, {"other": b"old"}
    assert _same(script.left_at_the_end(), old, other, {}, {**old, **other})
    assert _same(script.left_at_the_end(EXT4), old, other, {**old, **other})


def test_a_directory_has_one_name() -> None:
    """However often it was renamed, it is in one place; and its own names are not its name."""
    script = Script()
    script.make_directory("a")
    script.make("a/file")
    script.rename("a", "b")
    script.rename("b", "c")
    bare: list[Tree] = [{}, {"a": None}, {"b": None}, {"c": None}]
    full: list[Tree] = [{name: None, f"{name}/file": b""} for name in "abc"]
    assert _same(script.left_at_the_end(), *bare, *full)
    script.sync("")
    assert _same(script.left_at_the_end(), {"c": None}, {"c": None, "c/file": b""})


def test_a_write_is_torn_between_its_pages() -> None:
    """Each page arrives or not; with sectors, each eighth of a page."""
    script = _old_file()
    script.write("file", b"x" * 2 * PAGE)
    script.sync_all()
    script.write("file", b"y" * 2 * PAGE)
    first, second = b"x" * PAGE, b"y" * PAGE
    expected: list[Tree] = [{"file": a + b} for a in (first, second) for b in (first, second)]
    assert _same(script.left_at_the_end(), *expected)
    assert len(_trees(script.left_at_the_end(block_bytes=1024))) == 2**8


def test_the_writes_to_one_block_arrive_in_their_order() -> None:
    """It is the block that is written: never the later bytes without the earlier ones."""
    script = _old_file()
    script.write("file", b"1", 0)
    script.write("file", b"2", 1)
    assert _same(script.left_at_the_end(), *({"file": data} for data in (b"old", b"1ld", b"12d")))


def test_a_synced_write_is_durable_and_nothing_else_is() -> None:
    """O_DSYNC says nothing of what was written to other blocks before it."""
    script = _old_file()
    script.write("file", b"x" * 3 * PAGE)
    script.sync("file")
    script.write("file", b"early", 0)
    script.write("file", b"DSYNC", PAGE, synced=True)
    before, after = b"x" * PAGE, b"early" + b"x" * (PAGE - 5)
    rest = b"DSYNC" + b"x" * (2 * PAGE - 5)
    assert _same(script.left_at_the_end(), {"file": before + rest}, {"file": after + rest})


def test_a_synced_write_brings_the_size_that_it_needs() -> None:
    """Bytes beyond the old end are durable only with the new end."""
    script = _old_file()
    script.write("file", b"x" * PAGE, PAGE, synced=True)
    assert _same(script.left_at_the_end(), {"file": b"old" + bytes(PAGE - 3) + b"x" * PAGE})


def test_what_was_cut_off_does_not_come_back() -> None:
    """A file that was cut, and grown again, has zeros there, whatever of it arrived."""
    script = _old_file()
    script.write("file", b"long" * PAGE)
    script.sync("file")
    script.resize("file", 2)
    script.resize("file", 8)
    long = b"long" * PAGE
    expected: list[Tree] = [{"file": data} for data in (long, b"lo", b"lo" + bytes(6))]
    assert _same(script.left_at_the_end(), *expected)


def test_a_file_that_is_open_keeps_its_bytes_without_a_name() -> None:
    """What has no name is not on the disk that anybody reads; its writes trouble no other file."""
    script = _old_file()
    script.rename("file", "other")
    script.make("file")
    script.write("other", b"NEW")
    script.sync_all()
    assert script.left_at_the_end() == [{"file": b"", "other": b"NEW"}]


def test_what_was_acknowledged_before_the_moment_counts() -> None:
    """A state carries every promise that was given before the sync that it is about returned."""
    script = _old_file()
    script.write("file", b"2")
    script.sync("file")
    script.acknowledge(b"two")
    promises = [list(moment.acknowledged) for moment in script.states().moments]
    assert promises == [[], [], [b"there"], [b"there", b"two"]]
    assert {tuple(state.acknowledged) for state in script.states()} == set(map(tuple, promises))


# --- Laws -----------------------------------------------------------------------------------------

FILES = ("a", "b", "d/c")


@st.composite
def scripts(draw: st.DrawFn) -> tuple[Script, Tree]:
    """A random script, and what it leaves if the power stays on, by a model of its own."""
    script = Script()
    script.make_directory("d")
    tree: dict[str, bytearray] = {}
    for _ in range(draw(st.integers(1, 9))):
        path = draw(st.sampled_from(FILES))
        if path not in tree:
            script.make(path)
            tree[path] = bytearray()
        kind = draw(st.sampled_from(["write", "write", "resize", "rename", "remove", "sync"]))
        if kind == "write":
            offset = draw(st.sampled_from([0, 3, PAGE - 2, PAGE]))
            data = draw(st.sampled_from([b"x", b"yyyyy", bytes(5), b"z" * PAGE]))
            synced = draw(st.booleans())
            script.write(path, data, offset, synced=synced)
            tree[path].extend(bytes(max(offset - len(tree[path]), 0)))
            tree[path][offset : offset + len(data)] = data
        elif kind == "resize":
            size = draw(st.sampled_from([0, 2, PAGE + 1]))
            script.resize(path, size)
            tree[path] = tree[path][:size].ljust(size, b"\0")
        elif kind == "rename":
            to = draw(st.sampled_from(FILES))
            if to != path:
                script.rename(path, to)
                tree[to] = tree.pop(path)
        elif kind == "remove":
            script.remove(path)
            del tree[path]
        else:
            synced_path = draw(st.sampled_from([path, "", "d"]))
            script.sync(synced_path)
    return script, {"d": None, **{path: bytes(data) for path, data in tree.items()}}


rules_and_blocks = st.tuples(st.sampled_from(Rules), st.sampled_from([512, PAGE]))


@given(scripts(), rules_and_blocks)
def test_if_everything_arrives_it_is_as_if_nothing_had_happened(
    made: tuple[Script, Tree], how: tuple[Rules, int]
) -> None:
    """The disk on which every atom arrived is the disk that the process saw."""
    script, tree = made
    states = script.states(*how)
    last = len(states.moments) - 1
    everything = tuple(len(chain) for chain in states.moments[last].chains)
    assert states.image(states.state(last, everything)).tree() == tree


@given(scripts(), rules_and_blocks)
def test_after_a_sync_of_everything_one_disk_is_left(
    made: tuple[Script, Tree], how: tuple[Rules, int]
) -> None:
    """Nothing is pending when everything was synced, and what is durable is all of it."""
    script, tree = made
    script.sync_all()
    assert script.left_at_the_end(*how) == [tree]


@settings(max_examples=50)
@given(scripts())
def test_a_journal_only_adds_promises(made: tuple[Script, Tree]) -> None:
    """Whatever may be left under the rules of ext4 may be left under the strict ones."""
    script, _ = made
    strict, ext4 = script.states(STRICT), script.states(EXT4)
    if strict.legal > 1000:
        return
    for moment in range(len(strict.moments)):
        possible = _trees(strict.image(state).tree() for state in all_of(strict, moment))
        assert _trees(ext4.image(state).tree() for state in all_of(ext4, moment)) <= possible


@given(scripts(), rules_and_blocks, st.integers(1, 60), st.integers(0, 3))
def test_a_token_is_its_state(
    made: tuple[Script, Tree], how: tuple[Rules, int], budget: int, seed: int
) -> None:
    """The same seed gives the same states twice, each disk once, each found again by its token."""
    script, _ = made
    states = States(script.trace(), *how, budget=budget, seed=seed)
    found = list(states)
    assert found == list(States(script.trace(), *how, budget=budget, seed=seed))
    assert [states.replay(state.token) for state in found] == found
    trees = [(tuple(sorted(states.image(s).tree().items())), len(s.acknowledged)) for s in found]
    assert len(trees) == len(set(trees)) == len(states.keys())
    assert len(found) <= budget


def test_a_token_of_something_else_is_refused() -> None:
    """Other rules, no such moment, more than there is: nothing is recovered in its stead."""
    states = _old_file().states()
    for token in (
        "ext4/4096/end:keep=0",
        "strict/4096/sync#9:keep=0",
        "strict/4096/end:keep=1",
        "",
    ):
        with pytest.raises(InvalidValue, match="no state of this trace"):
            states.replay(token)
    with pytest.raises(InvalidValue, match="power of two"):
        States(_old_file().trace(), block_bytes=1000)


def test_a_sample_has_what_is_telling() -> None:
    """Of too many disks: nothing, everything, each prefix, each one alone and each one lost."""
    script = _old_file()
    pages = 40
    script.write("file", b"x" * PAGE * pages)
    script.sync("file")
    script.acknowledge(b"x")
    script.write("file", b"y" * PAGE * pages)
    states = States(script.trace(), budget=1000)
    assert not states.exhaustive
    last = len(states.moments) - 1
    kept = {state.kept for state in states if state.moment == last}
    for index in range(pages):
        alone = tuple(int(other == index) for other in range(pages))
        lost = tuple(int(other != index) for other in range(pages))
        before = tuple(int(other < index) for other in range(pages))
        assert {alone, lost, before} <= kept
    assert len(kept) > 300


def test_the_root_is_the_place() -> None:
    """The paths of the model begin at the place that was recorded."""
    assert Namespace(Image()).find("") == ROOT


def test_without_a_sync_a_trace_is_shorter_by_it_and_a_write_stays() -> None:
    """An elided fsync is gone; an elided O_DSYNC leaves the write."""
    script = _old_file()
    script.write("file", b"2", synced=True)
    trace = script.trace()
    names = dict(trace.syncs())
    assert list(names) == ["file#1", ".#1", "file#2"]
    assert len(trace.without_sync(names["file#1"]).operations) == len(trace.operations) - 1
    instead = trace.without_sync(names["file#2"]).operations[names["file#2"]]
    assert isinstance(instead, Write)
    assert not instead.synced
