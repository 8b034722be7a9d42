"""Waiting: the laboratory lives in real time."""

from __future__ import annotations

import threading


def pause(seconds: float) -> None:
    """Lets the world go on for a while."""
    threading.Event().wait(seconds)
