"""The policy of a ledger, once more and small: who may resume, begin and write, written from prose.

From docs/design.md and nothing else: no event, no table, no fold. Every operation of the model says
how the real one must end (`None`, or the error that is raised) and changes what is true.

    one live owner a node: whoever begins or resumes first claims the node
    resume: exactly one unfinished intent of the node has progress; none runs, none is held
    begin: supersedes the node's intents without progress; refused while one of them is held
    complete: supersedes the node's other intents, but not what runs or is held
    write: only who took the intent last (its epoch is the newest), and nobody once it ended or is
        held; whoever finds that out has lost it for good
    a person may hold, release and end what is unfinished, and adopt one, which ends its siblings;
        what is held or being promoted is not ended in passing
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bootledger import errors
from bootledger.projections.dangling import Liveness
from bootledger.projections.resume import Why

Ends = type[errors.Refused] | type[errors.Unavailable] | None
"""How an operation must end: None, or by which error."""


@dataclass(eq=False)
class Intent:
    """One bootstrap of a node."""

    node: str
    version: int = 1
    epoch: int = 1
    progress: bool = False
    phase: str = "begun"
    word: str | None = None
    """`suspended` or `held`; None while it runs, or after its owner died at work."""
    ended: bool = False
    aborted: bool = False


@dataclass(eq=False)
class Owner:
    """One life of one process that took an intent, under the epoch that it then had."""

    intent: Intent
    epoch: int
    claims: bool = True
    let_go: bool = False


@dataclass
class Policy:
    """What is true of all nodes of a ledger."""

    intents: list[Intent] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)

    # --- What is asked --------------------------------------------------------------------------

    def unfinished(self, node: str) -> list[Intent]:
        """Return the node's intents that have begun and not ended, in the order of their begins."""
        return [intent for intent in self.intents if intent.node == node and not intent.ended]

    def runs(self, intent: Intent) -> bool:
        """Return whether a live process holds the intent."""
        return any(owner.claims and owner.intent is intent for owner in self.owners)

    def busy(self, node: str) -> bool:
        """Return whether a live process holds the node."""
        return any(owner.claims and owner.intent.node == node for owner in self.owners)

    def decision(self, node: str) -> Intent | Why:
        """Return the intent that the node resumes, or why it resumes none."""
        mine = self.unfinished(node)
        if not mine:
            return Why.NOTHING_UNFINISHED
        if any(self.runs(intent) for intent in mine):
            return Why.RUNNING
        if any(intent.word == "held" for intent in mine):
            return Why.HELD
        match [intent for intent in mine if intent.progress]:
            case []:
                return Why.NO_PROGRESS
            case [only]:
                return only
            case _:
                return Why.SEVERAL_WITH_PROGRESS

    def liveness(self, intent: Intent) -> Liveness:
        """Return whether anybody is at it."""
        if self.runs(intent):
            return Liveness.RUNNING
        return Liveness.STOPPED_WITH_WORD if intent.word else Liveness.STOPPED_WITHOUT_WORD

    def may_write(self, owner: Owner) -> bool:
        """Return whether what this owner says next would count."""
        return not owner.let_go and self._lost(owner) is None

    def _lost(self, owner: Owner) -> Ends:
        intent = owner.intent
        if intent.ended or intent.word == "held":
            return errors.ClosedByOperator
        return None if intent.epoch == owner.epoch else errors.Fenced

    # --- What is done ---------------------------------------------------------------------------

    def begin(self, node: str) -> Ends:
        """A process begins a bootstrap of the node."""
        if self.busy(node):
            return errors.NodeBusy
        if any(intent.word == "held" for intent in self.unfinished(node)):
            return errors.ClosedByOperator
        for intent in self.unfinished(node):
            if not intent.progress:
                self._end(intent)
        new = Intent(node)
        self.intents.append(new)
        self.owners.append(Owner(new, epoch=1))
        return None

    def resume(self, intent: Intent, seen: int, *, actor: bool) -> Ends:
        """A process takes up an intent that it saw at version `seen`."""
        if self.busy(intent.node):
            return errors.NodeBusy
        if seen != intent.version:
            return errors.IntentConflict
        if intent.ended:
            return errors.IllegalEvent
        if intent.word == "held" and not actor:
            return errors.GuardRefused
        intent.epoch += 1
        intent.version += 1
        intent.word = None
        self.owners.append(Owner(intent, intent.epoch))
        return None

    def write(self, owner: Owner, phase: str) -> Ends:
        """An owner records work; `phase` is where that leads."""
        if (error := self._word(owner)) is not None:
            return error
        owner.intent.version += 1
        owner.intent.progress = True
        owner.intent.phase = phase
        return None

    def suspend(self, owner: Owner) -> Ends:
        """An owner says why it stops, and lets go."""
        if (error := self._word(owner)) is not None:
            return error
        owner.intent.version += 1
        owner.intent.word = "suspended"
        self.crash(owner)
        return None

    def abort(self, owner: Owner) -> Ends:
        """An owner ends its intent, and lets go; not in the midst of a promotion."""
        if owner.let_go:
            return errors.Refused
        if owner.intent.phase == "promoting" and owner.epoch == owner.intent.epoch:
            return errors.GuardRefused
        if (error := self._word(owner)) is not None:
            return error
        self._end(owner.intent)
        self.crash(owner)
        return None

    def complete(self, owner: Owner) -> Ends:
        """An owner completes its intent, and lets go; the node's others are over with it."""
        if (error := self._word(owner)) is not None:
            return error
        for other in self.unfinished(owner.intent.node):
            if other is not owner.intent and not self.runs(other) and other.word != "held":
                self._end(other)
        self._end(owner.intent, aborted=False)
        self.crash(owner)
        return None

    def crash(self, owner: Owner) -> None:
        """A process is gone, or has let go: its claims are free, and nothing was written."""
        owner.claims = False
        owner.let_go = True

    def lose_claims(self, owner: Owner) -> None:
        """An owner loses its claims and does not know: a zombie."""
        owner.claims = False

    def hold(self, intent: Intent) -> Ends:
        """A person holds an intent; holding it twice is holding it."""
        if intent.ended:
            return errors.IllegalEvent
        if intent.word != "held":
            intent.version += 1
            intent.word = "held"
        return None

    def release(self, intent: Intent) -> Ends:
        """A person ends a hold: the next start may go on, and nobody from before."""
        if intent.ended:
            return errors.IllegalEvent
        if intent.word == "held":
            self._hand_on(intent)
        return None

    def adopt(self, intent: Intent) -> Ends:
        """A person decides that this one counts: its siblings are over, its owners are fenced."""
        if intent.ended:
            return errors.IllegalEvent
        siblings = [other for other in self.unfinished(intent.node) if other is not intent]
        for sibling in siblings:
            if sibling.word == "held":
                return errors.ClosedByOperator
            if sibling.phase == "promoting":
                return errors.GuardRefused
        if siblings or intent.word != "suspended":
            for sibling in siblings:
                self._end(sibling)
            self._hand_on(intent)
        return None

    def end(self, intent: Intent, *, rolled_back: bool) -> Ends:
        """A person aborts an intent; aborting it twice is aborting it."""
        if intent.ended:
            return None if intent.aborted else errors.IllegalEvent
        if intent.phase == "promoting":
            if not rolled_back:
                return errors.GuardRefused
            if self.runs(intent):
                return errors.NodeBusy
        self._end(intent)
        return None

    def _hand_on(self, intent: Intent) -> None:
        intent.epoch += 1
        intent.version += 2
        intent.word = "suspended"

    def _word(self, owner: Owner) -> Ends:
        """Return why an owner may not write; who finds that out lets go."""
        if owner.let_go:
            return errors.Refused
        if (error := self._lost(owner)) is not None:
            self.crash(owner)
        return error

    def _end(self, intent: Intent, *, aborted: bool = True) -> None:
        intent.version += 1
        intent.ended = True
        intent.aborted = aborted
