"""The seed's `ReplicaBootstrapper`: one node's view of the intent log."""

from __future__ import annotations

from bootledger.positions import check_node_id
from bootledger.projections.resume import Resumable, ResumePoint
from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.intent_log import IntentLog


class ReplicaBootstrapper:
    """Finds, resumes and begins the bootstraps of `node_id`, and of no other node.

    Each node resumes only its own intents. If several unfinished ones have progress, none is
    resumed: a person decides. `IntentLog.decide` says why whenever the answer is no.
    """

    def __init__(self, node_id: str) -> None:
        self.node_id = check_node_id(node_id)

    def scan_for_resume(self, log: IntentLog) -> ResumePoint | None:
        """Report every dangling intent, and return where this node would resume, or None."""
        log.scan_and_report()
        decision = log.decide(self.node_id)
        return decision.point if isinstance(decision, Resumable) else None

    def resume(self, log: IntentLog) -> tuple[ResumePoint, BootstrapHandle] | None:
        """Report every dangling intent, and take up this node's, or return None.

        The handle appends to the original intent, under a new epoch.
        """
        log.scan_and_report()
        decision = log.decide(self.node_id)
        if not isinstance(decision, Resumable):
            return None
        return decision.point, log.resume_unfinished(decision.intent)

    def begin(self, log: IntentLog, source_lsn: int, target_lsn_hint: int) -> BootstrapHandle:
        """Begin a fresh bootstrap. `source_lsn` is the source's LSN now, the hint is for people."""
        return log.begin(self.node_id, source_lsn, target_lsn_hint)
