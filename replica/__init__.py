"""The replica's side: from a source to a database that is up to date, whatever happens in between.

- `ports`: what is needed from the other side (`Source`) and from the database (`Applier`)
- `database`: the one database format, the primary's and the replica's; `tables` is what happens
  inside its transactions, `records` how it looks as bytes
- `target`: the directory of a replica, its generations and the one that is in service; `identity`
  is whose it is, `readers` how it is read while it is replaced
- `intent_log`, `bootstrapper`: bootstraps as intents, begun, found and taken up
- `operator`: what a person may decide about an intent; `ruling` is what it came to, `whereabouts`
  where its target is
- `owner`, `handle`: one owner's hold on one intent; `endings` is how it pauses or ends
- `compaction`: finished intents of a ledger into its archive
- `exchange`: a ledger's events as lines of JSON, and back
- `reddb_import`: RedDB's intent log into a ledger; `reddb_intent_log` reads it, `reddb_history`
  says it in our events, `quarantine` keeps what none can say
- `cursor`: the seed's cursor as an event
- `loop`, `steps`: the whole bootstrap by itself; `manifests`, `settings` and `observer` serve it
- `reddb_source`: a RedDB primary as a source; `reddb_download` fills the spool for it
"""
