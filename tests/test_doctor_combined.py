"""Several mistakes in one network are all named; what the names do not explain is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mistakes import D, M, N, Net, Squared, data, rng, sigmoid, targets
from mistakes_of_layout import Columns, Positions
from mistakes_of_rules import Plain, log_softmax, softmax

import scratchnn as snn
from scratchnn.doctor import diagnose


class Deep:
    """Three layers of a user's own: tanh, tanh, sigmoid; every step is a method to be replaced."""

    def __init__(self) -> None:
        r = rng(1)
        self.W1, self.b1 = r.standard_normal((D, 5)), r.standard_normal(5)
        self.W2, self.b2 = r.standard_normal((5, 6)), r.standard_normal(6)
        self.W3, self.b3 = r.standard_normal((6, M)), r.standard_normal(M)

    def forward(self, x: Any) -> Any:
        self.x = x
        self.h1 = np.tanh(x @ self.W1 + self.b1)
        self.h2 = np.tanh(self.h1 @ self.W2 + self.b2)
        self.y = sigmoid(self.h2 @ self.W3 + self.b3)
        return self.y

    def backward(self, dy: Any) -> Any:
        dz3 = self.slope3(dy)
        self.dW3, self.db3 = self.h2.T @ dz3, self.sum3(dz3)
        dz2 = self.slope2(dz3 @ self.W3.T)
        self.dW2, self.db2 = self.h1.T @ dz2, self.sum2(dz2)
        dz1 = self.slope1(dz2 @ self.W2.T)
        self.dW1, self.db1 = self.weight1(dz1), self.sum1(dz1)
        return dz1 @ self.W1.T

    def slope3(self, dy: Any) -> Any:
        return dy * self.y * (1 - self.y)

    def slope2(self, dh: Any) -> Any:
        return dh * (1 - self.h2**2)

    def slope1(self, dh: Any) -> Any:
        return dh * (1 - self.h1**2)

    def weight1(self, dz: Any) -> Any:
        return self.x.T @ dz

    def sum3(self, dz: Any) -> Any:
        return dz.sum(axis=0)

    sum2 = sum1 = sum3


def deep(**methods: Any) -> tuple[Any, ...]:
    return type("Deep", (Deep,), methods)(), (data(),), None, None


def made(kind: Any, x: Any, **methods: Any) -> tuple[Any, ...]:
    return type(kind.__name__, (kind,), methods)(), (x,), None, None


class Lost(Squared):
    """Neither the 2 nor the division."""

    def backward(self, dloss: Any = 1.0) -> Any:
        return dloss * (self.p - self.t)


class Logits(Squared):
    """Binary cross-entropy of probabilities, with the gradient of the logits."""

    def __call__(self, p: Any, t: Any) -> Any:
        self.p, self.t = p, t
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()

    def backward(self, dloss: Any = 1.0) -> Any:
        return dloss * (self.p - self.t) / self.p.size


