from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import CrashingFiles, Scenario, every_pair, every_single

from bootledger.basebackup.reddb_errors import FileIo, InvalidOperation
from bootledger.basebackup.reddb_layout import (
    rebootstrap_intent_log_path,
    rebootstrap_pending_path,
    rebootstrap_previous_path,
    rebootstrap_ready_marker_path,
    rebootstrap_staging_root,
)
from bootledger.basebackup.reddb_marker import (
    MARKER_MAX_BYTES,
    ReplicaRebootstrapReadyMarker,
    cleanup_rebootstrap,
    discard_rebootstrap_ready_marker,
    promote_rebootstrap,
    read_rebootstrap_ready_marker,
    rebootstrap_promoting_path,
    write_rebootstrap_ready_marker,
)
from bootledger.errors import InvalidValue
from bootledger.files import Files

u64s = st.integers(0, 2**64 - 1)


def marker_of(data_path: Path) -> ReplicaRebootstrapReadyMarker:
    """A marker that belongs beside this database."""
    return ReplicaRebootstrapReadyMarker(str(rebootstrap_pending_path(data_path)), 7, 1)


# --- the marker ---------------------------------------------------------------------------------


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), u64s, u64s)
def test_a_marker_decodes_to_what_was_encoded(path: str, lsn: int, timeline: int) -> None:
    """Any path that is Unicode, and any u64, comes back exactly."""
    marker = ReplicaRebootstrapReadyMarker(path, lsn, timeline)
    assert ReplicaRebootstrapReadyMarker.decode(marker.encode()) == marker


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        '{"pending_path":' * 60_000,
        '{"pending_path":"/x","checkpoint_lsn":1,"timeline":-0}',
        '{"pending_path":"/x","checkpoint_lsn":1e0,"timeline":1}',
        '{"pending_path":"\\ud800","checkpoint_lsn":1,"timeline":1}',
        b'{"pending_path":"\x00","checkpoint_lsn":1,"timeline":1}',
        b"\xff",
    ],
)
def test_what_is_no_marker_is_refused(text: str | bytes) -> None:
    """Nesting, numbers that are no u64, lone surrogates, raw control characters: an error."""
    with pytest.raises(InvalidOperation):
        ReplicaRebootstrapReadyMarker.decode(text)


def test_a_path_that_is_no_unicode_cannot_be_written_down(tmp_path: Path) -> None:
    """JSON has no word for such bytes; nothing is written."""
    with pytest.raises(InvalidValue, match="pending_path"):
        write_rebootstrap_ready_marker(
            tmp_path / "main.rdb", ReplicaRebootstrapReadyMarker("/\udcff", 1, 1), Files()
        )
    assert list(tmp_path.iterdir()) == []


def test_of_two_values_the_last_one_counts() -> None:
    """As RedDB reads it."""
    text = '{"pending_path":"/x","checkpoint_lsn":1,"timeline":1,"checkpoint_lsn":2}'
    assert ReplicaRebootstrapReadyMarker.decode(text).checkpoint_lsn == 2


@pytest.mark.parametrize(
    ("written", "is_same"),
    [
        ("{}/main.rebootstrap.pending.rdb", True),
        ("{}//main.rebootstrap.pending.rdb", True),
        ("{}/./main.rebootstrap.pending.rdb/", True),
        ("//{}/main.rebootstrap.pending.rdb", True),
        ("{}/x/../main.rebootstrap.pending.rdb", False),
        ("{}/main.rebootstrap.pending.RDB", False),
        ("./{}/main.rebootstrap.pending.rdb", False),
        ("main.rebootstrap.pending.rdb", False),
        ("", False),
    ],
)
def test_the_path_is_compared_by_components(tmp_path: Path, written: str, is_same: bool) -> None:
    """Doubled slashes, dots and a slash at the end mean nothing; everything else does."""
    data_path = tmp_path / "main.rdb"
    path = written.format(tmp_path)
    marker = ReplicaRebootstrapReadyMarker(path, 7, 1)
    write_rebootstrap_ready_marker(data_path, marker, Files())
    if is_same:
        assert read_rebootstrap_ready_marker(data_path).pending_path == path
    else:
        with pytest.raises(InvalidOperation, match="expected"):
            read_rebootstrap_ready_marker(data_path)


