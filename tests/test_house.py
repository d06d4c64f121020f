"""The house rules, as far as neither the linter nor the type checker knows them."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import bootledger

PACKAGE = Path(bootledger.__file__).parent
ROOT = PACKAGE.parent.parent
MODULES = {
    ".".join(("bootledger", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(
        [*PACKAGE.glob("*.py"), *(p for room in PACKAGE.iterdir() for p in room.rglob("*.py"))]
    )
}
MOST_LINES = 320

PURE = re.compile(
    r"bootledger\.(statemachine|diagrams|projections\.forecast|basebackup\.(manifest|reddb_(fields|manifest|stream|wire)))(\.|$)"
)
"""Rooms that are pure as a whole; so is every module that says of itself that it is."""
SAYS_PURE = re.compile(r"\bPure[.:]")
EXCUSED = {
    "bootledger.projections.explain": {"uuid"},  # for the type
    "bootledger.projections.standing": {"uuid"},  # for the type
    "bootledger.replica.http.failures": {"socket"},  # for the class of one of its errors
    "bootledger.simulation.powerloss.states": {"random"},  # seeded by who asks
    "bootledger.simulation.powerloss.trace": {"pathlib"},  # paths as names, nothing is opened
}
IMPURE = {
    "asyncio",
    "datetime",
    "io",
    "lmdb",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
    "uuid_utils",
}
"""Clocks, disks, processes, randomness: what is passed into the pure rooms, never imported."""

RENAMERS = {
    "bootledger.files",
    # An environment is built elsewhere and named last, because LMDB cannot create one atomically.
    "bootledger.environment_creation",
    # A manifest is read back and checked between writing and naming.
    "bootledger.basebackup.publishing",
}
CLOCKS = {"bootledger.clock"}
TRANSITIONS_IMPORTERS = {"bootledger.statemachine.live"}


@cache
def tree(module: str) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse(MODULES[module].read_text())


def imports(module: str) -> set[str]:
    """The top-level names of everything that the module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(module)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(name)):
                found.add(name.partition(".")[0])
    return found


def is_pure(module: str) -> bool:
    """Whether a module is in a pure room, or its docstring says that it is pure."""
    said = ast.get_docstring(tree(module)) or ""
    return bool(PURE.match(module) or SAYS_PURE.search(said))


def calls(module: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call by a dotted or bare name, with the name as it is written."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node


PURE_MODULES = [module for module in MODULES if is_pure(module)]


def is_rename(name: str, call: ast.Call) -> bool:
    """Whether a call renames a file: `Path.replace` takes one argument, `str.replace` two."""
    last = name.rpartition(".")[2]
    if name in ("os.rename", "os.renames", "os.replace", "shutil.move"):
        return True
    one_argument = len(call.args) == 1 and not call.keywords
    return "." in name and last in ("rename", "replace") and one_argument


def offenders(is_banned: Callable[[str, ast.Call], bool], allowed: set[str]) -> list[str]:
    """Where a banned call stands outside of its door."""
    return [
        f"{module}:{call.lineno} {name}"
        for module in MODULES
        if module not in allowed
        for name, call in calls(module)
        if is_banned(name, call)
    ]


def test_the_rooms_are_all_here() -> None:
    """The rules look at every module of every room: none of them is empty or missed."""
    seen = {info.name for info in pkgutil.walk_packages([str(PACKAGE)], "bootledger.")}
    assert seen == {
        module.removesuffix(".__init__") for module in MODULES if module != "bootledger.__init__"
    }
    for room in ("statemachine", "store", "diagrams"):
        assert f"bootledger.{room}.__init__" in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short(module: str) -> None:
    """A module that outgrows its limit is two things."""
    assert len(MODULES[module].read_text().splitlines()) <= MOST_LINES


def test_transitions_has_one_door() -> None:
    """Exactly one module imports `transitions`."""
    assert {m for m in MODULES if "transitions" in imports(m)} == TRANSITIONS_IMPORTERS


@pytest.mark.parametrize("module", PURE_MODULES)
def test_pure_rooms_import_no_world(module: str) -> None:
    """No clock, no disk, no process and no randomness is in reach of the core."""
    assert imports(module) & IMPURE == EXCUSED.get(module, set())


def test_who_says_to_be_pure_is_looked_at() -> None:
    """The modules that the network rests on are among them."""
    named = "pacing replica.seal replica.wire replica.window replica.backoff replica.http.mirrors"
    assert {f"bootledger.{name}" for name in named.split()} <= set(PURE_MODULES)
    assert set(PURE_MODULES) >= EXCUSED.keys()


@pytest.mark.parametrize("module", PURE_MODULES)
def test_pure_rooms_open_nothing(module: str) -> None:
    """`open` needs no import, so it is looked for by name."""
    assert [name for name, _ in calls(module) if name in ("open", "input", "__import__")] == []


def test_files_are_renamed_in_few_places() -> None:
    """A rename is a promise about durability, so it has doors, each with crash points around it."""
    assert offenders(is_rename, RENAMERS) == []
    for module in RENAMERS:
        assert any(is_rename(name, call) for name, call in calls(module)), f"{module} needs no door"


def test_there_is_one_wall_clock() -> None:
    """Wall-clock time is read in one place; everybody else is given a clock."""
    reads = re.compile(r"time\.time(_ns)?|(datetime\.)*(now|utcnow|today)|date\.today")
    assert offenders(lambda name, _: bool(reads.fullmatch(name)), CLOCKS) == []
    assert [
        m for m in MODULES if re.search(r"from time import .*\btime", MODULES[m].read_text())
    ] == []


def test_only_the_command_line_prints() -> None:
    """A library says what it has to say with return values, errors and `logging`."""
    talkers = {module for module in MODULES if module.startswith("bootledger.cli")}
    assert offenders(lambda name, _: name == "print", talkers) == []


def test_rooms_are_imported_by_their_whole_name() -> None:
    """Under its bare name a room would be a second module, with second types."""
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert {module: imports(module) & rooms for module in MODULES if imports(module) & rooms} == {}


def test_rooms_are_links_to_the_top_level() -> None:
    """Each room is a folder at the top level and a relative link in the package."""
    for room in PACKAGE.iterdir():
        if room.is_symlink():
            assert room.readlink() == Path("..", "..", room.name)
            assert (ROOT / room.name / "__init__.py").is_file()
        else:
            assert not room.is_dir() or room.name == "__pycache__"


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module: str) -> None:
    """Every public module, class, function and method says what it promises."""
    assert ast.get_docstring(tree(module)), f"{module} says nothing"
    assert list(_undocumented(tree(module), module)) == []


def _undocumented(parent: ast.AST, name: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                yield f"{name}.{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from _undocumented(node, f"{name}.{node.name}")


def test_exports_are_sorted_and_complete() -> None:
    """`__all__` names everything that the package offers, once, in order, and nothing else."""
    offered = {
        name
        for name, value in vars(bootledger).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert sorted(bootledger.__all__) == list(bootledger.__all__)
    assert set(bootledger.__all__) - {"__version__"} == offered


def test_exports_come_from_this_package() -> None:
    """What is offered at the top is ours, and every name resolves."""
    for name in bootledger.__all__:
        value = getattr(bootledger, name)
        assert getattr(value, "__module__", "bootledger").startswith("bootledger")


def test_importing_the_package_imports_no_extra() -> None:
    """The core install is enough for the daily surface: who wants an extra imports it."""
    probe = "import bootledger, sys; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "bootledger" in loaded
    assert loaded & {"typer", "rich", "hypothesis", "pytest"} == set()
