"""`gc` at the target of `bootledger copy`: the spool is known as one, and emptied in time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from copies import CHUNK_BYTES, NODE, copied, copy_of, some_bytes, source_of
from replicas import quiet
from web_servers import Lying, serving

from bootledger.errors import SourceUnavailable
from bootledger.files import Files
from bootledger.local import collect_garbage
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.operator import Operator
from bootledger.replica.sources.spool import Spool
from bootledger.replica.target import LEDGER_NAME

DATA = some_bytes(8 * CHUNK_BYTES)


def interrupted(what: Lying, address: str, target: Path) -> None:
    """Let the server go away after three looks and three chunks."""
    what.after, what.status = 6, 404
    with pytest.raises(SourceUnavailable):
        copied(source_of("http", address, target), target)
    what.status = None


def left(target: Path, *, dry_run: bool = False) -> tuple[list[str], dict[str, str]]:
    """Collect garbage; return what was removed of the spool, and why the rest stays."""
    swept = collect_garbage(target, dry_run=dry_run)
    assert not [it for it in swept.left if it.kind == "something else"]
    removed = [Path(it.path).name for it in swept.removed if it.kind == "spool"]
    return removed, {Path(it.path).name: it.why for it in swept.left if it.kind == "spool"}


def test_what_an_unfinished_copy_goes_on_with_stays(tmp_path: Path) -> None:
    """Nothing that was downloaded is lost: the next start asks for the rest only."""
    what, target = Lying(DATA), tmp_path / "target"
    with serving(what) as address:
        interrupted(what, address, target)
        removed, stays = left(target)
        assert not removed
        assert "may go on with it" in stays["spool"]
        copied(source_of("http", address, target), target)
    assert copy_of(target) == DATA
    assert len([each for each in what.requests if each != "bytes=0-0"]) == 8 + 1


def test_what_an_aborted_copy_leaves_goes_and_the_version_stays(tmp_path: Path) -> None:
    """Unless somebody works there. A copy after that is whole, and newer than what was seen."""
    what, target = Lying(DATA), tmp_path / "target"
    with serving(what) as address:
        interrupted(what, address, target)
        with IntentLog.open(target / LEDGER_NAME, sink=quiet) as log:
            for intent in log.list_unfinished(NODE):
                Operator(log, "ada").abort(intent.intent_id, reason="not needed")
        seen_lsn = _seen_lsn(target)
        assert left(target, dry_run=True)[0] == ["data", "sums"]
        with closing(Spool(target / "spool", Files())) as busy:
            busy.version()
            assert left(target)[1]["data"] == "somebody is using it"
        removed, stays = left(target)
        assert removed == ["data", "sums"]
        assert list(stays) == ["version"]
        assert left(target) == ([], stays)
        outcome = copied(source_of("http", address, target), target)
    assert outcome.applied_lsn >= seen_lsn
    assert copy_of(target) == DATA
    assert left(target) == ([], stays)


def test_a_directory_of_that_name_that_is_no_spool_is_not_touched(tmp_path: Path) -> None:
    """Without a version nothing in it is known to be ours."""
    target = tmp_path / "target"
    (tmp_path / "file").write_bytes(DATA)
    copied(source_of("file", str(tmp_path / "file"), target), target)
    (target / "spool" / "version").unlink()
    (target / "spool" / "data").write_bytes(b"somebody's")
    kinds = {Path(it.path).name: it.kind for it in collect_garbage(target).left}
    assert kinds["spool"] == "something else"
    assert (target / "spool" / "data").read_bytes() == b"somebody's"


def _seen_lsn(target: Path) -> int:
    with closing(Spool(target / "spool", Files())) as spool:
        version = spool.version()
    assert version is not None
    return version.lsn
