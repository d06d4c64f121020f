"""Answers in one shape, theirs and ours, so that they can be compared: values, kinds and fields.

An answer is `{"ok": value}` or `{"err": error}`; wording is dropped from errors. Theirs can also be
a panic or a death, which is never ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from bootledger.basebackup.reddb_errors import (
    Decode,
    FileIo,
    InvalidField,
    InvalidOperation,
    Io,
    MissingField,
)
from bootledger.errors import BootledgerError
from conformance.verdicts import Comparison, Rule, Verdict, judge

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

WORDING = {"display", "message"}
DEATHS = {"panic", "process_died_with_signal"}
FILE_KINDS = {"InvalidOperation", "Io"}
"""The kinds of error that RedDB's files have; around one of them is a `File` in the layer above."""


class Unknown(Exception):
    """A case has something that its walker does not know how to judge."""


def read_json(path: Path) -> Json:
    """Return what the file holds."""
    return json.loads(path.read_text("ascii"))


def only(case: Mapping[str, Json], known: str) -> None:
    """Raise `Unknown` if a case has other keys than the `known` ones, separated by blanks."""
    if unknown := set(case) - set(known.split()):
        raise Unknown(f"unknown keys {sorted(unknown)}")


def ours(call: Callable[[], Json]) -> Json:
    """Return what `call` answers, or how it refuses."""
    try:
        return {"ok": call()}
    except BootledgerError as error:
        return {"err": our_error(error)}


def our_error(error: BootledgerError) -> Json:
    """Return one of our errors in the shape of theirs."""
    match error:
        case MissingField() | InvalidField():
            return {"kind": type(error).__name__, "field": error.field}
        case Decode():
            return {"kind": "Decode"}
        case InvalidOperation():
            return {"kind": "File", "file_error": {"kind": "InvalidOperation"}}
        case FileIo():
            return {"kind": "File", "file_error": {"kind": "Io", "system": _system(error)}}
        case Io():
            return {"kind": "Io", "system": _system(error)}
        case _:
            return {"kind": type(error).__name__}


def theirs(answer: Mapping[str, Json], *, of_files: bool = False) -> Json:
    """Return one of their answers without its wording.

    `of_files` is for what RedDB's file layer answers itself: it calls `Io` what is a `File` above.
    """
    if "err" not in answer:
        return dict(answer)
    only(answer, "err")
    return {"err": their_error(answer["err"], of_files=of_files)}


def their_error(error: Mapping[str, Json], *, of_files: bool = False) -> Json:
    """Return one of their errors without its wording."""
    only(error, "kind field io_kind os_error file_error display message")
    shown = {key: value for key, value in error.items() if key not in WORDING}
    if "file_error" in shown:
        inner = their_error(shown["file_error"], of_files=True)
        return {**shown, "file_error": inner["file_error"]}
    if shown["kind"] == "Io":
        io_kind, os_error = shown.pop("io_kind", None), shown.pop("os_error", None)
        shown["system"] = io_kind if os_error is None else os_error
    if of_files and shown["kind"] in FILE_KINDS:
        return {"kind": "File", "file_error": shown}
    return shown


def _system(error: Io) -> Json:
    """The operating system's number, or what RedDB says where there is none: a NUL in a path."""
    return "InvalidInput" if error.os_error is None else error.os_error


def died(comparison: Comparison) -> bool:
    """Whether they died of an input that we refuse."""
    their_answer, our_answer = comparison.theirs, comparison.ours
    return (
        isinstance(their_answer, Mapping)
        and bool(DEATHS & set(their_answer))
        and isinstance(our_answer, Mapping)
        and "err" in our_answer
    )


A_PANIC_IS_AN_ERROR = Rule("a-panic-is-an-error", died)


def verdicts(
    cases: Json,
    compare: Callable[[Mapping[str, Json]], Iterable[Comparison]],
    rules: Sequence[Rule],
) -> Iterator[Verdict]:
    """Judge each case by what `compare` yields; one that it cannot cope with is wrong, and says so.

    A case is called by its name, or else by its place.
    """
    if not isinstance(cases, list):
        yield Verdict("all", wrong="not a list of cases")
        return
    for number, case in enumerate(cases):
        name = str(number)
        try:
            name = str(case.get("name", number))
            yield judge(name, compare(case), rules)
        except Exception as error:  # noqa: BLE001 - whatever it is, the case was not judged
            yield Verdict(name, wrong=f"not judged: {type(error).__name__}: {error}")
