"""scratchnn itself, by either engine: what is timed is the call to `fit`."""

from __future__ import annotations

from typing import Any

import scratchnn as snn

from ..workloads import Task, set_parameters
from . import Peer, Run, Unavailable
from .clock import Clock


class _Engine(Peer):
    engine = ""

    def __init__(self, task: Task) -> None:
        self.task = task
        history = self._fit(1)[0]
        if history.engine != self.engine:
            raise Unavailable(f"fit took the {history.engine} engine: {history.reason}")
        self.compile_seconds = history.compile_seconds

    def _fit(self, epochs: int) -> tuple[snn.History, Clock, snn.Sequential]:
        workload = self.task.workload
        model = workload.model()
        set_parameters(model, self.task.start)
        optimizer = workload.optimiser(model)
        data: Any = (self.task.x, self.task.y)
        if workload.batch is not None:
            data = snn.DataLoader(snn.TensorDataset(*data), batch_size=workload.batch, shuffle=True)
        loss_fn = workload.loss_fn()
        snn.manual_seed(self.task.seed)
        with Clock() as clock:
            history = snn.fit(model, loss_fn, optimizer, data, epochs, engine=self.engine, progress=False)
        return history, clock, model

    def run(self, epochs: int) -> Run:
        history, clock, model = self._fit(epochs)
        return Run(
            clock.seconds,
            clock.cpu_seconds,
            history.step_losses,
            [parameter.data.copy() for parameter in model.parameters()],
        )


class Compiled(_Engine):
    engine = "numba"


class Plain(_Engine):
    engine = "numpy"
