"""What is shipped: built for real from a copy of this tree, without network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILT = {".git", ".venv", "build", "dist", "__pycache__", "node_modules"}

pytestmark = pytest.mark.xdist_group("packaging")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it says; show that if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def not_source(_directory: str, names: list[str]) -> set[str]:
    """What a clean checkout does not have."""
    return {
        name
        for name in names
        if name in BUILT or name.endswith((".egg-info", "_cache")) or name == ".hypothesis"
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, links kept."""
    copy = tmp_path_factory.mktemp("packaging") / "checkout"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=not_source)
    return copy


@pytest.fixture(scope="module")
def sdist(checkout: Path) -> Path:
    """The source distribution, built from the checkout."""
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", cwd=checkout)
    (built,) = (checkout / "dist").glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(checkout: Path, sdist: Path) -> Path:
    """The wheel, built from the checkout."""
    assert sdist  # one after the other: both write the checkout's metadata
    return built_wheel(checkout, checkout / "wheel")


def built_wheel(source: Path, target: Path) -> Path:
    """Build a wheel with pip, as whoever installs from source does."""
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--quiet", "--wheel-dir", target, source, cwd=target.parent)
    (built,) = target.glob("*.whl")
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file in a wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def package_files(checkout: Path) -> dict[str, bytes]:
    """Every module of every room, and the marker for type checkers, as they are in the sources."""
    package = checkout / "src" / "bootledger"
    rooms = (entry for entry in package.iterdir() if entry.is_dir())
    files = [*package.glob("*.py"), *(file for room in rooms for file in room.rglob("*.py"))]
    return {
        str(file.relative_to(package.parent)): file.read_bytes()
        for file in (*files, package / "py.typed")
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, checkout: Path) -> None:
    """Every module of every room is in it as a real file, and no test, link or stray folder."""
    shipped = contents(wheel)
    metadata = {name for name in shipped if name.startswith("bootledger-")}
    assert {name: shipped[name] for name in shipped.keys() - metadata} == package_files(checkout)
    assert {"py.typed", "__init__.py", "store", "statemachine"} <= {
        Path(name).parts[1] for name in shipped.keys() - metadata
    }


def test_the_wheel_has_no_links(wheel: Path) -> None:
    """A link in a wheel would be installed as a file that holds a path."""
    with zipfile.ZipFile(wheel) as archive:
        assert [i.filename for i in archive.infolist() if (i.external_attr >> 28) == 0o12] == []


def test_the_wheel_imports_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    """Unpacked somewhere else, the package imports from there with all its rooms."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    probe = (
        f"import sys; sys.path.insert(0, {str(site)!r}); "
        "import bootledger, bootledger.store.lmdb, bootledger.statemachine.live; "
        "print(bootledger.__file__, bootledger.store.lmdb.__file__)"
    )
    found = run(sys.executable, "-P", "-c", probe, cwd=tmp_path).split()
    assert [Path(file).relative_to(site).parts[0] for file in found] == ["bootledger"] * 2


def test_the_sdist_has_no_links_and_no_tests(sdist: Path) -> None:
    """Everything in it is a file or a folder, also where a checkout cannot hold links."""
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert [m.name for m in members if not (m.isfile() or m.isdir())] == []
    assert [m.name for m in members if "tests" in Path(m.name).parts] == []


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """Whoever builds from the source distribution gets the very same files."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert contents(built_wheel(source, tmp_path / "wheel")) == contents(wheel)


def test_the_metadata_says_what_is_needed(wheel: Path) -> None:
    """The core install pulls in exactly the libraries that the core uses; the licence is inside."""
    shipped = contents(wheel)
    (metadata,) = (text.decode() for name, text in shipped.items() if name.endswith("/METADATA"))
    needed = {
        line.removeprefix("Requires-Dist: ").partition(">")[0]
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    }
    assert needed == {"blake3", "crc32c", "lmdb", "msgspec", "transitions", "uuid-utils"}
    assert any(name.endswith("LICENSE") for name in shipped)
