"""The state machine as a picture: bootledger's own, and anybody's.

- `chart`: what can be drawn of a machine, whether it is the table's or was built by hand; `machine`
  reads it from one of `transitions`
- `validation`: whether a machine makes sense by its structure
- `mermaid`, `dot`, `plantuml`: as text that other tools draw
- `scxml`: as a document that other tools run
- `markdown`: as a table, with the reasons of every guard
- `svg`: as a picture, of `layout` (`ordering`, `spreading`), with a history or a fleet as `paint`
- `timeline`, `sequence`: what happened over time, and who did what with whom
- `names`: how names that are free text get through all of them
- `svg_text`: the words and colours of every SVG
"""
