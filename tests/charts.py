"""Charts to draw: with the names that hurt, and by chance."""

from __future__ import annotations

import itertools
import random
import string

from bootledger.diagrams.chart import Chart, Edge

HARD_NAMES = (
    "two words",
    'a "quoted" one',
    "it's: a; colon",
    "back\\slash\\n",
    "<b>&amp; &lt;",
    "ünï — 状態",
    "a|b`c`*d*__e__~f~",
    "#35; %% {x} [y](z)",
    "1. first",
    "-- x",
    "end",
    "node",
    "class",
    "n1",
    "n2_",
    '//it// ""m"" <U+0041> &#65;',
    "@enduml",
    "!include x",
    "\\N \\G",
    "$x",
    "]]>",
)


def ring(names: tuple[str, ...], name: str = "ring") -> Chart:
    """Each name as a state, an event, a condition and a guard; the last state is final."""
    edges = [
        Edge(source, target, event=target, when=f"{source}?", unless=(f"not {target}", target))
        for source, target in itertools.pairwise(names)
    ]
    edges.append(Edge(names[1], names[1], event=names[0]))
    return Chart(names, names[0], frozenset({names[-1]}), tuple(edges), name)


HARD = ring(HARD_NAMES, name='a "hard\\" <name>')

KEYWORDS = """
accDescr accTitle as class classDef click default direction end fork hide href join left note of
right root_end root_start scale state stateDiagram style digraph edge graph node strict subgraph
if legend scxml skinparam title delete else final for initial lambda new None true True typeof var
"""
KEYWORD_RING = ring(tuple(KEYWORDS.split()), name="graph")


def by_chance(seed: int) -> Chart:
    """A chart of a few states, with names of any characters, that need not make sense."""
    chance = random.Random(seed)

    def name() -> str:
        letters = chance.choices(string.printable[:95] + "  üß状—€", k=chance.randint(1, 12))
        return " ".join("".join(letters).split()) or "x"

    states = tuple(dict.fromkeys(name() for _ in range(chance.randint(2, 8))))
    final = frozenset(chance.sample(states[1:], k=min(1, len(states) - 1)))
    going = [state for state in states if state not in final]
    events = [name() for _ in range(4)]
    edges = tuple(
        Edge(
            source=chance.choice(going),
            target=chance.choice(states),
            event=chance.choice(events),
            when=chance.choice([None, f"w {name()}"]),
            unless=tuple(f"g {name()}" for _ in range(chance.randint(0, 2))),
        )
        for _ in range(chance.randint(0, 12))
    )
    return Chart(states, states[0], final, edges, name())
