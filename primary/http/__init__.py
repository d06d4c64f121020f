"""The primary over HTTP: `bootledger serve`. Needs the extra `network`; see docs/protocol.md."""
