"""Networks of a user's own, drawn at random: rows, columns or (B, T, D); right, or with known mistakes.

Nothing here is the doctor's: each mistake is written out once more, as somebody would make it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["LAYOUTS", "UNKNOWN", "Drawn", "Network", "draw"]

LAYOUTS = ("rows", "columns", "positions")


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def sech2(z: Any) -> Any:
    return 1 - np.tanh(z) ** 2


@dataclass(frozen=True)
class Activation:
    """f, f' in terms of z, f' in terms of y where it is written so."""

    f: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    by_output: Callable[[Any], Any] | None = None


ACTIVATIONS = {
    "tanh": Activation(np.tanh, sech2, lambda y: 1 - y**2),
    "sigmoid": Activation(sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z)), lambda y: y * (1 - y)),
    "relu": Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "sine": Activation(np.sin, np.cos),
    "square": Activation(lambda z: z * z, lambda z: 2 * z),
}


class Network:
    """Layers of act(x W + b), in one of three layouts, with `slips`: {(name, layer): form}."""

    def __init__(self, layout: str, widths: list[int], acts: list[str], rng: Any, slips: Any = None) -> None:
        self.layout, self.acts, self.slips = layout, acts, slips or {}
        self.depth = len(acts)
        for i, (d, m) in enumerate(itertools.pairwise(widths), 1):
            scale = 0.7 / np.sqrt(d)
            shape = (m, d) if layout == "columns" else (d, m)
            setattr(self, f"W{i}", rng.standard_normal(shape) * scale)
            setattr(self, f"b{i}", rng.standard_normal((m, 1) if layout == "columns" else m))

    # ---- forward ----------------------------------------------------------------------------

    def forward(self, x: Any) -> Any:
        self.xs, self.zs, self.ys = [], [], []
        for i, act in enumerate(self.acts, 1):
            W, b = getattr(self, f"W{i}"), getattr(self, f"b{i}")
            z = (W @ x if self.layout == "columns" else x @ W) + b
            y = self.softmax(z) if act == "softmax" else ACTIVATIONS[act].f(z)
            self.xs.append(x)
            self.zs.append(z)
            self.ys.append(y)
            x = y
        return x

    @property
    def classes(self) -> int:
        return 0 if self.layout == "columns" else -1

    def softmax(self, z: Any) -> Any:
        e = np.exp(z - z.max(axis=self.classes, keepdims=True))
        return e / e.sum(axis=self.classes, keepdims=True)

    # ---- backward ---------------------------------------------------------------------------

    def backward(self, dy: Any) -> Any:
        for i in range(self.depth, 0, -1):
            dz = self.through(i, dy)
            if ("constant-factor", i) in self.slips:
                dz = 0.37 * dz
            if ("unknown", i) in self.slips:
                dz = UNKNOWN[self.slips["unknown", i]](dz, self.zs[i - 1])
            setattr(self, f"dW{i}", self.weight(i, dz))
            setattr(self, f"db{i}", self.bias(i, dz))
            dy = self.down(i, dz)
        return dy

    def through(self, i: int, dy: Any) -> Any:
        act, z, y, has = self.acts[i - 1], self.zs[i - 1], self.ys[i - 1], self.slips
        if act == "softmax":
            return self.through_softmax(i, dy)
        a = ACTIVATIONS[act]
        if ("derivative-forgotten", i) in has:
            return dy
        if ("derivative-at-output", i) in has:
            return dy * a.slope(y)
        if ("derivative-at-input", i) in has and a.by_output:
            return dy * a.by_output(z)
        if ("derivative-at-gradient", i) in has:
            return dy * (a.by_output or a.slope)(dy)
        if ("derivative-of-another", i) in has and a.by_output:
            other = ACTIVATIONS["sigmoid" if act == "tanh" else "tanh"]
            return dy * other.by_output(y) if other.by_output else dy
        if ("derivative-twice", i) in has:
            return dy * a.slope(z) ** 2
        if ("upstream-ignored", i) in has:
            return a.slope(z)
        if ("relu-mask-from-gradient", i) in has:
            return dy * (dy > 0)
        return dy * a.slope(z)

    def through_softmax(self, i: int, dy: Any) -> Any:
        y, axis = self.ys[i - 1], self.classes
        if ("softmax-off-diagonal", i) in self.slips:
            return dy * y * (1 - y)
        if ("softmax-dot-forgotten", i) in self.slips:
            return dy * y
        if ("softmax-wrong-axis", i) in self.slips:
            axis = 1 if axis == 0 else 0
        return y * (dy - (dy * y).sum(axis=axis, keepdims=True))

    def weight(self, i: int, dz: Any) -> Any:
        x, has = self.xs[i - 1], self.slips
        if ("no-gradient", i) in has:
            return np.zeros_like(getattr(self, f"W{i}"))
        if ("weight-not-summed", i) in has:
            x, dz = self.last(x), self.last(dz)
        if self.layout == "columns":
            dw = dz @ x.T
        else:
            dw = x.reshape(-1, x.shape[-1]).T @ dz.reshape(-1, dz.shape[-1])
        if ("transpose", i) in has:
            dw = dw.T
        if ("sign-flipped", i) in has:
            dw = -dw
        if ("mean-for-sum", i) in has or ("divided-twice", i) in has:
            dw = dw / self.samples(dz)
        if ("factor-2-doubled", i) in has:
            dw = 2 * dw
        return dw

    def last(self, a: Any) -> Any:
        return a[:, -1:] if self.layout == "columns" else a[-1:, -1:] if a.ndim == 3 else a[-1:]

    def samples(self, dz: Any) -> int:
        return dz.shape[1] if self.layout == "columns" else dz.size // dz.shape[-1]

    def bias(self, i: int, dz: Any) -> Any:
        has, columns = self.slips, self.layout == "columns"
        right = 1 if columns else tuple(range(dz.ndim - 1))
        if ("bias-over-everything", i) in has:
            return np.full(getattr(self, f"b{i}").shape, dz.sum())
        if ("bias-wrong-axis", i) in has:
            return dz.sum(axis=0 if columns or dz.ndim == 3 else 1, keepdims=columns)
        if ("bias-not-summed", i) in has:
            return dz
        return dz.sum(axis=right, keepdims=columns)

    def down(self, i: int, dz: Any) -> Any:
        W = getattr(self, f"W{i}")
        if ("transpose-dx", i) in self.slips and W.shape[0] == W.shape[1]:
            W = W.T
        return W.T @ dz if self.layout == "columns" else dz @ W.T


# Mistakes that are in no catalogue: dz and z -> another dz.
UNKNOWN: dict[str, Callable[[Any, Any], Any]] = {
    "dz squared": lambda dz, z: dz * np.abs(dz),
    "a mask of its own": lambda dz, z: dz * (np.arange(dz.size).reshape(dz.shape) % 3 > 0),
    "scaled by z": lambda dz, z: dz * (1 + 0.1 * z),
    "clipped": lambda dz, z: np.clip(dz, -0.3, 0.3),
    "rounded": lambda dz, z: np.round(dz, 2),
    "rolled": lambda dz, z: np.roll(dz, 1, axis=0),
    "one slice lost": lambda dz, z: dz * (np.arange(dz.shape[-2])[:, None] > 0),
    "softsign slope": lambda dz, z: dz / (1 + np.abs(z)) ** 2,
}


class Loss:
    """Mean squared error or binary cross-entropy, summed or averaged, with a mistake in `slips`."""

    def __init__(self, kind: str, mean: bool, slips: Any = ()) -> None:
        self.kind, self.mean, self.slips = kind, mean, slips

    def __call__(self, p: Any, t: Any) -> Any:
        self.p, self.t = p, t
        if self.kind == "mse":
            each = (p - t) ** 2
        else:
            e = 1e-7 if "epsilon-in-one-pass" in self.slips else 0.0
            each = -(t * np.log(p + e) + (1 - t) * np.log(1 - p + e)) if e else self.exactly(p, t)
        return each.mean() if self.mean else each.sum()

    def exactly(self, p: Any, t: Any) -> Any:
        return -(t * np.log(p) + (1 - t) * np.log(1 - p))

    def backward(self, dloss: Any = 1.0) -> Any:
        p, t, has = self.p, self.t, self.slips
        if self.kind == "mse":
            g = (p - t) if "factor-2-dropped" in has else 2 * (p - t)
        elif "softmax-twice" in has:
            g = p - t
        else:
            g = (p - t) / (p * (1 - p))
        if "sign-flipped" in has:
            g = -g
        if "upstream-ignored" in has:
            dloss = 1.0
        divide = self.mean and "sum-for-mean" not in has
        divide = divide or "mean-for-sum" in has
        return dloss * g / p.size if divide else dloss * g


@dataclass
class Drawn:
    """One drawn network, and the names of the mistakes in it: of those that make a difference."""

    subject: Any
    x: Any
    loss_fn: Any = None
    target: Any = None
    names: list[str] = field(default_factory=list)
    story: str = ""


def _fitting(act: str, layout: str, square: bool) -> Iterator[str]:
    """Names of the mistakes that a layer may have."""
    if act == "softmax":
        yield from ("softmax-off-diagonal", "softmax-dot-forgotten", "softmax-wrong-axis")
    else:
        yield from ("derivative-at-output", "derivative-forgotten", "derivative-twice", "upstream-ignored")
    if act in ("tanh", "sigmoid"):
        yield from ("derivative-at-input", "derivative-of-another")
    if act == "relu":
        yield "relu-mask-from-gradient"
    elif act != "softmax":
        yield "derivative-at-gradient"
    yield from ("no-gradient", "weight-not-summed", "transpose", "sign-flipped", "constant-factor")
    yield from (
        "bias-over-everything",
        "bias-wrong-axis",
        "bias-not-summed",
        "factor-2-doubled",
        "mean-for-sum",
    )
    if square:
        yield "transpose-dx"


def draw(seed: int, mistakes: int = 1, layout: str | None = None, unknown: bool = False) -> Drawn:
    """The network of this seed with so many mistakes, or with one that no catalogue has."""
    rng = np.random.default_rng(seed)

    def one_of(choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    layout = layout or one_of(LAYOUTS)
    depth = int(rng.integers(1, 4))
    widths = [int(w) for w in rng.integers(3, 6, depth + 1)]
    acts = [one_of(list(ACTIVATIONS)) for _ in range(depth)]
    kind = one_of([None, "mse", "bce"])
    if kind == "bce":
        acts[-1] = "sigmoid"
    elif rng.random() < 0.4:
        acts[int(rng.integers(depth))] = "softmax"
    n = 7
    shape = {"rows": (n, widths[0]), "columns": (widths[0], n), "positions": (2, n, widths[0])}[layout]
    mean = bool(rng.integers(2))
    slips: dict[tuple[str, int], Any] = {}
    of_loss: list[str] = []
    if unknown:
        i = int(rng.integers(1, depth + 1))
        slips["unknown", i] = one_of(list(UNKNOWN))
    taken: set[tuple[int, str]] = set()
    while len(slips) + len(of_loss) < (0 if unknown else mistakes):
        if kind and not of_loss and rng.random() < 0.25:
            names = ["sign-flipped", "upstream-ignored", "sum-for-mean" if mean else "mean-for-sum"]
            names += ["factor-2-dropped"] if kind == "mse" else ["softmax-twice"]
            of_loss.append(one_of(names))
            continue
        i = int(rng.integers(1, depth + 1))
        name = one_of(list(_fitting(acts[i - 1], layout, widths[i - 1] == widths[i])))
        if name == "mean-for-sum" and kind and mean:
            name = "divided-twice"
        rule = "weight" if name in WEIGHT else "bias" if name.startswith("bias") else "flow"
        if (i, rule) not in taken:  # two mistakes in one rule are another mistake
            taken.add((i, rule))
            slips[name, i] = True
    rng_data = np.random.default_rng((seed, 1))
    subject = Network(layout, widths, acts, rng_data, slips)
    x = rng_data.standard_normal(shape)
    drawn = Drawn(subject, x)
    if kind:
        drawn.loss_fn = Loss(kind, mean, of_loss)
        y = subject.forward(x)
        drawn.target = (
            rng_data.standard_normal(y.shape) if kind == "mse" else rng_data.random(y.shape).round()
        )
    whole = _gradients(drawn)
    for key in slips:
        rest = {k: v for k, v in slips.items() if k != key}
        if _differ(whole, _gradients(drawn, rest)):
            drawn.names.append("transpose" if key[0] == "transpose-dx" else key[0])
    for name in of_loss:
        if _differ(whole, _gradients(drawn, slips, [n for n in of_loss if n != name])):
            drawn.names.append(name)
    drawn.story = f"{layout} {widths} {acts} {kind} mean={mean}: {slips} {of_loss}"
    return drawn


def _gradients(drawn: Drawn, slips: Any = None, of_loss: Any = None) -> list[Any]:
    """All gradients, with other mistakes if they are given."""
    twin, loss_fn = copy.deepcopy((drawn.subject, drawn.loss_fn))
    twin.slips = twin.slips if slips is None else slips
    y = twin.forward(drawn.x)
    dy = np.random.default_rng(3).standard_normal(y.shape)
    if loss_fn is not None:
        loss_fn.slips = loss_fn.slips if of_loss is None else of_loss
        loss_fn(y, drawn.target)
        dy = loss_fn.backward(0.7)
    dx = twin.backward(dy)
    return [dx, *(getattr(twin, f"d{kind}{i}") for i in range(1, twin.depth + 1) for kind in "Wb")]


def _differ(a: list[Any], b: list[Any]) -> bool:
    return any(
        x.shape != y.shape or not np.allclose(x, y, rtol=1e-9, atol=0) for x, y in zip(a, b, strict=True)
    )


WEIGHT = (
    "no-gradient",
    "weight-not-summed",
    "transpose",
    "sign-flipped",
    "factor-2-doubled",
    "mean-for-sum",
    "divided-twice",
)