COMBINED: dict[str, tuple[list[str], Any]] = {
    "a bias over everything, a weight divided": (
        ["bias-over-everything", "mean-for-sum"],
        lambda: deep(sum3=lambda self, dz: np.full(M, dz.sum()), weight1=lambda self, dz: self.x.T @ dz / N),
    ),
    "a slope above, a slope below": (
        ["derivative-at-output", "derivative-forgotten"],
        lambda: deep(slope2=lambda self, dh: dh * (1 - np.tanh(self.h2) ** 2), slope1=lambda self, dh: dh),
    ),
    "a slope above, a bias below": (
        ["derivative-at-gradient", "bias-wrong-axis"],
        lambda: deep(slope3=lambda self, dy: dy * dy * (1 - dy), sum1=lambda self, dz: dz.sum(axis=1)),
    ),
    "a slope above, a sign below": (
        ["derivative-twice", "sign-flipped"],
        lambda: deep(
            slope3=lambda self, dy: dy * (self.y * (1 - self.y)) ** 2,
            weight1=lambda self, dz: -(self.x.T @ dz),
        ),
    ),
    "three": (
        ["derivative-twice", "bias-not-summed", "no-gradient"],
        lambda: deep(
            slope3=lambda self, dy: dy * (self.y * (1 - self.y)) ** 2,
            sum2=lambda self, dz: dz[0],
            weight1=lambda self, dz: np.zeros((D, 5)),
        ),
    ),
    "a loss without its 2 and its division": (
        ["sum-for-mean", "factor-2-dropped"],
        lambda: (Net(), (data(),), Lost(), targets()),
    ),
    "a loss without them, and a slope": (
        ["sum-for-mean", "factor-2-dropped", "derivative-at-input"],
        lambda: (made(Net, 0, slope=lambda self: 1 - self.z1**2)[0], (data(),), Lost(), targets()),
    ),
    "a sign and a division in the loss": (
        ["sum-for-mean", "sign-flipped"],
        lambda: (
            Net(),
            (data(),),
            type("Loss", (Squared,), {"backward": lambda self, dloss=1.0: dloss * 2 * (self.t - self.p)})(),
            targets(),
        ),
    ),
    "columns: a bias and a weight": (
        ["bias-wrong-axis", "weight-not-summed"],
        lambda: made(
            Columns,
            data().T,
            bias=lambda self, dZ: dZ.sum(axis=0, keepdims=True),
            weight=lambda self, dZ, A: np.outer(dZ[:, 0], A[:, 0]),
        ),
    ),
    "positions: a bias and a weight": (
        ["bias-not-summed", "sign-flipped"],
        lambda: made(
            Positions,
            rng(7).standard_normal((2, 5, D)),
            bias=lambda self, dy: dy[0].sum(axis=0),
            weight=lambda self, x, dy: -np.einsum("btd,btm->dm", x, dy),
        ),
    ),
    "a softmax without its sum, a mean in a bias": (
        ["softmax-dot-forgotten", "mean-for-sum"],
        lambda: made_plain(softmax, lambda dy, z, y: y * dy),
    ),
    "a log-softmax without its sum, a mean in a bias": (
        ["log-softmax-sum-forgotten", "mean-for-sum"],
        lambda: made_plain(log_softmax, lambda dy, z, y: dy - np.exp(y)),
    ),
    "inseparable: two functions in a row": (
        ["derivative-forgotten", "derivative-at-output"],
        lambda: (
            (lambda x: np.sin(np.tanh(x)), lambda dy, x: dy * np.cos(np.sin(np.tanh(x)))),
            (data(),),
            None,
            None,
        ),
    ),
    "a factor above a slope that is not linear in dy": (
        ["derivative-at-gradient", "factor-2-dropped"],
        lambda: (
            deep(slope3=lambda self, dy: dy * dy * (1 - dy))[0],
            (data(),),
            type(
                "Loss",
                (Squared,),
                {"backward": lambda self, dloss=1.0: dloss * (self.p - self.t) / self.p.size},
            )(),
            targets(),
        ),
    ),
    "p - t for dL/dp, and the wrong slope": (
        ["softmax-twice", "derivative-of-another"],
        lambda: (
            deep(slope3=lambda self, dy: dy * (1 - self.y**2))[0],
            (data(),),
            Logits(),
            targets().round(),
        ),
    ),
    "a factor without a meaning everywhere, a sign in one": (
        ["constant-factor", "sign-flipped"],
        lambda: deep(
            slope3=lambda self, dy: 0.37 * dy * self.y * (1 - self.y),
            weight1=lambda self, dz: -(self.x.T @ dz),
        ),
    ),
    "weight decay and a bias": (
        ["weight-term", "no-gradient"],
        lambda: deep(
            weight1=lambda self, dz: self.x.T @ dz + 0.1 * self.W1, sum2=lambda self, dz: 0 * self.b2
        ),
    ),
    "two weights by factors of their own": (
        ["factor-2-doubled", "sign-flipped", "constant-factor"],
        lambda: made(Scaled, data()),
    ),
}


def made_plain(forward: Any, into: Any) -> tuple[Any, ...]:
    class Mean(Plain):
        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            self.db = self.db / N
            return dx

    return Mean(forward, into), (data(),), None, None


class Scaled(Deep):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        self.dW1, self.dW2, self.dW3 = -self.dW1, 2 * self.dW2, 0.37 * self.dW3
        return dx


@pytest.mark.parametrize("what", COMBINED)
def test_every_mistake_is_named(what: str) -> None:
    names, make = COMBINED[what]
    subject, inputs, loss_fn, target = make()
    diagnosis = diagnose(subject, *inputs, loss_fn=loss_fn, target=target)
    assert sorted(diagnosis.mistakes) == sorted(names), str(diagnosis)
    assert not diagnosis.unexplained
    for name in names:
        assert name in str(diagnosis)


def test_what_is_not_in_the_catalogue_next_to_what_is() -> None:
    noise = rng(5).standard_normal((D, 5))
    subject, inputs, _, _ = deep(
        slope3=lambda self, dy: dy, weight1=lambda self, dz: self.x.T @ dz + 0.01 * noise
    )
    diagnosis = diagnose(subject, *inputs)
    assert diagnosis.mistakes == ["derivative-forgotten"]
    assert diagnosis.unexplained == ["W1"]
    text = str(diagnosis)
    assert "derivative-forgotten and something that is not in the catalogue" in text
    assert "Not explained: W1." in text
    assert "15 of 15 entries differ" in text


def test_a_layer_that_writes_into_its_input_next_to_a_sign() -> None:
    class Halving(snn.Module):
        def forward(self, x: Any) -> Any:
            return x / 2

        def backward(self, dy: Any) -> Any:
            dy /= 2
            return dy

    class Branches(snn.Module):
        def __init__(self) -> None:
            self.left, self.right = Halving(), snn.Linear(D, D)

        def forward(self, x: Any) -> Any:
            return self.left(x) + self.right(x)

        def backward(self, dy: Any) -> Any:
            dx = self.left.backward(dy) + self.right.backward(dy)
            self.right.bias.grad = -self.right.bias.grad
            return dx

    diagnosis = diagnose(Branches(), data().astype(np.float32))
    assert diagnosis.mistakes == ["modified-in-place", "sign-flipped"], str(diagnosis)
