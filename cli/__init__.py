"""The command line: arguments in, projections out. Needs the extra `bootledger[cli]`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the `bootledger` command."""
    try:
        from bootledger.cli.app import app  # noqa: PLC0415 - the extra may not be installed
    except ModuleNotFoundError as missing:
        if missing.name not in {"typer", "rich"}:
            raise
        sys.exit(f"the command line needs {missing.name}: pip install 'bootledger[cli]'")
    app()
