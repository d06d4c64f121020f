"""Both event stores keep the promise of the port, and the durable one keeps it through anything."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import mount_namespace
import processes
import pytest
import sample_events as sample
from broken_disk import break_data_file
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import DiesAt

from bootledger.environment import Databases, Transaction, close_all
from bootledger.errors import (
    BootledgerError,
    CorruptRecord,
    IntentConflict,
    InvalidValue,
    OutcomeUnknown,
    SimulatedCrash,
    UnknownFormat,
)
from bootledger.files import Files, LockHeld
from bootledger.store import records, tables
from bootledger.store.contract import CHECKS, check_event_store
from bootledger.store.lmdb import RESERVE_BYTES, LmdbEventStore
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import (
    FIRST_ID,
    Append,
    Compacted,
    EventStore,
    Head,
    NodeExpectation,
    Recorded,
)

A, B, C = (UUID(int=number) for number in (10, 11, 12))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """Where a ledger will be; whatever a test left open is closed after it."""
    yield tmp_path / "ledger"
    close_all()


def begin(intent_id: UUID = A, *, node_id: str = "node") -> Append:
    """The first event of an intent."""
    return Append(intent_id, 0, sample.begin(node_id=node_id), b"begun")


def checkpoint(version: int, intent_id: UUID = A) -> Append:
    """The event after `version`."""
    return Append(intent_id, version, sample.checkpoint(version), b"head %d" % version)


def complete(version: int, intent_id: UUID = A) -> Append:
    """The last event, after `version`."""
    return Append(intent_id, version, sample.complete(), b"completed")


def filled(path: Path, events: int = 5) -> LmdbEventStore:
    """A ledger in which intent A has that many events."""
    store = LmdbEventStore.open(path)
    store.append([begin(), *(checkpoint(version) for version in range(1, events))])
    return store


def edit(store: LmdbEventStore, work: Callable[[Transaction, Databases], object]) -> None:
    """Change the databases behind the store's back, as a damaged disk would."""
    store._env.write(work)


def key(position: int) -> bytes:
    """The key of a position in the log."""
    return position.to_bytes(8, "big")


# --- The contract -------------------------------------------------------------------------------


def test_the_memory_store_keeps_the_contract() -> None:
    """The reference is what it is a reference for."""
    check_event_store(MemoryEventStore)


def test_the_lmdb_store_keeps_the_contract(ledger: Path) -> None:
    """Every check, and durability over a close and an open."""
    ledger.mkdir()
    numbers = itertools.count()
    paths: dict[int, Path] = {}

    def make() -> EventStore:
        path = ledger / str(next(numbers))
        store = LmdbEventStore.open(path)
        paths[id(store)] = path
        return store

    def reopen(store: EventStore) -> EventStore:
        store.close()
        return LmdbEventStore.open(paths[id(store)], create=False)

    check_event_store(make, reopen=reopen)


class IgnoresVersions(MemoryEventStore):
    """Appends whatever version is expected."""

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        """Make every expectation true first."""
        versions = {item.intent_id: self.head(item.intent_id) for item in batch}
        fixed = []
        for item in batch:
            head = versions[item.intent_id]
            version = 0 if head is None else head.version
            fixed.append(item._replace(expected_version=version))
            versions[item.intent_id] = Head(item.intent_id, "", version + 1, 0, b"")
        return super().append(fixed, expect=expect)


class IsNotAtomic(MemoryEventStore):
    """Appends one event after the other."""

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        """Check the expectation once, then write as far as it goes."""
        super().append([], expect=expect)
        return [position for item in batch for position in super(IsNotAtomic, self).append([item])]


class IgnoresTheExpectation(MemoryEventStore):
    """Appends whoever else is unfinished."""

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        """Forget the expectation."""
        return super().append(batch)


class LeavesFinishedInTheIndex(MemoryEventStore):
    """Never takes an intent out of the index."""

    def unfinished(self, node_id: str | None = None) -> Sequence[Head]:
        """Return all heads there are."""
        heads = sorted(self._heads.values(), key=lambda head: head.intent_id)
        return [head for head in heads if node_id in (None, head.node_id)]


class MixesNodes(MemoryEventStore):
    """Finds a node by what its name begins with."""

    def unfinished(self, node_id: str | None = None) -> Sequence[Head]:
        """Return too many."""
        return [head for head in super().unfinished() if head.node_id.startswith(node_id or "")]


