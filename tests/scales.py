"""Does gradcheck judge rightly whatever the scale? `python tests/scales.py 2000` counts.

Networks written by hand, as users write them, with weights, biases, inputs or one feature of any size;
their right backward, and backwards with one mistake. `python tests/scales.py 2000 4` keeps sizes within
1e-4 and 1e4, and `python tests/scales.py 2000 4 absolute` ends the networks in a loss that is not analytic.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

import scratchnn as snn


class Net:
    """x W1 + b1, an activation, W2 and b2, and an end: scores, squared error, or a loss of classes."""

    def __init__(self, hidden: str, end: str, target: Any, arrays: dict[str, Any]) -> None:
        vars(self).update(arrays)
        self.hidden, self.end, self.target, self.spoil = hidden, end, target, None

    def forward(self, x: Any) -> Any:
        self.x = x
        self.z = x @ self.W1 + self.b1
        self.h = getattr(self, f"_{self.hidden}")(self.z)
        self.y = self.h @ self.W2 + self.b2
        return getattr(self, f"_{self.end}")(self.y)

    def backward(self, dout: Any) -> Any:
        dy = dout * self.dend(dout)
        self.dW2, self.db2 = self.h.T @ dy, dy.sum(axis=0)
        dz = getattr(self, f"_d{self.hidden}")(dy @ self.W2.T)
        self.dW1, self.db1 = self.x.T @ dz, dz.sum(axis=0)
        dx = dz @ self.W1.T
        if self.spoil is not None:
            name, mistake = self.spoil
            if name == "x":
                return mistake(dx)
            setattr(self, f"d{name}", mistake(getattr(self, f"d{name}")))
        return dx

    # ---- between ------------------------------------------------------------------------------

    def _tanh(self, z: Any) -> Any:
        return np.tanh(z)

    def _dtanh(self, dh: Any) -> Any:
        return dh * (1 - self.h**2)

    def _sigmoid(self, z: Any) -> Any:
        e = np.exp(np.where(z.real > 0, -z, z))
        return np.where(z.real > 0, 1 / (1 + e), e / (1 + e))

    def _dsigmoid(self, dh: Any) -> Any:
        return dh * self.h * (1 - self.h)

    def _relu(self, z: Any) -> Any:
        return np.maximum(0, z)

    def _drelu(self, dh: Any) -> Any:
        return dh * (self.z > 0)

    def _norm(self, z: Any) -> Any:
        """LayerNorm."""
        d = z - z.mean(axis=1, keepdims=True)
        self.inverse = 1 / np.sqrt((d * d).mean(axis=1, keepdims=True) + 1e-5)
        return d * self.inverse

    def _dnorm(self, dh: Any) -> Any:
        d = dh - dh.mean(axis=1, keepdims=True)
        return self.inverse * (d - self.h * (dh * self.h).mean(axis=1, keepdims=True))

    # ---- at the end ---------------------------------------------------------------------------

    def dend(self, dout: Any) -> Any:
        return getattr(self, f"_d{self.end}")()

    def _scores(self, y: Any) -> Any:
        return y

    def _dscores(self) -> Any:
        return 1

    def _squares(self, y: Any) -> Any:
        return ((y - self.target) ** 2).mean()

    def _dsquares(self) -> Any:
        return 2 * (self.y - self.target) / self.y.size

    def _bce(self, y: Any) -> Any:
        """Binary cross-entropy of logits, on complex arrays too."""
        low = np.where(y.real > 0, -y, y)
        return (np.maximum(y, 0) - y * self.target + np.log1p(np.exp(low))).mean()

    def _dbce(self) -> Any:
        return (self._sigmoid(self.y) - self.target) / self.y.size

    def _classes(self, y: Any) -> Any:
        """Cross-entropy of softmax."""
        e = np.exp(y - y.real.max(axis=1, keepdims=True))
        self.p = e / e.sum(axis=1, keepdims=True)
        shifted = y - y.real.max(axis=1, keepdims=True)
        return -((shifted - np.log(e.sum(axis=1, keepdims=True))) * self.target).sum() / len(y)

    def _dclasses(self) -> Any:
        return (self.p - self.target) / len(self.y)

    def _absolute(self, y: Any) -> Any:
        """Not analytic: differences have to do."""
        return np.abs(y - self.target).mean()

    def _dabsolute(self) -> Any:
        return np.sign(self.y - self.target) / self.y.size


FAINT = 1e-45  # of the largest gradient
HIDDEN, ENDS = ("tanh", "sigmoid", "relu", "norm"), ("scores", "squares", "bce", "classes")
TENSORS = ("x", "W1", "b1", "W2", "b2")


def sign(g: Any) -> Any:
    return -g


def zero(g: Any) -> Any:
    return np.zeros(g.shape)


def doubled(g: Any) -> Any:
    return 2 * g


def by_5_percent(g: Any) -> Any:
    return 1.05 * g


def one_entry(g: Any) -> Any:
    g = g.copy()
    g.reshape(-1)[0] *= -1
    return g


def one_row(g: Any) -> Any:
    g = g.copy()
    g[0] = 0
    return g


def transposed(g: Any) -> Any:
    return g.T


MISTAKES = (sign, zero, doubled, by_5_percent, one_entry, one_row, transposed)


@dataclass
class Case:
    """A network, an input, and what was drawn."""

    net: Net
    x: Any
    words: str


def draw(rng: np.random.Generator, decades: float, ends: tuple[str, ...] = ENDS) -> Case:
    """A network; one feature and each array have, in 4 of 10, a size within 10**-decades and 10**decades."""
    d = int(rng.integers(2, 6))
    h, m = (d, d) if rng.random() < 0.5 else (int(rng.integers(2, 9)), int(rng.integers(2, 5)))
    n = int(rng.integers(1, 8))
    shapes = {"x": (n, d), "W1": (d, h), "b1": (h,), "W2": (h, m), "b2": (m,)}
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    end = ends[int(rng.integers(len(ends)))]
    target = rng.standard_normal((n, m))
    if end == "bce":
        target = (target > 0) * 1.0
    elif end == "classes":
        target = np.eye(m)[rng.integers(0, m, n)]
    sizes: dict[str, float] = {}
    for name in ("feature", *TENSORS):
        if rng.random() < 0.4:
            sizes[name] = float(10 ** rng.uniform(-decades, decades))
            if name == "feature":
                arrays["x"][:, 0] *= sizes[name]
            else:
                arrays[name] = arrays[name] * sizes[name]
    x = arrays.pop("x")
    hidden = HIDDEN[int(rng.integers(len(HIDDEN)))]
    drawn = ", ".join(f"{name} {size:.0e}" for name, size in sizes.items())
    return Case(Net(hidden, end, target, arrays), x, f"{hidden}, {end}, n={n} d={d} h={h} m={m}, {drawn}")


def gradients(case: Case, kind: Any, cotangent: Any) -> dict[str, Any]:
    """The right ones, worked out in another precision."""
    arrays = {n: getattr(case.net, n).astype(kind) for n in TENSORS[1:]}
    net = Net(case.net.hidden, case.net.end, case.net.target, arrays)
    with np.errstate(all="ignore"):
        net.forward(case.x.astype(kind))
        dx = net.backward(cotangent)
    return {"x": dx, **{n: getattr(net, f"d{n}") for n in TENSORS[1:]}}


def is_wrong(case: Case, name: str, cotangent: Any, mistake: Any) -> str:
    """wrong: where an entry of which float64 has the digits is off by 5 % or more; nothing where none is.

    vanishing: where all such entries are so small beside the largest gradient of the network (1e-45)
    that a term of theirs may have lost all its digits, and they are right by luck: 1 - h where h is 1.
    """
    everything = gradients(case, np.longdouble, cotangent)
    right, exact = gradients(case, np.float64, cotangent)[name], everything[name]
    largest = max(float(np.abs(g[np.isfinite(g)]).max(initial=0)) for g in everything.values())
    spoilt = mistake(right)
    if spoilt.shape != right.shape:
        return ""
    far = np.abs(spoilt - right) >= 0.045 * np.maximum(np.abs(spoilt), np.abs(right))
    known = np.abs(right - exact) <= 0.005 * np.abs(exact)
    places = [tuple(place) for place in np.argwhere(far & known & (spoilt != right))]
    if case.net.end != "absolute":
        places = [
            p for p in places if abs(derivative(case, name, p, cotangent) - exact[p]) <= 0.005 * abs(exact[p])
        ]
    if not places:
        return ""
    return "wrong" if any(abs(exact[p]) > FAINT * largest for p in places) else "vanishing"


def derivative(case: Case, name: str, place: Any, cotangent: Any) -> Any:
    """By complex step in extended precision."""
    arrays = {n: getattr(case.net, n).astype(np.clongdouble) for n in TENSORS[1:]}
    arrays["x"] = case.x.astype(np.clongdouble)
    arrays[name][place] += np.clongdouble(1e-30j)
    net = Net(case.net.hidden, case.net.end, case.net.target, arrays)
    with np.errstate(all="ignore"):
        return (np.asarray(net.forward(arrays["x"])).imag * cotangent).sum() / np.longdouble(1e-30)


def judged(case: Case) -> Any:
    report = snn.gradcheck(case.net, case.x, constants=["target"])
    return report, {"PASS": "right", "FAIL": "FAIL"}.get(report.verdict, "undecided")


def count(
    number: int, decades: float, seed: int = 0, ends: tuple[str, ...] = ENDS
) -> tuple[Counter[str], list[str]]:
    """({"right: FAIL": how often, ...}, the faults in words)."""
    found: Counter[str] = Counter()
    faults = []
    for k in range(seed, seed + number):
        rng = np.random.default_rng(k)
        case = draw(rng, decades, ends)
        report, verdict = judged(case)
        found[f"right: {verdict}"] += 1
        if verdict != "right":
            faults.append(f"seed {k}: right called {verdict}: {case.words}\n{report}")
        name = TENSORS[int(rng.integers(len(TENSORS)))]
        mistake = MISTAKES[int(rng.integers(len(MISTAKES)))]
        with np.errstate(all="ignore"):
            y = case.net.forward(case.x)
        cotangent = rng.standard_normal(np.shape(y))
        kind = is_wrong(case, name, cotangent, mistake)
        if not kind:
            continue
        case.net.spoil = (name, mistake)
        report, verdict = judged(case)
        found[f"{kind}: {verdict}"] += 1
        if verdict != "FAIL" and kind == "wrong":
            faults.append(f"seed {k}: {name} {mistake.__name__} called {verdict}: {case.words}\n{report}")
    return found, faults


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    decades = float(sys.argv[2]) if len(sys.argv) > 2 else 8
    ends = tuple(sys.argv[3].split(",")) if len(sys.argv) > 3 else ENDS
    counts, faults = count(number, decades, ends=ends)
    print("\n\n".join(faults))
    words = ", ".join(f"{k} {v}" for k, v in sorted(counts.items()))
    print(f"sizes from 1e-{decades:g} to 1e{decades:g}: {words}")