def test_a_marker_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    """What is longer than any marker is refused once that is clear."""
    path = rebootstrap_ready_marker_path(tmp_path / "main.rdb")
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidOperation, match="longer"):
        read_rebootstrap_ready_marker(tmp_path / "main.rdb")
    path.write_bytes(b" " * MARKER_MAX_BYTES)
    with pytest.raises(InvalidOperation, match="cannot be read"):
        read_rebootstrap_ready_marker(tmp_path / "main.rdb")


def test_every_flipped_byte_of_a_marker_is_refused_or_harmless(tmp_path: Path) -> None:
    """A marker has no checksum: a flip may change its numbers, but never what is promoted."""
    data_path = tmp_path / "main.rdb"
    write_rebootstrap_ready_marker(data_path, marker_of(data_path), Files())
    path = rebootstrap_ready_marker_path(data_path)
    whole = path.read_bytes()
    for position, flip in itertools.product(range(len(whole)), (0x01, 0x20, 0x80)):
        damaged = bytearray(whole)
        damaged[position] ^= flip
        path.write_bytes(damaged)
        try:
            found = read_rebootstrap_ready_marker(data_path)
        except InvalidOperation:
            continue
        assert found.pending_path == marker_of(data_path).pending_path


def test_a_marker_is_written_in_one_step(tmp_path: Path) -> None:
    """Whenever the writer dies, the old marker is there or the new one."""

    def run(files: CrashingFiles, place: Path) -> None:
        write_rebootstrap_ready_marker(
            place / "main.rdb",
            ReplicaRebootstrapReadyMarker(str(place / "main.rebootstrap.pending.rdb"), 8, 1),
            files,
        )

    def prepare(place: Path) -> None:
        data_path = place / "main.rdb"
        write_rebootstrap_ready_marker(data_path, marker_of(data_path), Files())

    def whole(place: Path) -> None:
        path = rebootstrap_ready_marker_path(place / "main.rdb")
        text = path.read_bytes()
        assert ReplicaRebootstrapReadyMarker.decode(text).checkpoint_lsn in {7, 8}

    every_single(Scenario(run, prepare, after_crash=whole), at_least=4)


def test_to_discard_a_marker_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """As RedDB says it: whoever discards believes in one."""
    data_path = tmp_path / "main.rdb"
    write_rebootstrap_ready_marker(data_path, marker_of(data_path), Files())
    discard_rebootstrap_ready_marker(data_path, Files())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileIo):
        discard_rebootstrap_ready_marker(data_path, Files())


# --- promotion ----------------------------------------------------------------------------------

OLD, NEW = b"the old database", b"its successor"


def prepare_promotion(place: Path, *, with_old: bool = True) -> Path:
    """A successor that is whole, with everything around it that RedDB leaves there."""
    data_path = place / "main.rdb"
    if with_old:
        data_path.write_bytes(OLD)
    rebootstrap_pending_path(data_path).write_bytes(NEW)
    rebootstrap_previous_path(data_path).write_bytes(b"what was there long ago")
    rebootstrap_intent_log_path(data_path).write_bytes(b"{}\n")
    (rebootstrap_staging_root(data_path) / "parts").mkdir(parents=True)
    (rebootstrap_staging_root(data_path) / "parts" / "0.redchunk").write_bytes(NEW)
    write_rebootstrap_ready_marker(data_path, marker_of(data_path), Files())
    return data_path


def promote_at_start(files: CrashingFiles, place: Path) -> None:
    """What a replica does each time that it starts."""
    promote_rebootstrap(place / "main.rdb", files)


def a_database_is_in_service(place: Path) -> None:
    """At no moment is there none, and what is in service is whole."""
    assert (place / "main.rdb").read_bytes() in {OLD, NEW}


def the_new_one_is_in_service(place: Path) -> None:
    """Nothing is lost, and nothing of the rebootstrap is left over."""
    data_path = place / "main.rdb"
    assert data_path.read_bytes() == NEW
    assert rebootstrap_previous_path(data_path).read_bytes() == OLD
    assert {path.name for path in place.iterdir()} == {
        "main.rdb",
        "main.rebootstrap.previous.rdb",
        "main.rebootstrap.intent.jsonl",
    }