class ForgetsTheHead(MemoryEventStore):
    """Keeps the first head of an intent."""

    def head(self, intent_id: UUID) -> Head | None:
        """Return the right version and the wrong bytes."""
        head = super().head(intent_id)
        return head and head._replace(data=b"begun")


class TellsHistoryForwards(MemoryEventStore):
    """Oldest first."""

    def history(self, intent_id: UUID) -> Iterator[Recorded]:
        """Yield in the wrong order."""
        return reversed(list(super().history(intent_id)))


class SavesProjectionsBlindly(MemoryEventStore):
    """The last one to save wins."""

    def save_projection(self, name: str, expected_position: int, saved: object) -> None:
        """Ignore what was expected."""
        self._projections[name] = saved  # wrong on purpose


class ClaimsTwice(MemoryEventStore):
    """Everybody may have it."""

    def claim(self, intent_id: UUID, words: str) -> object:  # wrong on purpose
        """Forget the first owner."""
        self._claims.pop(intent_id, None)
        return super().claim(intent_id, words)


class Races(MemoryEventStore):
    """Checks first, and writes when somebody else may have written."""

    _turn = threading.Lock()  # whoever passed the check wins, however the threads are scheduled

    def append(
        self, batch: Sequence[Append], *, expect: NodeExpectation | None = None
    ) -> Sequence[int]:
        """Check, wait, write without looking."""
        for item in batch:
            head = self.head(item.intent_id)
            if item.expected_version == 1 == len(batch) and head and head.version == 1:
                time.sleep(0.05)
                with self._turn:
                    head = self.head(item.intent_id)
                    assert head is not None
                    return super().append([item._replace(expected_version=head.version)])
        return super().append(batch, expect=expect)


class ArchivesTheUnfinished(MemoryEventStore):
    """Asks only how old it is."""

    def compact(self, after_position: int, before_ms: int) -> Compacted | None:
        """Take every intent for a finished one."""
        self._unfinished, unfinished = set(), self._unfinished
        try:
            return super().compact(after_position, before_ms)
        finally:
            self._unfinished = unfinished


class ArchivesByTheEvent(MemoryEventStore):
    """Asks how old the event is, and not how old the end of its intent."""

    def compact(self, after_position: int, before_ms: int) -> Compacted | None:
        """Move old events of young intents too."""
        rest = self._log[after_position:-1]
        if not rest:
            return None
        old = {
            event.position
            for event in rest
            if event.intent_id not in self._unfinished and event.event.recorded_at_ms < before_ms
        }
        new, self._archived = old - self._archived, self._archived | old
        return Compacted(rest[-1].position, len(new), 0, 0)


class LosesWhatItArchives(MemoryEventStore):
    """Compressed beyond recognition."""

    def read(self, after_position: int, limit: int) -> Sequence[Recorded]:
        """Return what is not archived."""
        return [e for e in super().read(after_position, limit) if e.position not in self._archived]


class ForgetsArchivedHistories(MemoryEventStore):
    """Walks back through the log alone."""

    def history(self, intent_id: UUID) -> Iterator[Recorded]:
        """Yield what is not archived."""
        return (e for e in super().history(intent_id) if e.position not in self._archived)


class ArchivesTheNewest(MemoryEventStore):
    """Loses the end of the log."""

    def compact(self, after_position: int, before_ms: int) -> Compacted | None:
        """Compact as if there were one more event."""
        self._log.append(self._log[-1]._replace(position=0))
        try:
            return super().compact(after_position, before_ms)
        finally:
            self._log.pop()


class ArchivesAgain(MemoryEventStore):
    """Counts what was moved before."""

    def compact(self, after_position: int, before_ms: int) -> Compacted | None:
        """Forget what is archived."""
        before, self._archived = self._archived, set()
        step = super().compact(after_position, before_ms)
        self._archived |= before
        return step


class CompactsFromTheStart(MemoryEventStore):
    """Does not listen."""

    def compact(self, after_position: int, before_ms: int) -> Compacted | None:
        """Begin with the first event, whatever was asked."""
        super().compact(0, before_ms)
        return super().compact(after_position, before_ms)


