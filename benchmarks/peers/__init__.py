"""Who is compared. A peer is a class of this package; `PEERS` says where it lives.

    peer = load("jax")(task)      loads, compiles and warms up; raises Unavailable where it cannot run
    run = peer.run(epochs)        trains from the task's start; the clock runs over the training alone

Imports of the frameworks happen in the peers' own processes only.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..workloads import Task

__all__ = ["PEERS", "Peer", "Run", "Unavailable", "load"]

Array = Any


class Unavailable(Exception):
    """This peer cannot run this workload here; the text says why."""


@dataclass
class Run:
    """One training run.

    Attributes:
        seconds: of training, wall clock. cpu_seconds: of all threads of the process meanwhile.
        losses: one for every step, or for every epoch where the peer keeps no more.
        parameters: after the last step, weight (M, D) and bias (M,) of every layer.
    """

    seconds: float
    cpu_seconds: float
    losses: Array
    parameters: list[Array]


class Peer:
    """What the classes of this package do.

    Attributes:
        compile_seconds: spent on compiling before the first run.
        judge: the key of the PyTorch peer whose parameters this one's must equal within rounding.
    """

    task: Task
    compile_seconds: float = 0.0
    judge: str = "torch"

    def run(self, epochs: int) -> Run:
        raise NotImplementedError


# key: (label, module, class)
PEERS = {
    "numba": ("scratchnn", "scratchnn_engines", "Compiled"),
    "numpy": ("scratchnn, NumPy engine", "scratchnn_engines", "Plain"),
    "torch": ("PyTorch loop", "pytorch", "Loop"),
    "torch_fused": ("PyTorch loop, fused optimizer", "pytorch", "FusedLoop"),
    "torch_loader": ("PyTorch DataLoader", "pytorch", "LoaderLoop"),
    "torch_folded": ("PyTorch loop, scikit-learn's Adam", "pytorch", "FoldedLoop"),
    "torch_compile": ("torch.compile", "pytorch", "CompiledLoop"),
    "sklearn": ("scikit-learn MLP", "scikit_learn", "Estimator"),
    "jax": ("JAX jit, epoch in one scan", "jax_scan", "Scan"),
    "jax_last": ("JAX, samples last", "jax_scan", "ScanSamplesLast"),
    "c": ("C", "c_kernel", "Kernel"),
    "c_given": ("C, batches given", "c_kernel", "KernelGiven"),
    "many_numba": ("scratchnn fit_many", "many_networks", "FitMany"),
    "many_alone": ("PyTorch loop, one by one", "many_networks", "Alone"),
    "many_vmap": ("torch.func.vmap", "many_networks", "TorchVmap"),
    "many_jax": ("JAX vmap in one scan", "many_networks", "JaxVmap"),
}


def load(key: str) -> type[Peer]:
    """The class of a peer. Raises ImportError where its framework is not installed."""
    _, module, name = PEERS[key]
    found: type[Peer] = getattr(import_module(f".{module}", __name__), name)
    return found
