"""The text that strace writes, as calls. Pure.

Expects `-f -y -xx`: every line begins with the thread, every string and path is in hexadecimal (so
no bracket or comma in them can mislead), and a descriptor says what it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bootledger.errors import Refused

_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_DESCRIPTOR = re.compile(r"(-?\d+|AT_FDCWD)(?:<([^>]*)>)?")
_PIECE = re.compile(r'iov_base="([^"]*)"(\.*)')


class Unmodelled(Refused):
    """The recorded process did something to its disk that this model has no word for."""


class Descriptor(NamedTuple):
    """A descriptor as a call names it: its number (-1 for the working directory), its path."""

    number: int
    path: str


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that has returned. `result` is what it returned, -1 for a failure."""

    thread: int
    name: str
    arguments: list[str]
    result: int
    told: str
    """The result as strace tells it, with the path of a descriptor."""
    text: str
    """The arguments as one text."""

    def descriptor(self, index: int) -> Descriptor:
        """Return the argument at `index`, which is a descriptor."""
        return descriptor(self.arguments[index])

    def number(self, index: int) -> int:
        """Return the argument at `index`, which is a number."""
        return int(self.arguments[index], 0)

    def string(self, index: int) -> bytes:
        """Return the argument at `index`, which is a string."""
        return _unquoted(self.arguments[index], self)

    def path(self, index: int) -> str:
        """Return the argument at `index`, which is a path."""
        return self.string(index).decode(errors="surrogateescape")

    def flags(self, index: int) -> frozenset[str]:
        """Return the argument at `index`, which is a set of flags; empty if it is not there."""
        if index >= len(self.arguments):
            return frozenset()
        return frozenset(self.arguments[index].split("|"))

    def pieces(self) -> bytes:
        """Return what a writev writes, joined."""
        return b"".join(
            _unquoted(f'"{text}"{more}', self) for text, more in _PIECE.findall(self.text)
        )

    def told_path(self) -> str:
        """Return the path of the descriptor that the call returned."""
        return descriptor(self.told).path

    def __str__(self) -> str:
        """Return the call as a person may read it."""
        text = re.sub(r"(?:\\x[0-9a-f]{2})+", lambda found: _plain(found[0]), self.text[:800])
        return f"{self.name}({text:.200})"


def descriptor(text: str) -> Descriptor:
    """Return what `text` says of a descriptor."""
    if (found := _DESCRIPTOR.match(text)) is None:
        raise Unmodelled(f"strace calls a descriptor {text!r:.80}")
    number, path = found.groups()
    return Descriptor(-1 if number == "AT_FDCWD" else int(number), _plain(path or ""))


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """Yield the calls that `lines` of strace tell of, in the order in which they returned."""
    unfinished: dict[str, str] = {}
    for line in lines:
        thread, _, rest = line.rstrip("\n").partition(" ")
        rest = rest.lstrip()
        if rest.startswith(("+++", "---")):
            continue
        if rest.endswith(_UNFINISHED):
            unfinished[thread] = rest.removesuffix(_UNFINISHED)
            continue
        if (resumed := _RESUMED.match(rest)) is not None:
            rest = unfinished.pop(thread) + rest[resumed.end() :].lstrip()
        head, equals, told = rest.rpartition(" = ")
        name, bracket, text = head.rstrip().partition("(")
        if not equals or not bracket:
            raise Unmodelled(f"strace wrote {line!r:.200}")
        text = text.removesuffix(")")
        yield Call(int(thread), name, text.split(", "), _result(told), told, text)


def _result(told: str) -> int:
    word = re.match(r"-?(?:0x)?[0-9a-f]+", told)
    return -1 if word is None else int(word[0], 0)


def _unquoted(text: str, call: Call) -> bytes:
    if not text.startswith('"') or text.endswith("..."):
        raise Unmodelled(f"{call.name} with a string that strace cut short or could not read")
    return bytes.fromhex(text.strip('"').replace("\\x", ""))


def _plain(text: str) -> str:
    if not text.startswith("\\x"):
        return text
    return bytes.fromhex(text.replace("\\x", "")).decode(errors="surrogateescape")
