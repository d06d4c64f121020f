"""The primary's side: what a replica is copied from.

- `Database`: what an application writes to; every write is logged in the same transaction. Primary
  and replica have one format, so it lives in `replica.database`
- `backups`: base backups of a database, published under tokens beside it
- `source`: a primary on the same machine, as the port `Source`
"""

from bootledger.replica.database import Database

__all__ = ["Database"]
