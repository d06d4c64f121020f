from __future__ import annotations

import json
from pathlib import Path

import pytest
from database_model import create
from test_json_output import validator
from typer.testing import CliRunner, Result

from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.files import Files
from bootledger.primary.service import Primary, Retention
from bootledger.replica.wire import PinRequest


def told(*arguments: object, exit_code: int = 0) -> Result:
    """Run the command and return what it said."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == exit_code, done.output
    return done


@pytest.fixture
def primary(tmp_path: Path) -> Path:
    """A primary with a valid slot that has a base backup, and an invalid one."""
    path = tmp_path / "primary"
    create(path, last=300).close()
    retention = Retention(keep_changes=150, slot_max_changes=250)
    with Primary.open(path, Files(), retention=retention) as primary:
        primary.hold_slot("bad\x1b[31m", 10)
        primary.pin(PinRequest(intent_id="i", generation=1, slot="good"))
        primary.hold_slot("good", 200)
        primary.enforce()
    return path


def test_slots_tells_what_is_held_for_whom_and_why_no_longer(primary: Path) -> None:
    """As a table, and as JSON; a name that would command the terminal is shown."""
    words = told("slots", primary).stdout
    assert "LSN 200" in words
    assert "100 changes" in words
    assert "invalid: horizon: LSN 10 is acknowledged, the newest is 300" in words
    assert "\x1b" not in words
    printed = json.loads(told("slots", primary, "--json").stdout)
    validator("slots").validate(printed)
    bad, good = printed
    assert (bad["name"], bad["held_changes"], bad["held_bytes"]) == ("bad\x1b[31m", 0, 0)
    assert bad["invalid_because"].startswith("horizon: ")
    assert (good["name"], good["acknowledged_lsn"], good["held_changes"]) == ("good", 200, 100)
    assert good["invalid_because"] is None
    assert good["held_bytes"] > 0


def test_an_address_is_refused_with_what_to_name_instead() -> None:
    """Slots are looked at and dropped where the primary is."""
    for words in (("slots", "http://p:7433"), ("drop-slot", "https://p:7433", "good")):
        refused = told(*words, exit_code=ExitCode.REFUSED)
        assert "the primary's directory, on its machine" in " ".join(refused.stderr.split())


def test_looking_makes_nothing(tmp_path: Path) -> None:
    """A primary without slots is none the richer afterwards; what is none is refused."""
    create(tmp_path / "primary").close()
    before = sorted(path.name for path in (tmp_path / "primary").iterdir())
    assert "no slots" in told("slots", tmp_path / "primary").stdout
    assert json.loads(told("slots", tmp_path / "primary", "--json").stdout) == []
    assert sorted(path.name for path in (tmp_path / "primary").iterdir()) == before
    told("slots", tmp_path, exit_code=ExitCode.REFUSED)


def test_a_slot_is_dropped_with_its_base_backups(primary: Path) -> None:
    """By its whole name; one that is not there is refused, with those that are."""
    assert len(list(primary.glob("basebackups/*/manifest"))) == 1
    refused = told("drop-slot", primary, "goo", exit_code=ExitCode.REFUSED)
    assert "good" in refused.stderr
    told("drop-slot", primary, "good")
    assert list(primary.glob("basebackups/*/")) == []
    assert [slot["name"] for slot in json.loads(told("slots", primary, "--json").stdout)] == [
        "bad\x1b[31m"
    ]
