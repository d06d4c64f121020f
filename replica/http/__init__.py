"""A primary that serves over HTTP, as a `Source`. Needs the extra `network`.

What is said stands in docs/protocol.md.
"""
