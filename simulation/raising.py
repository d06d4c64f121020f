"""What a life raised, as words: which may come from a process that is gone."""

from __future__ import annotations

import sys
import traceback
from types import FrameType


class LifeFailed(AssertionError):
    """A life ended as none may; the message has its words.

    `at` is the place in the code, as of `place_of`, and `trace` how it got there, if they are known
    and not this error's own.
    """

    def __init__(self, words: str, *, at: str = "", trace: str = "") -> None:
        super().__init__(words)
        self.at = at
        self.trace = trace


def words_of_error(error: BaseException) -> str:
    """Return type and message of `error`; the message alone, where that says it all."""
    message = str(error)
    if message and type(error) in {AssertionError, LifeFailed}:
        return message
    return f"{type(error).__name__}: {message}"


def place_of(error: BaseException) -> str:
    """Return where the caller's code raised `error`, or called what did: `file:line in function`.

    That is the innermost frame outside of this project and the standard library; the innermost of
    all, if there is none. Empty if it was not raised.
    """
    if isinstance(error, LifeFailed):
        return error.at
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return ""
    callers = [(frame, line) for frame, line in frames if _is_callers(frame)]
    frame, line = (callers or frames)[-1]
    return f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"


def _is_callers(frame: FrameType) -> bool:
    room, _, _ = str(frame.f_globals.get("__name__")).partition(".")
    return room != "bootledger" and room not in sys.stdlib_module_names
