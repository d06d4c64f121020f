from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from conformance import KINDS, walk

DIFFERENCES = Path(__file__).parent.parent / "docs" / "differences.md"
MOST_RULES = 25
EQUAL_SHARES = {
    "manifest": 0.95,
    "wire": 0.90,
    "parts": 0.90,
    "ready_marker": 0.90,
    "intent_log": 0.50,
}
"""What share of a kind's cases must be outright equal."""


def documented_rules() -> set[str]:
    """The names in the first column of the table of docs/differences.md."""
    return set(re.findall(r"^\| `([a-z0-9-]+)` \|", DIFFERENCES.read_text(), re.MULTILINE))


def test_every_answer_is_equal_or_different_on_purpose(
    vectors: Path, record_property: pytest.RecordProperty
) -> None:
    """No answer of the reference's own code is contradicted without a rule that says why."""
    counts: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    for file, verdict in walk(vectors):
        count = counts.setdefault(file, Counter())
        if verdict.wrong:
            wrong.append(f"{file} {verdict.case}: {verdict.wrong}")
            count["wrong"] += 1
        elif verdict.rules:
            count["different"] += 1
            count.update({f"rule {rule}": 1 for rule in verdict.rules})
        else:
            count["equal"] += 1
    for file, count in counts.items():
        record_property(f"conformance {file}", dict(count))
    seen = {file.partition("/")[0] for file, count in counts.items() if count}
    assert seen >= KINDS, f"{vectors} holds no cases of {sorted(KINDS - seen)}: not all was judged"
    assert wrong == []
    rules = {name.removeprefix("rule ") for c in counts.values() for name in c if "rule " in name}
    assert rules <= documented_rules()
    assert len(documented_rules()) < MOST_RULES
    for kind, share in EQUAL_SHARES.items():
        of_kind = sum((c for f, c in counts.items() if f.startswith(f"{kind}/")), Counter())
        total = of_kind["equal"] + of_kind["different"]
        assert of_kind["equal"] >= share * total, f"{kind}: {of_kind['equal']} of {total} equal"


def test_what_breaks_a_walker_is_a_wrong_verdict(tmp_path: Path) -> None:
    """Neither a file that is none, nor a case that is none, nor a new file ends the walk."""
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "valid.json").write_text("no JSON")
    (tmp_path / "intent_log").mkdir()
    (tmp_path / "intent_log" / "cases.json").write_text('["no case", null]')
    (tmp_path / "wire").mkdir()
    (tmp_path / "wire" / "new.json").write_text("[]")
    told = [(file, verdict.wrong) for file, verdict in walk(tmp_path)]
    assert [file for file, wrong in told if wrong] == [
        "intent_log/cases.json",
        "intent_log/cases.json",
        "manifest/valid.json",
        "wire/new.json",
    ]
    assert "JSONDecodeError" in dict(told)["manifest/valid.json"]
