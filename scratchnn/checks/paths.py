"""Paths of files that are opened later."""

from __future__ import annotations

import os

__all__ = ["from_here"]


def from_here(path: str) -> str:
    """`path` from the root, for whoever opens it after the program may have changed its folder.

    What it says is otherwise left alone: `..` after a link, and "/" at the end, mean something to the system.
    """
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
