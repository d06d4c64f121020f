"""Staged bytes are verified, durable, and still what the manifest says after any crash."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forgetful_disk import ForgetfulDisk, ForgetfulFiles
from hypothesis import given
from hypothesis import strategies as st
from processes import kill, start, wait_for_line
from strategies import ranges
from worlds import CrashingFiles, Scenario, every_pair

from bootledger.basebackup.manifest import Chunk, Header, Manifest, decode, encode
from bootledger.basebackup.staging import Candidate
from bootledger.errors import CorruptChunk, ForeignTarget, Unavailable
from bootledger.files import Files, OpenFile
from bootledger.statemachine.events import Begin, Holder, Resume, SnapshotChunk, Suspend
from bootledger.statemachine.fold import advance, fold
from bootledger.statemachine.progress import Progress, State
from bootledger.statemachine.ranges import Range, Ranges, add, gaps, subtract, total_bytes

PAGE_BYTES = 4096
CONTENT = random.Random(11).randbytes(5 * PAGE_BYTES + 123)


def manifest_of(
    content: bytes, chunk_bytes: int = PAGE_BYTES, *, path: str = "data.mdb"
) -> Manifest:
    """Return the manifest of `content`, cut into chunks of `chunk_bytes`."""
    chunks = [
        Chunk.of(ordinal, offset, content[offset : offset + chunk_bytes])
        for ordinal, offset in enumerate(range(0, len(content), chunk_bytes))
    ]
    header = Header("db-1", 1, 1, 9, path, len(content), chunk_bytes, len(chunks))
    return decode(b"".join(encode(header, chunks)))


MANIFEST = manifest_of(CONTENT)
CHUNKS = list(MANIFEST.chunks())
WHOLE = (Range(0, len(CONTENT)),)


def bytes_of(chunk: Chunk, content: bytes = CONTENT) -> bytes:
    """Return what a source would send for `chunk`."""
    return content[chunk.offset_bytes : chunk.offset_bytes + chunk.length_bytes]


@pytest.fixture
def candidate(tmp_path: Path) -> Iterator[Candidate]:
    """A prepared candidate for `CONTENT`, with nothing staged."""
    with Candidate(tmp_path / "gen-0001", MANIFEST, Files()) as prepared:
        prepared.prepare()
        yield prepared


# --- prepare ------------------------------------------------------------------------------------


def test_a_prepared_file_has_its_length_and_its_blocks(candidate: Candidate) -> None:
    """A full disk shows before the first byte and not at the last."""
    found = candidate.path.stat()
    assert found.st_size == len(CONTENT)
    assert found.st_blocks * 512 >= len(CONTENT)
    assert candidate.path == candidate.path.parent / "data.mdb"


def test_preparing_again_keeps_the_bytes(candidate: Candidate) -> None:
    """Preparing is repeatable, also for another process, also over a file that is too short."""
    candidate.stage(CHUNKS[0], bytes_of(CHUNKS[0]))
    candidate.prepare()
    os.truncate(candidate.path, PAGE_BYTES)
    with Candidate(candidate.path.parent, MANIFEST, Files()) as other:
        other.prepare()
    assert candidate.path.read_bytes() == CONTENT[:PAGE_BYTES].ljust(len(CONTENT), b"\0")


def test_the_manifests_path_may_name_directories_inside(tmp_path: Path) -> None:
    """Directories on the way are made; the file lies below the directory that was given."""
    with Candidate(tmp_path / "gen", manifest_of(b"x", path="a/b/data.mdb"), Files()) as candidate:
        candidate.prepare()
    assert (tmp_path / "gen" / "a" / "b" / "data.mdb").read_bytes() == b"\0"


def _directory(place: Path, _outside: Path) -> None:
    (place / "a" / "data.mdb").mkdir(parents=True)


def _link(place: Path, outside: Path) -> None:
    (place / "a").mkdir(parents=True)
    (place / "a" / "data.mdb").symlink_to(outside / "precious")


def _dangling_link(place: Path, outside: Path) -> None:
    (place / "a").mkdir(parents=True)
    (place / "a" / "data.mdb").symlink_to(outside / "nothing")


def _linked_directory(place: Path, outside: Path) -> None:
    place.mkdir()
    (place / "a").symlink_to(outside)


def _file_for_directory(place: Path, _outside: Path) -> None:
    place.write_text("a file")


def _file_for_inner_directory(place: Path, _outside: Path) -> None:
    place.mkdir()
    (place / "a").write_text("a file")


def _pipe(place: Path, _outside: Path) -> None:
    (place / "a").mkdir(parents=True)
    os.mkfifo(place / "a" / "data.mdb")


def _longer_file(place: Path, _outside: Path) -> None:
    (place / "a").mkdir(parents=True)
    (place / "a" / "data.mdb").write_bytes(b"a database that grew")


@pytest.mark.parametrize(
    "obstacle",
    [
        _directory,
        _link,
        _dangling_link,
        _linked_directory,
        _file_for_directory,
        _file_for_inner_directory,
        _pipe,
        _longer_file,
    ],
)
def test_what_is_not_our_file_is_left_alone(
    tmp_path: Path, obstacle: Callable[[Path, Path], None]
) -> None:
    """Nothing else is overwritten, cut or followed out of the directory, by any method."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"live")
    obstacle(tmp_path / "gen", outside)
    before = sorted((p, p.lstat().st_size) for p in tmp_path.rglob("*"))
    manifest = manifest_of(b"new", path="a/data.mdb")
    with Candidate(tmp_path / "gen", manifest, Files()) as candidate:
        with pytest.raises(ForeignTarget, match=str(tmp_path / "gen")):
            candidate.prepare()
        with pytest.raises(ForeignTarget):
            candidate.damaged(())
        with pytest.raises(ForeignTarget):
            candidate.stage(manifest.chunk(0), b"new")
    assert sorted((p, p.lstat().st_size) for p in tmp_path.rglob("*")) == before
    assert (outside / "precious").read_bytes() == b"live"


