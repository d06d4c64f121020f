"""The promise of `bootledger.store.port` as checks that any adapter can be put to.

`check_event_store` runs them all, each on a store of its own. It needs no test framework: a broken
promise is an `AssertionError` that names the check and quotes the promise.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias
from uuid import UUID

from bootledger.errors import IntentConflict, InvalidValue
from bootledger.files import LockHeld
from bootledger.store import contract_archive
from bootledger.store.contract_parts import (
    ABORT,
    END,
    A,
    B,
    C,
    begin,
    equal,
    following,
    raises,
    recorded,
    refuses_and_writes_nothing,
)
from bootledger.store.port import Append, EventStore, NodeExpectation, SavedProjection

Check: TypeAlias = Callable[[EventStore], None]
Reopen: TypeAlias = Callable[[EventStore], EventStore]

_HISTORY_EVENTS = 150
_THREADS = 4


def check_event_store(make: Callable[[], EventStore], *, reopen: Reopen | None = None) -> None:
    """Put the stores that `make` returns to every check; each must be new and empty.

    `reopen`, for adapters that remember, closes the store that it is given and returns one on the
    same ledger.

    Raises `AssertionError` naming the check and the promise that is broken.
    """
    for check in CHECKS:
        with _named(check.__name__, check.__doc__):
            check(make())
    if reopen is not None:
        for durable in (
            what_was_appended_is_there_again,
            contract_archive.what_was_archived_is_there_again,
        ):
            with _named(durable.__name__, durable.__doc__):
                durable(make(), reopen)


@contextlib.contextmanager
def _named(name: str, promise: str | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{name}: {promise} But: {error!r}") from error


# --- Append -------------------------------------------------------------------------------------


def positions_count_up_from_one(store: EventStore) -> None:
    """Events get the positions 1, 2, 3, … in the order of their batches."""
    equal(store.last_position(), 0)
    equal(list(store.append([begin(A), following(A, 1)])), [1, 2])
    equal(list(store.append([begin(B)])), [3])
    equal(store.last_position(), 3)


def an_empty_batch_is_nothing(store: EventStore) -> None:
    """An empty batch has no positions and changes nothing."""
    equal(list(store.append([])), [])
    equal(store.last_position(), 0)


def events_come_back_equal(store: EventStore) -> None:
    """What is read is what was appended: position, intent, version and event."""
    batch = [begin(A), begin(B), following(A, 1), following(B, 1), following(A, 2, END)]
    store.append(batch)
    equal(list(store.read(0, 10)), recorded(batch))


def a_wrong_version_is_a_conflict(store: EventStore) -> None:
    """A version that is too low, too high or of an intent that never began is a conflict."""
    store.append([begin(A), following(A, 1)])
    for wrong in (begin(A), following(A, 1), following(A, 3), following(B, 1)):
        refuses_and_writes_nothing(store, IntentConflict, [wrong])


def a_refused_batch_writes_nothing(store: EventStore) -> None:
    """If one event of a batch is refused, none of it is written: no event, head or index."""
    store.append([begin(A)])
    refuses_and_writes_nothing(
        store, IntentConflict, [begin(B), following(A, 1, END), following(A, 7)]
    )


def an_intent_has_a_first_and_a_last_event(store: EventStore) -> None:
    """Begin comes first and only once; nothing follows a complete or an abort."""
    store.append([begin(A), begin(B), following(B, 1, END), begin(C), following(C, 1, ABORT)])
    unbegun = Append(UUID(int=0xD), 0, END, b"")
    for wrong in (unbegun, following(A, 1, begin(A).event), following(B, 2), following(C, 2, END)):
        refuses_and_writes_nothing(store, InvalidValue, [wrong])


def an_event_above_the_limit_is_refused(store: EventStore) -> None:
    """An event larger than the record limit is an invalid value, also behind one that is not."""
    labels: dict[str, object] = {f"label {number}": "x" * 1000 for number in range(4)}
    refuses_and_writes_nothing(store, InvalidValue, [begin(A), begin(B, labels=labels)])


def an_expectation_is_of_one_node(store: EventStore) -> None:
    """A batch is appended only if exactly the expected intents of that node are unfinished."""
    store.append([begin(A), begin(B, node="another")])
    for wrong in ({B}, {A, B}, set[UUID]()):
        expect = NodeExpectation("node", frozenset(wrong))
        refuses_and_writes_nothing(store, IntentConflict, [begin(C)], expect)
        refuses_and_writes_nothing(store, IntentConflict, [], expect)
    right = NodeExpectation("node", frozenset({A}))
    store.append([following(A, 1, ABORT), begin(C)], expect=right)
    equal([head.intent_id for head in store.unfinished("node")], [C])


def of_racing_writers_one_wins(store: EventStore) -> None:
    """Of several threads that append the same version of one intent, exactly one succeeds."""
    store.append([begin(A)])
    start, lost = threading.Barrier(_THREADS), []

    def race() -> None:
        start.wait()
        try:
            store.append([following(A, 1)])
        except IntentConflict as conflict:
            lost.append(conflict)

    threads = [threading.Thread(target=race) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal((len(lost), store.last_position()), (_THREADS - 1, 2))


# --- Heads and index ----------------------------------------------------------------------------


def a_head_is_the_end_of_its_intent(store: EventStore) -> None:
    """A head has the node, version, position and bytes of the intent's last event."""
    data = bytes(range(256))
    store.append([begin(A), begin(B), Append(A, 1, following(A, 1).event, data)])
    heads = [store.head(intent_id) for intent_id in (A, B, C)]
    equal(heads, [(A, "node", 2, 3, data), (B, "node", 1, 2, b"begun"), None])


