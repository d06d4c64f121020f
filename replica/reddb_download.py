"""The download of a RedDB base backup into a spool: ask for the first gap, stage what comes, again.

Any answer that brings a missing chunk is progress, whether it is the one that was asked for or not.
RedDB asks on for ever if none comes. Here a few answers without anything new are an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from bootledger.basebackup.reddb_manifest import (
    BaseBackupChunkRef,
    PrimaryReplicaBaseBackupManifest,
)
from bootledger.basebackup.reddb_spool import Spool
from bootledger.basebackup.reddb_wire import BaseBackupChunk
from bootledger.errors import SnapshotLost, SourceChanged, SourceUnavailable
from bootledger.replica.ports import Pause

MOST_FRUITLESS = 10
"""How many answers in a row may bring nothing new."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

Ask: TypeAlias = Callable[[int, str | None], BaseBackupChunk]
"""Asks the primary for what follows an offset of the base backup with that token."""


class Download:
    """One run of a download into `spool`, of a primary that is on `timeline`.

    Only a base backup beyond `after_lsn` will do, if that is given: from an older one the primary's
    log does not go on, and it would be copied in vain, again and again.
    """

    def __init__(
        self,
        ask: Ask,
        spool: Spool,
        timeline: int,
        pause: Pause,
        sleep: Callable[[float], None],
        *,
        after_lsn: int | None = None,
    ) -> None:
        self._ask = ask
        self._spool = spool
        self._timeline = timeline
        self._pause = pause
        self._sleep = sleep
        self._after_lsn = after_lsn
        self._missing: dict[int, BaseBackupChunkRef] = {}
        self._agreed = False
        """Whether the primary has said in this run which base backup it has."""

    def run(self, answer: BaseBackupChunk | None = None) -> None:
        """Stage what is missing; when this returns, the spool holds every part, each one checked.

        `answer` is one that the caller has got already, to the question for the beginning.

        Raises `SourceUnavailable` if the primary has no base backup or too old a one, another one
        in the middle of the run, or nothing new to say; `SourceChanged` if it is of another
        timeline; what staging raises if a chunk is not what the manifest says. What was staged
        before stays.
        """
        known = self._spool.origin is not None and not self._spool.origin.ask_anew
        if known:
            self._look_what_is_missing()
        fruitless = 0
        while not known or self._missing:
            brought = self._take(answer or self._ask_for_the_first_gap(known=known))
            known, answer = True, None
            fruitless = 0 if brought else fruitless + 1
            if fruitless >= MOST_FRUITLESS:
                raise SourceUnavailable(
                    f"the primary sent nothing new in {fruitless} answers",
                    hint="start again later; the base backup may have to be made anew",
                )
            if fruitless:
                self._sleep(min(_FIRST_PAUSE_S * 2**fruitless, _LONGEST_PAUSE_S))

    def _ask_for_the_first_gap(self, *, known: bool) -> BaseBackupChunk:
        origin = self._spool.origin
        if not known or origin is None:
            return self._ask_or_note(0, None)
        first = next(iter(self._missing.values()))
        return self._ask_or_note(first.snapshot_offset, origin.token)

    def _ask_or_note(self, offset: int, token: str | None) -> BaseBackupChunk:
        self._pause()
        try:
            return self._ask(offset, token)
        except SnapshotLost:
            self._spool.ask_anew()
            raise

    def _take(self, answer: BaseBackupChunk) -> bool:
        """Stage what an answer brings; return whether anything of it was missing."""
        try:
            encoded = available_manifest(answer)
        except SourceUnavailable:
            self._spool.ask_anew()
            raise
        self._agree_on(encoded, answer.snapshot_token)
        ordinal = self._spool.stage(answer)
        return ordinal is not None and self._missing.pop(ordinal, None) is not None

    def _agree_on(self, encoded: bytes, token: str | None) -> None:
        """Make the spool that of this base backup, if it is not; only the first answer may."""
        origin = self._spool.origin
        if origin is None or origin.ask_anew or origin.manifest != encoded:
            if self._agreed:
                raise SourceUnavailable(
                    "the primary changed its base backup while it was copied",
                    hint="start again: the new one is copied then",
                )
            manifest = PrimaryReplicaBaseBackupManifest.decode(encoded)
            if manifest.timeline != self._timeline:
                raise SourceChanged(
                    f"the primary's base backup is of timeline {manifest.timeline}, "
                    f"the source was said to be on timeline {self._timeline}"
                )
            if self._after_lsn is not None and manifest.checkpoint_lsn <= self._after_lsn:
                raise SourceUnavailable(
                    f"the primary's base backup is of LSN {manifest.checkpoint_lsn}, "
                    f"its log does not go on from LSN {self._after_lsn}",
                    hint="have the primary make a newer base backup, then start again",
                )
            self._spool.adopt(encoded, token)
            self._look_what_is_missing()
        elif token is not None and token != origin.token:
            self._spool.adopt(encoded, token)
        self._agreed = True

    def _look_what_is_missing(self) -> None:
        self._missing = {chunk.ordinal: chunk for chunk in self._spool.missing(self._pause)}


def available_manifest(answer: BaseBackupChunk) -> bytes:
    """Return the encoded manifest of an answer. Raises `SourceUnavailable`, `MissingField`."""
    if not answer.basebackup_available:
        raise SourceUnavailable(
            "the primary has no base backup", hint="have it make one, then start again"
        )
    return answer.required_manifest()
