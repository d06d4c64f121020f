"""Answers that are replays: pure folds over the events, and what is read out of the heads.

- `heads`: one intent's progress as the bytes that the store keeps beside its last event
- `runner`: keeps a projection up to date, batch by batch
- `unfinished`: every unfinished intent, from the heads
- `latest`: where every node stands, by replay
- `standing`: how far, how fast, how far behind, and what comes next
- `follow`: the same again and again, reading only what is new
- `resume`: may this node resume, from where, and if not, why not
- `as_of`: the same answers for an earlier position or time
- `find`: from the beginning of an id to the intent
- `timeline`: one intent's events in words
- `course`: one intent's events, oldest first, in flat memory; `trail` counts where it went, `lanes`
  puts it in order of time, for pictures
- `rates`: measured rates, of what goes on and of what an intent did
- `forecast`: whether a bootstrap can converge, and when; `convergence` what it needs, one by one,
  `amounts` numbers in words
- `verification`: is the history legal, and does everything kept beside it agree with a replay
- `dangling`: what an operator should know about every unfinished intent
"""
