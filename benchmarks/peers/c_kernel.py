"""The practical limit: kernel.c, compiled for this machine and this shape."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..workloads import Array, Task
from . import Peer, Run, Unavailable
from .clock import Clock

SOURCE = Path(__file__).with_name("kernel.c")
TILE = 64
# Reassociation would undo the argument reduction of exp; the kernel splits its sums itself.
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fno-associative-math", "-fPIC")
BETAS, EPS = (0.9, 0.999), 1e-8


class Kernel(Peer):
    """Draws its batches itself, as `fit` does."""

    given = False

    def __init__(self, task: Task) -> None:
        workload = task.workload
        if len(workload.widths) != 3 or (workload.output, workload.loss) != ("sigmoid", "bce"):
            raise Unavailable("the C kernel is one hidden layer and one sigmoid output, with BCE")
        if workload.batch is None and self.given:
            raise Unavailable("a full batch has no order to be given")
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise Unavailable("no C compiler")
        self.task = task
        self.y = np.ascontiguousarray(task.y[:, 0])
        start = time.perf_counter()
        self.train = self._build(compiler)
        self.compile_seconds = time.perf_counter() - start
        self.run(1)

    def _build(self, compiler: str) -> Any:
        workload = self.task.workload
        shape = [f"-DI={workload.widths[0]}", f"-DH={workload.widths[1]}", f"-DT={TILE}"]
        if workload.hidden == "relu":
            shape.append("-DRELU")
        if workload.optimizer == "adam":
            shape.append("-DADAM")
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            library = str(Path(folder) / "kernel.so")
            unit = str(Path(folder) / "kernel.o")
            # Linked without -ffast-math, which would switch off denormals for all of the process.
            for step in (
                [*FLAGS, *shape, "-c", str(SOURCE), "-o", unit],
                ["-shared", unit, "-o", library, "-lm"],
            ):
                built = subprocess.run(
                    [*compiler.split(), *step], capture_output=True, text=True, check=False
                )
                if built.returncode:
                    why = (built.stderr.strip().splitlines() or ["no reason given"])[-1]
                    raise Unavailable(f"{compiler} failed: {why}")
            return ctypes.CDLL(library).train

    def run(self, epochs: int) -> Run:
        workload = self.task.workload
        parameters = np.concatenate([array.ravel() for array in self.task.start])
        steps = epochs * workload.steps
        losses = np.empty(steps, np.float32)
        orders = self.task.orders(epochs).astype(np.int32) if self.given else None
        scalar = ctypes.c_float
        with Clock() as clock:
            failed = self.train(
                pointer(self.task.x),
                pointer(self.y),
                ctypes.c_int64(workload.rows),
                ctypes.c_int64(workload.batch or workload.rows),
                ctypes.c_int64(epochs),
                ctypes.c_int(workload.batch is not None),
                ctypes.c_uint32(self.task.seed),
                pointer(orders),
                pointer(parameters),
                scalar(workload.lr),
                *(scalar(beta) for beta in BETAS),
                scalar(EPS),
                pointer(self._pace(steps)),
                pointer(losses),
            )
        if failed:
            raise MemoryError("the C kernel found no memory")
        shapes = [array.shape for array in self.task.start]
        cuts = np.cumsum([array.size for array in self.task.start])[:-1]
        arrays = [part.reshape(shape) for part, shape in zip(np.split(parameters, cuts), shapes, strict=True)]
        return Run(clock.seconds, clock.cpu_seconds, losses, arrays)

    def _pace(self, steps: int) -> Array:
        """(steps, 2): Adam's step size and second bias correction, from doubles."""
        t = np.arange(1, steps + 1)
        first, second = 1 - BETAS[0] ** t, 1 - BETAS[1] ** t
        return np.stack([-self.task.workload.lr / first, np.sqrt(second)], axis=1).astype(np.float32)


class KernelGiven(Kernel):
    """Is handed the order of the rows, as the PyTorch loop and JAX are."""

    given = True


def pointer(array: Array | None) -> Any:
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)
