"""Names that are free become identifiers, which every format understands without quotes."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""What every format takes as a name and as text, as it is."""

# ASCII's marks, of which any may mean something in some format, but for those that never do: a
# comma, and a single hyphen or underscore within a word.
_MARK = re.compile(r"(?!(?<=[^\W_])[_-](?=[^\W_])|,)[!-/:-@\[-`{-~]")


def identifiers(
    names: Iterable[str], *, prefix: str = "n", reserved: Container[str] = ()
) -> dict[str, str]:
    """Return an identifier for each name, in the order of the names, each one another.

    That is the name itself if it is `PLAIN` and not `reserved` (in lower case: words that mean
    something in the format); else `prefix` and its number.
    """
    names = tuple(dict.fromkeys(names))
    found = {name: name for name in names if PLAIN.fullmatch(name) and name.lower() not in reserved}
    for number, name in enumerate(names, start=1):
        if name not in found:
            free = f"{prefix}{number}"
            while free in names or free.lower() in reserved:
                free += "_"
            found[name] = free
    return {name: found[name] for name in names}


def escaped(text: str, write: Callable[[str], str]) -> str:
    """Return the text with every mark that may mean something written by `write`."""
    return _MARK.sub(lambda mark: write(mark[0]), text)
