"""Check that every peer trains what PyTorch trains, then time them in turn."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .peers import PEERS, Run, Unavailable
from .worker import Ready, Worker
from .workloads import Task

__all__ = ["Check", "Result", "Settings", "Team", "say"]

GROWTH = 1.3  # a run this much shorter than wanted is long enough
LOSS_RTOL = 1e-3  # recorded losses: that they are there and are of these steps


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Attributes:
        repeats: timed runs of every peer. seconds: about how long one lasts (never longer than the
            study's own run, so that what a call costs once is spread as it is in use).
        peers: the keys to measure, or None for all. quick: shortened beyond use, for tests.
        clock: "wall", or "cpu": processor time of all threads, for a machine that others use too.
    """

    repeats: int = 7
    seconds: float = 0.3
    peers: tuple[str, ...] | None = None
    quick: bool = False
    clock: str = "wall"

    def wants(self, key: str) -> bool:
        return self.peers is None or key in self.peers


QUICK = Settings(repeats=2, seconds=0.01, quick=True)


@dataclass
class Check:
    """How a peer's parameters lie beside PyTorch's after `steps` steps.

    Attributes:
        difference: the largest, absolute. allowed: the most it may be.
        judge: the key of the PyTorch peer. note: why more is allowed than the usual table does.
    """

    steps: int
    difference: float
    allowed: float
    judge: str = "torch"
    note: str = ""
    passed: bool = field(init=False)

    def __post_init__(self) -> None:
        self.passed = self.difference <= self.allowed


@dataclass
class Result:
    """One peer on one workload.

    Attributes:
        status: "timed", "skipped" (see reason) or "untrained" (the check failed; not timed).
        microseconds: per optimisation step, the median of `runs`; of one network, where many train.
        epochs, steps: of one timed run. compile_seconds: before the first.
        cores: processor time over wall time; well below the peer's threads, it waited for the machine.
        size: {} or {axis: value} where a question varies one.
    """

    question: str
    workload: str
    title: str
    peer: str
    label: str
    status: str
    reason: str = ""
    size: dict[str, int] = field(default_factory=dict)
    microseconds: float | None = None
    runs: list[float] = field(default_factory=list)
    epochs: int = 0
    steps: int = 0
    compile_seconds: float = 0.0
    cores: float | None = None
    form: dict[str, Any] = field(default_factory=dict)
    check: Check | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Team:
    """The processes of some peers, kept from one workload to the next. Use as a context manager."""

    def __init__(self, keys: Sequence[str], settings: Settings) -> None:
        self.keys = [key for key in keys if settings.wants(key)]
        self.settings = settings
        self._workers: dict[str, Worker] = {}
        self._judges: dict[str, Worker] = {}

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: Any) -> None:
        for worker in (*self._workers.values(), *self._judges.values()):
            worker.close()

    def measure(
        self, question: str, task: Task, size: dict[str, int] | None = None, networks: int = 1
    ) -> list[Result]:
        """One result a peer, in the order of the keys. networks: how many train at once."""
        workload = task.workload
        judges: dict[str, Judge] = {}
        results, timed = [], []
        for key in self.keys:
            result = Result(
                question, workload.name, workload.title, key, PEERS[key][0], "timed", size=size or {}
            )
            results.append(result)
            try:
                worker, ready = self._loaded(key, task, self._workers)
                result.compile_seconds, result.form = ready.compile_seconds, ready.form
                run = worker.run(workload.check_epochs)
                if ready.judge not in judges:
                    judges[ready.judge] = self._judge(ready.judge, task)
                result.check = judges[ready.judge].check(run)
                if not result.check.passed:
                    result.status = "untrained"
                    result.reason = "it did not train to PyTorch's parameters"
                    say(f"  {result.label}: {result.reason}: {result.check}")
                    continue
                result.epochs = self._epochs(worker, workload.check_epochs, workload.epochs)
                result.steps = result.epochs * workload.steps
                timed.append((worker, result))
            except Unavailable as error:
                result.status, result.reason = "skipped", str(error)
                say(f"  {result.label}: skipped: {error}")
        self._time(timed, networks)
        return results

    def _time(self, timed: list[tuple[Worker, Result]], networks: int) -> None:
        cores: dict[str, list[float]] = {}
        for _ in range(self.settings.repeats):
            for worker, result in timed:
                run = worker.run(result.epochs)
                result.runs.append(1e6 * self._clock(run) / (result.steps * networks))
                cores.setdefault(result.peer, []).append(run.cpu_seconds / run.seconds)
        for _, result in timed:
            result.microseconds = statistics.median(result.runs)
            result.cores = statistics.median(cores[result.peer])

    def _epochs(self, worker: Worker, tried: int, most: int) -> int:
        """As many epochs as fill the time of a run, at most the study's own; the worker has run them once."""
        epochs, wanted = 0, tried
        # A run costs something once: a short one overestimates the epoch, and the next guess is longer.
        # What the first run of a length compiles or allocates is none of the timed runs' business.
        while epochs == 0 or wanted > GROWTH * epochs:
            epochs = wanted
            worker.run(epochs)
            wanted = math.ceil(epochs * self.settings.seconds / self._clock(worker.run(epochs)))
            wanted = max(1, min(wanted, most))
        return epochs

    def _clock(self, run: Run) -> float:
        return run.seconds if self.settings.clock == "wall" else run.cpu_seconds

    def _judge(self, key: str, task: Task) -> Judge:
        try:
            return Judge(self._loaded(key, task, self._judges)[0], task, key)
        except Unavailable as error:
            raise SystemExit(f"PyTorch judges every run, and {error}: pip install -e '.[bench]'") from error

    def _loaded(self, key: str, task: Task, workers: dict[str, Worker]) -> tuple[Worker, Ready]:
        if key not in workers:
            workers[key] = Worker(key, task.threads)
        return workers[key], workers[key].load(task)