NAMESPACES = (["--user", "--map-root-user", "--mount"], ["--mount"])


def on_small_disk(tmp_path: Path, options: str, code: str) -> str:
    """Run `code` with `place`, a directory on a tmpfs of its own, and return what it printed."""
    unshare = shutil.which("unshare")
    usable = [
        flags
        for flags in NAMESPACES
        if unshare and subprocess.run([unshare, *flags, "true"], check=False).returncode == 0
    ]
    if not usable:
        pytest.skip("NOT TESTED: full and read-only disks need `unshare --mount`, refused here")
    prelude = """
        import os, subprocess, sys
        from pathlib import Path
        from bootledger.errors import OutOfSpace, ReadOnly
        from bootledger.files import Files
        from bootledger.basebackup.staging import Candidate
        from test_staging import manifest_of
        place = Path(sys.argv[1])
    """
    mount = 'mount -t tmpfs -o "$1" tmpfs "$2" && exec "$3" -c "$4" "$2"'
    program = textwrap.dedent(prelude) + textwrap.dedent(code)
    done = subprocess.run(
        [
            "unshare",
            *usable[0],
            "sh",
            "-c",
            mount,
            "sh",
            options,
            tmp_path,
            sys.executable,
            program,
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_is_out_of_space_and_leaves_no_file(tmp_path: Path) -> None:
    """The first call says so, for a human, and what room there was is there still."""
    printed = on_small_disk(
        tmp_path,
        "size=1m",
        """
        candidate = Candidate(place / "gen", manifest_of(bytes(2 * 2**20)), Files())
        try:
            candidate.prepare()
        except OutOfSpace as error:
            print(error.hint)
        print([p.name for p in place.rglob("*")], os.statvfs(place).f_bavail > 200)
        """,
    )
    assert printed == "free some space and start again\n['gen'] True\n"


def test_a_read_only_disk_is_reported_as_such(tmp_path: Path) -> None:
    """Neither a new directory nor an existing file can be prepared, and both errors say why."""
    printed = on_small_disk(
        tmp_path,
        "size=1m",
        """
        manifest = manifest_of(b"some bytes")
        with Candidate(place / "old", manifest, Files()) as candidate:
            candidate.prepare()
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        for name in "old", "new":
            try:
                Candidate(place / name, manifest, Files()).prepare()
            except ReadOnly as error:
                print(error.hint)
        print(sorted(p.name for p in place.rglob("*")))
        """,
    )
    hint = "check the mount and the permissions\n"
    assert printed == 2 * hint + "['data.mdb', 'old']\n"


# --- stage and missing --------------------------------------------------------------------------


def test_staged_chunks_add_up_to_the_file(candidate: Candidate) -> None:
    """In any order, from bytes or from a view, the file ends up as the source's."""
    for chunk in reversed(CHUNKS):
        candidate.stage(chunk, memoryview(bytes_of(chunk)))
    assert candidate.path.read_bytes() == CONTENT
    assert candidate.damaged(WHOLE) == ()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes, expected 4096"),
        (CONTENT[PAGE_BYTES : 2 * PAGE_BYTES - 1], "4095 bytes, expected 4096"),
        (CONTENT[:PAGE_BYTES], "CRC32C [0-9a-f]{8}, expected [0-9a-f]{8}"),
    ],
)
def test_wrong_bytes_are_refused_and_not_written(
    candidate: Candidate, data: bytes, reason: str
) -> None:
    """The error names the chunk, what came and what was expected; the file is untouched."""
    with pytest.raises(CorruptChunk, match=f"chunk 1 at byte 4096: {reason}"):
        candidate.stage(CHUNKS[1], data)
    assert candidate.path.read_bytes() == bytes(len(CONTENT))


