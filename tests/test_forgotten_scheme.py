from __future__ import annotations

from pathlib import Path

import pytest

from bootledger.cli.network import is_address
from bootledger.errors import InvalidValue


@pytest.mark.parametrize(
    "source", ["127.0.0.1:7433", "primary.example:7433", "[::1]:7433", "htp:/x"]
)
def test_a_forgotten_scheme_is_named(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks like an address is none without its scheme; a directory of that name is one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidValue) as refused:
        is_address(source)
    assert refused.value.hint == "an address begins with http://"
    Path(source).mkdir(parents=True)
    assert not is_address(source)
