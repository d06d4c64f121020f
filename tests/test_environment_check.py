"""A database that came from elsewhere is walked as bytes before anything opens it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from replicas import assert_equal, make_primary, replicate

from bootledger.errors import CorruptRecord, Stopped, Unavailable
from bootledger.replica.database import Database
from bootledger.replica.settings import Settings


def children() -> set[str]:
    """The live children of this process."""
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


def test_a_sound_database_passes_and_is_not_changed(tmp_path: Path) -> None:
    """Not a byte, and no file beside it."""
    make_primary(tmp_path / "primary")
    before = {path.name: path.read_bytes() for path in (tmp_path / "primary").glob("data.mdb")}
    Database.check_unopened(tmp_path / "primary")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "primary").glob("data*")}


@pytest.mark.parametrize("spoil", [b"\xff", b"\0"])
def test_damaged_pages_are_named(tmp_path: Path, spoil: bytes) -> None:
    """Whatever the pages behind the first two are replaced by, LMDB never gets to see it."""
    make_primary(tmp_path / "primary")
    data = tmp_path / "primary" / "data.mdb"
    content = data.read_bytes()
    data.write_bytes(content[:8192] + spoil * (len(content) - 8192))
    with pytest.raises(CorruptRecord, match="not a sound LMDB file"):
        Database.check_unopened(tmp_path / "primary")


def test_what_is_no_database_or_is_missing_is_said_so(tmp_path: Path) -> None:
    """A file of something else is corrupt; a file that cannot be read is unavailable."""
    with pytest.raises(Unavailable, match=r"data\.mdb"):
        Database.check_unopened(tmp_path)
    (tmp_path / "data.mdb").write_bytes(b"something else" * 1000)
    with pytest.raises(CorruptRecord, match="not a sound LMDB file"):
        Database.check_unopened(tmp_path)


def test_a_check_that_is_told_to_stop_leaves_no_process(tmp_path: Path) -> None:
    """What the pause raises goes on at once, and the walk is killed."""
    os.mkfifo(tmp_path / "data.mdb")  # the walk waits for a writer that never comes
    before = children()

    def stop() -> None:
        raise Stopped("stopped by SIGTERM")

    with pytest.raises(Stopped):
        Database.check_unopened(tmp_path, stop)
    assert children() <= before


def test_a_copy_is_checked_before_it_is_opened(tmp_path: Path) -> None:
    """Once, whole, and with nothing beside it that LMDB would have made."""
    make_primary(tmp_path / "primary")
    checked: list[set[str]] = []

    def check(directory: Path, pause: object) -> None:
        checked.append({path.name for path in directory.iterdir()})
        Database.check_unopened(directory)

    settings = Settings(check_restored=check)
    replicate(tmp_path / "primary", tmp_path / "replica", settings=settings)
    assert checked == [{"data.mdb", "intent", "manifest", "unchecked"}]
    assert not (tmp_path / "replica" / "gen-0001" / "unchecked").exists()
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_copy_that_was_not_checked_is_not_opened_by_who_would_trust_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched by one start, gone on with by another that trusts its own source: checked as well."""
    make_primary(tmp_path / "primary")

    def never(_: Path, __: object = None) -> None:
        raise CorruptRecord("it would crash LMDB")

    settings = Settings(check_restored=never)
    with pytest.raises(CorruptRecord):
        replicate(tmp_path / "primary", tmp_path / "replica", settings=settings)
    with monkeypatch.context() as patched:
        patched.setattr(Database, "check_unopened", never)
        with pytest.raises(CorruptRecord):
            replicate(tmp_path / "primary", tmp_path / "replica")
    assert (tmp_path / "replica" / "gen-0001" / "unchecked").exists()
    replicate(tmp_path / "primary", tmp_path / "replica")
    assert_equal(tmp_path / "primary", tmp_path / "replica")
