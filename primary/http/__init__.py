"""A primary as an HTTP service: what docs/protocol.md says, and nothing else.

- `ranges`, `arguments`, `problems`: requests and errors as values (pure)
- `access`: bearer tokens and certificates, and what they allow
- `limits`: how much of everything there may be
- `connections`: who is let in, and how long anybody may take to ask
- `sending`: bytes on their way out: from a file, at a rate, to whoever keeps taking them
- `news`, `publications`, `threads`: what is waited for, and what must not stop the others
- `endpoints`, `routes`, `service`: every request, from its head to its answer
- `metrics`: what can be counted
- `server`: all of it, from listening to the last answer
"""
