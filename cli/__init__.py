"""The command line: arguments in, projections out. Needs the extra `bootledger[cli]`."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run the `bootledger` command."""
    try:
        from bootledger.cli.app import app  # noqa: PLC0415 - the extra may not be installed
        from bootledger.cli.errors import lost_output_told  # noqa: PLC0415 - nor this
    except ModuleNotFoundError as missing:
        if missing.name not in {"typer", "rich"}:
            raise
        sys.exit(f"the command line needs {missing.name}: pip install 'bootledger[cli]'")
    # A closed standard output is no output. Its number is taken, so that nothing else gets it.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot say is escaped, not a traceback
            stream.reconfigure(errors="backslashreplace")
    with lost_output_told():
        app()
