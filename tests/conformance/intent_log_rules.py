"""What differs from RedDB's intent log on purpose, told by values and by nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from conformance.seed_shape import OP, Line, Point, told_point
from conformance.verdicts import Comparison, Rule

Record = Mapping[str, object]
History = tuple[Record, ...]

_PHASE = re.compile(r"running|completed|aborted|checkpoint_\+?[0-9]+")
_SIX = ("password", "secret", "token", "key", "credential", "auth")
REDACTED = "***REDACTED***"


@dataclass(frozen=True)
class Asked:
    """What a comparison is about: a question, and what the log holds of the intents concerned.

    `histories` are the intents' records, `log` is the whole file, `call` the call that was made.
    `counted` is how many checkpoints ours has accepted of the intent, `applied` where it stood.
    `earlier` has the rules that explained an earlier call of the same handle.
    """

    what: str
    histories: tuple[History, ...] = ()
    log: bytes = b""
    call: Record | None = None
    counted: int | None = None
    applied: Point | None = None
    earlier: frozenset[str] = frozenset()


# --- The log as RedDB's reader sees it -----------------------------------------------------------


def records_of(log: bytes) -> Iterator[Record]:
    """Every line that RedDB's reader takes for a record of a bootstrap, were the file UTF-8."""
    for line in log.split(b"\n"):
        try:
            record = json.loads(line.decode(), strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.get("op") == OP and _has_place(record):
            yield record


def _has_place(record: Record) -> bool:
    intent, phase = record.get("id"), record.get("phase")
    if not isinstance(intent, str) or not isinstance(phase, str) or not _PHASE.fullmatch(phase):
        return False
    return not phase.startswith("checkpoint_") or int(phase[11:]) < 2**32


def by_intent(log: bytes) -> dict[str, History]:
    """The histories of a log, by id: canonical if it is a UUID, in the order of first records."""
    found: dict[str, list[Record]] = {}
    for record in records_of(log):
        found.setdefault(canonical(str(record["id"])), []).append(record)
    return {intent: tuple(history) for intent, history in found.items()}


def canonical(intent: str) -> str:
    """The UUID that an id is, or the id."""
    try:
        return str(UUID(intent))
    except ValueError:
        return intent


def is_uuid(intent: str) -> bool:
    """Whether an id is a UUID in its canonical form."""
    try:
        return str(UUID(intent)) == intent
    except ValueError:
        return False


def _args(history: History) -> Record:
    args = history[0].get("args")
    return args if isinstance(args, dict) else {}


def node_of(history: History) -> object:
    """Whose intent it is."""
    return _args(history).get("replica_id")


def told(history: History) -> list[Record]:
    """The progress maps of a history."""
    return [p for record in history if isinstance(p := record.get("progress"), dict)]


def telling_checkpoints(history: History) -> int:
    """How many checkpoints tell something, or repeat what one has told."""
    number, known = 0, False
    for record in history:
        if str(record["phase"]).startswith("checkpoint_"):
            progress = record.get("progress")
            names = ("last_applied_lsn", "snapshot_cursor", "snapshot_token")
            if isinstance(progress, dict):
                known = known or any(progress.get(name) is not None for name in names)
            number += known
    return number


# --- Conditions ---------------------------------------------------------------------------------


def _numbers(history: History) -> Iterator[object]:
    for name in ("source_lsn", "target_lsn_hint"):
        yield _args(history).get(name)
    for progress in told(history):
        for name in ("last_applied_lsn", "snapshot_offset", "batches_applied"):
            yield progress.get(name)
    for record in history:
        summary = record.get("summary")
        if isinstance(summary, dict):
            yield from (summary.get(name) for name in ("total_records", "duration_ms"))


def inexact(history: History) -> bool:
    """Whether a number is no u64, or lies where a double is not exact."""
    return any(value is not None and not _exact(value) for value in _numbers(history))


def _exact(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < 2**53 and value == int(value)


def same_double(theirs: object, ours: object) -> bool:
    """Whether two answers differ in numbers alone, and only by what a double or an i64 loses."""
    match theirs, ours:
        case int(), int():
            clamped = theirs in {2**63 - 1, 2**63} and ours >= 2**63 - 1
            return clamped or float(theirs) == float(ours)
        case Point(), Point():
            return theirs.token == ours.token and all(
                same_double(*pair)
                for pair in ((theirs.lsn, ours.lsn), (theirs.offset, ours.offset))
            )
        case str(), str():
            numbers = (theirs.isdecimal(), ours.isdecimal())
            return all(numbers) and same_double(int(theirs), int(ours))
        case _:
            return False


def goes_back(history: History) -> bool:
    """Whether an LSN, or an offset under one open token, is lower than one before it."""
    lsn = 0
    for before, point, progress in _standing(history):
        if progress.get("last_applied_lsn") is not None and point.lsn < lsn:
            return True
        lsn = max(lsn, before.lsn, point.lsn)
        told_offset = progress.get("snapshot_offset") is not None
        goes_on = point.token is not None and point.token == before.token
        if goes_on and told_offset and point.offset < before.offset:
            return True
    return False


def _standing(history: History) -> Iterator[tuple[Point, Point, Record]]:
    """For each progress: where a reader that merges stood, what it reads, and the map itself."""
    lsn, token, offset = 0, None, 0
    for progress in told(history):
        point = told_point(progress)
        yield Point(lsn, token, offset), point, progress
        told_lsn = progress.get("last_applied_lsn") is not None
        lsn = point.lsn if told_lsn else lsn
        if point.token is not None:
            offset = offset if point.token == token else 0
            token = point.token
            offset = point.offset if progress.get("snapshot_offset") is not None else offset
        elif told_lsn:
            token = None  # restored: the same token would open another generation


def several_ends_or_beginnings(history: History) -> bool:
    """Whether something follows an end, or a beginning is not the first record."""
    phases = [record["phase"] for record in history]
    return "running" in phases[1:] or any(p in ("completed", "aborted") for p in phases[:-1])


def unsayable(history: History) -> bool:
    """Whether an id, a node, a token or a label is none of ours."""
    spelled = {str(record["id"]) for record in history}
    if not all(map(is_uuid, spelled)) or not _text(node_of(history), 255):
        return True
    for progress in told(history):
        point, name = told_point(progress), "snapshot_cursor"
        name = name if name in progress else "snapshot_token"
        token = progress.get(name)
        if token is not None and (not _text(token, 1024) or token == REDACTED):
            return True
        if token is None and (progress.get("snapshot_token") is not None or point.offset):
            return True
    return not _labels(_args(history), 2)


def _text(value: object, most: int) -> bool:
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        return len(value.encode()) <= most
    except UnicodeEncodeError:
        return False


def _labels(value: object, depth: int) -> bool:
    match value:
        case dict():
            return depth <= 8 and all(
                _text(name, 64) and _labels(item, depth + 1) for name, item in value.items()
            )
        case list():
            return depth <= 8 and all(_labels(item, depth + 1) for item in value)
        case str():
            return not value or _text(value, 1024)
        case bool() | None:
            return True
        case int():
            return -(2**63) <= value < 2**64
        case float():
            return value - value == 0
        case _:
            return False


def damaged(log: bytes) -> bool:
    """Whether a line is not what it was: no JSON, no UTF-8, or without its end."""
    if log and not log.endswith(b"\n"):
        return True
    for line in log.split(b"\n"):
        try:
            if line.strip():
                json.loads(line.decode(), strict=False)
        except (ValueError, RecursionError):
            return True
    return False


def hides_a_record(line: bytes) -> bool:
    """Whether a line is not one record, but one stands in it, before or behind something else."""
    if not damaged(line + b"\n"):
        return False
    text = line.decode(errors="replace")
    for start in re.finditer(r"\{", text):
        try:
            record, _ = json.JSONDecoder(strict=False).raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.get("op") == OP and _has_place(record):
            return True
    return False


def whole_words(name: str) -> list[str]:
    """The words of a label's name, by separators and by humps."""
    humps = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    humps = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", humps)
    return re.split(r"[^A-Za-z]+", f"{humps} {name}".lower())


# --- The rules ----------------------------------------------------------------------------------


def _asked(comparison: Comparison) -> Asked:
    assert isinstance(comparison.asked, Asked)
    return comparison.asked


def _one_is_missing(comparison: Comparison) -> bool:
    return comparison.theirs is None or comparison.ours is None


def _any(condition: Callable[[History], bool]) -> Callable[[Comparison], bool]:
    return lambda comparison: any(map(condition, _asked(comparison).histories))


def merged(history: History) -> Point:
    """What a history tells if a later progress adds to an earlier one."""
    lsn, token, offset = 0, None, 0
    for before, point, progress in _standing(history):
        lsn = before.lsn if progress.get("last_applied_lsn") is None else point.lsn
        if point.token is not None:
            goes_on = point.token == before.token
            offset = (
                before.offset
                if goes_on and progress.get("snapshot_offset") is None
                else (point.offset)
            )
            token = point.token
    return Point(lsn, token, offset)


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
    return _one_is_missing(comparison) and _any(inexact)(comparison)


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
    return any(map(goes_back, asked.histories))


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
    return _one_is_missing(comparison) and _any(several_ends_or_beginnings)(comparison)


def can_be_said(comparison: Comparison) -> bool:
    """An id, a node, a token or a label is none of ours: refused, or quarantined."""
    asked = _asked(comparison)
    if asked.what == "call" and asked.call is not None:
        node, token = asked.call.get("node", "x"), asked.call.get("snapshot_token", "x")
        too_large = isinstance(error := asked.call.get("err"), dict) and (
            error.get("kind") == "TooLarge"
        )
        return too_large or not (_text(node, 255) and _text(token, 1024))
    if asked.what == "actor":
        return not all(isinstance(history[0].get("actor"), str) for history in asked.histories)
    if asked.what == "node" and not _text(asked.call and asked.call.get("node_id"), 255):
        return comparison.ours is None
    return _any(unsayable)(comparison)


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
            return ours in ("refused", None)
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
        inside = any(word in name.lower() for word in _SIX)
        whole = {*_SIX, *(f"{word}s" for word in _SIX)} & set(whole_words(name))
        deeper = str(ours).count(REDACTED) > str(theirs).count(REDACTED)
        return deeper or (str(theirs).count(REDACTED) == 1 and inside and not whole)
    return isinstance(theirs, Point) and theirs.token == REDACTED


def _rule(name: str, explains: Callable[[Comparison], bool]) -> Rule:
    def explained(comparison: Comparison) -> bool:
        return name in _asked(comparison).earlier or explains(comparison)

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
