"""An intent log as RedDB's reader sees it and as ours does, and what may be said of a history."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from conformance.seed_shape import OP, Point, seed_u64, told_point

Record = Mapping[str, object]
History = tuple[Record, ...]

_PHASE = re.compile(r"running|completed|aborted|checkpoint_\+?[0-9]+")
SIX = ("password", "secret", "token", "key", "credential", "auth")
REDACTED = "***REDACTED***"


@dataclass(frozen=True)
class Asked:
    """What a comparison is about: a question, and what the log holds of the intents concerned.

    `names` are the intents, in the order in which they began; `number` is the place of the one that
    is asked about. `histories` are their records, `accepted` those of them that ours accepts, and
    `supersedes` says whether ours saw them as calls, where one intent takes another's place. `log`
    is the whole file, `call` the call that was made, `live` whether another handle of the node was
    open then. `counted` is how many checkpoints ours has accepted of the intent, `applied` where it
    stood. `earlier` has the rules that explained an earlier call of the same handle.
    """

    what: str
    names: tuple[str, ...] = ()
    number: int | None = None
    histories: tuple[History, ...] = ()
    accepted: tuple[History, ...] = ()
    supersedes: bool = False
    live: bool = False
    log: bytes = b""
    call: Record | None = None
    counted: int | None = None
    applied: Point | None = None
    earlier: frozenset[str] = frozenset()

    @property
    def own(self) -> History:
        """What ours accepts of the intent that is asked about."""
        return () if self.number is None else self.accepted[self.number]


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
    return _by_intent(records_of(log))


def accepted(log: bytes) -> dict[str, History]:
    """The histories that ours accepts: with what stands in torn lines, without the quarantined."""
    records = (record for line in log.split(b"\n") for record in _records_in(line))
    return {
        intent: history
        for intent, history in _by_intent(records).items()
        if not any(
            refuses(history)
            for refuses in (inexact, goes_back, several_ends_or_beginnings, unsayable)
        )
    }


def _records_in(line: bytes) -> Iterator[Record]:
    return records_of(line) if not damaged(line + b"\n") else _torn_records(line)


def _by_intent(records: Iterator[Record]) -> dict[str, History]:
    found: dict[str, list[Record]] = {}
    for record in records:
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
        point = _exact_point(progress)
        yield Point(lsn, token, offset), point, progress
        told_lsn = progress.get("last_applied_lsn") is not None
        lsn = point.lsn if told_lsn else lsn
        if point.token is not None:
            offset = offset if point.token == token else 0
            token = point.token
            offset = point.offset if progress.get("snapshot_offset") is not None else offset
        elif told_lsn:
            token = None  # restored: the same token would open another generation


def _exact_point(progress: Record) -> Point:
    """What a progress map tells, with its numbers as they are."""
    point = told_point(progress)
    lsn, offset = (progress.get(name) for name in ("last_applied_lsn", "snapshot_offset"))
    return Point(_u64(lsn), point.token, _u64(offset))


def _u64(value: object) -> int:
    exact = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64
    return int(str(value)) if exact else seed_u64(value)


def several_ends_or_beginnings(history: History) -> bool:
    """Whether something follows an end, or a beginning is not the first record."""
    phases = [record["phase"] for record in history]
    return "running" in phases[1:] or any(p in ("completed", "aborted") for p in phases[:-1])


def unsayable(history: History) -> bool:
    """Whether an id, a node, a token or a label is none of ours."""
    spelled = {str(record["id"]) for record in history}
    if not all(map(is_uuid, spelled)) or not is_text(node_of(history), 255):
        return True
    for progress in told(history):
        point, name = told_point(progress), "snapshot_cursor"
        name = name if name in progress else "snapshot_token"
        token = progress.get(name)
        if token is not None and (not is_text(token, 1024) or token == REDACTED):
            return True
        if token is None and (progress.get("snapshot_token") is not None or point.offset):
            return True
    return not _labels(_args(history), 2)


def is_text(value: object, most: int) -> bool:
    """Whether a value is a name of ours, of `most` bytes at most."""
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
                is_text(name, 64) and _labels(item, depth + 1) for name, item in value.items()
            )
        case list():
            return depth <= 8 and all(_labels(item, depth + 1) for item in value)
        case str():
            return not value or is_text(value, 1024)
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
    return damaged(line + b"\n") and any(True for _ in _torn_records(line))


def _torn_records(line: bytes) -> Iterator[Record]:
    """Every record that stands whole in a line that is none."""
    text = line.decode(errors="replace")
    for start in re.finditer(r"\{", text):
        try:
            record, _ = json.JSONDecoder(strict=False).raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.get("op") == OP and _has_place(record):
            yield record


def whole_words(name: str) -> list[str]:
    """The words of a label's name, by separators and by humps."""
    humps = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    humps = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", humps)
    return re.split(r"[^A-Za-z]+", f"{humps} {name}".lower())


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


def batches_of(history: History) -> object:
    """How many batches the last of the checkpoints that count tells, None if none does."""
    batches, known = None, False
    for progress in told(history):
        names = ("last_applied_lsn", "snapshot_cursor", "snapshot_token")
        known = known or any(progress.get(name) is not None for name in names)
        number = progress.get("batches_applied")
        batches = number if known and number is not None else batches
    return batches


def sensitive(name: str) -> bool:
    """Whether one of the six words is a whole word of a name."""
    return bool({*SIX, *(f"{word}s" for word in SIX)} & set(whole_words(name)))
