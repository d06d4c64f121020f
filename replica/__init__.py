"""The replica's side: from a source to a database that is up to date, whatever happens in between.

- `ports`: what is needed from the other side (`Source`) and from the database (`Applier`)
- `database`: the one database format, the primary's and the replica's; `tables` is what happens
  inside its transactions, `records` how it looks as bytes
- `target`: the directory of a replica, its generations and the one that is in service; `identity`
  is whose it is, `readers` how it is read while it is replaced
- `intent_log`, `bootstrapper`: bootstraps as intents, begun, found and taken up
- `owner`, `handle`: one owner's hold on one intent; `endings` is how it pauses or ends
- `loop`, `steps`: the whole bootstrap by itself; `manifests`, `settings` and `observer` serve it
- `reddb_source`: a RedDB primary as a source; `reddb_download` fills the spool for it
"""
