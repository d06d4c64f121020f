"""What differs from RedDB's intent log on purpose, told by values and by nothing else."""

from __future__ import annotations

from collections.abc import Callable

from conformance.expectation import follows, superseded
from conformance.intent_log_records import (
    REDACTED,
    SIX,
    Asked,
    History,
    damaged,
    goes_back,
    hides_a_record,
    inexact,
    is_text,
    merged,
    same_double,
    sensitive,
    several_ends_or_beginnings,
    telling_checkpoints,
    told,
    unsayable,
)
from conformance.seed_shape import Line, Point, told_point
from conformance.verdicts import Comparison, Rule


def _asked(comparison: Comparison) -> Asked:
    assert isinstance(comparison.asked, Asked)
    return comparison.asked


def _is_quarantined(comparison: Comparison) -> bool:
    """Whether one side knows nothing of an intent, or of what stands in its way."""
    asked, answers = _asked(comparison), (comparison.theirs, comparison.ours)
    if asked.what == "ids":
        return True
    return asked.what in ("entry", "event", "node") and None in answers


def _any(condition: Callable[[History], bool]) -> Callable[[Comparison], bool]:
    return lambda comparison: any(map(condition, _asked(comparison).histories))


def merges(comparison: Comparison) -> bool:
    """Ours has what an earlier record told and a later one did not repeat."""
    theirs, ours = comparison.theirs, comparison.ours
    for history in filter(told, _asked(comparison).histories):
        last, together = told_point(told(history)[-1]), merged(history)
        if last == together:
            continue
        if theirs == last and (ours == together or same_double(together, ours)):
            return True
        if (theirs, ours) == (last.lsn, together.lsn):
            return True
    return False


def exact_numbers(comparison: Comparison) -> bool:
    """A number is no u64, or a double could not hold it: exact in ours, or not taken for one."""
    if same_double(comparison.theirs, comparison.ours):
        return True
    return _is_quarantined(comparison) and _any(inexact)(comparison)


def does_not_go_back(comparison: Comparison) -> bool:
    """A call or a record is below what is applied or staged already: refused, or quarantined."""
    asked, theirs, ours = _asked(comparison), comparison.theirs, comparison.ours
    if asked.what == "appended" and isinstance(theirs, Line) and ours is None:
        at, point = asked.applied, theirs.point
        return at is not None and point is not None and _below(point, at)
    if asked.what == "call" and asked.call is not None and asked.applied is not None:
        call, at = asked.call, asked.applied
        point = Point(
            int(str(call.get("last_applied_lsn", at.lsn))),
            str(call["snapshot_token"]) if "snapshot_token" in call else None,
            int(str(call.get("snapshot_offset", 0))),
        )
        return ours == "refused" and _below(point, at)
    return _is_quarantined(comparison) and _any(goes_back)(comparison)


def _below(point: Point, at: Point) -> bool:
    same = point.token is not None and point.token == at.token
    return point.lsn < at.lsn or (same and point.offset < at.offset)


def hides_nothing(comparison: Comparison) -> bool:
    """The file has damage; RedDB loses what stands beside it, or appends to a torn line."""
    asked = _asked(comparison)
    if not damaged(asked.log):
        return False
    try:
        asked.log.decode()
    except UnicodeDecodeError:
        return comparison.theirs is None or comparison.theirs == frozenset()
    if asked.what in ("ids", "appended") and not asked.log.endswith(b"\n"):
        return True
    return any(map(hides_a_record, asked.log.split(b"\n")))


def begins_and_ends_once(comparison: Comparison) -> bool:
    """A record follows the end, or a second beginning follows the first: quarantined."""
    return _is_quarantined(comparison) and _any(several_ends_or_beginnings)(comparison)


def can_be_said(comparison: Comparison) -> bool:
    """An id, a node, a token or a label is none of ours: refused, or quarantined."""
    asked = _asked(comparison)
    if asked.what == "call" and asked.call is not None:
        node, token = asked.call.get("node", "x"), asked.call.get("snapshot_token", "x")
        too_large = isinstance(error := asked.call.get("err"), dict) and (
            error.get("kind") == "TooLarge"
        )
        if too_large:
            return comparison.ours == "ok"
        sayable = is_text(node, 255) and is_text(token, 1024)
        return comparison.ours in ("refused", None) and not sayable
    if asked.what == "actor":
        return not all(isinstance(history[0].get("actor"), str) for history in asked.histories)
    if asked.what == "node" and not is_text(asked.call and asked.call.get("node_id"), 255):
        return comparison.ours is None
    return _is_quarantined(comparison) and _any(unsayable)(comparison)