def test_the_same_crc_does_not_pass_for_the_same_chunk(candidate: Candidate) -> None:
    """BLAKE3 decides."""
    chunk = CHUNKS[1]._replace(digest=bytes(32))
    with pytest.raises(CorruptChunk, match="chunk 1 at byte 4096: BLAKE3"):
        candidate.stage(chunk, bytes_of(chunk))
    assert candidate.path.read_bytes() == bytes(len(CONTENT))


SMALL = manifest_of(bytes(range(40)), 7)


@given(ranges(max_bytes=40))
def test_missing_are_the_chunks_with_a_byte_that_is_not_claimed(staged: Ranges) -> None:
    """Whatever is claimed, also parts of chunks: nothing is left out and nothing comes twice."""
    claimed = {byte for start, end in staged for byte in range(start, end)}
    expected = [chunk for chunk in SMALL.chunks() if not set(range(*chunk.range)) <= claimed]
    assert list(Candidate(Path("unused"), SMALL, Files()).missing(staged)) == expected


def test_missing_is_lazy(tmp_path: Path) -> None:
    """The first missing chunk of many is found without looking at the others."""
    looked_at: list[int] = []

    class Watched(Manifest):
        def chunk(self, ordinal: int) -> Chunk:
            looked_at.append(ordinal)
            return super().chunk(ordinal)

    content = bytes(10_000)
    plain = manifest_of(content, 1)
    watched = Watched(**vars(plain))
    first = next(Candidate(tmp_path, watched, Files()).missing((Range(0, 5_000),)))
    assert (first.ordinal, looked_at) == (5_000, [5_000])


def test_an_empty_backup_is_staged_by_preparing(tmp_path: Path) -> None:
    """Zero bytes are a file, and there is nothing to fetch, claim or drop."""
    with Candidate(tmp_path / "gen", manifest_of(b""), Files()) as candidate:
        candidate.prepare()
        assert list(candidate.missing(())) == list(claimable(candidate, ())) == []
        assert candidate.damaged(()) == ()
    assert candidate.path.read_bytes() == b""


