"""The replica's side: from a source to a database that is up to date, whatever happens in between.

- `ports`: what is needed from the other side (`Source`) and from the database (`Applier`)
- `database`: the one database format, the primary's and the replica's; `tables` is what happens
  inside its transactions, `records` how it looks as bytes
- `target`: the directory of a replica, its generations and the one that is in service
- `intent_log`, `handle`, `bootstrapper`: bootstraps as intents, begun, resumed and ended by hand
- `loop`: the whole bootstrap by itself
"""
