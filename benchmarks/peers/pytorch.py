"""PyTorch in its usual forms, one thread."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ..workloads import Task
from . import Peer, Run, Unavailable
from .clock import Clock

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "softmax": lambda: nn.Softmax(dim=1)}
LOSSES = {"bce": nn.BCELoss, "mse": nn.MSELoss, "cross_entropy": nn.CrossEntropyLoss}


class Loop(Peer):
    """The tutorial's loop over slices of tensors in memory; the shuffled order is handed to it."""

    fused = False
    adam: Any = torch.optim.Adam

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self.task = task
        self.x, self.y = torch.from_numpy(task.x), torch.from_numpy(task.y)
        workload = task.workload
        layers: list[nn.Module] = []
        for place, (d, m) in enumerate(zip(workload.widths[:-1], workload.widths[1:], strict=True)):
            layers.append(nn.Linear(d, m))
            name = workload.hidden if place < len(workload.widths) - 2 else workload.output
            if name:
                layers.append(ACTIVATIONS[name]())
        self.model = nn.Sequential(*layers)
        self.loss_fn = LOSSES[workload.loss]()
        self.warm_up()

    def warm_up(self) -> None:
        """Let first calls allocate what they allocate."""
        self.restart()
        for _ in range(3):
            self.step(self.x[: self.task.workload.batch], self.y[: self.task.workload.batch])

    def restart(self) -> None:
        """The task's parameters, a fresh optimizer."""
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), self.task.start, strict=True):
                parameter.copy_(torch.from_numpy(value))
        kind = {"sgd": torch.optim.SGD, "adam": self.adam}[self.task.workload.optimizer]
        options = {"fused": True} if self.fused else {}
        self.optimizer = kind(self.model.parameters(), lr=self.task.workload.lr, **options)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss = self.loss_fn(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def batches(self, orders: list[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        batch = self.task.workload.batch
        for order in orders:
            if batch is None:
                yield self.x, self.y
            else:
                x, y = self.x[order], self.y[order]
                for first in range(0, len(x), batch):
                    yield x[first : first + batch], y[first : first + batch]

    def prepare(self, epochs: int) -> Any:
        """What `batches` takes, made before the clock starts."""
        return [torch.from_numpy(np.array(order)) for order in self.task.orders(epochs)]

    def run(self, epochs: int) -> Run:
        self.restart()
        prepared = self.prepare(epochs)
        losses = []
        with Clock() as clock:
            for x, y in self.batches(prepared):
                losses.append(self.step(x, y))
        return Run(
            clock.seconds,
            clock.cpu_seconds,
            torch.stack(losses).numpy(),
            [parameter.detach().numpy().copy() for parameter in self.model.parameters()],
        )


class FusedLoop(Loop):
    """The same with fused=True, PyTorch's fastest optimizer."""

    fused = True


class FoldedAdam(torch.optim.Optimizer):
    """Adam as scikit-learn writes it, to judge scikit-learn by.

    p -= lr sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + eps): the second bias correction is folded
    into the step and no longer stands beside eps.
    Source: Kingma and Ba 2015, arXiv:1412.6980, the end of section 2.
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.t = 0

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        self.t += 1
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            pace = group["lr"] * (1 - beta2**self.t) ** 0.5 / (1 - beta1**self.t)
            for p in group["params"]:
                state = self.state[p]
                m, v = state.get("m", torch.zeros_like(p)), state.get("v", torch.zeros_like(p))
                state["m"] = m = beta1 * m + (1 - beta1) * p.grad
                state["v"] = v = beta2 * v + (1 - beta2) * p.grad * p.grad
                p -= pace * m / (v.sqrt() + group["eps"])


class FoldedLoop(Loop):
    """The loop with that Adam."""

    adam = FoldedAdam


class LoaderLoop(Loop):
    """The tutorial's loop over a DataLoader, which draws its own order from the same seed."""

    def __init__(self, task: Task) -> None:
        if task.workload.batch is None:
            raise Unavailable("a full batch needs no DataLoader")
        super().__init__(task)

    def prepare(self, epochs: int) -> Any:
        dataset = torch.utils.data.TensorDataset(self.x, self.y)
        torch.manual_seed(self.task.seed)
        return [torch.utils.data.DataLoader(dataset, self.task.workload.batch, shuffle=True)] * epochs

    def batches(self, orders: Any) -> Iterator[Any]:
        for loader in orders:
            yield from loader


class CompiledLoop(FusedLoop):
    """Forward, loss and backward through torch.compile; the fused optimizer."""

    def __init__(self, task: Task) -> None:
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            raise Unavailable("torch.compile needs a C++ compiler")
        super().__init__(task)

    def warm_up(self) -> None:
        model, loss_fn = self.model, self.loss_fn
        self.compiled = torch.compile(lambda x, y: loss_fn(model(x), y), fullgraph=True, dynamic=False)
        start = time.perf_counter()
        batch = self.task.workload.batch or len(self.x)
        self.restart()
        try:
            for rows in {batch, len(self.x) % batch or batch}:
                self.step(self.x[:rows], self.y[:rows])
        except Exception as error:
            raise Unavailable(f"torch.compile failed: {str(error).strip().splitlines()[0]}") from error
        self.compile_seconds = time.perf_counter() - start

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss = self.compiled(x, y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()
