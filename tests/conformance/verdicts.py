"""How one of the reference's answers is judged: equal, different by a named rule, or wrong.

The reference is RedDB's own code; its answers are a folder of vectors, `FOLDER/KIND/*.json`. A
*case* is one element of such a file. A *walker* is a function that takes the file and yields a
verdict for each of its cases. What is compared are values, kinds, fields and files, not wording.

A *rule* says what is different on purpose. It is about a kind of case and never names one; it has a
row in docs/differences.md, with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Comparison:
    """One answer of the reference beside ours, with the input that led to both."""

    asked: object
    theirs: object
    ours: object


@dataclass(frozen=True)
class Rule:
    """A difference on purpose. `name` is its row in docs/differences.md."""

    name: str
    explains: Callable[[Comparison], bool]


@dataclass(frozen=True)
class Difference:
    """A comparison that came out different, and the rules that it was judged by."""

    comparison: Comparison
    rules: Sequence[Rule]


@dataclass(frozen=True)
class Verdict:
    """What became of one case: no `rules` and nothing `wrong` is outright equal.

    `differences` are the comparisons that `rules` explained.
    """

    case: str
    rules: tuple[str, ...] = ()
    wrong: str = ""
    differences: tuple[Difference, ...] = ()


Walker = Callable[[Path], Iterator[Verdict]]


def judge(case: str, comparisons: Iterable[Comparison], rules: Sequence[Rule]) -> Verdict:
    """Return the verdict on a case: the first comparison that no rule explains makes it wrong."""
    used: list[str] = []
    differences: list[Difference] = []
    for comparison in comparisons:
        if comparison.theirs == comparison.ours:
            continue
        name = next((rule.name for rule in rules if rule.explains(comparison)), None)
        if name is None:
            return Verdict(case, wrong=f"{comparison}")
        used.append(name)
        differences.append(Difference(comparison, rules))
    return Verdict(case, rules=tuple(dict.fromkeys(used)), differences=tuple(differences))
