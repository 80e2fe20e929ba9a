"""A process that forks while another of its threads works: the child hangs on nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import scratchnn as snn
from scratchnn import forks
from scratchnn.train import claims

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PATIENCE = 120  # seconds after which a child counts as hanging, on the slowest machine
X = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
Y = X[:, :1] * 2


def in_a_child(function: Callable[[], Any]) -> int:
    """0 where `function` returned in a forked child; the signal's negative number where it hung."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, that forks with threads may hang
        child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(PATIENCE)
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def world() -> tuple[snn.Module, snn.Optimizer, snn.DataLoader]:
    model = snn.Sequential(snn.Linear(3, 4), snn.Tanh(), snn.Dropout(0.5), snn.Linear(4, 1))
    loader = snn.DataLoader(snn.TensorDataset(X, Y), 8, shuffle=True)
    return model, snn.SGD(model.parameters(), lr=0.01), loader


def fit(engine: str, world: Any) -> None:
    model, optimizer, loader = world
    snn.fit(model, snn.MSELoss(), optimizer, loader, 2, engine=engine, progress=False)


class Held:
    """A lock held by a thread of its own until `seconds` after it is asked for."""

    def __init__(self, lock: Any) -> None:
        self.lock, self.ready, self.done = lock, threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.hold)

    def hold(self) -> None:
        with self.lock:
            self.ready.set()
            self.done.wait()

    def __enter__(self) -> Held:
        self.thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def free(lock: Any) -> None:
    """Fail where the lock is held."""
    assert lock.acquire(blocking=False)
    lock.release()


LOCKS = {
    "loading": lambda: forks.LOADING,
    "claims": lambda: claims._LOCK,
    "generator": lambda: snn.default_generator._engine.lock,
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_fork_waits_for_the_lock(name: str) -> None:
    """Held when the fork is asked for; free in the child, and in the parent."""
    lock = LOCKS[name]()
    with Held(lock) as held:
        threading.Timer(0.2, held.done.set).start()
        assert in_a_child(lambda: free(lock)) == 0
    free(lock)


def test_a_lock_that_is_made_while_a_fork_waits() -> None:
    """A module that another thread imports brings its own: it is neither forgotten nor released unheld."""
    before = list(forks._LOCKS)
    first, late = forks.free_at_forks(threading.Lock()), threading.Lock()
    try:
        with Held(first) as held:

            def import_more() -> None:
                time.sleep(0.1)
                forks.free_at_forks(late)
                held.done.set()

            thread = threading.Thread(target=import_more)
            thread.start()
            assert in_a_child(lambda: (free(first), free(late))) == 0
            thread.join()
        free(first)
        free(late)
    finally:
        forks._LOCKS[:] = before


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_while_another_thread_fits(engine: str) -> None:
    stop, found = threading.Event(), []
    running = world()

    def loop() -> None:
        while not stop.is_set():
            fit(engine, running)

    fit("numba", world())  # compiled before, so that the children need not
    thread = threading.Thread(target=loop)
    thread.start()
    try:
        for child in range(6):
            time.sleep(0.002 * child)
            found.append(in_a_child(lambda: fit("numba" if child % 2 else "numpy", world())))  # noqa: B023
    finally:
        stop.set()
        thread.join()
    assert found == [0] * 6


def test_a_child_may_train_what_a_thread_of_its_parent_trains() -> None:
    model, optimizer, loader = world()
    found: list[int] = []
    inside, leave = threading.Event(), threading.Event()

    def wait(state: Any) -> None:
        inside.set()
        leave.wait()

    def train() -> None:
        snn.fit(model, snn.MSELoss(), optimizer, loader, 1, engine="numpy", callbacks=[wait], progress=False)

    thread = threading.Thread(target=train)
    thread.start()
    inside.wait()
    try:
        found.append(in_a_child(lambda: fit("numpy", (model, optimizer, loader))))
        with pytest.raises(RuntimeError, match="in use by a run"):
            fit("numpy", (model, optimizer, loader))
    finally:
        leave.set()
        thread.join()
    assert found == [0]


def test_a_callback_that_forks() -> None:
    """The run is its own thread's: in the child it goes on, and nobody else may train the model there."""
    model, optimizer, loader = world()

    def child(state: Any) -> None:
        with pytest.raises(RuntimeError, match="further out in this thread"):
            fit("numpy", (model, optimizer, loader))

    codes: list[int] = []
    snn.fit(
        model, snn.MSELoss(), optimizer, loader, 1, engine="numpy", progress=False,
        callbacks=[lambda state: codes.append(in_a_child(lambda: child(state)))],
    )  # fmt: skip
    assert codes == [0]
