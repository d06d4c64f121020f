"""A base backup: what it is, and how it gets onto the replica's disk.

- `manifest`: what a base backup consists of, chunk by chunk (pure)
- `publishing`: manifests as files, written so that one that exists is whole
- `staging`: chunks, verified and durable, in the one file that becomes the database

and RedDB's base backups, in RedDB's own formats:

- `reddb_manifest`: its manifest (pure)
- `reddb_parts`: the files of its chunks: staged, recovered and read back by a replica
- `reddb_publishing`: a snapshot cut into parts by a primary, and its manifest as a file
- `reddb_layout`: where its files lie, on either side, and which base backup to take
- `reddb_fields`: what counts as absent in its payloads (pure); `reddb_wire` is the base backup on
  the wire, `reddb_stream` the log (both pure)
- `reddb_snapshot`: a payload's chunk staged; `reddb_spool` is a base backup on its way, until it is
  published as ours
- `reddb_marker`: the ready marker, and how a new database takes the place of the old one
- `reddb_errors`: its error kinds
"""
