"""Random layouts: networks that differ in where their arrays are, what these are called and what is returned.

`program(seed)` draws one. Its `make(g)` gives the object, each gradient passed through `g(name, gradient)`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["Program", "program"]

VALUES = [
    ("W{}", "b{}"),
    ("weight{}", "bias{}"),
    ("w{}", "c{}"),
    ("kernel_{}", "offset_{}"),
    ("theta{}", "phi{}"),
]
GRADIENTS = [
    "d{}",
    "d_{}",
    "{}_grad",
    "grad_{}",
    "{}_gradient",
    "delta_{}",
    "nabla_{}",
    "dL_d{}",
    "gradient_of_{}",
]
PLACES = [
    "attributes",
    "dict",
    "dict of gradients by other keys",
    "lists",
    "layers",
    "dict of layers",
    "tensors",
]
RETURNS = ["dx", "dx", "nothing", "all in some order", "a dict"]
OUTPUTS = ["y", "y", "kept", "with a cache"]


@dataclass
class Program:
    """One layout, and a text that says which."""

    seed: int
    place: str
    names: tuple[str, str]
    gradient: str
    returns: str
    output: str
    sizes: list[int]
    rows: int
    adds_up: bool
    clutter: bool
    used: bool
    gradients: list[str] = field(default_factory=list)

    def make(self, g: Callable[[str, Any], Any]) -> tuple[Any, Any]:
        """(the object, x)."""
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.rows, self.sizes[0]))
        net = _Net(self, g, rng)
        if self.used:
            for _ in range(2):
                y = net.forward(rng.standard_normal(x.shape))
                cache = (y[1],) if self.output == "with a cache" else ()
                net.backward(np.ones((self.rows, self.sizes[-1])), *cache)
        return net, x


def program(seed: int) -> Program:
    draw = random.Random(seed)
    depth = draw.choice([1, 1, 2])
    sizes = [3] * (depth + 1) if draw.random() < 0.5 else [draw.choice([2, 3, 4]) for _ in range(depth + 1)]
    returns = draw.choice(RETURNS)
    place = "attributes" if returns.startswith(("all", "a dict")) else draw.choice(PLACES)
    made = Program(
        seed,
        place,
        draw.choice(VALUES),
        draw.choice(GRADIENTS),
        returns,
        draw.choice(OUTPUTS),
        sizes,
        3 if draw.random() < 0.3 else 5,
        draw.random() < 0.5,
        draw.random() < 0.5,
        draw.random() < 0.4,
    )
    made.gradients = [f"{kind}{i}" for i in range(depth) for kind in "Wb"]
    return made


class _Net:
    def __new__(cls, how: Program, g: Any, rng: np.random.Generator) -> Any:
        # Classes of one name each, so that backward's signature is that of the program.
        forward, backward = _methods(how, g)
        kind = type("Net", (), {"forward": forward, "backward": backward})
        net = kind()
        weights = [
            (rng.standard_normal((m, n)), rng.standard_normal(n))
            for m, n in zip(how.sizes, how.sizes[1:], strict=False)
        ]
        _place(how, net, weights)
        if how.clutter:
            net.velocity = [np.ones_like(W) for W, _ in weights]
            net.best = {"W": weights[0][0].copy()}
            net.history, net.data, net.rate = [0.5, 0.25], rng.standard_normal((7, how.sizes[0])), 0.1
        return net


def _methods(how: Program, g: Any) -> tuple[Any, Any]:
    def forward(self: Any, x: Any) -> Any:
        activations = [x]
        for W, b in _weights(how, self):
            activations.append(np.tanh(activations[-1] @ W + b))
        if how.output == "with a cache":
            return activations[-1], activations
        self.activations = activations
        if how.output == "kept":
            self.output = activations[-1]
            return None
        return activations[-1]

    def work(self: Any, dy: Any, activations: Any) -> Any:
        grads: dict[str, Any] = {}
        weights = _weights(how, self)
        for i in reversed(range(len(weights))):
            dz = dy * (1 - activations[i + 1] ** 2)
            grads[f"W{i}"] = g(f"W{i}", activations[i].T @ dz)
            grads[f"b{i}"] = g(f"b{i}", dz.sum(axis=0))
            dy = dz @ weights[i][0].T
        if how.returns == "all in some order":
            everything = [dy, *grads.values()]
            random.Random(how.seed).shuffle(everything)
            return tuple(everything)
        if how.returns == "a dict":
            names = {f"W{i}": how.names[0].format(i) for i in range(len(weights))}
            names |= {f"b{i}": how.names[1].format(i) for i in range(len(weights))}
            return {"dx": dy, **{how.gradient.format(names[k]): v for k, v in grads.items()}}
        _keep(how, self, grads)
        if how.returns == "nothing":
            self.dx = dy
            return None
        return dy

    if how.output == "with a cache":
        return forward, lambda self, dy, cache: work(self, dy, cache)
    return forward, lambda self, dy: work(self, dy, self.activations)


def _place(how: Program, net: Any, weights: list[tuple[Any, Any]]) -> None:
    """Put the weights where the program keeps them, and zeros where it adds up."""
    names = [(how.names[0].format(i), how.names[1].format(i)) for i in range(len(weights))]
    if how.place == "attributes":
        for pair, values in zip(names, weights, strict=True):
            for name, value in zip(pair, values, strict=True):
                setattr(net, name, value)
    elif how.place.startswith("dict of gradients") or how.place == "dict":
        net.params = {
            n: v
            for pair, values in zip(names, weights, strict=True)
            for n, v in zip(pair, values, strict=True)
        }
        net.grads = {}
    elif how.place == "lists":
        net.weights, net.biases = [W for W, _ in weights], [b for _, b in weights]
    elif how.place == "tensors":
        net.parts = [tuple(SimpleNamespace(data=v, grad=np.zeros_like(v)) for v in pair) for pair in weights]
    else:
        layers = [SimpleNamespace(**dict(zip(("W", "b"), pair, strict=True))) for pair in weights]
        net.layers = layers if how.place == "layers" else {f"fc{i}": layer for i, layer in enumerate(layers)}


def _weights(how: Program, net: Any) -> list[tuple[Any, Any]]:
    count = len(how.sizes) - 1
    if how.place == "lists":
        return list(zip(net.weights, net.biases, strict=True))
    if how.place == "tensors":
        return [(W.data, b.data) for W, b in net.parts]
    if how.place in ("layers", "dict of layers"):
        layers = net.layers if how.place == "layers" else net.layers.values()
        return [(layer.W, layer.b) for layer in layers]
    read = vars(net) if how.place == "attributes" else net.params
    return [(read[how.names[0].format(i)], read[how.names[1].format(i)]) for i in range(count)]


def _keep(how: Program, net: Any, grads: dict[str, Any]) -> None:
    """Leave the gradients where the program keeps them."""
    for key, value in grads.items():
        kind, i = key[0], int(key[1:])
        name = how.names["Wb".index(kind)].format(i)
        if how.place == "attributes":
            holder, name = vars(net), how.gradient.format(name)
        elif how.place == "dict":
            holder = net.grads
        elif how.place.startswith("dict of gradients"):
            holder, name = net.grads, how.gradient.format(name)
        elif how.place == "lists":
            holder = vars(net).setdefault({"W": "nabla_w", "b": "nabla_b"}[kind], {})
            name = i
        elif how.place == "tensors":
            holder, name = vars(net.parts[i]["Wb".index(kind)]), "grad"
        else:
            layers = net.layers if how.place == "layers" else list(net.layers.values())
            holder, name = vars(layers[i]), how.gradient.format(kind)
        add = (how.adds_up or how.place == "tensors") and name in holder
        holder[name] = holder[name] + value if add else value