class ForgetsFinishedHeads(MemoryEventStore):
    """Knows the heads of what is unfinished."""

    def heads(self, first: UUID = FIRST_ID) -> Iterator[Head]:
        """Yield too few."""
        return (head for head in super().heads(first) if head.intent_id in self._unfinished)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (IgnoresVersions, "a_wrong_version_is_a_conflict"),
        (IsNotAtomic, "a_refused_batch_writes_nothing"),
        (IgnoresTheExpectation, "an_expectation_is_of_one_node"),
        (LeavesFinishedInTheIndex, "unfinished_is_begun_and_not_ended"),
        (MixesNodes, "nodes_do_not_mix"),
        (ForgetsTheHead, "a_head_is_the_end_of_its_intent"),
        (TellsHistoryForwards, "history_is_newest_first"),
        (SavesProjectionsBlindly, "a_projection_is_saved_against_its_position"),
        (ClaimsTwice, "a_claim_keeps_others_out"),
        (Races, "of_racing_writers_one_wins"),
        (ArchivesTheUnfinished, "compaction_moves_what_is_over"),
        (ArchivesByTheEvent, "compaction_moves_what_is_over"),
        (LosesWhatItArchives, "nobody_can_tell"),
        (ForgetsArchivedHistories, "nobody_can_tell"),
        (ArchivesTheNewest, "the_newest_event_stays"),
        (ArchivesAgain, "compacting_again_moves_nothing"),
        (CompactsFromTheStart, "compaction_goes_on_after_a_position"),
        (ForgetsFinishedHeads, "heads_are_all_there_in_order"),
    ],
)
def test_the_contract_catches_a_broken_store(broken: Callable[[], EventStore], check: str) -> None:
    """Each planted fault fails the check that is about it, and the whole suite, by name."""
    run = next(one for one in CHECKS if one.__name__ == check)
    with pytest.raises((AssertionError, BootledgerError)):
        run(broken())
    with pytest.raises(AssertionError, match=r"^[a-z_]+: .+ But: "):
        check_event_store(broken)


def test_the_contract_names_the_check_and_its_promise() -> None:
    """A failure reads as a sentence about what was promised."""
    with pytest.raises(AssertionError) as failed:
        check_event_store(IsNotAtomic)
    assert str(failed.value).startswith(
        "a_refused_batch_writes_nothing: If one event of a batch is refused, none of it is written"
    )


def test_the_contract_catches_a_store_that_forgets() -> None:
    """Durability is only promised where the store can be opened again."""
    with pytest.raises(AssertionError, match="what_was_appended_is_there_again"):
        check_event_store(MemoryEventStore, reopen=lambda _: MemoryEventStore())


