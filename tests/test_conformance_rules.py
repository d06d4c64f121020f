"""The rules are themselves put to the test: one passes what it predicts, and no other answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from conformance import walk
from conformance.expectation import follows
from conformance.intent_log import comparisons
from conformance.seed_shape import Entry, Line, Point
from conformance.verdicts import Comparison, Difference, judge

ELSEWHERE = Point(999, "zzz", 7)
FILE = ["file", 3, 7, "another digest"]


VECTORS = Path(__file__).parent / "vectors"
"""The copy that is judged here is always the same one: its differences are counted."""


def others(ours: object, theirs: object) -> Iterator[object]:  # noqa: C901, PLR0912 - one per shape
    """Answers that are none of ours: each has one thing changed."""
    match ours:
        case Point():
            yield from (replace(ours, lsn=ours.lsn + 7), replace(ours, offset=ours.offset + 7))
            yield from (replace(ours, token="another"), None)
        case Entry():
            yield from (replace(ours, phase="checkpoint_99"), replace(ours, point=ELSEWHERE), None)
        case Line():
            yield from (replace(ours, phase="checkpoint_99"), replace(ours, point=ELSEWHERE), None)
        case frozenset():
            yield ours | {"00000000-0000-7000-8000-000000000001"}
            yield from (ours - {one} for one in ours)
        case bool():
            yield not ours
        case int():
            yield from (ours + 7, ours - 7)
        case str():
            yield from ("another", None)
        case tuple():
            yield from ((*ours[:-1], "another"), None)
        case [{"ok": _} | {"err": _} as answer, dict(tree)]:
            yield from ([other, tree] for other in others(answer, None))
            yield from ([answer, other] for other in others(tree, None))
        case list():
            yield from ([*ours, ours[-1] if ours else ["another"]], ours[1:] if ours else None)
        case {"lsn": int(lsn), **rest}:
            yield from ({**rest, "lsn": lsn + 7}, {**ours, "timeline": 99}, None)
        case {"ok": value}:
            yield from ({"err": {"kind": "Another"}}, {"ok": [value, "another"]})
        case {"err": _}:
            yield from ({"ok": True}, {"err": {"kind": "Another"}})
        case dict():
            yield {**ours, "another": FILE}
            yield from ({**ours, name: FILE} for name in ours)
            yield from ({n: e for n, e in ours.items() if n != name} for name in ours)
        case None:
            yield from _something(theirs)


def _something(theirs: object) -> Iterator[object]:
    """Answers of the same shape as theirs, where ours has none."""
    match theirs:
        case Point():
            yield ELSEWHERE
        case Entry() | Line():
            yield replace(theirs, point=ELSEWHERE)
        case tuple():
            yield (*theirs[:-1], "another")
        case {"lsn": int(lsn)}:
            yield {**theirs, "lsn": lsn + 7}
        case _:
            yield "another"


def passed(difference: Difference) -> list[object]:
    """Those other answers that a rule explains as well."""
    comparison = difference.comparison
    told = []
    for other in others(comparison.ours, comparison.theirs):
        if other in (comparison.theirs, comparison.ours):
            continue
        changed = Comparison(comparison.asked, comparison.theirs, other)
        if not judge("changed", [changed], difference.rules).wrong:
            told.append(other)
    return told


def test_no_rule_passes_another_answer() -> None:
    """Where ours differs on purpose, the same with one thing changed would be wrong."""
    tried, found = 0, []
    for file, verdict in walk(VECTORS):
        for difference in verdict.differences:
            tried += 1
            if other := passed(difference):
                found.append((file, verdict.case, difference.comparison, other))
    assert tried > 100
    assert found == []


def test_what_ours_must_answer_is_what_it_answers() -> None:
    """What the rules of the intent log expect of ours also holds where no rule is needed."""
    folder = VECTORS / "intent_log"
    tried, unexpected = 0, []
    for case in json.loads((folder / "cases.json").read_text()):
        for comparison in comparisons(case, folder):
            tried += 1
            if not follows(comparison.asked, comparison):
                unexpected.append((case["name"], comparison))
    assert tried > 100
    assert unexpected == []