# --- power: what was not synced is gone ---------------------------------------------------------


def test_a_staged_chunk_survives_the_loss_of_power(tmp_path: Path) -> None:
    """Durable when `stage` returns: the very next moment may be the last."""
    disk = ForgetfulDisk()
    with Candidate(tmp_path / "gen", MANIFEST, ForgetfulFiles(Files(), disk)) as candidate:
        candidate.prepare()
        for chunk in CHUNKS:
            candidate.stage(chunk, bytes_of(chunk))
            disk.lose_power(tmp_path)
            assert candidate.damaged((Range(0, chunk.range.end_bytes),)) == ()


def test_bytes_that_a_failed_sync_left_in_memory_are_not_trusted(tmp_path: Path) -> None:
    """After a failed sync the bytes are readable but not durable; claiming makes them so."""
    disk = ForgetfulDisk()
    with Candidate(tmp_path / "gen", MANIFEST, ForgetfulFiles(Files(), disk)) as candidate:
        candidate.prepare()
        disk.failures = 1
        with pytest.raises(Unavailable):
            candidate.stage(CHUNKS[2], bytes_of(CHUNKS[2]))
        candidate.prepare()
        assert list(claimable(candidate, ())) == [CHUNKS[2]]
        disk.lose_power(tmp_path)
        assert candidate.damaged((CHUNKS[2].range,)) == ()


def claims(place: Path) -> Ranges:
    """Return what the log of `place`, a text file, claims."""
    claimed: Ranges = ()
    if (place / "claims").exists():
        for line in (place / "claims").read_text().splitlines():
            claimed = add(claimed, Range(*map(int, line.split())))
    return claimed


def claim(files: Files, place: Path, chunk: Chunk) -> None:
    """Record in the log of `place` that `chunk` is staged."""
    files.point("claim.recording")
    with (place / "claims").open("a") as file:
        file.write(f"{chunk.range.start_bytes} {chunk.range.end_bytes}\n")


def test_a_crash_at_every_point_loses_no_claim_and_ends_with_the_same_file() -> None:
    """Every crash, and every second crash after it, each with a loss of power.

    What was claimed is on the disk after each, and the last life ends with the source's bytes.
    """
    disks: dict[Path, ForgetfulDisk] = {}

    def run(files: CrashingFiles, place: Path) -> None:
        with Candidate(place / "gen", MANIFEST, ForgetfulFiles(files, disks[place])) as candidate:
            candidate.prepare()
            for chunk in claimable(candidate, claims(place)):
                claim(files, place, chunk)
            for chunk in candidate.missing(claims(place)):
                candidate.stage(chunk, bytes_of(chunk))
                claim(files, place, chunk)

    def power_is_lost(place: Path) -> None:
        disks[place].lose_power(place)
        with Candidate(place / "gen", MANIFEST, Files()) as candidate:
            assert candidate.damaged(claims(place)) == ()

    def it_is_whole(place: Path) -> None:
        power_is_lost(place)
        assert claims(place) == WHOLE
        assert (place / "gen" / "data.mdb").read_bytes() == CONTENT

    def a_new_disk(place: Path) -> None:
        disks[place] = ForgetfulDisk()

    scenario = Scenario(run, a_new_disk, power_is_lost, it_is_whole)
    boundaries = every_pair(scenario, at_least=4 * len(CHUNKS) + 3, copies=False)
    assert {"chunk.verified#1", "chunk.written#6", "chunk.synced#6"} <= boundaries


# --- found --------------------------------------------------------------------------------------


def claimable(candidate: Candidate, staged: Ranges) -> Iterator[Chunk]:
    """Yield the missing chunks that lie in the file, each staged again: as a start does."""
    for chunk in candidate.missing(staged):
        if (data := candidate.found(chunk)) is not None:
            candidate.stage(chunk, data, compared=True)
            yield chunk


