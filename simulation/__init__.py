"""Crash simulation: an embedder's own source and applier, through every crash, to the end."""
