"""Hypothesis for the whole suite: the same examples at every run, on any machine, at any speed."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("repeatable")
