"""A thousand networks at once. Parameters and losses carry the network as their first and last axis.

start: weight (K, M, D) and bias (K, M); losses: (steps, K).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

import scratchnn as snn

from ..workloads import Array, Task, set_parameters
from . import Peer, Run, Unavailable
from .clock import Clock
from .jax_scan import Program, Scan
from .pytorch import Loop

JUDGED = 3  # networks that PyTorch trains one by one


def alone(task: Task, network: int) -> Task:
    """The task of one of the networks."""
    return replace(task, start=[array[network] for array in task.start])


def stacked(lists: list[list[Array]]) -> list[Array]:
    """Parameters of K networks -> one list of arrays with a leading axis of K."""
    return [np.stack(arrays) for arrays in zip(*lists, strict=True)]


class Alone(Peer):
    """The judge: the first networks, each trained alone by the PyTorch loop."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def run(self, epochs: int) -> Run:
        runs = [Loop(alone(self.task, network)).run(epochs) for network in range(JUDGED)]
        return Run(
            sum(run.seconds for run in runs),
            sum(run.cpu_seconds for run in runs),
            np.stack([run.losses for run in runs], axis=1),
            stacked([run.parameters for run in runs]),
        )


CHUNKS = (None, 250, 100)  # networks in one vmap; None is all
TRIALS = 3


class TorchVmap(Peer):
    """torch.func.vmap over grad_and_value, one fused Adam over the stacked parameters.

    Every size of `CHUNKS` is tried, and the fastest is the one that is timed.
    """

    judge = "many_alone"

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self.task = task
        loop = Loop(alone(task, 0))
        self.x, self.y = loop.x, loop.y
        model, loss_fn = loop.model, loop.loss_fn
        self.names = [name for name, _ in model.named_parameters()]

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            return loss_fn(torch.func.functional_call(model, parameters, (x,)), y)

        trials = []
        for chunk in CHUNKS:
            gradients = torch.func.grad_and_value(loss)
            self.grads = torch.func.vmap(gradients, in_dims=(0, None, None), chunk_size=chunk)
            seconds = min(self.run(1).seconds for _ in range(TRIALS))
            trials.append((seconds, len(trials), self.grads, chunk))
        _, _, self.grads, chunk = min(trials)
        self.form = {"chunk_size": chunk}

    def run(self, epochs: int) -> Run:
        parameters = {
            name: torch.from_numpy(value.copy())
            for name, value in zip(self.names, self.task.start, strict=True)
        }
        optimizer = torch.optim.Adam(parameters.values(), lr=self.task.workload.lr, fused=True)
        losses = []
        with Clock() as clock:
            for _ in range(epochs):
                grads, loss = self.grads(parameters, self.x, self.y)
                for name, parameter in parameters.items():
                    parameter.grad = grads[name]
                optimizer.step()
                losses.append(loss.detach())
        return Run(
            clock.seconds,
            clock.cpu_seconds,
            torch.stack(losses).numpy(),
            [parameter.numpy() for parameter in parameters.values()],
        )


class ManyProgram(Program):
    """Every step of all networks in one vmap."""

    def step(self, state: Any, x: Any, y: Any, pace: Any) -> Any:
        one = super().step
        return self.jax.vmap(lambda s: one(s, x, y, pace))(state)


class JaxVmap(Scan):
    """jax.vmap of the step, samples last, the run in one scan."""

    samples_last = True
    program_class = ManyProgram
    judge = "many_alone"


class FitMany(Peer):
    """scratchnn.fit_many; what is timed is the call."""

    judge = "many_alone"

    def __init__(self, task: Task) -> None:
        if not hasattr(snn, "fit_many"):
            raise Unavailable("this scratchnn has no fit_many")
        self.task = task
        self.run(1)

    def run(self, epochs: int) -> Run:
        task = self.task
        models = []
        for network in range(len(task.start[0])):
            model = task.workload.model()
            set_parameters(model, alone(task, network).start)
            models.append(model)
        optimizers = [task.workload.optimiser(model) for model in models]
        with Clock() as clock:
            many = snn.fit_many(
                models,
                task.workload.loss_fn(),
                optimizers,
                task.x,
                task.y,
                epochs=epochs,
                seeds=range(len(models)),
                threads=task.threads,
                progress=False,
            )
        losses = np.stack([history.step_losses for history in many.histories], axis=1)
        parameters = stacked([[p.data for p in model.parameters()] for model in models])
        return Run(clock.seconds, clock.cpu_seconds, losses, parameters)
