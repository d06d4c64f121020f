from __future__ import annotations

import json
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
from played import PlayedSource, replicate_played
from replicas import make_primary
from rich.console import Console
from servers import serving
from test_forecast import convergence_hour
from test_json_output import printed, validator
from typer.testing import CliRunner, Result

from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.cli.terminal import TerminalObserver
from bootledger.cli.watching import JsonObserver, PlainObserver
from bootledger.errors import Stopped
from bootledger.projections.forecast import forecast
from bootledger.replica.observer import Observer

RATES = ("--copy-rate", "10k", "--write-rate", 600, "--apply-rate", 9000)


def asked(*arguments: object) -> Result:
    """Run `forecast` in this process; it never waits to measure."""
    return CliRunner().invoke(app, list(map(str, ("forecast", *arguments, "--sample", 0))))


def bytes_in(directory: Path) -> dict[Path, bytes]:
    """Every file under a directory that LMDB does not need to read it."""
    return {
        path: path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock.mdb"
    }


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A primary of which nobody took anything yet."""
    path = tmp_path_factory.mktemp("forecast") / "primary"
    make_primary(path)
    return path


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((*RATES, "--window", 10**6), 0, ["converges", "caught up in", "1,000,000 are kept"]),
        (RATES, 0, ["converges", "no limit"]),
        ((), ExitCode.FOUND, ["doubtful", "how fast it copies is not known yet"]),
        (
            (*RATES, "--window", 100),
            ExitCode.REFUSED,
            ["cannot", "slot_max_changes allows 100", "serve --slot-max-changes"],
        ),
        (
            (*RATES, "--write-rate", 12_000),
            ExitCode.REFUSED,
            ["the log grows by 12,000 changes/s, this replica applies 9,000/s: it never catches"],
        ),
        ((*RATES, "--outage", "2h"), 0, ["with 2 h without a link"]),
        ((*RATES, "--outage", "for ever"), ExitCode.REFUSED, ["InvalidValue", "no age"]),
    ],
)
def test_the_answer_is_a_table_and_an_exit_code(
    primary: Path, options: tuple[object, ...], code: int, words: list[str]
) -> None:
    """And nothing at the source is changed by the question."""
    before = bytes_in(primary)
    found = asked(primary, *options)
    assert found.exit_code == code, found.output
    for word in words:
        assert word in found.output
    assert bytes_in(primary) == before


def test_what_it_prints_as_json_is_what_its_schema_says(primary: Path) -> None:
    """With the same exit codes."""
    (found,) = printed("forecast", primary, *RATES, "--sample", 0)
    assert found["verdict"] == "converges"
    code = ExitCode.REFUSED
    (found,) = printed("forecast", primary, *RATES, "--window", 9, "--sample", 0, exit_code=code)
    assert found["reasons"][0]["remedies"][0]["field"] == "slot_max_changes"


def test_a_target_knows_its_pace_and_how_far_it_is(tmp_path: Path) -> None:
    """Of a bootstrap that was stopped in its copy, it says how that goes on, at its own pace."""
    target = tmp_path / "target"
    with closing(PlayedSource(tmp_path / "primary")) as source:
        size_bytes = source.info().size_bytes

        def stop() -> str | None:
            return "enough" if source.now_s > 30 else None

        with pytest.raises(Stopped, match="enough"):
            replicate_played(source, target, Observer(), stop)
    options = (tmp_path / "primary", target, "--write-rate", 100, "--apply-rate", 1000, "--json")
    found = json.loads(asked(*options).output)["situation"]
    assert found["copy_bytes_per_s"] == pytest.approx(10_240, rel=0.05)
    assert found["left_bytes"] == pytest.approx(size_bytes - 30 * 10_240, rel=0.1)
    assert found["backlog_changes"] == pytest.approx(30 * 100, rel=0.1)
    other = json.loads(asked(*options, "--node", "another").output)["situation"]
    assert other["copy_bytes_per_s"] is None
    assert other["backlog_changes"] == 0


def test_an_address_tells_its_limits(primary: Path, tmp_path: Path) -> None:
    """They are judged before and while it is replicated; who is not there is asked again later."""
    with serving(primary, "--slot-max-changes", 100, "--slot-idle", 60) as address:
        found = asked(address, *RATES, "--outage", "5min")
        words = ("replicate", address, tmp_path / "replica", "--node", "n", "--once")
        told = [line for line in printed(*words) if line["event"] == "forecast"]
    assert told[0]["says"]
    assert told[0]["forecast"]["situation"]["slot_max_changes"] == 100
    assert found.exit_code == ExitCode.REFUSED, found.output
    assert "slot_max_changes allows 100" in found.output
    assert "slot_idle_ms allows 1 min" in found.output
    assert asked(primary.parent / "nowhere", *RATES).exit_code == ExitCode.TRY_AGAIN


def test_who_watches_a_replication_reads_its_forecast(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line on a terminal, in a pipe, and one of JSON as the schema says."""
    told = forecast(convergence_hour())
    screen = Console(file=StringIO(), force_terminal=True, width=120, color_system=None)
    TerminalObserver(screen).on_forecast(told)
    assert isinstance(screen.file, StringIO)
    assert told.describe() in screen.file.getvalue()
    PlainObserver().on_forecast(told)
    assert capsys.readouterr().out == f"forecast: {told.describe()}\n"
    JsonObserver().on_forecast(told)
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["says"]) == ("forecast", told.describe())
    validator("replicate").validate(line)
