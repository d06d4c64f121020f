"""RedDB's parts are durable, whole and inside of their root, whatever a manifest claims."""

from __future__ import annotations

import errno
import os
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import CrashingFiles, DiesAt, Scenario, every_pair, every_single, fresh_place

from bootledger.basebackup.reddb_errors import (
    FileIo,
    FileOutOfSpace,
    FileReadOnly,
    InvalidOperation,
)
from bootledger.basebackup.reddb_layout import PrimaryReplicaFilePlan, read_manifest
from bootledger.basebackup.reddb_manifest import (
    BaseBackupChunkRef,
    BaseBackupPlan,
    PrimaryReplicaBaseBackupManifest,
)
from bootledger.basebackup.reddb_parts import (
    PIECE_BYTES,
    assemble_snapshot,
    read_snapshot_parts,
    recover_staged_chunk_parts,
    stage_chunk_part,
)
from bootledger.basebackup.reddb_publishing import (
    write_basebackup_manifest,
    write_basebackup_snapshot_parts,
)
from bootledger.errors import OutOfSpace, ReadOnly, SimulatedCrash, Unavailable
from bootledger.files import Files, OpenFile

Manifest = PrimaryReplicaBaseBackupManifest
PARTS = Path(__file__).parent / "vectors" / "parts"
SNAPSHOT = b"0123456789abcdef"
BACKUP = BaseBackupPlan(1, 10, 50)


def cut(content: bytes, chunk_bytes: int) -> list[bytes]:
    """Return `content` in chunks, an empty one if it is empty."""
    offsets = range(0, max(len(content), 1), chunk_bytes)
    return [content[offset : offset + chunk_bytes] for offset in offsets]


def manifest_of(*chunks: bytes, paths: list[str] | None = None) -> Manifest:
    """Return the manifest of these chunks, each at a path of its own."""
    offset, refs = 0, []
    for ordinal, chunk in enumerate(chunks):
        path = paths[ordinal] if paths else f"parts/{ordinal}.redchunk"
        refs.append(BaseBackupChunkRef(ordinal, offset, len(chunk), zlib.crc32(chunk), path))
        offset += len(chunk)
    whole = b"".join(chunks)
    return Manifest.incremental(BACKUP, "snapshot", len(whole), zlib.crc32(whole), refs)


CHUNKS = cut(SNAPSHOT, 6)
MANIFEST = manifest_of(*CHUNKS)


def stage_all(root: Path, manifest: Manifest = MANIFEST, files: Files | None = None) -> None:
    """Stage every chunk of `SNAPSHOT`."""
    for ordinal, chunk in enumerate(CHUNKS):
        stage_chunk_part(manifest, root, ordinal, chunk, files or Files())


