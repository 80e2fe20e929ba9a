"""JAX: one epoch in one lax.scan under jit; the whole run in one where a step takes all rows.

Parameters and moments are donated, Adam's corrections are computed outside, as doubles. The scan is tried
plain and unrolled, and the faster is the one that is timed. `Scan` is the program as it is usually written,
x (N, D). `ScanSamplesLast` keeps x as (D, N), which XLA's CPU compiler turns into much better code for
networks as narrow as the studies'.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from ..workloads import Task
from . import Peer, Run
from .clock import Clock

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
UNROLLED = (1, 4)  # steps in one turn of the scan
TRIAL_SECONDS = 0.05


def load_jax(threads: int) -> Any:
    """JAX on the CPU with this many threads."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    flags = os.environ.get("XLA_FLAGS", "")
    if threads == 1 and ONE_THREAD not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {ONE_THREAD}".strip()
    import jax

    return jax


class Program:
    """One form of it, compiled."""

    def __init__(self, jax: Any, task: Task, last: bool, unroll: int) -> None:
        self.jax, self.task, self.last, self.unroll = jax, task, last, unroll
        workload = task.workload
        x = task.x.T if last else task.x
        y = task.y.T if last and workload.loss != "cross_entropy" else task.y
        self.x, self.y = jax.device_put(np.ascontiguousarray(x)), jax.device_put(np.ascontiguousarray(y))
        self.compiled: dict[int, Any] = {}
        self.compile_seconds = 0.0

    def forward(self, parameters: list[Any], x: Any) -> Any:
        """Predictions, with samples along the last or the first axis; log-probabilities for cross-entropy."""
        jnp, nn = self.jax.numpy, self.jax.nn
        workload = self.task.workload
        for place in range(0, len(parameters), 2):
            weight, bias = parameters[place : place + 2]
            x = weight @ x + bias[:, None] if self.last else x @ weight.T + bias
            name = workload.hidden if place < len(parameters) - 2 else workload.output
            if name == "relu":
                x = jnp.maximum(x, 0)
            elif name == "sigmoid":
                x = nn.sigmoid(x)
            elif name == "softmax":
                x = nn.softmax(x, axis=0 if self.last else 1)
        return x

    def loss(self, parameters: list[Any], x: Any, y: Any) -> Any:
        jnp, nn = self.jax.numpy, self.jax.nn
        p = self.forward(parameters, x)
        if self.task.workload.loss == "mse":
            return jnp.mean((p - y) ** 2)
        if self.task.workload.loss == "bce":
            return -jnp.mean(y * jnp.maximum(jnp.log(p), -100) + (1 - y) * jnp.maximum(jnp.log1p(-p), -100))
        axis = 0 if self.last else 1
        onehot = nn.one_hot(y, p.shape[axis], axis=axis)
        return -jnp.sum(onehot * nn.log_softmax(p, axis=axis)) / y.shape[0]

    def step(self, state: Any, x: Any, y: Any, pace: Any) -> Any:
        parameters, first, second = state
        jnp, workload = self.jax.numpy, self.task.workload
        loss, grads = self.jax.value_and_grad(self.loss)(parameters, x, y)
        if workload.optimizer == "sgd":
            parameters = [p - workload.lr * g for p, g in zip(parameters, grads, strict=True)]
        else:
            first = [m + (g - m) * (1 - BETA1) for m, g in zip(first, grads, strict=True)]
            second = [v * BETA2 + (1 - BETA2) * g * g for v, g in zip(second, grads, strict=True)]
            parameters = [
                p + pace[0] * m / (jnp.sqrt(v) / pace[1] + EPS)
                for p, m, v in zip(parameters, first, second, strict=True)
            ]
        return (parameters, first, second), loss

    def whole_run(self, state: Any, x: Any, y: Any, paces: Any) -> Any:
        """Every step takes all rows: one scan over the steps."""
        return self.jax.lax.scan(lambda s, pace: self.step(s, x, y, pace), state, paces, unroll=self.unroll)

    def epoch(self, state: Any, x: Any, y: Any, order: Any, paces: Any) -> Any:
        """The whole batches in one scan, then the one that is left."""
        jnp, batch = self.jax.numpy, self.task.workload.batch
        axis = 1 if self.last else 0
        y_axis = axis if y.ndim == 2 else 0
        x, y = jnp.take(x, order, axis=axis), jnp.take(y, order, axis=y_axis)
        whole = len(order) // batch * batch
        pieces = [self._pieces(x, axis, whole), self._pieces(y, y_axis, whole), paces[: whole // batch]]
        state, losses = self.jax.lax.scan(
            lambda s, piece: self.step(s, *piece), state, tuple(pieces), unroll=self.unroll
        )
        if whole < len(order):
            rest = [jnp.take(a, jnp.arange(whole, len(order)), axis=i) for a, i in ((x, axis), (y, y_axis))]
            state, loss = self.step(state, *rest, paces[-1])
            losses = jnp.append(losses, loss)
        return state, losses

    def _pieces(self, array: Any, axis: int, whole: int) -> Any:
        """(batches, ..., batch, ...): the whole batches stacked."""
        batch = self.task.workload.batch
        if axis == 0:
            return array[:whole].reshape(-1, batch, *array.shape[1:])
        return array[:, :whole].reshape(len(array), -1, batch).transpose(1, 0, 2)

    def paces(self, steps: int) -> Any:
        """(steps, 2) Adam's step size and second bias correction, from doubles; zeros for SGD."""
        if self.task.workload.optimizer == "sgd":
            return np.zeros((steps, 2), np.float32)
        t = np.arange(1, steps + 1)
        step_size = -self.task.workload.lr / (1 - BETA1**t)
        return np.stack([step_size, np.sqrt(1 - BETA2**t)], axis=1).astype(np.float32)

    def build(self, function: Any, key: int, *arguments: Any) -> Any:
        """Compiled ahead of time, once a key; the clock of compilation runs here."""
        if key not in self.compiled:
            start = time.perf_counter()
            self.compiled[key] = self.jax.jit(function, donate_argnums=0).lower(*arguments).compile()
            self.compile_seconds = time.perf_counter() - start
        return self.compiled[key]

    def run(self, epochs: int) -> Run:
        put, workload = self.jax.device_put, self.task.workload
        start = [put(array.copy()) for array in self.task.start]
        state = (
            start,
            [put(np.zeros_like(a)) for a in self.task.start],
            [put(0 * a) for a in self.task.start],
        )
        paces = put(self.paces(epochs * workload.steps).reshape(epochs, workload.steps, 2))
        losses = []
        if workload.batch is None:
            paces = paces[:, 0]
            program = self.build(self.whole_run, epochs, state, self.x, self.y, paces)
            self.jax.block_until_ready((state, paces))
            with Clock() as clock:
                state, all_losses = program(state, self.x, self.y, paces)
                self.jax.block_until_ready((state, all_losses))
            losses.append(all_losses)
        else:
            orders = [put(order.astype(np.int32)) for order in self.task.orders(epochs)]
            pace_of = list(paces)
            program = self.build(self.epoch, 0, state, self.x, self.y, orders[0], pace_of[0])
            self.jax.block_until_ready((state, orders, pace_of))
            with Clock() as clock:
                for order, pace in zip(orders, pace_of, strict=True):
                    state, some = program(state, self.x, self.y, order, pace)
                    losses.append(some)
                self.jax.block_until_ready((state, losses))
        return Run(
            clock.seconds,
            clock.cpu_seconds,
            np.concatenate([np.asarray(part) for part in losses]),
            [np.asarray(parameter) for parameter in state[0]],
        )


class Scan(Peer):
    """x (N, D)."""

    samples_last = False
    program_class = Program

    def __init__(self, task: Task) -> None:
        self.jax = load_jax(task.threads)
        self.task = task
        trials = []
        for unroll in UNROLLED:
            program = self.program_class(self.jax, task, self.samples_last, unroll)
            epochs = 50 if task.workload.batch is None else 1
            program.run(epochs)
            runs, until = [], time.perf_counter() + TRIAL_SECONDS
            while not runs or time.perf_counter() < until:
                runs.append(program.run(epochs).seconds)
            trials.append((min(runs), len(trials), program))
        self.program = min(trials)[2]
        self.form = {"unroll": self.program.unroll}
        self.compile_seconds = self.program.compile_seconds

    def run(self, epochs: int) -> Run:
        self.program.task = self.task
        return self.program.run(epochs)


class ScanSamplesLast(Scan):
    """x (D, N)."""

    samples_last = True
