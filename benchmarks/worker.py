"""A peer in a process of its own, so that no thread pool, flag or allocator of one meets another's."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from .peers import PEERS, Peer, Run, Unavailable, load
from .workloads import Task

__all__ = ["Ready", "Worker", "threads"]

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass
class Ready:
    """What a peer says once it has loaded a task.

    Attributes:
        compile_seconds, judge: the peer's. form: which of its own forms it chose, or {}.
    """

    compile_seconds: float
    judge: str
    form: dict[str, Any]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Processes started inside find every pool set to `count`."""
    before = {name: os.environ.get(name) for name in POOLS}
    os.environ.update(dict.fromkeys(POOLS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Worker:
    """The process of one peer.

    Args:
        key: of PEERS. count: threads it may use.
    """

    def __init__(self, key: str, count: int = 1) -> None:
        self.key = key
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(key, theirs), daemon=True)
        with threads(count):
            self._process.start()
        theirs.close()

    def load(self, task: Task) -> Ready:
        """Hand over a task; the peer compiles and warms up. Raises Unavailable."""
        answer: Ready = self._ask("load", task)
        return answer

    def run(self, epochs: int, nudged: bool = False) -> Run:
        """Train; `nudged` starts with every weight one unit in the last place higher."""
        answer: Run = self._ask("run", epochs, nudged)
        return answer

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _ask(self, *message: Any) -> Any:
        try:
            self._pipe.send(message)
            kind, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise Unavailable(f"its process ended with code {self._process.exitcode}") from error
        if kind == "unavailable":
            raise Unavailable(answer)
        return answer


def _serve(key: str, pipe: Connection) -> None:
    """The process's loop: answers ("load", task) and ("run", epochs, nudged) until the pipe closes."""
    warnings.simplefilter("ignore")
    # what a framework prints is not this program's output
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    peer: Peer | None = None
    task: Task | None = None
    while True:
        try:
            command, *arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if command == "load":
                peer, task = None, arguments[0]
                peer = load(key)(task)
                form = getattr(peer, "form", {})
                answer: Any = Ready(peer.compile_seconds, peer.judge, form)
            else:
                assert peer is not None
                assert task is not None
                epochs, nudged = arguments
                answer = _nudged(peer, task, epochs) if nudged else peer.run(epochs)
            pipe.send(("done", answer))
        except Unavailable as error:
            pipe.send(("unavailable", str(error)))
        except ImportError as error:
            pipe.send(("unavailable", f"{error.name or error} is not installed"))
        except KeyboardInterrupt:
            return
        except Exception as error:
            pipe.send(("unavailable", f"{PEERS[key][0]} failed: {type(error).__name__}: {error}"))


def _nudged(peer: Peer, task: Task, epochs: int) -> Run:
    start = [np.nextafter(array, np.float32(np.inf)) for array in task.start]
    peer.task = replace(task, start=start)
    try:
        return peer.run(epochs)
    finally:
        peer.task = task
