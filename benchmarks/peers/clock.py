"""A stopwatch for wall and processor time."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["Clock"]


class Clock:
    """`with Clock() as clock: ...`, then clock.seconds and clock.cpu_seconds (all threads)."""

    seconds = cpu_seconds = 0.0

    def __enter__(self) -> Clock:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()
        return self

    def __exit__(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu_seconds = time.process_time() - self._cpu
