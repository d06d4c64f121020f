"""Labels: what a caller wants to remember with a bootstrap, and what must never reach the disk.

A label's value is what JSON can say: text, whole numbers within i64 and u64, finite fractions,
booleans, None, lists, and maps from names to values. A value whose name is sensitive is replaced
by `REDACTED`, at any depth, whatever it is. `Begin` does so when it is made, so that no way in (a
call, an import, a decoded frame) leads a secret past it.

A name is judged by its whole words: `api_key`, `apiKey`, `X-Auth-Token` and `KEYS` are sensitive,
`monkey`, `author`, `tokenizer` and `keyboard` are not.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterator

from bootledger.errors import InvalidValue
from bootledger.positions import U64_MAX, check_text

REDACTED = "***REDACTED***"
"""What stands in the place of a secret."""

NAME_MAX_BYTES = 64
"""Longest name of a label."""
MAX_DEPTH = 8
"""How many lists and maps may lie in each other, the labels themselves included."""
MAX_VALUES = 512
"""How many values the labels may hold in all, lists and maps included."""

_I64_MIN = -(2**63)

_SENSITIVE = frozenset(
    ending
    for word in ("password", "secret", "token", "key", "credential", "auth")
    for ending in (word, f"{word}s")
) | {"authorization", "authorisation", "authentication"}
_COMPANIONS = frozenset({"access", "api", "client", "private", "session", "ssh", "user"})
"""Words that are written together with a sensitive one: `apikey`, `authtoken`, `clientsecret`."""

_SEPARATED = re.compile(r"[A-Za-z]+")
_HUMPS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def is_sensitive(name: str) -> bool:
    """Return whether a whole word of `name` says that its value is a secret.

    Words end at everything that is no letter, and at the humps of camelCase. Plurals count, and
    words that are written together (`apikey`).
    """
    plain = unicodedata.normalize("NFKC", name)
    words = {*_SEPARATED.findall(plain), *_HUMPS.findall(plain)}
    return any(_says_secret(word.lower()) for word in words)


def _says_secret(word: str) -> bool:
    if word in _SENSITIVE:
        return True
    return any(
        word.removeprefix(first) in _SENSITIVE
        for first in (*_SENSITIVE, *_COMPANIONS)
        if word.startswith(first)
    )


def redacted(labels: object) -> dict[str, object]:
    """Return a copy of `labels` without its secrets; what is redacted stays redacted.

    Raises `InvalidValue` naming the label for a name or a value that cannot be one, and if they are
    nested too deep or too many.
    """
    if not isinstance(labels, dict):
        raise InvalidValue(f"labels must be a dict, not {labels!r:.80}")
    return _map(labels, "label", 1, itertools.count(1))


def _map(
    values: dict[object, object], path: str, depth: int, seen: Iterator[int]
) -> dict[str, object]:
    copy: dict[str, object] = {}
    for key, value in values.items():
        name = check_text(
            key, f"a name in {path}" if depth > 1 else "label name", max_bytes=NAME_MAX_BYTES
        )
        inner = f"{path}[{name!r}]" if depth > 1 else f"label {name!r}"
        copy[name] = REDACTED if is_sensitive(name) else _value(value, inner, depth, seen)
    return copy


def _value(value: object, path: str, depth: int, seen: Iterator[int]) -> object:
    if next(seen) > MAX_VALUES:
        raise InvalidValue(f"{path} is one value too many: {MAX_VALUES} are allowed")
    if isinstance(value, dict | list) and depth == MAX_DEPTH:
        raise InvalidValue(f"{path} is nested too deep: {MAX_DEPTH} levels are allowed")
    match value:
        case None | bool() | "":
            return value
        case str():
            return check_text(value, path)
        case int() if _I64_MIN <= value <= U64_MAX:
            return value
        case int():
            raise InvalidValue(
                f"{path} must lie between -2**63 and 2**64 - 1, it has {value.bit_length()} bits"
            )
        case float() if math.isfinite(value):
            return value
        case list():
            return [_value(item, f"{path}[{at}]", depth + 1, seen) for at, item in enumerate(value)]
        case dict():
            return _map(value, path, depth + 1, seen)
        case _:
            raise InvalidValue(
                f"{path} must be text, a number, a boolean, None, a list or a dict, "
                f"not {value!r:.80}"
            )