CHILD = """
    import os, signal, sys
    from pathlib import Path
    from bootledger.basebackup.staging import Candidate
    from bootledger.files import Files
    from test_staging import CHUNKS, MANIFEST, bytes_of

    class Dies(Files):
        seen = 0
        def point(self, name):
            self.seen += name == sys.argv[2]
            if self.seen == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)

    candidate = Candidate(Path(sys.argv[1]), MANIFEST, Dies())
    candidate.prepare()
    print("prepared", flush=True)
    for chunk in CHUNKS:
        candidate.stage(chunk, bytes_of(chunk))
        print(chunk.ordinal, flush=True)
        sys.stdin.readline()
"""


def killed_at(monkeypatch: pytest.MonkeyPatch, directory: Path, point: str, count: int) -> Ranges:
    """Stage in a child that kills itself at a point; return what it had said it staged."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    child = start(CHILD, directory, point, count)
    printed, errors = child.communicate("\n" * len(CHUNKS), timeout=60)
    assert (child.returncode, errors) == (-9, "")
    claimed: Ranges = ()
    for ordinal in printed.split()[1:]:
        claimed = add(claimed, CHUNKS[int(ordinal)].range)
    return claimed


def test_bytes_written_before_a_kill_and_not_claimed_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process killed between write and claim costs no second fetch of that chunk."""
    claimed = killed_at(monkeypatch, tmp_path / "gen", "chunk.written", 3)
    assert claimed == (Range(0, 2 * PAGE_BYTES),)
    with Candidate(tmp_path / "gen", MANIFEST, Files()) as candidate:
        candidate.prepare()
        assert list(claimable(candidate, claimed)) == [CHUNKS[2]]
        assert candidate.damaged(claimed) == ()