PROMOTION = Scenario(
    promote_at_start,
    prepare=lambda place: prepare_promotion(place) and None,
    after_crash=a_database_is_in_service,
    check=the_new_one_is_in_service,
)


def test_a_promotion_survives_a_crash_at_every_point() -> None:
    """Whenever it dies, a database is in service, and the next start ends with the new one."""
    every_single(PROMOTION, at_least=12)


def test_a_promotion_survives_every_pair_of_crashes() -> None:
    """The same when the start after the crash dies too."""
    every_pair(PROMOTION, at_least=12)


def test_a_first_promotion_survives_every_pair_of_crashes() -> None:
    """Where nothing was in service, there is the successor or nothing, and then the successor."""

    def prepare(place: Path) -> None:
        prepare_promotion(place, with_old=False)

    def check(place: Path) -> None:
        assert (place / "main.rdb").read_bytes() == NEW
        assert not rebootstrap_ready_marker_path(place / "main.rdb").exists()

    def whole(place: Path) -> None:
        if (place / "main.rdb").exists():
            assert (place / "main.rdb").read_bytes() == NEW

    every_pair(Scenario(promote_at_start, prepare, after_crash=whole, check=check), at_least=9)


@pytest.mark.parametrize("missing", ["pending", "marker", "both"])
@pytest.mark.parametrize("with_old", [True, False])
def test_a_promotion_without_a_whole_successor_moves_nothing(
    tmp_path: Path, missing: str, with_old: bool
) -> None:
    """RedDB moves the old database away first; here it stays, and so does the one before it."""
    data_path = prepare_promotion(tmp_path, with_old=with_old)
    if missing in {"pending", "both"}:
        rebootstrap_pending_path(data_path).unlink()
    if missing in {"marker", "both"}:
        rebootstrap_ready_marker_path(data_path).unlink()
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    if missing == "both" and with_old:
        assert promote_rebootstrap(data_path, Files()) is False
    else:
        with pytest.raises(FileIo):
            promote_rebootstrap(data_path, Files())
    assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}


def test_a_successor_that_was_copied_after_a_crash_is_promoted_next(tmp_path: Path) -> None:
    """An interrupted promotion is finished first, and leaves the marker of the newer one alone."""
    data_path = prepare_promotion(tmp_path)
    rebootstrap_pending_path(data_path).rename(rebootstrap_promoting_path(data_path))
    rebootstrap_pending_path(data_path).write_bytes(b"newer still")
    assert promote_rebootstrap(data_path, Files()) is True
    assert data_path.read_bytes() == b"newer still"
    assert rebootstrap_previous_path(data_path).read_bytes() == NEW


def test_an_interrupted_promotion_is_finished_beside_a_half_copied_successor(
    tmp_path: Path,
) -> None:
    """What is being copied anew, and has no marker yet, stays as it is."""
    data_path = prepare_promotion(tmp_path)
    rebootstrap_pending_path(data_path).rename(rebootstrap_promoting_path(data_path))
    rebootstrap_ready_marker_path(data_path).unlink()
    rebootstrap_pending_path(data_path).write_bytes(b"hal")
    assert promote_rebootstrap(data_path, Files()) is True
    assert data_path.read_bytes() == NEW
    assert rebootstrap_pending_path(data_path).read_bytes() == b"hal"
    assert rebootstrap_staging_root(data_path).exists()


def test_a_directory_in_the_way_is_refused_before_anything_moves(tmp_path: Path) -> None:
    """A database is a file."""
    data_path = prepare_promotion(tmp_path)
    data_path.unlink()
    data_path.mkdir()
    with pytest.raises(FileIo, match="directory"):
        promote_rebootstrap(data_path, Files())
    assert rebootstrap_pending_path(data_path).exists()


def test_cleaning_up_leaves_the_database_and_nothing_else(tmp_path: Path) -> None:
    """Everything of a rebootstrap goes; again, harmlessly."""
    data_path = prepare_promotion(tmp_path)
    rebootstrap_promoting_path(data_path).write_bytes(NEW)
    for _ in range(2):
        cleanup_rebootstrap(data_path, Files())
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"main.rdb": OLD}
