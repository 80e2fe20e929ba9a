"""Locks and forks: a process forks only while nobody holds a lock of the package.

A child has the thread that forked and no other. A lock that another thread held would be held in the
child for ever, and what it guards would be half done.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["LOADING", "free_at_forks", "in_the_child"]

Lock = TypeVar("Lock", bound=Any)
_LOCKS: list[Any] = []
_TAKEN: list[Any] = []  # for the fork at hand


def free_at_forks(lock: Lock) -> Lock:
    """`lock`, which `os.fork` from now on waits for, so that it is free in the child."""
    _LOCKS.append(lock)
    return lock


def in_the_child(function: Callable[[], None]) -> None:
    """Call `function` in every child, before anything else runs there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def _take_all() -> None:
    taken = 0
    while taken < len(_LOCKS):  # a module that another thread imports meanwhile may add one
        _LOCKS[taken].acquire()
        taken += 1
    _TAKEN[:] = _LOCKS[:taken]


def _release_all() -> None:
    taken, _TAKEN[:] = _TAKEN[:], []
    for lock in reversed(taken):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_release_all, after_in_child=_release_all)

# Held while a run imports modules, of which Python keeps a lock each, and while Numba compiles.
LOADING = free_at_forks(threading.RLock())