OPERATIONS = st.lists(
    st.lists(
        st.tuples(st.sampled_from([A, B, C]), st.integers(0, 3), st.sampled_from("bce")),
        min_size=1,
        max_size=3,
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(operations=OPERATIONS)
def test_both_stores_answer_alike(
    operations: list[list[tuple[UUID, int, str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is appended, legal or not, both accept and refuse the same and hold the same."""
    made = {"b": sample.begin, "c": sample.checkpoint, "e": sample.complete}
    durable = LmdbEventStore.open(tmp_path_factory.mktemp("alike") / "ledger")
    stores: list[EventStore] = [MemoryEventStore(), durable]
    for operation in operations:
        batch = [
            Append(intent, version, made[kind](), b"%d" % version)
            for intent, version, kind in operation
        ]
        answers = []
        for store in stores:
            try:
                answers.append(list(store.append(batch)))
            except (IntentConflict, InvalidValue) as refusal:
                answers.append((type(refusal), str(refusal)))
        assert answers[0] == answers[1]
    for ask in (
        lambda store: list(store.read(0, 100)),
        lambda store: list(store.unfinished()),
        lambda store: [(store.head(i), list(store.history(i))) for i in (A, B, C)],
    ):
        assert ask(stores[0]) == ask(stores[1])
    durable.close()


# --- Opening ------------------------------------------------------------------------------------


def test_a_ledger_is_made_whole_and_only_when_asked(ledger: Path) -> None:
    """Without `create` a missing ledger is refused and nothing appears."""
    with pytest.raises(InvalidValue, match="no database"):
        LmdbEventStore.open(ledger, create=False)
    assert list(ledger.parent.iterdir()) == []
    LmdbEventStore.open(ledger).close()
    assert {entry.name for entry in ledger.iterdir()} == {
        *("data.mdb", "lock.mdb", "write.lock", "owners", "reserve")
    }
    LmdbEventStore.open(ledger, create=False).close()


def test_a_newer_ledger_is_refused_and_left_open_by_nobody(ledger: Path) -> None:
    """A format that does not exist yet is not guessed at."""
    store = LmdbEventStore.open(ledger)
    edit(store, lambda t, d: t.put(b"format", records.encode_number(b"format", 2), db=d["meta"]))
    store.close()
    for _ in range(2):
        with pytest.raises(UnknownFormat, match="format 2"):
            LmdbEventStore.open(ledger)


def test_a_ledger_without_its_format_is_corrupt(ledger: Path) -> None:
    """A missing or damaged format record is not taken for any format."""
    for damage in (
        lambda txn, db: txn.put(b"format", b"damaged!", db=db["meta"]),
        lambda txn, db: txn.delete(b"format", db=db["meta"]),
    ):
        store = LmdbEventStore.open(ledger)
        edit(store, damage)
        store.close()
        with pytest.raises(CorruptRecord, match="format"):
            LmdbEventStore.open(ledger)
        Files().remove(ledger)


def test_several_stores_on_one_ledger_see_each_other(ledger: Path) -> None:
    """Two stores of one process, by two names, are one ledger."""
    ledger.with_name("link").symlink_to(ledger)
    with_link = ledger.with_name("link")
    one = LmdbEventStore.open(ledger)
    other = LmdbEventStore.open(with_link)
    one.append([begin()])
    other.append([checkpoint(1)])
    one.close()
    assert other.last_position() == 2
    with pytest.raises(InvalidValue, match="was closed"):
        one.last_position()
    other.close()


# --- Damage -------------------------------------------------------------------------------------


def test_a_resume_decision_reads_no_history(ledger: Path) -> None:
    """With every frame destroyed, index and heads still answer; reading history does not."""
    store = filled(ledger)
    store.append([begin(B, node_id="other"), complete(1, B)])
    head, unfinished = store.head(A), list(store.unfinished())

    def destroy(txn: Transaction, db: Databases) -> None:
        for position in range(1, 8):
            txn.put(key(position), b"destroyed", db=db["log"])

    edit(store, destroy)
    assert (store.head(A), list(store.unfinished())) == (head, unfinished)
    assert [head.intent_id for head in store.unfinished("node")] == [A]
    assert store.last_position() == 7
    with pytest.raises(CorruptRecord, match="position 1 "):
        store.read(0, 10)
    with pytest.raises(CorruptRecord, match="position 5 "):
        next(store.history(A))


def test_a_missing_position_is_found(ledger: Path) -> None:
    """Positions are dense: a reader says where the gap is, and so does a walk back."""
    store = filled(ledger)
    edit(store, lambda txn, db: txn.delete(key(3), db=db["log"]))
    assert [event.position for event in store.read(0, 2)] == [1, 2]
    for after in (0, 1, 2):
        with pytest.raises(CorruptRecord, match="position 3 "):
            store.read(after, 10)
    history = store.history(A)
    with pytest.raises(CorruptRecord, match="position 3 "):
        list(history)


def test_a_frame_in_the_wrong_place_is_found(ledger: Path) -> None:
    """Two frames that changed places, each sound in itself, are both caught."""
    store = filled(ledger)

    def swap(txn: Transaction, db: Databases) -> None:
        second, third = (txn.get(key(position), db=db["log"]) for position in (2, 3))
        assert second is not None
        assert third is not None
        txn.put(key(2), third, db=db["log"])
        txn.put(key(3), second, db=db["log"])

    edit(store, swap)
    with pytest.raises(CorruptRecord, match=r"position 2 .*wrong place"):
        store.read(1, 1)
    with pytest.raises(CorruptRecord, match=r"position 3 .*wrong place"):
        list(store.history(A))


def test_a_walk_that_leaves_its_intent_is_found(ledger: Path) -> None:
    """A head that points to another intent's event, or to the wrong version, is caught."""
    store = filled(ledger)
    store.append([begin(B)])
    for position, version in ((6, 5), (4, 5), (5, 4)):
        wrong = Head(A, "node", version, position, b"")
        record = records.encode_head(wrong)
        edit(store, lambda txn, db, record=record: txn.put(A.bytes, record, db=db["heads"]))
        with pytest.raises(CorruptRecord, match=f"position {position} "):
            list(store.history(A))


def test_a_log_that_lost_its_end_is_not_written_on(ledger: Path) -> None:
    """If the last frames are gone, an append refuses instead of using their positions again."""
    store = filled(ledger)
    edit(store, lambda txn, db: txn.delete(key(5), db=db["log"]))
    with pytest.raises(CorruptRecord, match="position 5 "):
        store.append([checkpoint(5)])
    assert store.last_position() == 4


def test_an_append_out_of_order_is_detected(ledger: Path) -> None:
    """LMDB refuses to append below its last key by saying False; that is not overlooked."""
    store = filled(ledger)
    out_of_order = checkpoint(0, B)._replace(event=sample.begin())
    edit(store, lambda txn, db: txn.put(b"\xff" * 7, b"a short key, sorted last", db=db["log"]))
    with pytest.raises(CorruptRecord, match="cannot be a position"):
        store.append([out_of_order])
    with pytest.raises(CorruptRecord, match="not the end of the log"):
        edit(store, lambda txn, db: tables.append(txn, db, 3, out_of_order, b"payload"))
    assert store.head(B) is None


@pytest.mark.parametrize("database", ["heads", "unfinished", "projections"])
def test_a_damaged_small_record_is_found(ledger: Path, database: str) -> None:
    """One flipped bit in a head, an index entry or a projection is an error wherever it is read."""
    store = filled(ledger)
    store.save_projection("name", 0, records.SavedProjection(1, b"state"))

    def flip(txn: Transaction, db: Databases) -> None:
        with txn.cursor(db[database]) as cursor:
            assert cursor.first()
            entry, value = cursor.item()
            txn.put(entry, value[:-1] + bytes([value[-1] ^ 1]), db=db[database])

    edit(store, flip)
    reads: dict[str, tuple[Callable[[], object], ...]] = {
        "heads": (lambda: store.head(A), store.unfinished, lambda: store.append([checkpoint(5)])),
        "unfinished": (store.unfinished, lambda: store.unfinished("node")),
        "projections": (lambda: store.load_projection("name"),),
    }
    for read in reads[database]:
        with pytest.raises(CorruptRecord, match="checksum"):
            read()


def test_an_index_that_contradicts_the_heads_is_found(ledger: Path) -> None:
    """An index entry of an intent that has no head, or another node's, is an error."""
    store = filled(ledger)
    for node, intent in (("node", B), ("another", A)):
        entry = records.index_key(node, intent)
        edit(store, lambda t, d, e=entry: t.put(e, records.seal(e, b""), db=d["unfinished"]))
        with pytest.raises(CorruptRecord, match="does not agree"):
            store.unfinished(node)
        edit(store, lambda t, d, e=entry: t.delete(e, db=d["unfinished"]))


# --- Reading ------------------------------------------------------------------------------------


def test_reading_holds_no_transaction_open(ledger: Path) -> None:
    """A history that is read slowly lets writers reuse pages and sees what was there."""
    store = filled(ledger, events=3 * tables.WALK_BATCH)
    history = store.history(A)
    first = next(history)
    with store._env._shared.inside() as (env, _):
        assert env.readers() == "(no active readers)\n"
    store.append([checkpoint(3 * tables.WALK_BATCH)])
    rest = list(history)
    assert [event.version for event in (first, *rest)] == list(range(3 * tables.WALK_BATCH, 0, -1))


def test_more_than_one_batch_is_read_in_order(ledger: Path) -> None:
    """A limit above the batch of one transaction is served whole."""
    store = filled(ledger, events=2500)
    assert [event.position for event in store.read(10, 2400)] == list(range(11, 2411))
    assert len(store.read(0, 10_000)) == 2500


# --- Death, claims, full disks ------------------------------------------------------------------

CHILD = """
import os, signal, sys
from pathlib import Path
import sample_events as sample
from bootledger.errors import *
from bootledger.files import Files
from bootledger.store.lmdb import LmdbEventStore
from bootledger.store.port import Append
from uuid import UUID
A = UUID(int=10)
def begin():
    return Append(A, 0, sample.begin(), b"begun")
def checkpoint(version):
    return Append(A, version, sample.checkpoint(version), b"head")
"""
IMPORT_HELPERS = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"


def test_what_was_acknowledged_survives_sigkill(ledger: Path) -> None:
    """A process that is killed while it appends loses nothing that `append` had returned."""
    writer = processes.start(
        IMPORT_HELPERS
        + CHILD
        + """
store = LmdbEventStore.open(Path(sys.argv[1]))
store.append([begin()])
version = 1
while True:
    store.append([checkpoint(version)])
    version += 1
    print(version, flush=True)
""",
        ledger,
    )
    for _ in range(20):
        acknowledged = int(processes.wait_for_line(writer))
    writer.kill()
    assert writer.stdout is not None
    out = writer.stdout.read()  # what `communicate` would miss: lines that were read ahead
    writer.communicate(timeout=60)
    acknowledged = int(out.split()[-1]) if out.split() else acknowledged
    store = LmdbEventStore.open(ledger, create=False)
    head = store.head(A)
    assert head is not None
    assert acknowledged <= head.version <= acknowledged + 1
    events = list(store.history(A))
    assert [event.version for event in events] == list(range(head.version, 0, -1))
    store.append([checkpoint(head.version)])


@pytest.mark.parametrize(
    ("point", "survives"),
    [("log.writing", False), ("log.committing", False), ("log.committed", True)],
)
def test_a_batch_is_there_whole_or_not_at_all(ledger: Path, point: str, survives: bool) -> None:
    """Dying around the commit leaves events, heads and index all before it, or all after it."""
    filled(ledger).close()
    dying = LmdbEventStore.open(ledger, files=DiesAt(point))
    with pytest.raises(SimulatedCrash):
        dying.append([complete(5), begin(B)], expect=NodeExpectation("node", frozenset({A})))
    close_all()
    store = LmdbEventStore.open(ledger)
    assert store.last_position() == (7 if survives else 5)
    assert [head.intent_id for head in store.unfinished("node")] == [B if survives else A]
    assert (store.head(B) is not None) is survives


def test_a_claim_falls_with_its_process(ledger: Path) -> None:
    """Another process's claim keeps us out, names it, and ends with its death."""
    store = filled(ledger)
    owner = processes.start(
        IMPORT_HELPERS
        + CHILD
        + """
claim = LmdbEventStore.open(Path(sys.argv[1])).claim(A, "the owner on host x")
print("claimed", flush=True)
sys.stdin.read()
""",
        ledger,
    )
    try:
        processes.wait_for_line(owner)
        assert store.claimed(A)
        with pytest.raises(LockHeld, match="the owner on host x"):
            store.claim(A, "us")
    finally:
        processes.kill(owner)
    assert not store.claimed(A)
    store.claim(A, "us").release()
    assert list((ledger / "owners").iterdir()) == []


def test_a_failed_commit_is_settled_by_reading_again(ledger: Path) -> None:
    """After an unknown outcome the head says whether it happened; then one goes on."""
    failing = True

    class Fails(Files):
        def point(self, name: str) -> None:
            if name == "log.committing" and failing:
                break_data_file(ledger)

    store = LmdbEventStore.open(ledger, files=Fails())
    with pytest.raises(OutcomeUnknown):
        store.append([begin()])
    failing = False
    assert store.head(A) is None
    assert list(store.append([begin()])) == [1]


def test_on_a_full_disk_the_word_why_can_still_be_written(tmp_path: Path) -> None:
    """The first append that finds the disk full raises; the reserve then takes the suspension."""
    mount_namespace.run(
        IMPORT_HELPERS
        + CHILD
        + """
path = base / "ledger"
store = LmdbEventStore.open(path)
store.append([begin()])
reserve = path / "reserve"
assert reserve.stat().st_blocks * 512 >= 1024 * 1024  # really allocated
fill(base / "ballast")
version = 1
try:
    while True:
        store.append([checkpoint(version)])
        version += 1
except OutOfSpace:
    pass
assert not reserve.exists()
head = store.head(A)
assert head.version == version, (head, version)
store.append([Append(A, version, sample.suspend("capacity"), b"suspended")])
assert store.head(A).data == b"suspended"
store.close()

# Opening again does not take the room back from whoever needs it...
store = LmdbEventStore.open(path)
assert not reserve.exists()
assert [event.version for event in store.history(A)] == list(range(version + 1, 0, -1))
store.close()

# ... until there is enough again.
(base / "ballast").unlink()
LmdbEventStore.open(path).close()
assert reserve.stat().st_size == 1024 * 1024
print("done")
""",
        tmp_path / "mount",
    )


def test_the_reserve_survives_restarts_and_is_made_anew(ledger: Path) -> None:
    """It is there after every open, whatever became of it."""
    LmdbEventStore.open(ledger).close()
    reserve = ledger / "reserve"
    before = reserve.stat()
    LmdbEventStore.open(ledger).close()
    assert reserve.stat().st_ino == before.st_ino
    reserve.write_bytes(b"cut short")
    LmdbEventStore.open(ledger).close()
    assert reserve.stat().st_size == RESERVE_BYTES
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