def tree(place: Path) -> dict[str, bytes | str]:
    """Return the files and links below `place`, with what they hold."""
    return {
        str(path.relative_to(place)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in place.rglob("*")
        if path.is_symlink() or path.is_file()
    }


# --- what a replica does ------------------------------------------------------------------------


def test_a_whole_base_backup_of_reddb_is_staged_recovered_and_read(tmp_path: Path) -> None:
    """From the primary's files, part by part, to one snapshot on the replica, byte for byte."""
    plan = PrimaryReplicaFilePlan(PARTS / "tree", timeline=2)
    (manifest,) = plan.list_basebackups()
    root, files = tmp_path / "main.rebootstrap.redbase", Files()
    for chunk in reversed(manifest.chunks):
        assert chunk.ordinal not in recover_staged_chunk_parts(manifest, root, files)
        part = (plan.basebackup_dir / chunk.relative_path).read_bytes()
        stage_chunk_part(manifest, root, chunk.ordinal, part, files)
    assert recover_staged_chunk_parts(manifest, root, files) == {0, 1, 2, 3, 4}
    assemble_snapshot(manifest, root, tmp_path / "main.rdb", files)
    assert (tmp_path / "main.rdb").read_bytes() == (PARTS / "tree.snapshot.bin").read_bytes()
    assert tree(root) == {
        name: data for name, data in tree(plan.basebackup_dir).items() if "redchunk" in name
    }


@given(st.binary(max_size=40), st.integers(1, 12))
def test_what_was_cut_and_staged_is_read_back(content: bytes, chunk_bytes: int) -> None:
    """Whatever the snapshot and however long its chunks."""
    chunks = cut(content, chunk_bytes)
    manifest = manifest_of(*chunks)
    with fresh_place() as place:
        for ordinal, chunk in enumerate(chunks):
            stage_chunk_part(manifest, place / "root", ordinal, chunk, Files())
        assert recover_staged_chunk_parts(manifest, place / "root", Files()) == {
            *range(len(chunks))
        }
        assert b"".join(read_snapshot_parts(manifest, place / "root")) == content


@pytest.mark.parametrize(
    ("ordinal", "data", "reason"),
    [
        (0, b"01234", "chunk 0: 5 bytes, expected 6"),
        (0, b"0123456", "chunk 0: 7 bytes, expected 6"),
        (0, b"012340", "chunk 0: CRC-32 0xc8059f80, expected 0xb86f6b0f"),
        (0, CHUNKS[1], "chunk 0: CRC-32"),
        (9, b"", "there is no chunk 9"),
    ],
)
def test_what_is_not_the_chunk_is_not_staged(
    tmp_path: Path, ordinal: int, data: bytes, reason: str
) -> None:
    """And nothing is written, not even a directory."""
    with pytest.raises(InvalidOperation, match=reason):
        stage_chunk_part(MANIFEST, tmp_path / "root", ordinal, data, Files())
    assert list(tmp_path.iterdir()) == []


def test_any_flipped_bit_of_a_part_is_noticed(tmp_path: Path) -> None:
    """By whoever reads the snapshot, and by whoever recovers, who removes the part."""
    stage_all(tmp_path)
    part = tmp_path / "parts" / "1.redchunk"
    for bit in range(len(CHUNKS[1]) * 8):
        damaged = bytearray(CHUNKS[1])
        damaged[bit // 8] ^= 1 << bit % 8
        part.write_bytes(damaged)
        with pytest.raises(InvalidOperation, match="is not chunk 1: CRC-32"):
            list(read_snapshot_parts(MANIFEST, tmp_path))
        assert recover_staged_chunk_parts(MANIFEST, tmp_path, Files()) == {0, 2}
        assert not part.exists()


def test_a_snapshot_that_is_not_the_manifests_gets_no_name(tmp_path: Path) -> None:
    """All chunks are right and the whole is not: what had the name before has it still."""
    stage_all(tmp_path)
    wrong = replace(MANIFEST, snapshot_checksum=1)
    target = tmp_path / "main.rdb"
    target.write_bytes(b"before")
    with pytest.raises(InvalidOperation, match=r"snapshot has the CRC-32 0x.*, expected 0x0000"):
        assemble_snapshot(wrong, tmp_path, target, Files())
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["main.rdb", "parts"]


def test_an_invalid_manifest_is_not_recovered_from(tmp_path: Path) -> None:
    """What contradicts itself claims nothing, and removes nothing."""
    stage_all(tmp_path)
    wrong = replace(MANIFEST, snapshot_bytes=3)
    before = tree(tmp_path)
    with pytest.raises(InvalidOperation, match="the snapshot at byte 3"):
        recover_staged_chunk_parts(wrong, tmp_path, Files())
    with pytest.raises(InvalidOperation, match="the snapshot at byte 3"):
        list(read_snapshot_parts(wrong, tmp_path))
    assert tree(tmp_path) == before


# --- what is in the way -------------------------------------------------------------------------


def outside_of(root: Path) -> Path:
    """Return a directory beside `root`, with a file that must stay as it is."""
    outside = root.parent / "outside"
    outside.mkdir(parents=True)
    (outside / "0.redchunk").write_bytes(b"precious")
    root.mkdir()
    return outside


def _linked_directory(root: Path) -> None:
    (root / "parts").symlink_to(outside_of(root))


def _linked_circle(root: Path) -> None:
    outside_of(root)
    (root / "parts").symlink_to("parts")


def _linked_root_above(root: Path) -> None:
    outside_of(root)
    (root / "parts").symlink_to("../outside")


@pytest.mark.parametrize("obstacle", [_linked_directory, _linked_circle, _linked_root_above])
def test_no_link_leads_out_of_the_root(tmp_path: Path, obstacle: Callable[[Path], None]) -> None:
    """Nothing is written, read or removed through a link in the place of a directory."""
    root = tmp_path / "root"
    obstacle(root)
    before = tree(tmp_path)
    with pytest.raises((InvalidOperation, FileIo)):
        stage_chunk_part(MANIFEST, root, 0, CHUNKS[0], Files())
    with pytest.raises((InvalidOperation, FileIo)):
        recover_staged_chunk_parts(MANIFEST, root, Files())
    with pytest.raises((InvalidOperation, FileIo)):
        list(read_snapshot_parts(MANIFEST, root))
    assert tree(tmp_path) == before


def test_no_part_is_read_or_removed_through_a_link_out_of_the_root(tmp_path: Path) -> None:
    """Not even if it leads to the very chunk; staging puts a file in its place."""
    root = tmp_path / "root"
    outside = outside_of(root)
    (outside / "0.redchunk").write_bytes(CHUNKS[0])
    (root / "parts").mkdir()
    (root / "parts" / "0.redchunk").symlink_to(outside / "0.redchunk")
    with pytest.raises(InvalidOperation, match="leads out of"):
        recover_staged_chunk_parts(MANIFEST, root, Files())
    with pytest.raises(InvalidOperation, match="leads out of"):
        list(read_snapshot_parts(MANIFEST, root))
    stage_all(root)
    assert b"".join(read_snapshot_parts(MANIFEST, root)) == SNAPSHOT
    assert not (root / "parts" / "0.redchunk").is_symlink()
    assert tree(outside) == {"0.redchunk": CHUNKS[0]}


def test_a_part_is_not_written_through_a_link_with_its_temporary_name(tmp_path: Path) -> None:
    """What the link points to stays as it is; the link was in the way and is gone."""
    root = tmp_path / "root"
    outside = outside_of(root)
    (root / "parts").mkdir()
    (root / "parts" / "0.tmp").symlink_to(outside / "0.redchunk")
    stage_all(root)
    assert tree(outside) == {"0.redchunk": b"precious"}
    assert b"".join(read_snapshot_parts(MANIFEST, root)) == SNAPSHOT
    assert len(tree(root)) == len(CHUNKS)


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    """As RedDB does: somebody may have moved a directory within the root."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "parts").symlink_to("elsewhere")
    stage_all(tmp_path)
    assert recover_staged_chunk_parts(MANIFEST, tmp_path, Files()) == {0, 1, 2}
    assert (tmp_path / "elsewhere" / "2.redchunk").read_bytes() == CHUNKS[2]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "ABSOLUTE", "", ".", "parts/", "parts/."])
def test_a_path_that_is_no_file_below_the_root_is_not_staged(tmp_path: Path, path: str) -> None:
    """Whether or not anybody has validated the manifest that it comes from."""
    path = path.replace("ABSOLUTE", str(tmp_path / "absolute"))
    chunk = MANIFEST.chunks[0]._replace(relative_path=path)
    with pytest.raises((InvalidOperation, FileIo)):
        stage_chunk_part(replace(MANIFEST, chunks=(chunk,)), tmp_path / "r", 0, CHUNKS[0], Files())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_a_path_that_no_file_can_have_is_an_error(tmp_path: Path, path: str) -> None:
    """It has no number of the system, because the system was never asked."""
    manifest = manifest_of(b"x", paths=[path])
    for call in (
        lambda: stage_chunk_part(manifest, tmp_path, 0, b"x", Files()),
        lambda: recover_staged_chunk_parts(manifest, tmp_path, Files()),
        lambda: list(read_snapshot_parts(manifest, tmp_path)),
    ):
        with pytest.raises(FileIo, match="cannot be the path of a file") as caught:
            call()
        assert caught.value.os_error is None


def _a_directory(path: Path) -> None:
    path.mkdir()


def _a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("obstacle", [_a_directory, _a_pipe])
def test_what_is_no_file_is_an_error_and_stays(
    tmp_path: Path, obstacle: Callable[[Path], None]
) -> None:
    """A directory, or a pipe that nobody writes to, ends the call instead of hanging it."""
    stage_all(tmp_path)
    part = tmp_path / "parts" / "1.redchunk"
    part.unlink()
    obstacle(part)
    with pytest.raises((FileIo, InvalidOperation), match=r"1\.redchunk is"):
        recover_staged_chunk_parts(MANIFEST, tmp_path, Files())
    with pytest.raises((FileIo, InvalidOperation), match=r"1\.redchunk is"):
        list(read_snapshot_parts(MANIFEST, tmp_path))
    assert part.exists()


def test_a_part_called_like_a_temporary_file_survives_its_neighbour(tmp_path: Path) -> None:
    """`a.part` would be written as `a.tmp` first; if that is a part itself, it is spared."""
    paths = ["p/a.tmp", "p/a.part", "p//./.a.tmp"]
    manifest = manifest_of(*CHUNKS, paths=paths)
    stage_all(tmp_path, manifest)
    stage_chunk_part(manifest, tmp_path, 1, CHUNKS[1], Files())
    assert b"".join(read_snapshot_parts(manifest, tmp_path)) == SNAPSHOT
    assert sorted(tree(tmp_path)) == ["p/.a.tmp", "p/a.part", "p/a.tmp"]


# --- absurd sizes -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2**40, 2**63, 2**64 - 1])
def test_an_absurd_size_costs_nothing(tmp_path: Path, size: int) -> None:
    """A manifest that claims more than there is memory is valid, and its parts are not."""
    chunk = BaseBackupChunkRef(0, 0, size, 0, "part")
    manifest = Manifest.incremental(BACKUP, "snapshot", size, 0, [chunk])
    (tmp_path / "part").write_bytes(b"short")
    tracemalloc.start()
    try:
        with pytest.raises(InvalidOperation, match=f"5 bytes, expected {size}"):
            list(read_snapshot_parts(manifest, tmp_path))
        assert recover_staged_chunk_parts(manifest, tmp_path, Files()) == set()
        with pytest.raises(FileIo) as caught:
            list(read_snapshot_parts(manifest, tmp_path))
        assert caught.value.os_error == errno.ENOENT
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_long_part_is_never_in_memory_whole(tmp_path: Path) -> None:
    """Cutting, recovering and assembling hold a few pieces, not the chunk and not the snapshot."""
    length = 24 * PIECE_BYTES
    source, plan = tmp_path / "source", PrimaryReplicaFilePlan(tmp_path / "primary")
    with source.open("wb") as file:
        for seed in range(24):
            file.write(random.Random(seed).randbytes(PIECE_BYTES))
    tracemalloc.start()
    try:
        with Files().open(source) as snapshot:
            manifest = write_basebackup_snapshot_parts(plan, BACKUP, snapshot, length, Files())
        assert recover_staged_chunk_parts(manifest, plan.basebackup_dir, Files()) == {0}
        assemble_snapshot(manifest, plan.basebackup_dir, tmp_path / "again", Files())
        assert tracemalloc.get_traced_memory()[1] < 5 * PIECE_BYTES
    finally:
        tracemalloc.stop()
    assert (tmp_path / "again").read_bytes() == source.read_bytes()


# --- what a primary does ------------------------------------------------------------------------


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[OpenFile]:
    """A snapshot's file."""
    (tmp_path / "snapshot").write_bytes(SNAPSHOT)
    with Files().open(tmp_path / "snapshot") as file:
        yield file


@pytest.fixture
def plan(tmp_path: Path) -> PrimaryReplicaFilePlan:
    """Where a primary keeps its files."""
    return PrimaryReplicaFilePlan(tmp_path / "primary")


def test_a_manifest_that_exists_has_its_parts(
    plan: PrimaryReplicaFilePlan, snapshot: OpenFile
) -> None:
    """What is written is what is listed, and it reads back."""
    manifest = write_basebackup_snapshot_parts(plan, BACKUP, snapshot, 6, Files())
    write_basebackup_manifest(manifest, plan.basebackup_path(BACKUP), Files())
    assert plan.list_basebackups() == [manifest]
    assert b"".join(read_snapshot_parts(manifest, plan.basebackup_dir)) == SNAPSHOT


def test_parts_that_are_there_are_kept_if_they_are_these(
    plan: PrimaryReplicaFilePlan, snapshot: OpenFile
) -> None:
    """Other ones are replaced, until there is a manifest that somebody may rely on."""
    write_basebackup_snapshot_parts(plan, BACKUP, snapshot, 6, Files())
    part = next(plan.basebackup_parts_dir(BACKUP).iterdir())
    inode = part.stat().st_ino
    write_basebackup_snapshot_parts(plan, BACKUP, snapshot, 6, Files())
    assert part.stat().st_ino == inode
    manifest = write_basebackup_snapshot_parts(plan, BACKUP, snapshot, 5, Files())
    assert len(list(plan.basebackup_parts_dir(BACKUP).iterdir())) == 4
    write_basebackup_manifest(manifest, plan.basebackup_path(BACKUP), Files())
    with pytest.raises(InvalidOperation, match="5 bytes, expected 6"):
        write_basebackup_snapshot_parts(plan, BACKUP, snapshot, 6, Files())
    assert b"".join(read_snapshot_parts(manifest, plan.basebackup_dir)) == SNAPSHOT


def test_what_a_crash_left_of_other_parts_is_not_mixed_in(
    plan: PrimaryReplicaFilePlan, snapshot: OpenFile
) -> None:
    """Shorter chunks were being cut when the power went: none of them is among the longer ones."""
    with pytest.raises(SimulatedCrash):
        write_basebackup_snapshot_parts(plan, BACKUP, snapshot, 5, DiesAt("parts.renaming"))
    write_basebackup_snapshot_parts(plan, BACKUP, snapshot, 6, Files())
    assert len(list(plan.basebackup_parts_dir(BACKUP).iterdir())) == 3
    assert list(plan.basebackup_dir.iterdir()) == [plan.basebackup_parts_dir(BACKUP)]


def test_a_manifest_that_nobody_could_read_is_not_written(tmp_path: Path) -> None:
    """It is refused before the first byte."""
    with pytest.raises(InvalidOperation, match="the snapshot at byte 3"):
        write_basebackup_manifest(replace(MANIFEST, snapshot_bytes=3), tmp_path / "m", Files())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("backup", "reason"),
    [
        (BaseBackupPlan(2, 10, 50), "on timeline 2, the files on 1"),
        (BaseBackupPlan(1, 51, 50), "checkpoint LSN 50 is before start LSN 51"),
    ],
)
def test_a_base_backup_that_makes_no_sense_is_not_cut(
    plan: PrimaryReplicaFilePlan, snapshot: OpenFile, backup: BaseBackupPlan, reason: str
) -> None:
    """And no directory is made for it."""
    with pytest.raises(InvalidOperation, match=reason):
        write_basebackup_snapshot_parts(plan, backup, snapshot, 6, Files())
    assert not plan.root.exists()


class Changing(OpenFile):
    """A snapshot that somebody writes to after it was read once."""

    reads = 0

    def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Return other bytes from the fourth time on."""
        self.reads += 1
        data = super().read_at(offset_bytes, length_bytes)
        return data if self.reads <= len(CHUNKS) + 1 else bytes(len(data))


def test_a_snapshot_that_changes_meanwhile_leaves_nothing(
    plan: PrimaryReplicaFilePlan, snapshot: OpenFile
) -> None:
    """The parts would not be what their manifest says: they are removed again."""
    with (
        Changing(snapshot.path, os.dup(snapshot._fd)) as changing,
        pytest.raises(InvalidOperation, match="changed at chunk 1"),
    ):
        write_basebackup_snapshot_parts(plan, BACKUP, changing, 6, Files())
    assert tree(plan.root) == {}
    assert list(plan.basebackup_dir.iterdir()) == []


# --- crashes and broken disks -------------------------------------------------------------------


def a_replica(files: CrashingFiles, place: Path) -> None:
    """Recover, stage what is missing, and put the snapshot together: one life."""
    root = place / "deep" / "root"
    staged = recover_staged_chunk_parts(MANIFEST, root, files)
    for ordinal, chunk in enumerate(CHUNKS):
        if ordinal not in staged:
            stage_chunk_part(MANIFEST, root, ordinal, chunk, files)
    assemble_snapshot(MANIFEST, root, place / "main.rdb", files)


def never_half(place: Path) -> None:
    """Whatever has its name is whole."""
    found = tree(place)
    assert found.pop("main.rdb", SNAPSHOT) == SNAPSHOT
    for path, data in found.items():
        if path.endswith(".redchunk"):
            assert data == CHUNKS[int(Path(path).stem)]


def the_snapshot_is_there(place: Path) -> None:
    """The end of every life that ends, and nothing is left beside it."""
    assert sorted(tree(place)) == [
        *(f"deep/root/parts/{ordinal}.redchunk" for ordinal in range(len(CHUNKS))),
        "main.rdb",
    ]


def test_a_replica_survives_every_pair_of_crashes() -> None:
    """It goes on where it was: no part is ever half there, and the end is always the same."""
    scenario = Scenario(a_replica, after_crash=never_half, check=the_snapshot_is_there)
    assert {"part.written#1", "part.renamed#2", "snapshot.written#1"} <= every_pair(
        scenario, at_least=20
    )


def a_primary(files: CrashingFiles, place: Path) -> None:
    """Cut a snapshot and publish it: one life."""
    plan = PrimaryReplicaFilePlan(place / "primary")
    (place / "snapshot").write_bytes(SNAPSHOT)
    with files.open(place / "snapshot") as file:
        manifest = write_basebackup_snapshot_parts(plan, BACKUP, file, 6, files)
    write_basebackup_manifest(manifest, plan.basebackup_path(BACKUP), files)


def what_is_listed_is_whole(place: Path) -> None:
    """A manifest that exists has its parts."""
    plan = PrimaryReplicaFilePlan(place / "primary")
    for manifest in plan.list_basebackups():
        assert b"".join(read_snapshot_parts(manifest, plan.basebackup_dir)) == SNAPSHOT


def one_backup_and_nothing_else(place: Path) -> None:
    """The end of every life that ends."""
    what_is_listed_is_whole(place)
    plan = PrimaryReplicaFilePlan(place / "primary")
    names = sorted(path.name for path in plan.basebackup_dir.iterdir())
    assert names == [
        plan.basebackup_path(BACKUP).name,
        plan.basebackup_parts_dir(BACKUP).name,
    ]
    assert read_manifest(plan.basebackup_path(BACKUP)).chunks[2].chunk_bytes == 4


def test_a_primary_survives_every_crash() -> None:
    """Whatever a crash left is used or removed, and a manifest never lacks a part."""
    scenario = Scenario(
        a_primary, after_crash=what_is_listed_is_whole, check=one_backup_and_nothing_else
    )
    assert {"parts.renaming#1", "parts.renamed#1"} <= every_single(scenario, at_least=20)


class BrokenFiles(Files):
    """A disk that refuses to replace anything, for one reason."""

    def __init__(self, number: int) -> None:
        self.number = number

    def point(self, name: str) -> None:
        """Fail before the first byte."""
        if name.endswith(".writing"):
            raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "kind", "ours"),
    [
        (errno.ENOSPC, FileOutOfSpace, OutOfSpace),
        (errno.EROFS, FileReadOnly, ReadOnly),
        (errno.EIO, FileIo, Unavailable),
    ],
)
def test_a_disk_that_refuses_says_who_must_act(
    tmp_path: Path, number: int, kind: type[FileIo], ours: type[Unavailable]
) -> None:
    """The error is RedDB's kind and ours at once, with the system's number."""
    with pytest.raises(kind, match=r"0\.redchunk") as caught:
        stage_chunk_part(MANIFEST, tmp_path, 0, CHUNKS[0], BrokenFiles(number))
    assert isinstance(caught.value, ours)
    assert caught.value.os_error == number
    assert recover_staged_chunk_parts(MANIFEST, tmp_path, Files()) == set()
