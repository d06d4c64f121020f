from __future__ import annotations

import json
from pathlib import Path

import json_page
import pytest
import sample_events as sample
import typer
from jsonschema import Draft202012Validator, ValidationError
from keepers import prune
from replicas import NODE, make_primary, write_more
from typer.main import get_group
from typer.testing import CliRunner

from bootledger.cli.answers import ANSWERS
from bootledger.cli.app import MODULES, app
from bootledger.cli.errors import ExitCode
from bootledger.replica.intent_log import IntentLog

VECTORS = Path(__file__).parent / "vectors" / "intent_log" / "logs"


def printed(*arguments: object, exit_code: int = 0) -> list[object]:
    """Return what a command printed with `--json`, line by line, each one as its schema says."""
    words = list(map(str, arguments))
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == exit_code, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        validator(words[0]).validate(line)
    return lines


def validator(command: str) -> Draft202012Validator:
    """Return the judge of what a command prints, by the schema that `bootledger schema` prints."""
    schema = json.loads(CliRunner().invoke(app, ["schema", command]).stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_a_replica_that_must_be_copied_anew_says_why(tmp_path: Path) -> None:
    """The log that comes next is pruned: said in a line and as JSON, before the base backup is."""
    primary = tmp_path / "primary"
    make_primary(primary)
    for name in ("spoken", "printed"):
        printed("replicate", primary, tmp_path / name, "--node", NODE)
    write_more(primary)
    prune(primary)
    lines = printed("replicate", primary, tmp_path / "printed", "--node", NODE)
    events = [line["event"] for line in lines]
    assert events.index("log-lost") < events.index("pinning")
    (lost,) = (line for line in lines if line["event"] == "log-lost")
    assert lost["error"] == "LogWindowLost"
    words = ["replicate", primary, tmp_path / "spoken", "--node", NODE]
    told = CliRunner().invoke(app, list(map(str, words))).stdout
    assert f"the log is lost: {lost['cause']}; a new base backup is needed" in told


def test_what_every_command_prints_is_what_its_schema_says(tmp_path: Path) -> None:
    """A replication and a life of an operator; every command that takes `--json` speaks."""
    primary, target, ledger = (tmp_path / name for name in ("primary", "replica", "other"))
    make_primary(primary)
    lines = printed("replicate", primary, target, "--node", NODE)
    assert {line["event"] for line in lines} >= {"step", "pinning", "fetched", "staged", "outcome"}
    printed("slots", primary)
    printed("gc", target, "--dry-run")
    printed("verify", target)
    (told,) = printed("status", target)
    (done,) = (one["intent_id"] for one in told)
    printed("history", target, done)
    printed("explain", target, done)

    with IntentLog.open(ledger) as log:
        labels: dict[str, object] = {"ticket": [4711, None, {"deep": 0.5}]}
        for _ in range(2):
            with log.begin("n", 9, 9, labels=labels, on_exit="suspend") as handle:
                handle.record(sample.pin())
                handle.record(sample.chunk(0, 40))
    first, second = (one["intent_id"] for one in printed("status", ledger)[0])
    printed("dangling", ledger, exit_code=ExitCode.FOUND)
    (undecided,) = printed("resume-point", ledger, "--node", "n")
    assert undecided["why"] == "several have progress"
    printed("hold", ledger, first, "--reason", "maintenance")
    printed("explain", ledger, first)
    printed("release", ledger, first)
    printed("adopt", ledger, second)
    (decided,) = printed("resume-point", ledger, "--node", "n")
    assert decided["point"]["intent_id"] == second
    printed("abort", ledger, second, "--reason", "enough")
    assert printed("watch", ledger, "--until", "done")
    printed("compact", ledger, "--older-than", "0s")
    printed("status", ledger, "--at", 3)
    printed("export", ledger, "-o", tmp_path / "export.jsonl")
    printed("import", tmp_path / "export.jsonl", "--ledger", tmp_path / "third")
    log_of_reddb = VECTORS / "seed5_resumed_and_completed.jsonl"
    done = CliRunner().invoke(
        app, ["import", str(log_of_reddb), "--ledger", str(tmp_path / "fourth"), "--json"]
    )
    validator("import-reddb").validate(json.loads(done.stdout))


def test_a_damaged_ledger_is_told_as_the_schema_says(tmp_path: Path) -> None:
    """The layer that is damaged comes with what it means."""
    with IntentLog.open(tmp_path / "ledger") as log:
        log.begin("n", 0, 0).close()
    with (tmp_path / "ledger" / "data.mdb").open("r+b") as file:
        file.seek(0)
        file.write(b"\xff" * 8192)
    (told,) = printed("verify", tmp_path / "ledger", exit_code=ExitCode.DAMAGED_FILE)
    assert told["layers"][0]["damage"]["to_do"]


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("status", {}),
        ("watch", {"node_id": "n"}),
        ("resume-point", {"node_id": "n", "resumes": "yes", "why": "", "reason": "", "point": 1}),
        ("replicate", {"event": "applied", "lsn": -1, "target_lsn": 0}),
    ],
)
def test_a_schema_refuses_what_the_command_does_not_print(command: str, wrong: object) -> None:
    """The judge can say no."""
    with pytest.raises(ValidationError):
        validator(command).validate(wrong)


def test_every_command_with_json_has_a_schema() -> None:
    """None is forgotten; of `simulate`, the report is described with the crash kit."""
    group = get_group(app)
    with_json = {
        name
        for name in MODULES
        if (command := group.get_command(typer.Context(group), name))
        and any("--json" in parameter.opts for parameter in command.params)
    }
    described = {name.removesuffix("-reddb").removesuffix("-intents") for name in ANSWERS}
    assert with_json - {"simulate"} == described
    refused = CliRunner().invoke(app, ["schema", "demo"])
    assert refused.exit_code == ExitCode.REFUSED


def test_the_page_of_the_answers_is_what_the_types_say() -> None:
    """`make pages` was run."""
    assert json_page.current_page() == json_page.PAGE.read_text()
