"""Every error of bootledger, sorted by who must act.

A caller can do three things with a failure, so there are three branches:

- `Refused`: the caller asked for something that may not be. Nothing was written. Ask differently.
- `Corrupted`: what lies on disk, or what a source sent, is not what it claims to be. Stop and look.
- `Unavailable`: it did not work this time. Nothing that was acknowledged is lost. Try again later.

Each error carries the value that was wrong in its message, and what to do about it in `hint`.
"""

from __future__ import annotations


class BootledgerError(Exception):
    """The root of all errors that this package raises.

    `hint` is one sentence that says what to do; it is empty where the message says it all.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


# --- Refused: the caller must act ---------------------------------------------------------------


class Refused(BootledgerError):
    """The request was not carried out and nothing was written."""


class InvalidValue(Refused, ValueError):
    """An argument is outside its domain: a negative LSN, an empty node id, a path with `..`."""


class IllegalEvent(Refused):
    """The state machine has no transition for this event from this state."""


class GuardRefused(Refused):
    """The transition exists, but its guard said no; the message is the guard's reason."""


class IntentConflict(Refused):
    """The intent, or the set of the node's unfinished intents, is not what the caller expected.

    Somebody else appended first. Read again, then decide.
    """


class Fenced(Refused):
    """Another holder resumed this intent: this one has lost it and must not write any more."""


class ClosedByOperator(Refused):
    """An operator held or ended this intent while it ran; its owner must stop."""


class Undecided(Refused):
    """Several bootstraps of one node could go on; a person must decide which one counts."""


class ForeignTarget(Refused):
    """The target belongs to another source or to something that is not bootledger."""


class SourceChanged(Refused):
    """The source is not the database that this bootstrap began with."""


class TargetChanged(Refused):
    """The target is not the one that this bootstrap began with."""


class NotAllowed(Refused):
    """The other side does not know these credentials, or they do not allow what was asked."""


class OlderTimeline(Refused):
    """The source is on an older timeline than its replica: another primary took its place."""


class CannotConverge(Refused):
    """At the measured rates this bootstrap would not end before the log that it needs is gone."""


class WrongProcess(Refused):
    """A handle was carried across a fork; LMDB forbids that. Open it again in the child."""


# --- Corrupted: the operator must look ----------------------------------------------------------


class Corrupted(BootledgerError):
    """Bytes are not what they claim to be. Nothing was skipped, guessed or repaired.

    `position` is the event of a ledger that it is about, None if it is not about one.
    """

    def __init__(self, message: str, *, hint: str = "", position: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.position = position


class CorruptRecord(Corrupted):
    """A record of a ledger or a database fails its checksum, its frame or its place."""


class CorruptManifest(Corrupted):
    """A manifest contradicts itself or does not match its digest."""


class CorruptChunk(Corrupted):
    """A chunk of a base backup does not have the length or the digest that the manifest names."""


class DivergedHistory(Corrupted):
    """Recorded history breaks the rules of the state machine, or contradicts the database."""


class UnknownFormat(Corrupted):
    """Written by a newer version, or not by bootledger at all. Refused rather than guessed."""


# --- Unavailable: try again later ---------------------------------------------------------------


class Unavailable(BootledgerError):
    """Not possible now. What was acknowledged before is untouched.

    `retry_after_ms` is after how long whoever said so wants to be asked again, None if it did not
    say.
    """

    retry_after_ms: int | None = None


class SourceUnavailable(Unavailable):
    """The source does not answer or is not there."""


class SnapshotLost(Unavailable):
    """The source no longer has the base backup of this token; a new generation is needed."""


class LogWindowLost(Unavailable):
    """The source no longer has the changes that come next; a new base backup is needed."""


class SlotInvalid(LogWindowLost):
    """The replica's slot was invalidated: the source holds the log for it no longer."""


class NodeBusy(Unavailable):
    """A live process already bootstraps this node."""


class TargetBusy(Unavailable):
    """A live process already owns this target directory."""


class StoreBusy(Unavailable):
    """Another process held the write lock for longer than the time allowed."""


class OutOfSpace(Unavailable):
    """The disk is full. The write did not happen, or its outcome is settled by reading again."""


class OutcomeUnknown(Unavailable):
    """A commit failed in a way that leaves open whether it happened: read again, then decide."""


class ReadOnly(Unavailable):
    """The file system or its permissions do not allow to write here."""


class Stopped(Unavailable):
    """Somebody asked the work to stop; it was suspended, and goes on with the next start."""


# --- Not an error of ours -----------------------------------------------------------------------


class SimulatedCrash(BaseException):
    """The process is to be treated as dead from this point on.

    Raised by crash simulations only. A `BaseException`, so that no `except Exception` of anybody
    outlives its own death.
    """
