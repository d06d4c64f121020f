"""A primary that serves over HTTP, as a `Source`. Needs the extra `network`.

What is said stands in docs/protocol.md.

- `source`: the source itself; `access`, `addresses`: how to be let in, and where
- `asking`, `retrying`: requests to the primary, sealed and tried a few times
- `heartbeat`: signs of life for the slot while nothing else is asked
- `answers`: what an answer means, checked before anything of it is used (pure)
- `fetching`: chunks from the primary and from mirrors; `mirrors` and `compression` decide (pure)
- `failures`: why there is no answer, in words (pure)
- `transport`: one request and its answer, bounded in time and in bytes
"""
