"""The judge of the intent log is itself put to the test: a wrong answer must not pass."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conformance.intent_log import walk_intent_log
from conformance.verdicts import Verdict

Case = dict[str, object]


@pytest.fixture(scope="module")
def folder(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the vectors of the intent log, to be tampered with."""
    copied = tmp_path_factory.mktemp("vectors") / "intent_log"
    shutil.copytree(vectors / "intent_log", copied)
    return copied


def judged(folder: Path, cases: list[Case]) -> list[Verdict]:
    """The verdicts on these cases."""
    path = folder / "tampered.json"
    path.write_text(json.dumps(cases))
    return list(walk_intent_log(path))


def cases_of(folder: Path) -> list[Case]:
    """All cases, as they are."""
    cases: list[Case] = json.loads((folder / "cases.json").read_text())
    return cases


def _points(value: object) -> Iterator[dict[str, object]]:
    """Every resume point among the answers about a case's nodes."""
    match value:
        case {"last_applied_lsn": _, "snapshot_token": _}:
            yield value
        case dict():
            for item in value.values():
                yield from _points(item)
        case list():
            for item in value:
                yield from _points(item)
        case _:
            pass


def another_lsn(case: Case) -> None:
    """Every resume point is one further on."""
    for point in _points(case["nodes"]):
        point["last_applied_lsn"] = int(str(point["last_applied_lsn"])) + 1


def another_token(case: Case) -> None:
    """Every resume point is of another snapshot."""
    for point in _points(case["nodes"]):
        point["snapshot_token"] = "another"


def nothing_unfinished(case: Case) -> None:
    """The list of unfinished intents is empty."""
    case["list_unfinished"] = []


def no_events(case: Case) -> None:
    """No event was emitted."""
    case["dangling_events"] = []


def nothing_resumes(case: Case) -> None:
    """No node resumes."""
    nodes = case["nodes"]
    assert isinstance(nodes, list)
    for node in nodes:
        node["scan_for_resume"] = node["resume"] = None


def another_actor(case: Case) -> None:
    """Somebody else began the intents."""
    entries = case["list_unfinished"]
    assert isinstance(entries, list)
    for entry in entries:
        entry["actor"] = "somebody else"


@pytest.mark.parametrize(
    "tamper",
    [another_lsn, another_token, nothing_unfinished, no_events, nothing_resumes, another_actor],
)
def test_a_wrong_answer_is_wrong(folder: Path, tamper: Callable[[Case], None]) -> None:
    """Where ours is equal, any other answer of the reference's would be a contradiction."""
    cases = cases_of(folder)
    equal = {v.case for v in judged(folder, cases) if not v.rules and not v.wrong}
    changed = []
    for case in cases:
        tampered = copy.deepcopy(case)
        tamper(tampered)
        if case["name"] in equal and tampered != case:
            changed.append(tampered)
    assert len(changed) >= 10
    assert [verdict.case for verdict in judged(folder, changed) if not verdict.wrong] == []


def test_what_nobody_knows_is_wrong(folder: Path) -> None:
    """A call, a question or a shape that the walker does not know is never passed over."""
    (case,) = (case for case in cases_of(folder) if case["name"] == "seed7_success")
    wrong: list[Case] = [
        {**case, "history": [{"op": "teleport", "handle": "h1"}]},
        {**case, "history": [{"op": "teleport"}]},
        {**case, "nodes": [{"node_id": "n", "scan_for_resume": None, "resume": None, "new": 1}]},
        {**case, "nodes": [{"node_id": "n"}]},
        {**case, "log": "logs/nowhere.jsonl"},
        {"name": "nothing else"},
    ]
    assert [verdict.case for verdict in judged(folder, wrong) if not verdict.wrong] == []
    assert [verdict.wrong for verdict in judged(folder, [case])] == [""]
