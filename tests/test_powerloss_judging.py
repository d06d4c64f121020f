"""Judging: every state is put on the disk as it is and recovered; even a death is a verdict."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss import States, Trace, judge
from bootledger.simulation.powerloss.image import PAGE_BYTES, Content, Image, content_of
from bootledger.simulation.powerloss.namespace import Namespace
from bootledger.simulation.powerloss.operations import (
    ROOT,
    Acknowledge,
    Kind,
    Operation,
    Sync,
    Write,
)
from bootledger.simulation.powerloss.places import Place, read_place
from bootledger.simulation.powerloss.private import can_mount

STATES = 20


def _numbers(place: Path) -> States:
    """A file that counts up to twenty, and says each number before it is durable."""
    operations: list[Operation] = [Namespace(Image()).make("number", Kind.FILE)]
    operations += [Write("number", 1, 0, b"  0", synced=True), Sync("", ROOT)]
    for number in range(1, STATES):
        operations += [
            Write("number", 1, 0, b"%3d" % number, synced=True),
            Acknowledge(b"%d" % number),
        ]
    return States(Trace(place, Image(), tuple(operations)))


def _number(place: Path) -> int:
    """The number that is on the disk; -1 if there is none yet."""
    file = place / "number"
    return int((file.read_bytes() if file.exists() else b"").strip(b"\0") or b"-1")


# --- Verdicts -------------------------------------------------------------------------------------


def _raise(number: int) -> None:
    raise ValueError(f"it is {number}")


def _touch_nothing(number: int) -> None:
    ctypes.string_at(0)


def _hang(number: int) -> None:
    time.sleep(60)


@pytest.mark.parametrize(
    ("die", "words"),
    [
        (_raise, "ValueError: it is 7"),
        (_touch_nothing, "it was killed by SIGSEGV"),
        (lambda number: os.abort(), "it was killed by SIGABRT"),
        (lambda number: os.kill(os.getpid(), signal.SIGBUS), "it was killed by SIGBUS"),
        (lambda number: os._exit(3), "it ended with 3"),
        (_hang, "it hung"),
    ],
)
def test_a_death_is_a_verdict(die: Callable[[int], object], words: str) -> None:
    """Whatever becomes of the worker, its state has a verdict, and every other one has its own."""

    def recover(place: Path, acknowledged: Sequence[bytes]) -> None:
        if (number := _number(place)) == 7:
            die(number)
        assert number >= max(map(int, acknowledged), default=-1)

    with fresh_place() as place:
        states = _numbers(place)
        report = judge(states, recover, hang_s=1.0)
        expected = [state.token for state in states if _holds(states, state.token, b"  7")]
        assert report.judged == len(list(states))
        assert report.exhaustive
        assert [violation.token for violation in report.violations] == expected
        assert {violation.words for violation in report.violations} == {words}
        again = judge(states, recover, hang_s=1.0, only=expected[:1])
    assert len(expected) == report.violated == 2
    assert (again.judged, again.violated, again.exhaustive) == (1, 1, False)


def _holds(states: States, token: str, data: bytes) -> bool:
    return states.image(states.replay(token)).tree().get("number") == data


def test_the_first_violation_is_the_first_whoever_was_faster() -> None:
    """With `stop_after` the verdict is the same at each run: the lowest state that is violated."""

    def recover(place: Path, acknowledged: Sequence[bytes]) -> None:
        if _number(place) == 9:
            time.sleep(0.05)
        assert _number(place) < 9

    with fresh_place() as place:
        states = _numbers(place)
        found = [judge(states, recover, stop_after=1) for _ in range(3)]
    first = next(state.token for state in states if _holds(states, state.token, b"  9"))
    assert [report.violations[0].token for report in found] == [first] * 3
    assert len({(report.judged, report.violated) for report in found}) == 1
    assert not found[0].exhaustive


def test_the_directory_itself_is_not_touched() -> None:
    """Each worker has a file system of its own at the place, where mounts are allowed."""

    def recover(place: Path, acknowledged: Sequence[bytes]) -> None:
        assert sorted(path.name for path in place.iterdir()) in ([], ["number"])
        (place / "left behind").mkdir()
        (place / "left behind" / "file").write_bytes(b"x")
        (place / "number").write_bytes(b"other")

    with fresh_place() as place:
        (place / "mine").write_bytes(b"mine")
        report = judge(_numbers(place), recover)
        assert not report.violated
        assert report.workers == (2 if can_mount() else 1)
        if can_mount():
            assert read_place(place).tree() == {"mine": b"mine"}


# --- Images on a real disk ------------------------------------------------------------------------

NAMES = ("a", "b", "d", "d/a", "d/e", "d/e/a")
DATA = (
    b"",
    b"short",
    bytes(3 * PAGE_BYTES),
    b"x" * PAGE_BYTES + bytes(PAGE_BYTES) + b"end",
    bytes(5 * PAGE_BYTES) + b"far",
    b"y" * (2 * PAGE_BYTES),
)


@st.composite
def images(draw: st.DrawFn) -> Image:
    """A small tree of directories, files, second names and links."""
    namespace = Namespace(Image())
    contents: dict[int, Content] = {}
    targets: dict[int, str] = {}
    for path in NAMES:
        if "/" in path and namespace.find(path.rsplit("/", 1)[0]) not in namespace.names:
            continue
        kind = draw(st.sampled_from(["none", "file", "file", "directory", "link", "symlink"]))
        if kind == "file":
            namespace.make(path, Kind.FILE)
            contents[namespace.existing(path)] = content_of(draw(st.sampled_from(DATA)))
        elif kind == "directory":
            namespace.make(path, Kind.DIRECTORY)
        elif kind == "symlink":
            namespace.make(path, Kind.SYMLINK)
            targets[namespace.existing(path)] = "a"
        elif kind == "link" and contents:
            first = draw(st.sampled_from(sorted(contents)))
            directory, name = namespace.place_of(path)
            namespace.names[directory][name] = first
    return Image(namespace.names, contents, targets)


def _meddle(place: Path, how: str) -> None:
    """Do to a tree what a recovery may do to it."""
    for path in sorted(place.rglob("*")):
        if path.is_symlink() or not path.exists():
            continue
        if path.is_file() and how == "overwrite":
            with path.open("r+b") as file:
                file.write(b"!")
        elif path.is_file() and how == "replace":
            path.with_name("new").write_bytes(b"replaced")
            path.with_name("new").replace(path)
        elif path.is_file() and how == "swap":
            path.unlink()
            path.mkdir()
        elif path.is_dir() and how == "remove":
            shutil.rmtree(path)
        elif path.is_dir() and how == "add":
            (path / "more").mkdir(exist_ok=True)
            os.link(path / "more" / "x", path / "y") if (path / "more" / "x").exists() else None


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            images(), st.sampled_from(["nothing", "overwrite", "replace", "swap", "remove", "add"])
        ),
        min_size=2,
        max_size=5,
    )
)
def test_a_place_holds_exactly_the_image(sequence: list[tuple[Image, str]]) -> None:
    """Whatever was there and whatever was done to it: the next image is there, byte for byte."""
    with fresh_place() as path:
        place = Place(path)
        for image, how in sequence:
            place.restore(image)
            assert read_place(path).tree() == image.tree()
            _meddle(path, how)
            place.restore(image)
            assert read_place(path).tree() == image.tree()


def test_what_was_not_touched_is_not_written_again() -> None:
    """A file that the last recovery left alone keeps its date; one that it wrote to does not."""
    namespace = Namespace(Image())
    namespace.make("a", Kind.FILE)
    namespace.make("b", Kind.FILE)
    image = Image(namespace.names, {1: content_of(b"a"), 2: content_of(b"b")})
    with fresh_place() as path:
        place = Place(path)
        place.restore(image)
        dated = {name: (path / name).stat().st_mtime_ns for name in "ab"}
        (path / "b").write_bytes(b"b")
        place.restore(image)
        assert (path / "a").stat().st_mtime_ns == dated["a"]
        assert (path / "b").stat().st_mtime_ns != dated["b"]
        other = Image(image.names, {**image.contents, 1: content_of(b"A")})
        place.restore(other)
        assert read_place(path).tree() == {"a": b"A", "b": b"b"}
