"""The primary's side: what a replica is copied from. The database itself is `replica.database`.

- `backups`: base backups of a database, published under tokens beside it
- `source`: a primary on the same machine, as the port `Source`
"""
