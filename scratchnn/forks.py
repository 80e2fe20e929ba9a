"""Locks and forks: a process forks only while nobody holds a lock of the package.

A child has the thread that forked and no other. A lock that another thread held would be held in the
child for ever, and what it guards would be half done.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["free_at_forks", "in_the_child"]

Lock = TypeVar("Lock", bound=Any)


def free_at_forks(lock: Lock) -> Lock:
    """`lock`, which `os.fork` from now on waits for, so that it is free in the child."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


def in_the_child(function: Callable[[], None]) -> None:
    """Call `function` in every child, before anything else runs there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
