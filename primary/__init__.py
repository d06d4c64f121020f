"""The primary's side: what a replica is copied from.

- `Database`: what an application writes to; every write is logged in the same transaction. Primary
  and replica have one format, so it lives in `replica.database`
- `backups`: base backups of a database, published under tokens beside it
- `source`: a primary on the same machine, as the port `Source`
- `slots`, `retention`: for whom the change log is kept, how long, and why no longer
- `service`: all of it for replicas far away (`Primary`), served over HTTP by `http`
"""

from bootledger.replica.database import Database

__all__ = ["Database"]
