"""Ten durability bugs, planted into a recording: a judge that does not see them sees nothing.

Each takes the trace of a sound process and returns that of one which made the mistake. The product
is not changed: what is moved, dropped or redirected is found by its path, with the patterns of
`fnmatch`. A bug that finds nothing to spoil raises `NothingToPlant`: it would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from bootledger.errors import Refused
from bootledger.simulation.powerloss.operations import (
    Make,
    Operation,
    Rename,
    Resize,
    Sync,
    Write,
)
from bootledger.simulation.powerloss.trace import Trace


class NothingToPlant(Refused):
    """The trace does nothing that the bug could spoil."""


@dataclass(frozen=True)
class Planted:
    """A durability bug: what it is called, what the mistake is, and how a trace is spoilt by it."""

    name: str
    mistake: str
    plant: Callable[[Trace], Trace]


# --- The mistakes, wherever they are made ---------------------------------------------------------


def without_syncs(trace: Trace, *patterns: str, calls: bool = True, writes: bool = True) -> Trace:
    """Drop the syncs of what matches: `calls` to fsync, and what O_DSYNC promises of `writes`."""
    done: list[Operation] = []
    for operation in trace.operations:
        if _matches(operation, patterns) and isinstance(operation, Sync) and calls:
            continue
        if _matches(operation, patterns) and isinstance(operation, Write) and writes:
            done.append(replace(operation, synced=False))
        else:
            done.append(operation)
    return _spoilt(trace, done)


def claimed_first(trace: Trace, data: str, claim: str, *, commits: bool) -> Trace:
    """Move what is written to `data` behind the commit to `claim` that comes right after it.

    With `commits` only the commits of a database (which end with an O_DSYNC write), else only
    what is written and then synced.
    """
    done: list[Operation] = []
    waiting: list[Operation] = []
    held: list[Operation] = []
    for operation in trace.operations:
        if held and _matches(operation, (claim,)):
            done.append(operation)
            if _commits(operation):
                done += held
                held = []
            continue
        done += held
        held = []
        if _matches(operation, (data,)) and isinstance(operation, Write | Sync):
            waiting.append(operation)
            ends = _commits(operation) if commits else isinstance(operation, Sync)
            if ends and any(isinstance(each, Write) for each in waiting):
                held, waiting = waiting, []
            continue
        done += waiting
        waiting = []
        done.append(operation)
    return _spoilt(trace, [*done, *held, *waiting])


def synced_after_rename(trace: Trace, pattern: str) -> Trace:
    """Move the sync of a file behind the rename that gives it its name."""
    done: list[Operation] = []
    for operation in trace.operations:
        if isinstance(operation, Rename) and _matches(operation, (pattern,)):
            before = done[-1] if done else None
            if isinstance(before, Sync) and before.inode == operation.inode:
                done[-1:] = [operation, replace(before, path=operation.path)]
                continue
        done.append(operation)
    return _spoilt(trace, done)


def written_in_place(trace: Trace, pattern: str) -> Trace:
    """Write over a file that was replaced by a rename."""
    inodes = dict(trace.base.entries())
    replaced: dict[int, Rename] = {}
    old: dict[int, int] = {}
    for operation in trace.operations:
        if isinstance(operation, Rename) and _matches(operation, (pattern,)):
            if operation.path in inodes:
                replaced[operation.inode] = operation
                old[operation.inode] = inodes[operation.path]
            else:
                inodes[operation.path] = operation.inode
    done: list[Operation] = []
    for operation in trace.operations:
        inode = getattr(operation, "inode", None)
        if inode not in replaced:
            done.append(operation)
        elif isinstance(operation, Make):
            done.append(Resize(replaced[inode].path, old[inode], 0))
        elif isinstance(operation, Write | Sync):
            done.append(replace(operation, path=replaced[inode].path, inode=old[inode]))
    return _spoilt(trace, done)


def made_in_place(trace: Trace, pattern: str) -> Trace:
    """Give what is built under another name, and renamed when it is whole, its name at once."""
    renames = {
        operation.inode: operation
        for operation in trace.operations
        if isinstance(operation, Rename) and _matches(operation, (pattern,))
    }
    done: list[Operation] = []
    for operation in trace.operations:
        rename = renames.get(getattr(operation, "inode", -1))
        if rename is not None and isinstance(operation, Make):
            done.append(replace(operation, path=rename.path, name=rename.to_name))
        elif operation is not rename:
            done.append(operation)
    return _spoilt(trace, done)


def _matches(operation: Operation, patterns: Sequence[str]) -> bool:
    path = getattr(operation, "path", None)
    return path is not None and any(fnmatchcase(path, pattern) for pattern in patterns)


def _commits(operation: Operation) -> bool:
    return isinstance(operation, Write) and operation.synced


def _spoilt(trace: Trace, done: Sequence[Operation]) -> Trace:
    if tuple(done) == trace.operations:
        raise NothingToPlant("nothing in the trace matches")
    return trace.with_operations(tuple(done))


# --- The ten, in a replication --------------------------------------------------------------------

_CANDIDATE = "target/gen-*/data.mdb"
_LEDGER = "target/ledger/data.mdb"
_BUILT_LEDGER = "target/.ledger.creating/data.mdb"

PLANTED = (
    Planted(
        "event before data",
        "a chunk is claimed by its event, and written after that",
        lambda trace: claimed_first(trace, _CANDIDATE, _LEDGER, commits=False),
    ),
    Planted(
        "no fsync",
        "a chunk is claimed by its event, and never synced",
        lambda trace: without_syncs(trace, _CANDIDATE, writes=False),
    ),
    Planted(
        "no directory fsync",
        "the file of the chunks is synced, its name is not",
        lambda trace: without_syncs(trace, "target/gen-*[0-9]"),
    ),
    Planted(
        "no parent fsync",
        "the names in a directory are synced, its own name is not",
        lambda trace: without_syncs(trace, "target"),
    ),
    Planted(
        "fsync after rename",
        "a file replaces another one before its bytes are durable",
        lambda trace: synced_after_rename(trace, "target/CURRENT"),
    ),
    Planted(
        "write in place",
        "a file is cut and written anew where it is",
        lambda trace: written_in_place(trace, "target/CURRENT"),
    ),
    Planted(
        "checkpoint before apply",
        "the ledger says that changes are applied before they are",
        lambda trace: claimed_first(trace, _CANDIDATE, _LEDGER, commits=True),
    ),
    Planted(
        "sync=False",
        "the ledger's LMDB syncs nothing",
        lambda trace: without_syncs(trace, _LEDGER, _BUILT_LEDGER),
    ),
    Planted(
        "metasync=False",
        "every LMDB writes its meta page without a sync of its own",
        lambda trace: without_syncs(trace, "*data.mdb", calls=False),
    ),
    Planted(
        "non-atomic creation",
        "the ledger is built under its own name",
        lambda trace: made_in_place(trace, "target/ledger"),
    ),
)
"""The ten, for the trace of a `bootledger.simulation.powerloss.bootstrap.Bootstrap`."""
