"""What others wrote, as text that a terminal shows and does not obey."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return `text` on one line: whatever is no printable character is escaped, as `repr` does.

    A line break would forge a line, an escape would command the terminal. For text alone: JSON
    escapes by itself.
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
