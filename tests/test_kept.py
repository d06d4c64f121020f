from __future__ import annotations

from bootledger.basebackup.manifest import Chunk
from bootledger.cli.kept import rejected_words
from bootledger.replica.ports import CUT


def test_what_was_cut_is_not_called_rejected() -> None:
    """A link that broke sent nothing wrong; whatever else is said of a chunk is."""
    chunk = Chunk(0, 0, 10, 0, bytes(32))
    assert rejected_words("p", chunk, CUT + "it ends") == "cut 10 bytes at 0 from p: it ends"
    assert rejected_words("p", chunk, "CRC32C") == "rejected 10 bytes at 0 from p: CRC32C"
