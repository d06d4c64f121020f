"""The options of an address, which several commands have, and what they come to."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bootledger.cli.typed import size_of
from bootledger.errors import InvalidValue
from bootledger.replica.http.access import Access, read_token

SCHEMES = ("http://", "https://")
"""How an address begins."""

_LIKE_AN_ADDRESS = re.compile(
    r"[A-Za-z0-9.-]+:[0-9]{1,5}/?|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}/?|ht+ps?:.*"
)

of_address = partial(typer.Option, rich_help_panel="For an address")
"""An option that makes sense for an address only."""

MaxRate = Annotated[
    int | None,
    typer.Option(
        parser=size_of,
        metavar="BYTES_PER_S",
        help="Fetch no faster: 500k, 50M, 1.5G. What has to be fetched again comes on top.",
    ),
]
TokenFile = Annotated[
    Path | None, of_address(metavar="FILE", help="File that holds the bearer token, alone.")
]
Ca = Annotated[
    Path | None, of_address(metavar="FILE", help="Believe certificates of this CA (PEM) instead.")
]
Cert = Annotated[Path | None, of_address(metavar="FILE", help="Client certificate chain, PEM.")]
Key = Annotated[Path | None, of_address(metavar="FILE", help="Its private key, PEM.")]
Insecure = Annotated[
    bool, of_address("--insecure", help="Send the token in clear text to another machine.")
]


def is_address(source: str) -> bool:
    """Return whether a source is an address, not a directory; raise `InvalidValue` for others."""
    if source.lower().startswith(SCHEMES):
        return True
    if "://" in source:
        raise InvalidValue(
            f"{source!r:.80} is no address", hint="it begins with http:// or https://"
        )
    if _LIKE_AN_ADDRESS.fullmatch(source) and not Path(source).exists():
        raise InvalidValue(
            f"there is no directory {source!r:.80}", hint="an address begins with http://"
        )
    return False


def access_of(
    source: str,
    token_file: Path | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    *,
    insecure: bool,
) -> Access:
    """Return how to be let in at an address; raise `InvalidValue` for what makes no sense there."""
    tls = {"--ca": ca, "--cert": cert, "--key": key}
    given = [name for name, value in tls.items() if value is not None]
    if given and not source.lower().startswith("https://"):
        raise InvalidValue(
            f"{' and '.join(given)} make sense for https only", hint="name https://HOST:PORT"
        )
    token = None if token_file is None else read_token(token_file)
    return Access(token=token, ca=ca, certificate=cert, key=key, insecure=insecure)