def unfinished_is_begun_and_not_ended(store: EventStore) -> None:
    """Begin puts an intent into the index, complete and abort take it out, nothing else does."""
    store.append([begin(C), begin(A), begin(B), following(A, 1)])
    equal([head.intent_id for head in store.unfinished()], [A, B, C])
    store.append([following(A, 2, END), following(B, 1, ABORT)])
    equal([head.intent_id for head in store.unfinished()], [C])
    equal(list(store.unfinished()), [store.head(C)])


def nodes_do_not_mix(store: EventStore) -> None:
    """A node's unfinished intents are its own, also if its name begins with another's."""
    store.append([begin(A, node="n"), begin(B, node="nn"), begin(C, node="n\x01")])
    for node, intent_id in (("n", A), ("nn", B), ("n\x01", C)):
        equal([head.intent_id for head in store.unfinished(node)], [intent_id])
    equal(list(store.unfinished("nobody")), [])


# --- Reading, projections, claims ---------------------------------------------------------------


def history_is_newest_first(store: EventStore) -> None:
    """A history holds all events of one intent and no others, newest first."""
    batch = [begin(A), begin(B)]
    for version in range(1, _HISTORY_EVENTS):
        batch += [following(A, version), following(B, version)]
    store.append(batch)
    equal(
        list(store.history(A)),
        [event for event in reversed(recorded(batch)) if event.intent_id == A],
    )
    equal(list(store.history(C)), [])


def reading_goes_on_after_a_position(store: EventStore) -> None:
    """Reading returns at most the limit, from behind the position, and nothing at the end."""
    batch = [begin(A), *(following(A, version) for version in range(1, 5))]
    store.append(batch)
    everything = recorded(batch)
    for after in range(7):
        for limit in range(7):
            equal(list(store.read(after, limit)), everything[after : after + limit])
    for after, limit in ((-1, 1), (0, -1), (2**64, 1)):
        raises(InvalidValue, partial(store.read, after, limit))


def a_projection_is_saved_against_its_position(store: EventStore) -> None:
    """A projection is replaced whole, and only by who has seen its last position."""
    equal(store.load_projection("one"), None)
    store.save_projection("one", 0, SavedProjection(3, b"\0first"))
    store.save_projection("two", 0, SavedProjection(1, b""))
    equal(store.load_projection("one"), (3, b"\0first"))
    for stale in (0, 2, 4):
        save = partial(store.save_projection, "one", stale, SavedProjection(9, b"stale"))
        raises(IntentConflict, save)
    equal(store.load_projection("one"), (3, b"\0first"))
    store.save_projection("one", 3, SavedProjection(5, b"second"))
    equal(store.load_projection("one"), (5, b"second"))
    equal(store.load_projection("two"), (1, b""))


def a_claim_keeps_others_out(store: EventStore) -> None:
    """An intent is claimed by one at a time, who is named to the others, until released."""
    equal((store.claimed(A), store.claimant(A)), (False, None))
    claim = store.claim(A, "the first owner")
    equal((store.claimed(A), store.claimed(B)), (True, False))
    equal((store.claimant(A), store.claimant(B)), ("the first owner", None))
    held = raises(LockHeld, lambda: store.claim(A, "the second owner"))
    equal(held.holder, "the first owner")
    claim.release()
    equal((store.claimed(A), store.claimant(A)), (False, None))
    second = store.claim(A, "the second owner")
    claim.release()
    equal(store.claimed(A), True)
    second.release()


def closing_keeps_claims(store: EventStore) -> None:
    """Closing the store, once or twice, releases no claim."""
    claim = store.claim(A, "owner")
    store.close()
    store.close()
    equal(store.claimed(A), True)
    claim.release()


def what_was_appended_is_there_again(store: EventStore, reopen: Reopen) -> None:
    """Events, heads, index and projections are the same after the store was opened again."""
    batch = [begin(A), begin(B), following(A, 1), following(B, 1, END)]
    store.append(batch)
    store.save_projection("one", 0, SavedProjection(4, b"state"))
    head, unfinished = store.head(A), list(store.unfinished())
    store = reopen(store)
    equal(list(store.read(0, 10)), recorded(batch))
    equal((store.head(A), list(store.unfinished())), (head, unfinished))
    equal(store.load_projection("one"), (4, b"state"))
    equal(list(store.append([following(A, 2)])), [5])
    equal([event.version for event in store.history(A)], [3, 2, 1])


CHECKS: tuple[Check, ...] = (
    positions_count_up_from_one,
    an_empty_batch_is_nothing,
    events_come_back_equal,
    a_wrong_version_is_a_conflict,
    a_refused_batch_writes_nothing,
    an_intent_has_a_first_and_a_last_event,
    an_event_above_the_limit_is_refused,
    an_expectation_is_of_one_node,
    of_racing_writers_one_wins,
    a_head_is_the_end_of_its_intent,
    unfinished_is_begun_and_not_ended,
    nodes_do_not_mix,
    history_is_newest_first,
    reading_goes_on_after_a_position,
    a_projection_is_saved_against_its_position,
    a_claim_keeps_others_out,
    closing_keeps_claims,
    *contract_archive.CHECKS,
)
