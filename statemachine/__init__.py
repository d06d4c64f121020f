"""The state machine of a bootstrap: pure values and one table.

- `events`: what can happen, as frozen values; `target_ref` is where, `labels` are what a caller
  adds, without its secrets
- `ranges`, `progress`: what is true, as a value, and its bookkeeping
- `table`, `guards`: what may happen, where it leads, and why it is refused (legality lives in these
  two and nowhere else)
- `fold`: replay, from events to progress
- `plan`: what to do next, from progress
- `live`: the table at work on `transitions`

Nothing in this room has a clock, a disk or randomness; they are passed in.
"""
