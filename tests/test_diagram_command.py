"""`bootledger diagram`: what it paints of a ledger, and what it refuses to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest
from ledgers import append
from pictures import INTENT, history, store_of
from typer.testing import CliRunner

from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.cli.moments import Moment
from bootledger.cli.painting import painted_history, painted_timeline, utc
from bootledger.projections.course import Course
from bootledger.statemachine.events import Event, Suspend
from bootledger.store.lmdb import LmdbEventStore

EVENTS = list(history())
STORE = store_of(*EVENTS)


def test_the_command_paints_what_the_ledger_says(tmp_path: Path) -> None:
    """`--intent`, `--timeline` and `--fleet` write the library's pictures, at a position too."""
    path = tmp_path / "ledger"
    with closing(LmdbEventStore.open(path)) as store:
        append(store, [(INTENT, event) for event in EVENTS])

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["diagram", str(path), *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    assert said("--intent", str(INTENT)[:8]) == painted_history(INTENT, Course(STORE, INTENT))
    assert said("--timeline", str(INTENT)) == painted_timeline(INTENT, Course(STORE, INTENT))
    then = Moment(30, EVENTS[29].recorded_at_ms)
    assert said("--timeline", str(INTENT), "--at", "30") == painted_timeline(
        INTENT, Course(STORE, INTENT, 30), then=then
    )
    assert f"as of position 30, {utc(then.recorded_at_ms)}" in said(
        "--intent", str(INTENT), "--at", "30"
    )
    assert "1 intent, as of position 69" in said("--fleet")
    assert said("--fleet", "--at", "69") == said("--fleet") == said()
    assert "0 intents, before the first event" in said("--at", "0")
    assert "▶" not in said("--fleet")


@pytest.mark.parametrize(
    ("events", "alive", "words", "colour"),
    [
        (EVENTS[:20], True, "replica-1: transferring 37%, running", "blue"),
        (EVENTS[:20], False, "replica-1: transferring 37%, owner died", "red"),
        (EVENTS[:20], None, "replica-1: transferring 37%, as of position 20, ", "ink"),
        (
            [*EVENTS[:20], Suspend(recorded_at_ms=2, cause="full", cause_class="capacity")],
            False,
            "replica-1: suspended in transferring 37%, stopped",
            "amber",
        ),
        (EVENTS, False, "replica-1: completed", "green"),
    ],
)
def test_a_picture_says_whether_somebody_works_on_it(
    events: list[Event], alive: bool | None, words: str, colour: str, tmp_path: Path
) -> None:
    """As its claim says; of the past nobody knows. Only what is complete is green."""
    path = tmp_path / "ledger"
    with closing(LmdbEventStore.open(path)) as store:
        append(store, [(INTENT, event) for event in events])
        at = [] if alive is not None else ["--at", str(store.last_position())]
        with closing_claim(store) if alive else nullcontext():
            fleet = CliRunner().invoke(app, ["diagram", str(path), *at]).output
            said = {
                option: CliRunner()
                .invoke(app, ["diagram", str(path), option, str(INTENT), *at])
                .output
                for option in ("--intent", "--timeline")
            }
    assert all(words in picture for picture in said.values())
    assert ("owner died" in fleet) == words.endswith("owner died")
    state = next(part for part in said["--intent"].splitlines() if "▶" in part)
    assert f'stroke-{colour}" x=' in state
    assert ("owner died" in state) == (words.endswith("owner died"))


@contextmanager
def closing_claim(store: LmdbEventStore) -> Iterator[None]:
    """The intent has a live owner for the length of the block."""
    claim = store.claim(INTENT, "somebody")
    try:
        yield
    finally:
        claim.release()


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["x.svg"], "<svg"),
        (["x.mmd"], "stateDiagram-v2"),
        (["x.dot"], "digraph"),
        (["x.puml"], "@startuml"),
        (["x.scxml"], "<?xml"),
        (["x.MD"], "It begins in absent"),
        (["x"], "stateDiagram-v2"),
        (["x.gv", "--format", "dot"], "digraph"),
        (["x.svg", "--format", "dot"], None),
        (["x.png"], None),
        (["x.png", "LEDGER", "--format", "svg"], None),
        (["x.dot", "LEDGER"], None),
        (["x.svg", "LEDGER"], "<svg"),
    ],
)
def test_a_picture_is_what_its_file_says(
    arguments: list[str], start: str | None, tmp_path: Path
) -> None:
    """The ending decides where nobody else does; one that says something else is refused."""
    with closing(LmdbEventStore.open(tmp_path / "ledger")):
        pass
    file = tmp_path / arguments[0]
    words = [str(tmp_path / "ledger") if word == "LEDGER" else word for word in arguments[1:]]
    done = CliRunner().invoke(app, ["diagram", *words, "-o", str(file)])
    assert done.exit_code == (ExitCode.REFUSED if start is None else 0), done.output
    assert file.exists() == (start is not None)
    if start is not None:
        assert file.read_text().startswith(start)


def test_who_names_no_ledger_is_told_where_it_goes() -> None:
    """The hint is the same call with a ledger."""
    done = CliRunner().invoke(app, ["diagram", "--intent", "abc"])
    assert "bootledger diagram LEDGER --intent abc" in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fleet"],
        ["LEDGER", "--fleet", "--intent", "0190"],
        ["LEDGER", "--fleet", "--format", "dot"],
        ["LEDGER", "--fleet", "--at", "1000"],
    ],
)
def test_a_picture_that_makes_no_sense_is_refused(arguments: list[str], tmp_path: Path) -> None:
    """One picture, of a ledger that is named, as SVG, of a position that exists."""
    with closing(LmdbEventStore.open(tmp_path / "ledger")):
        pass
    words = [str(tmp_path / "ledger") if word == "LEDGER" else word for word in arguments]
    assert CliRunner().invoke(app, ["diagram", *words]).exit_code == ExitCode.REFUSED