def test_a_kill_before_the_write_leaves_nothing_to_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was verified in memory is gone with the process, and nobody claims it."""
    claimed = killed_at(monkeypatch, tmp_path / "gen", "chunk.verified", 3)
    assert claimed == (Range(0, 2 * PAGE_BYTES),)
    with Candidate(tmp_path / "gen", MANIFEST, Files()) as candidate:
        candidate.prepare()
        assert list(claimable(candidate, claimed)) == []
        assert list(candidate.missing(claimed)) == CHUNKS[2:]


def test_a_killed_copy_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed from outside after the fourth chunk, with no claim recorded: none is fetched again."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    child = start(CHILD, tmp_path / "gen", "never", 1)
    assert child.stdin is not None
    assert wait_for_line(child) == "prepared"
    for chunk in CHUNKS[:4]:
        assert wait_for_line(child) == str(chunk.ordinal)
        if chunk != CHUNKS[3]:
            child.stdin.write("\n")
            child.stdin.flush()
    kill(child)
    with Candidate(tmp_path / "gen", MANIFEST, Files()) as candidate:
        candidate.prepare()
        assert list(claimable(candidate, ())) == CHUNKS[:4]
        for chunk in candidate.missing((Range(0, CHUNKS[3].range.end_bytes),)):
            candidate.stage(chunk, bytes_of(chunk))
    assert candidate.path.read_bytes() == CONTENT


def test_a_half_written_or_flipped_chunk_is_not_claimed(candidate: Candidate) -> None:
    """Only what matches the manifest as a whole is claimed."""
    for chunk in CHUNKS[:3]:
        candidate.stage(chunk, bytes_of(chunk))
    with candidate.path.open("r+b") as file:
        file.seek(PAGE_BYTES + 77)
        file.write(bytes([CONTENT[PAGE_BYTES + 77] ^ 1]))
        file.seek(3 * PAGE_BYTES)
        file.write(CONTENT[3 * PAGE_BYTES : 4 * PAGE_BYTES - 1])
    assert list(claimable(candidate, ())) == [CHUNKS[0], CHUNKS[2]]


def test_what_is_claimed_already_is_not_claimable(candidate: Candidate) -> None:
    """A chunk claimed in part comes again, because its other part can be claimed."""
    for chunk in CHUNKS:
        candidate.stage(chunk, bytes_of(chunk))
    staged = (Range(0, PAGE_BYTES), Range(2 * PAGE_BYTES + 5, 3 * PAGE_BYTES))
    assert list(claimable(candidate, staged)) == [CHUNKS[1], CHUNKS[2], *CHUNKS[3:]]
    assert list(claimable(candidate, WHOLE)) == []


def test_allocated_emptiness_is_not_read(tmp_path: Path) -> None:
    """Of 64 MiB with one chunk written, about one chunk is read."""
    read_bytes = 0

    class Counting(OpenFile):
        def read_at(self, offset_bytes: int, length_bytes: int) -> bytes:
            nonlocal read_bytes
            read_bytes += length_bytes
            return super().read_at(offset_bytes, length_bytes)

    class CountingFiles(Files):
        def open(self, path: Path, *, size_bytes: int | None = None) -> OpenFile:
            opened = super().open(path, size_bytes=size_bytes)
            file = Counting(path, os.dup(opened._fd))
            opened.close()
            return file

    content = random.Random(3).randbytes(64 * 2**20)
    manifest = manifest_of(content, 2**20)
    with Candidate(tmp_path / "gen", manifest, CountingFiles()) as candidate:
        candidate.prepare()
        holes = [*candidate._opened().written(0, len(content))] == []
        candidate.stage(manifest.chunk(40), bytes_of(manifest.chunk(40), content))
        assert list(claimable(candidate, ())) == [manifest.chunk(40)]
    if not holes:
        pytest.skip("NOT TESTED: this file system does not tell allocated emptiness from data")
    assert read_bytes == 2**20


# --- damaged ------------------------------------------------------------------------------------


def test_flipped_bytes_are_found_and_nothing_else(candidate: Candidate) -> None:
    """Exactly the chunks with a wrong byte are returned, neighbours as one; nothing is written."""
    for chunk in CHUNKS:
        candidate.stage(chunk, bytes_of(chunk))
    with candidate.path.open("r+b") as file:
        for offset in (PAGE_BYTES, 3 * PAGE_BYTES - 1, len(CONTENT) - 1):
            file.seek(offset)
            file.write(bytes([CONTENT[offset] ^ 0x80]))
    before = candidate.path.read_bytes()
    lost = (Range(PAGE_BYTES, 3 * PAGE_BYTES), Range(5 * PAGE_BYTES, len(CONTENT)))
    assert candidate.damaged(WHOLE) == lost
    assert candidate.damaged((Range(0, PAGE_BYTES),)) == ()
    assert candidate.path.read_bytes() == before


def test_of_a_damaged_chunk_only_what_is_claimed_is_dropped(candidate: Candidate) -> None:
    """A chunk that is claimed in part and not there whole is dropped, as far as it is claimed."""
    candidate.stage(CHUNKS[0], bytes_of(CHUNKS[0]))
    staged = (Range(0, PAGE_BYTES + 10), Range(2 * PAGE_BYTES + 1, 2 * PAGE_BYTES + 2))
    assert candidate.damaged(staged) == (Range(PAGE_BYTES, PAGE_BYTES + 10), staged[1])


def test_of_a_missing_or_cut_file_everything_that_is_not_there_is_dropped(
    candidate: Candidate,
) -> None:
    """A file that somebody removed costs a copy, and no false claim."""
    for chunk in CHUNKS:
        candidate.stage(chunk, bytes_of(chunk))
    os.truncate(candidate.path, 2 * PAGE_BYTES + 1)
    lost = (Range(2 * PAGE_BYTES, len(CONTENT)),)
    assert candidate.damaged(WHOLE) == lost
    candidate.close()
    candidate.path.unlink()
    assert candidate.damaged(WHOLE) == WHOLE
    assert not candidate.path.exists()


def transferring(size_bytes: int) -> Progress:
    """Return the fold of a bootstrap that has pinned a snapshot of that size."""
    holder = Holder("host", 1, 1)
    return fold(
        [
            Begin(recorded_at_ms=0, node_id="n", source_lsn=0, target_lsn_hint=0, holder=holder),
            chunk_event(Range(0, 0), size_bytes=size_bytes),
        ]
    )


def chunk_event(part: Range, *, size_bytes: int | None = None) -> SnapshotChunk:
    """Return the event that claims `part`."""
    return SnapshotChunk(
        recorded_at_ms=0,
        token="t",
        generation=1,
        offset_bytes=part.start_bytes,
        length_bytes=part.end_bytes - part.start_bytes,
        size_bytes=size_bytes,
    )


def test_the_machine_accepts_every_claim_and_every_drop(tmp_path: Path) -> None:
    """With every second of 300 chunks rotten, the copy is still repaired without a refusal.

    That takes a bound on how scattered the rest is; the bound is the machine's own.
    """
    content = random.Random(5).randbytes(300 * 64)
    manifest = manifest_of(content, 64)
    progress = transferring(len(content))

    def claim(chunk: Chunk) -> None:
        nonlocal progress
        unclaimed: Ranges = (chunk.range,)
        for staged in staged_of(progress):
            unclaimed = subtract(unclaimed, staged)
        for part in unclaimed:
            progress = advance(progress, chunk_event(part))

    with Candidate(tmp_path / "gen", manifest, Files()) as candidate:
        candidate.prepare()
        for chunk in candidate.missing(()):
            candidate.stage(chunk, bytes_of(chunk, content))
            claim(chunk)
        rotten = bytearray(content)
        rotten[::128] = bytes(byte ^ 1 for byte in content[::128])
        candidate.path.write_bytes(rotten)
        dropped = candidate.damaged(staged_of(progress))
        assert total_bytes(dropped) > len(content) // 2
        suspend = Suspend(recorded_at_ms=0, cause="rot", cause_class="error")
        resume = Resume(recorded_at_ms=0, epoch=2, holder=Holder("host", 2, 2), dropped=dropped)
        progress = advance(advance(progress, suspend), resume)
        fetched = 0
        for chunk in candidate.missing(staged_of(progress)):
            found = candidate.found(chunk)
            fetched += found is None
            candidate.stage(chunk, found or bytes_of(chunk, content))
            claim(chunk)
    assert fetched == 150
    assert progress.state is State.TRANSFERRING
    assert progress.snapshot is not None
    assert progress.snapshot.whole
    assert candidate.path.read_bytes() == content


def staged_of(progress: Progress) -> Ranges:
    """Return the claimed ranges of the open snapshot."""
    assert progress.snapshot is not None
    return progress.snapshot.staged


@given(ranges(max_bytes=40), st.sets(st.integers(0, 39), max_size=6))
def test_after_a_drop_everything_that_stays_claimed_is_right(
    tmp_path_factory: pytest.TempPathFactory, staged: Ranges, flipped: set[int]
) -> None:
    """Any claims, any wrong bytes: what stays is right, and only failing chunks are dropped."""
    content = bytearray(range(40))
    for offset in flipped:
        content[offset] ^= 0xFF
    directory = tmp_path_factory.mktemp("gen")
    (directory / "data.mdb").write_bytes(content)
    with Candidate(directory, SMALL, Files()) as candidate:
        dropped = candidate.damaged(staged)
    wrong = {offset // 7 for offset in flipped}
    claimed = {byte for start, end in staged for byte in range(start, end)}
    expected = {byte for byte in claimed if byte // 7 in wrong}
    assert {byte for start, end in dropped for byte in range(start, end)} == expected
    assert gaps(gaps(dropped, 40), 40) == dropped
