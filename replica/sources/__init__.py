"""Sources that need no bootledger on the other side, and the appliers of their copies.

A file by its path (`file`), a file by HTTP range (`http_file`, needs the extra `network`), a SQLite
database (`sqlite`). What each promises stands in docs/sources.md.
"""
