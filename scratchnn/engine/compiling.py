"""The lock under which Numba is imported and compiles: one thread at a time, and no fork meanwhile."""

from __future__ import annotations

import threading

from ..forks import free_at_forks

__all__ = ["COMPILING"]

COMPILING = free_at_forks(threading.RLock())
