from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
from pathlib import Path

import nursery
import pytest
from copies import make_database, some_bytes, totals
from servers import certificates
from web_servers import Lying, serving

DATA = some_bytes(300_000)


def bootledger(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return nursery.run("copy", *arguments, "--node", "copy-1")


def last(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """Return the last line of what was printed as JSON."""
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(line, dict)
    return line


def test_a_file_is_copied_and_then_up_to_date(tmp_path: Path) -> None:
    """The answer names the copy; a second run says that there was nothing to do."""
    (tmp_path / "big.bin").write_bytes(DATA)
    done = last(bootledger(tmp_path / "big.bin", tmp_path / "target", "--json"))
    assert (done["event"], done["copied"], done["generation"]) == ("copied", True, 1)
    assert Path(str(done["path"])).read_bytes() == DATA
    again = bootledger(tmp_path / "big.bin", tmp_path / "target")
    assert "nothing to copy" in again.stdout
    assert str(tmp_path / "target" / "gen-0001" / "big.bin") in again.stdout


def test_an_address_is_copied_with_its_secrets_in_files(tmp_path: Path) -> None:
    """Token and sum are used; neither the token nor the query is shown anywhere."""
    (tmp_path / "token").write_text("s3cret\n")
    what = Lying(DATA)
    with serving(what) as address:
        options = ("--token-file", tmp_path / "token", "--sha256", hashlib.sha256(DATA).hexdigest())
        done = bootledger(f"{address}?sig=s3cret", tmp_path / "target", *options, "--json")
        assert Path(str(last(done)["path"])).read_bytes() == DATA
        assert {each["Authorization"] for each in what.seen} == {"Bearer s3cret"}
        what.status = 404
        failed = bootledger(f"{address}?sig=s3cret", tmp_path / "other", *options)
    assert failed.returncode == 75
    assert "s3cret" not in done.stdout + done.stderr + failed.stdout + failed.stderr
    assert not (tmp_path / "other").exists()


def test_a_database_is_copied(tmp_path: Path) -> None:
    """With `--sqlite` it is one version, and checked."""
    make_database(tmp_path / "app.db")
    done = last(bootledger(tmp_path / "app.db", tmp_path / "target", "--sqlite", "--json"))
    assert totals(Path(str(done["path"]))) == totals(tmp_path / "app.db")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sha256", "0" * 64), "for an address only"),
        (("--name", "manifest"), "cannot have the name"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    """Usage errors exit with 64, in words, and leave no target."""
    (tmp_path / "big.bin").write_bytes(DATA)
    done = bootledger(tmp_path / "big.bin", tmp_path / "target", *options)
    assert done.returncode == 64
    assert words in done.stderr
    assert not (tmp_path / "target").exists()


def test_a_sqlite_database_in_use_is_not_copied_as_a_file_nor_a_file_as_one(tmp_path: Path) -> None:
    """Both are refused with 64, and say what to do with --sqlite."""
    make_database(tmp_path / "app.db")
    (tmp_path / "app.db-wal").write_bytes(b"")
    (tmp_path / "big.bin").write_bytes(DATA)
    alone = bootledger(tmp_path / "app.db", tmp_path / "target")
    assert alone.returncode == 64
    assert "add --sqlite" in alone.stderr
    other = bootledger(tmp_path / "big.bin", tmp_path / "target", "--sqlite")
    assert other.returncode == 64
    assert "is no SQLite database" in " ".join(other.stderr.split())
    assert not (tmp_path / "target").exists()


def test_an_address_that_wants_a_certificate_gets_one(tmp_path: Path) -> None:
    """With the CA and a certificate of it the file is copied; half of a pair is refused."""
    known = certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(known.server_certificate, known.server_key)
    context.load_verify_locations(known.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    ours = ("--ca", known.ca, "--cert", known.client_certificate, "--key", known.client_key)
    with serving(Lying(DATA), context) as address:
        assert address.startswith("https://")
        done = bootledger(address, tmp_path / "target", *ours, "--json")
        assert Path(str(last(done)["path"])).read_bytes() == DATA
        half = bootledger(address, tmp_path / "other", *ours[:4])
        assert half.returncode == 64
        assert "given together" in " ".join(half.stderr.split())
        assert not (tmp_path / "other").exists()
