"""A primary that serves over HTTP, replicated into a directory of this machine."""

from __future__ import annotations
