"""A layer that knows nothing of scratchnn: any object with `forward` and `backward`.

Its weights are float arrays in attributes, its gradients lie beside them after a backward, under one of
the usual names: for W these are dW, d_W, W_grad, grad_W, gradW, or an entry "W" or "dW" of a dict grads.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import Array
from ..layers import Module, Parameter

__all__ = ["adopt", "adoptable"]

NAMES = ("d{}", "d_{}", "{}_grad", "grad_{}", "grad{}")
DICTS = ("grads", "gradients", "grad")


def adoptable(thing: Any) -> bool:
    """Whether it has the two methods."""
    return not isinstance(thing, (Module, type)) and all(
        callable(getattr(thing, name, None)) for name in ("forward", "backward")
    )


def adopt(thing: Any, inputs: Sequence[Array]) -> Module:
    """A Module around a copy of `thing`; which arrays are weights is seen by running it once."""
    inner = copy.deepcopy(thing)
    arrays = {
        name: value.astype(np.float64)
        for name, value in vars(inner).items()
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
    }
    vars(inner).update(arrays)
    trial = copy.deepcopy(inner)
    y = trial.forward(*(x.copy() for x in inputs))
    trial.backward(np.ones(np.shape(y)))
    return Adopted(inner, [name for name in arrays if _gradient(trial, name) is not None])


class Adopted(Module):
    """The object, its weights as Parameters of the same names."""

    def __init__(self, inner: Any, names: list[str]) -> None:
        self.inner = inner
        for name in names:
            setattr(self, name, Parameter(getattr(inner, name)))
        self.names = names

    def forward(self, *inputs: Any) -> Any:
        for name in self.names:
            setattr(self.inner, name, getattr(self, name).data)
        return self.inner.forward(*inputs)

    def backward(self, dy: Any) -> Any:
        dx = self.inner.backward(dy)
        for name in self.names:
            parameter = getattr(self, name)
            parameter.grad = _gradient(self.inner, name)
            parameter.data = getattr(self.inner, name)  # a backward may have changed it
        return dx

    def __repr__(self) -> str:
        text = repr(self.inner)
        return type(self.inner).__name__ if text.startswith("<") else text


def _gradient(thing: Any, name: str) -> Any:
    for pattern in NAMES:
        if isinstance(found := getattr(thing, pattern.format(name), None), (np.ndarray, np.number)):
            return np.asarray(found)
    for held in DICTS:
        grads = getattr(thing, held, None)
        if isinstance(grads, dict):
            for key in (name, f"d{name}"):
                if key in grads:
                    return np.asarray(grads[key])
    return None
