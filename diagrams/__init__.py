"""The state machine as a picture, drawn from the table and from nothing else.

- `mermaid`: as Mermaid text, which GitHub and most documentation tools show as a diagram
"""