class Judge:
    """PyTorch's run of a task, and how far it parts from itself when every weight moves by one ulp.

    Args:
        worker: a PyTorch peer that has loaded the task. key: its name.
    """

    def __init__(self, worker: Worker, task: Task, key: str = "torch") -> None:
        self.key, epochs = key, task.workload.check_epochs
        self.epochs, self.steps = epochs, epochs * task.workload.steps
        self.run = worker.run(epochs)
        self.spread = largest_difference(worker.run(epochs, nudged=True).parameters, self.run.parameters)

    def check(self, run: Run) -> Check:
        """Hold a run against PyTorch's. Raises Unavailable if it did not record these losses."""
        import torch

        from reference.tolerances import SPREAD_FACTOR, trajectory_tolerance

        if len(run.losses) not in (self.steps, self.epochs):
            raise Unavailable(f"it recorded {len(run.losses)} losses in {self.steps} steps")
        losses = run.losses[:, : self.run.losses.shape[1]] if run.losses.ndim == 2 else run.losses
        if len(losses) == self.steps and not np.allclose(losses, self.run.losses, rtol=LOSS_RTOL):
            raise Unavailable("the losses it recorded are not PyTorch's")
        difference = largest_difference(run.parameters, self.run.parameters)
        scale = max(1.0, *(float(np.abs(p).max()) for p in self.run.parameters))
        rounding = scale * trajectory_tolerance(self.steps, np.dtype(np.float32), torch.device("cpu"))
        spread = SPREAD_FACTOR * self.spread
        note = "" if rounding >= spread else "8 times PyTorch's own spread"
        return Check(self.steps, difference, max(rounding, spread), self.key, note)


def largest_difference(ours: list[Any], theirs: list[Any]) -> float:
    """The largest |difference| of two lists of parameters; infinite where one is not a number.

    Of many stacked networks, those that `theirs` holds are compared.
    """
    found = max(float(np.abs(a[: len(b)] - b).max()) for a, b in zip(ours, theirs, strict=True))
    return found if math.isfinite(found) else math.inf


def say(text: str) -> None:
    """Progress, beside the output."""
    print(text, file=sys.stderr, flush=True)
