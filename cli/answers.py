"""What `--json` prints, as types: each command's answer has one, and its schema is made from it.

Times are milliseconds since 1970, sizes bytes; what is not known is null. Answers that are values
of the library (a standing, an explanation, a ruling) are printed as they are.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from bootledger.artefacts import Artefact
from bootledger.cli.primary_answers import Listening, SlotListed
from bootledger.positions import U64
from bootledger.projections.dangling import DanglingIntent
from bootledger.projections.explain import Explanation
from bootledger.projections.forecast import Forecast
from bootledger.projections.resume import ResumePoint
from bootledger.projections.standing import Standing
from bootledger.replica.reddb_import import Imported
from bootledger.replica.ruling import Ruling
from bootledger.statemachine.events import Event
from bootledger.statemachine.progress import State
from bootledger.store.port import Positions


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Happened(_Answer, frozen=True, kw_only=True):
    """One event of an intent: its number in the intent, its position in the ledger, and in words.

    `event` is the event itself; its `kind` says which fields it has.
    """

    version: U64
    position: U64
    recorded_at_ms: U64
    event: Event
    says: str


class History(_Answer, frozen=True, kw_only=True):
    """All events of one intent, oldest first."""

    intent_id: UUID
    events: list[Happened]


class IntentListed(_Answer, frozen=True, kw_only=True):
    """One intent of a ledger, finished or not; `starts` is how often it was started."""

    intent_id: UUID
    node_id: str
    began_at_ms: U64
    state: State
    starts: U64


class Decided(_Answer, frozen=True, kw_only=True):
    """Whether a node's next start resumes an intent (`point`: from where), or `why` it does not.

    `why` is for programs and `reason` for people; both are null if it resumes.
    """

    node_id: str
    resumes: bool
    why: str | None
    reason: str | None
    point: ResumePoint | None


class Step(_Answer, frozen=True, kw_only=True, tag_field="event", tag="step"):
    """A step begins: what it is called, and what is true before it."""

    phase: str
    state: State
    epoch: U64
    staged_bytes: U64
    size_bytes: U64 | None
    generation: U64
    applied_lsn: U64 | None


class Pinning(_Answer, frozen=True, kw_only=True, tag_field="event", tag="pinning"):
    """The source is asked for a base backup; that may take a while."""

    generation: U64


class LogLost(_Answer, frozen=True, kw_only=True, tag_field="event", tag="log-lost"):
    """The source's log cannot be followed from here, because of `cause`: it is copied anew."""

    error: str
    cause: str


class Fetched(_Answer, frozen=True, kw_only=True, tag_field="event", tag="fetched"):
    """Bytes `start` to `end` (that one not included) of the base backup arrived."""

    start: U64
    end: U64


class Reused(_Answer, frozen=True, kw_only=True, tag_field="event", tag="reused"):
    """Bytes `start` to `end` (that one not included) were here already and were not fetched."""

    start: U64
    end: U64


class Rejected(_Answer, frozen=True, kw_only=True, tag_field="event", tag="rejected"):
    """What `place` sent for bytes `start` to `end` is not them: it was dropped, for `reason`.

    One that begins with `cut: ` is of a link that broke: only a part came, and it was not wrong.
    """

    place: str
    start: U64
    end: U64
    reason: str


class Staged(_Answer, frozen=True, kw_only=True, tag_field="event", tag="staged"):
    """Bytes `start` to `end` (that one not included) are durable, and recorded."""

    start: U64
    end: U64


class Applied(_Answer, frozen=True, kw_only=True, tag_field="event", tag="applied"):
    """Changes up to LSN `lsn` are durable; the source stood at `target_lsn`."""

    lsn: U64
    target_lsn: U64


class Forecasted(_Answer, frozen=True, kw_only=True, tag_field="event", tag="forecast"):
    """Whether and when the bootstrap will converge, as far as that is known by now, and in words.

    Told when the verdict changes, and every half a minute.
    """

    says: str
    forecast: Forecast


