"""The names of base backups: tokens, which come back from outside and become names of directories.

`INTENT.GENERATION` is the name of a base backup that is read on this machine, where whoever can
name it can look into the directory anyway. One that is given to a network has a third part of 128
random bits: `INTENT.GENERATION.RANDOM`. An intent's id is no secret (it is in logs, events and
error messages), and a static file server that serves `basebackups/` may ask for nothing but the
name. The random part is found again by its first two; there is no key to keep. It is no defence
against those who may ask for a base backup of that intent themselves: they have the right to read
all of it.
"""

from __future__ import annotations

import re
import secrets

from bootledger.errors import InvalidValue
from bootledger.positions import check_u64

# Nothing else may pass.
_INTENT_ID = re.compile(r"[0-9a-z-]{1,64}", re.ASCII)
_TOKEN = re.compile(r"[0-9a-z-]{1,64}\.[0-9]{1,20}(\.[0-9a-f]{32})?", re.ASCII)
_RANDOM_BYTES = 16


def stem_of(intent_id: object, generation: int) -> str:
    """Return what every token of this intent and generation begins with.

    Raises `InvalidValue` for an intent id that is not made of a-z, 0-9 and `-`.
    """
    if not isinstance(intent_id, str) or not _INTENT_ID.fullmatch(intent_id):
        raise InvalidValue(
            f"an intent id has 1 to 64 of a-z, 0-9 and '-', not {str(intent_id)[:80]!r}"
        )
    return f"{intent_id}.{check_u64(generation, 'generation')}"


def unguessable(stem: str) -> str:
    """Return a new token that begins with `stem`."""
    return f"{stem}.{secrets.token_hex(_RANDOM_BYTES)}"


def is_token(text: object) -> bool:
    """Return whether `text` can be a token."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def has_stem(token: str, stem: str, *, random: bool) -> bool:
    """Return whether `token` is one of `stem`'s: with a random part, or else the one without."""
    return token.startswith(f"{stem}.") if random else token == stem


def is_for_network(token: str) -> bool:
    """Return whether a token was made for a network: whether it has a random part."""
    return token.count(".") == 2  # noqa: PLR2004 - intent, generation, random


def intent_of(token: str) -> str:
    """Return the id of the intent that a token was made for."""
    return token.partition(".")[0]


def generation_of(token: str) -> int:
    """Return the generation that a token was made for."""
    return int(token.split(".")[1])
