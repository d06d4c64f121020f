"""The table as a Mermaid state diagram."""

from __future__ import annotations

from collections import defaultdict

from bootledger.statemachine.progress import FINAL, State
from bootledger.statemachine.table import TABLE, AnyRow, always

# Ends a line within a label. Colons, semicolons and line ends would end the label itself; names of
# functions have none.
_BREAK = "<br/>"


def state_diagram(*, guards: bool = True) -> str:
    """Return the whole machine as the text of a Mermaid `stateDiagram-v2`.

    Each row of the table is a line on the edge from each of its sources to its target: the event,
    the condition that tells it from its siblings, and the guards that may refuse it (left out
    without `guards`). Rows between the same two states share one edge, because Mermaid draws edges
    from a state to itself on top of each other. The text is the same at each call and ends with a
    newline.
    """
    edges: defaultdict[tuple[State, State], list[str]] = defaultdict(list)
    for row in TABLE:
        for source in row.sources:
            edges[source, row.target].append(_label(row, guards=guards))
    lines = ["stateDiagram-v2", f"    [*] --> {State.ABSENT}"]
    lines += [
        f"    {source} --> {target} : {_BREAK.join(labels)}"
        for (source, target), labels in edges.items()
    ]
    lines += [f"    {state} --> [*]" for state in FINAL]
    return "\n".join(lines) + "\n"


def _label(row: AnyRow, *, guards: bool) -> str:
    when = "" if row.when is always else f" when {row.when.__name__}"
    unless = ", ".join(guard.__name__ for guard in row.unless if guards)
    return f"{row.kind}{when}" + (f" unless {unless}" if unless else "")
