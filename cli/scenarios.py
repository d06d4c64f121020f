"""Scenarios by name: bootledger's own samples, and whatever an embedder's module holds."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import TracebackType

from bootledger.errors import InvalidValue, Refused
from bootledger.simulation import Scenario
from bootledger.simulation.samples import small
from bootledger.simulation.samples_local import local, replacement

SAMPLES: dict[str, Callable[[], Scenario]] = {
    "small": small,
    "local": local,
    "replacement": replacement,
}
"""bootledger's own loop: on files, on a real primary that is written to, and a replica replaced."""

_HINT = (
    f"name a sample ({', '.join(SAMPLES)}), or MODULE:NAME: a bootledger.simulation.Scenario, "
    "or a function without arguments that returns one"
)

_SEARCHED = f"the working directory and PYTHONPATH are searched; {_HINT}"


class BrokenScenario(Refused):
    """The caller's module, or the function in it, raised before there was a scenario."""


def scenario_of(name: str) -> Scenario:
    """Return the scenario that `name` stands for; the current directory can be imported from.

    Raises `InvalidValue` if there is none, `BrokenScenario`, with the traceback as its notes, if
    the caller's code raises.
    """
    if name in SAMPLES:
        return SAMPLES[name]()
    module_name, colon, attribute = name.partition(":")
    if not module_name or not attribute or not colon:
        raise InvalidValue(f"{name!r} is no scenario", hint=_HINT)
    if module_name.endswith(".py"):
        module = module_name.removesuffix(".py").removeprefix("./").replace("/", ".")
        raise InvalidValue(
            f"{module_name} is a file, not a module", hint=f"did you mean {module}:{attribute}?"
        )
    found = _attribute(module_name, attribute)
    if not isinstance(found, Scenario) and callable(found):
        try:
            found = found()
        except Exception as error:  # it is the caller's code: anything may come
            raise _broken(f"{name} raised {type(error).__name__}: {error}", error) from error
    if not isinstance(found, Scenario):
        raise InvalidValue(f"{name} is a {type(found).__name__}, not a Scenario", hint=_HINT)
    return found


def _attribute(module_name: str, attribute: str) -> object:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name, module_name):
            raise InvalidValue(f"there is no module {error.name!r}", hint=_SEARCHED) from error
        told = f"importing {module_name} raised {type(error).__name__}: {error}"
        raise _broken(told, error) from error
    try:
        found: object = attrgetter(attribute)(module)
    except AttributeError as error:
        raise InvalidValue(f"module {module_name} has no {attribute!r}", hint=_HINT) from error
    return found


def _is_part(missing: str | None, module_name: str) -> bool:
    """Return whether it is the named module, or a package of it, that is missing."""
    return missing is not None and f"{module_name}.".startswith(f"{missing}.")


def _broken(words: str, error: BaseException) -> BrokenScenario:
    broken = BrokenScenario(words)
    theirs = _without_importing(error.__traceback__)
    for line in "".join(traceback.format_exception(type(error), error, theirs)).splitlines():
        broken.add_note(line)
    return broken


def _without_importing(found: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the caller's first frame on."""
    while found and (
        found.tb_frame.f_code.co_filename == __file__
        or "importlib" in found.tb_frame.f_code.co_filename
    ):
        found = found.tb_next
    return found