class Waiting(_Answer, frozen=True, kw_only=True, tag_field="event", tag="waiting"):
    """Because of an error nothing goes on; the next attempt is made after `retry_in_ms`."""

    error: str
    cause: str
    retry_in_ms: U64


class Following(_Answer, frozen=True, kw_only=True, tag_field="event", tag="following"):
    """The source is followed: changes up to `lsn` are durable, it stood at `source_lsn`."""

    lsn: U64
    source_lsn: U64
    lag_changes: U64


class Ended(_Answer, frozen=True, kw_only=True, tag_field="event", tag="outcome"):
    """The last line: the replica is up to date, or was when it was stopped while it followed.

    `copied` says whether a base backup was needed, `epochs` how often the intent was started.
    """

    intent_id: str
    copied: bool
    generation: U64
    applied_lsn: U64
    epochs: U64


class Copied(_Answer, frozen=True, kw_only=True, tag_field="event", tag="copied"):
    """The last line of `copy`: what lies at `path` is up to date.

    `copied` says whether anything had to be copied, `epochs` how often the intent was started.
    """

    intent_id: str
    copied: bool
    generation: U64
    lsn: U64
    epochs: U64
    path: str


class CompactionDone(_Answer, frozen=True, kw_only=True):
    """What moved into the archive, and what is there by now (ranges include both ends)."""

    moved_events: U64
    log_bytes: int
    archive_bytes: int
    saved_bytes: int
    archived_events: U64
    archived_ranges: list[Positions]


class Tidied(_Answer, frozen=True, kw_only=True):
    """What was removed (with `dry_run`: would be), what was left, each with the reason why."""

    removed: list[Artefact]
    left: list[Artefact]
    dry_run: bool
    freed_bytes: U64


class Damage(_Answer, frozen=True, kw_only=True):
    """The first damage: the error's name, its position if it has one, and what to make of it."""

    kind: str
    position: U64 | None
    what: str
    means: str
    to_do: str


class LayerVerdict(_Answer, frozen=True, kw_only=True, omit_defaults=True):
    """One of the three layers (file, records, history), with what was counted in it.

    `damage` is there only if it is not sound.
    """

    layer: int
    name: str
    sound: bool
    counts: dict[str, int]
    damage: Damage | None = None


class Verdict(_Answer, frozen=True, kw_only=True):
    """Whether the ledger is sound; the layers that were looked at, the damaged one last."""

    sound: bool
    layers: list[LayerVerdict]


class Exported(_Answer, frozen=True, kw_only=True):
    """How many events are in the file."""

    events: U64
    output: str


class Merged(_Answer, frozen=True, kw_only=True):
    """How many events of an export were added, and how many were there already."""

    appended: U64
    present: U64


ANSWERS: dict[str, object] = {
    "replicate": (
        Step
        | Pinning
        | LogLost
        | Fetched
        | Reused
        | Rejected
        | Staged
        | Applied
        | Forecasted
        | Waiting
        | Following
        | Ended
    ),
    "copy": Step | Pinning | LogLost | Fetched | Reused | Rejected | Staged | Copied,
    "forecast": Forecast,
    "status": list[Standing],
    "watch": Standing,
    "dangling": list[DanglingIntent],
    "history": History,
    "history-intents": IntentListed,
    "resume-point": Decided,
    "explain": Explanation,
    **dict.fromkeys(("hold", "release", "adopt", "abort", "discard"), Ruling),
    "serve": Listening,
    "slots": list[SlotListed],
    "compact": CompactionDone,
    "gc": Tidied,
    "verify": Verdict,
    "export": Exported,
    "import": Merged,
    "import-reddb": Imported,
}
"""What each command prints; `replicate`, `copy` and `watch` print one a line, again and again.

`import-reddb` is what `import` prints of RedDB's log, `history-intents` what `history` prints
without an intent, one a line.
"""
