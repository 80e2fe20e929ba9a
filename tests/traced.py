"""What the tests of `snn.trace` trace: networks, losses and batches, each made anew."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn.checks import origin
from scratchnn.layers import Parameter


class Residual(snn.Module):
    """y = x + inner(x)."""

    def __init__(self, inner: snn.Module) -> None:
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)

    def backward(self, dy: Any) -> Any:
        return dy + self.inner.backward(dy)


class Chain(snn.Module):
    """Hands on and computes nothing itself, with layers two levels down."""

    def __init__(self) -> None:
        self.encoder = snn.Sequential(snn.Linear(3, 4), snn.Tanh())
        self.fc = snn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(self.encoder(x))

    def backward(self, dy: Any) -> Any:
        return self.encoder.backward(self.fc.backward(dy))


class Scale(snn.Module):
    """y = x * s: a leaf of somebody's own."""

    def __init__(self, features: int, dtype: Any = np.float32) -> None:
        self.s = Parameter(np.linspace(0.5, 1.5, features).astype(dtype))

    def forward(self, x: Any) -> Any:
        self.x = x
        return x * self.s.data

    def backward(self, dy: Any) -> Any:
        self.s.accumulate((dy * self.x).sum(axis=0))
        return dy * self.s.data


class Rude(Scale):
    """The same, but it writes into what it is given, and into grad by hand."""

    def forward(self, x: Any) -> Any:
        self.x = x.copy()
        x *= self.s.data
        return x

    def backward(self, dy: Any) -> Any:
        gradient = (dy * self.x).sum(axis=0)
        self.s.grad = gradient if self.s.grad is None else self.s.grad + gradient
        dy *= self.s.data
        return dy


class Mine(snn.Linear):
    """A Linear whose backward is somebody's own."""

    def backward(self, dy: Any) -> Any:
        return super().backward(dy) * 2


Case = tuple[Any, Any, Any, Any]


def batch(rows: int, columns: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(dtype)


def circles() -> Case:
    model = snn.Sequential(snn.Linear(2, 10), snn.ReLU(), snn.Linear(10, 1), snn.Sigmoid())
    x = batch(64, 2)
    return model, snn.BCELoss(), x, (x[:, :1] > 0).astype(np.float32)


def every_activation() -> Case:
    d = np.float64
    model = snn.Sequential(
        snn.Linear(3, 6, dtype=d), snn.LeakyReLU(0.1), snn.Linear(6, 6, bias=False, dtype=d), snn.Tanh(),
        snn.Dropout(0.4), snn.Identity(), snn.Linear(6, 6, dtype=d), snn.Threshold(0.1, 0.2), snn.Softmax(1),
        snn.Linear(6, 4, dtype=d), snn.LogSoftmax(-1),
    )  # fmt: skip
    return model, snn.NLLLoss(reduction="sum"), batch(9, 3, d), np.arange(9) % 4


def eval_mode() -> Case:
    model, loss_fn, x, target = every_activation()
    model.eval()
    model[0].train()
    return model, loss_fn, x, target


def residual() -> Case:
    model = snn.Sequential(
        snn.Linear(3, 4), Residual(snn.Sequential(snn.Linear(4, 4), snn.ReLU())), snn.Linear(4, 1)
    )
    return model, snn.MSELoss(), batch(5, 3), batch(5, 1, seed=1)


def shared() -> Case:
    layer = snn.Linear(3, 3)
    inner = snn.Sequential(layer, snn.Sigmoid())
    model = snn.Sequential(inner, snn.Dropout(0.5), layer, snn.Tanh(), inner)
    return model, snn.HuberLoss(delta=0.1), batch(5, 3), batch(5, 3, seed=1)


def own_modules() -> Case:
    model = snn.Sequential(snn.Linear(3, 3), Scale(3), Rude(3), Mine(3, 3), snn.ReLU(), Rude(3))
    return model, snn.L1Loss(reduction="none"), batch(5, 3), batch(5, 3, seed=1)


def chain() -> Case:
    return Chain(), snn.CrossEntropyLoss(label_smoothing=0.1), batch(7, 3), np.arange(7) % 2


def softmax_twice() -> Case:
    model = snn.MLP(2, [5, 4], 3, activation="leaky_relu", output_activation="softmax")
    return model, snn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0]), batch(6, 2), np.arange(6) % 3


def logits() -> Case:
    model = snn.MLP(2, 3, 1)
    return model, snn.BCEWithLogitsLoss(pos_weight=[2.0]), batch(6, 2), np.ones((6, 1), np.float32)


def one_sample() -> Case:
    return snn.Sequential(snn.Linear(3, 2)), snn.MSELoss(), batch(1, 3)[0], np.ones(2, np.float32)


CASES: list[Callable[[], Case]] = [
    circles, every_activation, eval_mode, residual, shared, own_modules, chain, softmax_twice, logits,
    one_sample,
]  # fmt: skip


def bits(array: Any) -> Any:
    array = np.asarray(array)
    return array.dtype.str, array.shape, array.tobytes()


def state_of(thing: Any, seen: dict[int, Any] | None = None) -> Any:
    """All that hangs on an object, down to the bytes of its arrays, and which of its parts are the same."""
    seen = {} if seen is None else seen
    if isinstance(thing, np.ndarray):
        # Where the array lies counts too: an optimizer and a state dict hold on to it.
        return ("array", id(thing), thing.dtype.str, thing.shape, thing.strides, thing.tobytes())
    if thing is None or isinstance(thing, (bool, int, float, str, np.generic, np.dtype, type)):
        return repr(thing)
    if id(thing) in seen:
        return ("again", seen[id(thing)])
    seen[id(thing)] = len(seen)
    if isinstance(thing, dict):
        return [(state_of(k, seen), state_of(v, seen)) for k, v in thing.items()]
    if isinstance(thing, (list, tuple)):
        return [state_of(part, seen) for part in thing]
    if callable(thing) and not hasattr(thing, "forward"):
        return id(thing)
    return (id(thing), type(thing).__name__, state_of(vars(thing), seen))


def world() -> Any:
    """What lies outside of a model and could be changed by running it."""
    return (
        snn.default_generator.get_state().tobytes(),
        repr(np.random.get_state()),
        random.getstate(),
        origin._noted and origin._noted[0](),
    )