def one_of_a_node(comparison: Comparison) -> bool:
    """Several intents of one node: superseded, or one resumes where the others have no progress."""
    asked, theirs, ours = _asked(comparison), comparison.theirs, comparison.ours
    several = len(asked.histories) > 1
    completed = any(_phases(history)[-1] == "completed" for history in asked.histories)
    telling = [
        telling_checkpoints(history) > 0
        for history in asked.histories
        if _phases(history)[-1] not in ("completed", "aborted")
    ]
    match asked.what:
        case "call":
            if asked.call is None or asked.number is None:
                return ours is None and (asked.live or several)
            if "begin" in str(asked.call["op"]):
                return ours == "refused" and asked.live
            return ours == "refused" and superseded(asked, asked.number)
        case "ids":
            both = isinstance(theirs, frozenset) and isinstance(ours, frozenset)
            return several and both and theirs > ours
        case "entry" | "event":
            return several and ours is None and (completed or not all(telling))
        case "node" if theirs is None:
            return len(telling) > 1 and telling.count(True) <= 1
        case "node":
            return several and completed
        case _:
            return False


def _phases(history: History) -> list[str]:
    return [str(record["phase"]) for record in history]


def counts_what_is_told(comparison: Comparison) -> bool:
    """Checkpoints are counted, whatever number they carry, and count if they tell something."""
    asked, theirs, ours = _asked(comparison), comparison.theirs, comparison.ours
    match theirs, ours:
        case (str(), str()) if asked.what == "phase" and asked.counted is not None:
            return ours == (f"checkpoint_{asked.counted}" if asked.counted else "running")
        case (Line(), Line()) if asked.what == "appended" and asked.counted is not None:
            return (theirs.point, theirs.numbers) == (ours.point, ours.numbers) and (
                ours.phase == f"checkpoint_{asked.counted}"
            )
        case (Point(), None):
            return any(map(told, asked.histories)) and not any(
                map(telling_checkpoints, asked.histories)
            )
        case _:
            return False


def redacts_whole_words(comparison: Comparison) -> bool:
    """A name that only contains one of the six words, or lies deeper; a token is no secret."""
    asked, theirs, ours = _asked(comparison), comparison.theirs, comparison.ours
    if asked.what == "argument" and asked.call is not None:
        name = str(asked.call["name"])
        inside = any(word in name.lower() for word in SIX)
        whole = sensitive(name)
        deeper = str(ours).count(REDACTED) > str(theirs).count(REDACTED)
        return deeper or (str(theirs).count(REDACTED) == 1 and inside and not whole)
    return isinstance(theirs, Point) and theirs.token == REDACTED


def _rule(name: str, explains: Callable[[Comparison], bool]) -> Rule:
    """A rule has a reason why ours differs, and ours is what follows from what it accepts."""

    def explained(comparison: Comparison) -> bool:
        asked = _asked(comparison)
        # What was refused is missing later on; that says nothing about how a later call goes.
        consequence = name in asked.earlier and (
            asked.what not in ("call", "appended")
            or (asked.call is not None and "resume" in asked.call)
        )
        return (consequence or explains(comparison)) and follows(asked, comparison)

    return Rule(name, explained)


RULES = (
    _rule("redaction-by-whole-words", redacts_whole_words),
    _rule("checkpoints-count-what-they-tell", counts_what_is_told),
    _rule("merge-dont-replace", merges),
    _rule("u64-not-f64", exact_numbers),
    _rule("begins-and-ends-once", begins_and_ends_once),
    _rule("only-what-can-be-said", can_be_said),
    _rule("progress-does-not-go-back", does_not_go_back),
    _rule("damage-hides-nothing", hides_nothing),
    _rule("one-bootstrap-a-node", one_of_a_node),
)
