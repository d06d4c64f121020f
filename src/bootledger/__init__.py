"""Crash-resumable replica bootstrap.

This is the daily surface: `replicate`, which brings a target up to date; the intent log with its
handles (the seed's facade) for what is copied in another way; and the three branches of errors. The
rooms hold the rest:

- `bootledger.statemachine`: events, the one table, fold, plan
- `bootledger.store`: the event store as a port, with its adapters and its contract suite
- `bootledger.projections`: resume points, dangling reports, and other answers by replay
- `bootledger.basebackup`: manifests and staging
- `bootledger.replica`: intent log, loop, target, ports
- `bootledger.primary`: the other side
- `bootledger.diagrams`: any machine as a picture, and whether it can work
"""

from bootledger.errors import BootledgerError, Corrupted, Refused, Unavailable
from bootledger.local import replicate
from bootledger.operator_events import OperatorEvent
from bootledger.projections.dangling import DanglingIntent
from bootledger.projections.resume import NotResumable, Resumable, ResumePoint
from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.replica.bootstrapper import ReplicaBootstrapper
from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Outcome, Replication
from bootledger.replica.observer import Observer
from bootledger.replica.operator import Operator
from bootledger.replica.ruling import Ruling
from bootledger.replica.settings import Settings
from bootledger.statemachine.progress import Progress, State

__all__ = [
    "BootledgerError",
    "BootstrapHandle",
    "Corrupted",
    "DanglingIntent",
    "IntentLog",
    "NotResumable",
    "Observer",
    "Operator",
    "OperatorEvent",
    "Outcome",
    "Progress",
    "Refused",
    "ReplicaBootstrapper",
    "Replication",
    "Resumable",
    "ResumePoint",
    "Ruling",
    "Settings",
    "State",
    "Unavailable",
    "UnfinishedIntent",
    "replicate",
]
