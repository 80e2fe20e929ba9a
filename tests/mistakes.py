"""Networks with one mistake each: factors and shapes. `mistakes_of_flow` adds the rest to MISTAKES."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn import functional as F

N, D, H, M = 5, 3, 4, 4  # examples, inputs, hidden units, outputs


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


class Net(snn.Module):
    """Two layers, everything by hand: tanh between them, sigmoid at the end. This one is right."""

    def __init__(self, d: int = D, h: int = H, m: int = M) -> None:
        self.w1 = snn.Parameter(rng(1).standard_normal((d, h)))
        self.b1 = snn.Parameter(rng(2).standard_normal(h))
        self.w2 = snn.Parameter(rng(3).standard_normal((h, m)))
        self.b2 = snn.Parameter(rng(4).standard_normal(m))

    def forward(self, x: Any) -> Any:
        self.x = x
        self.z1 = x @ self.w1.data + self.b1.data
        self.h = self.activation(self.z1)
        self.z2 = self.h @ self.w2.data + self.b2.data
        self.y = sigmoid(self.z2)
        return self.y

    def activation(self, z: Any) -> Any:
        return np.tanh(z)

    def slope(self) -> Any:
        return 1 - self.h**2

    def backward(self, dy: Any) -> Any:
        dz2 = dy * self.output_slope()
        self.grads2(dz2)
        dz1 = self.hidden(self.pass_down(dz2))
        self.w1.accumulate(self.x.T @ dz1)
        self.b1.accumulate(self.bias_sum(dz1))
        return dz1 @ self.w1.data.T

    def output_slope(self) -> Any:
        return self.y * (1 - self.y)

    def grads2(self, dz2: Any) -> None:
        self.w2.accumulate(self.h.T @ dz2)
        self.b2.accumulate(self.bias_sum(dz2))

    def pass_down(self, dz2: Any) -> Any:
        return dz2 @ self.w2.data.T

    def hidden(self, dh: Any) -> Any:
        return dh * self.slope()

    def bias_sum(self, dz: Any) -> Any:
        return dz.sum(axis=0)


class Squared:
    """Mean squared error, by hand."""

    def __call__(self, p: Any, t: Any) -> Any:
        self.p, self.t = p, t
        return ((p - t) ** 2).mean()

    def backward(self, dloss: Any = 1.0) -> Any:
        return dloss * 2 * (self.p - self.t) / self.p.size


MISTAKES: dict[str, list[Callable[[], tuple[Any, ...]]]] = {}


def mistake(name: str) -> Callable[[Callable[[], tuple[Any, ...]]], Callable[[], tuple[Any, ...]]]:
    """Register a case: a function that returns (subject, inputs, loss_fn, target)."""

    def keep(make: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
        MISTAKES.setdefault(name, []).append(make)
        return make

    return keep


def data(d: int = D) -> Any:
    return rng(7).standard_normal((N, d))


def targets(m: int = M) -> Any:
    return rng(8).random((N, m))


def with_loss(loss_fn: Any) -> tuple[Any, ...]:
    """The right network under a loss of one's own."""
    return Net(), (data(),), loss_fn, targets()


def net(**methods: Any) -> tuple[Any, ...]:
    """The network with some methods replaced, without a loss."""
    return type("Net", (Net,), methods)(), (data(),), None, None


# ---- factors ----------------------------------------------------------------------------------


@mistake("sum-for-mean")
def elements_not_divided() -> Any:
    class Loss(Squared):
        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * 2 * (self.p - self.t)

    return with_loss(Loss())


@mistake("sum-for-mean")
def batch_not_divided() -> Any:
    class Loss(Squared):
        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * 2 * (self.p - self.t) / self.p.shape[1]

    return with_loss(Loss())


@mistake("sum-for-mean")
def a_library_loss_overridden() -> Any:
    class Loss(snn.CrossEntropyLoss):
        def backward(self, dloss: Any = 1) -> Any:
            return super().backward(dloss) * N

    return snn.Sequential(snn.Linear(D, M, dtype=np.float64)), (data(),), Loss(), np.arange(N) % M


@mistake("mean-for-sum")
def divided_although_summed() -> Any:
    class Loss(Squared):
        def __call__(self, p: Any, t: Any) -> Any:
            self.p, self.t = p, t
            return ((p - t) ** 2).sum()

    return with_loss(Loss())


@mistake("divided-twice")
def divided_by_the_batch_again() -> Any:
    class Divided(Net):
        def grads2(self, dz2: Any) -> None:
            self.w2.accumulate(self.h.T @ dz2 / N)
            self.b2.accumulate(dz2.mean(axis=0))

    return Divided(), (data(),), Squared(), targets()


@mistake("divided-twice")
def loss_divided_twice() -> Any:
    class Loss(Squared):
        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * 2 * (self.p - self.t) / self.p.size / N

    return with_loss(Loss())


@mistake("sign-flipped")
def target_minus_prediction() -> Any:
    class Loss(Squared):
        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * 2 * (self.t - self.p) / self.p.size

    return with_loss(Loss())


@mistake("sign-flipped")
def one_layer_flipped() -> Any:
    return net(hidden=lambda self, dh: -dh * self.slope())


@mistake("factor-2-dropped")
def square_without_its_2() -> Any:
    class Loss(Squared):
        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * (self.p - self.t) / self.p.size

    return with_loss(Loss())


@mistake("factor-2-doubled")
def two_twos() -> Any:
    class Loss(Squared):
        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * 4 * (self.p - self.t) / self.p.size

    return with_loss(Loss())


@mistake("constant-factor")
def times_0_37() -> Any:
    return net(hidden=lambda self, dh: 0.37 * dh * self.slope())


@mistake("no-gradient")
def bias_forgotten() -> Any:
    return net(grads2=lambda self, dz2: self.w2.accumulate(self.h.T @ dz2))


# ---- shapes -----------------------------------------------------------------------------------


@mistake("bias-wrong-axis")
def wrong_axis() -> Any:
    return net(bias_sum=lambda self, dz: dz.sum(axis=1))


@mistake("bias-wrong-axis")
def wrong_axis_where_shapes_agree() -> Any:
    model = type("Net", (Net,), {"bias_sum": lambda self, dz: dz.sum(axis=1)})()
    return model, (rng(7).standard_normal((H, D)),), None, None


@mistake("bias-wrong-axis")
def wrong_axis_kept() -> Any:
    return net(bias_sum=lambda self, dz: dz.sum(axis=1, keepdims=True))


@mistake("bias-over-everything")
def one_sum() -> Any:
    return net(bias_sum=lambda self, dz: dz.sum() * np.ones(dz.shape[1]))


@mistake("bias-over-everything")
def one_number() -> Any:
    return net(bias_sum=lambda self, dz: dz.sum())


@mistake("bias-over-everything")
def in_a_library_layer() -> Any:
    class Linear(snn.Linear):
        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            self.bias.grad = np.full(self.bias.shape, dy.sum())
            return dx

    model = snn.Sequential(snn.Linear(D, H), snn.ReLU(), Linear(H, M))
    return model, (data().astype(np.float32),), snn.MSELoss(), targets().astype(np.float32)


@mistake("bias-not-summed")
def the_whole_of_dz() -> Any:
    return net(bias_sum=lambda self, dz: dz)


@mistake("bias-not-summed")
def the_first_row() -> Any:
    return net(bias_sum=lambda self, dz: dz[0])


@mistake("transpose")
def dweight_transposed() -> Any:
    def grads2(self: Any, dz2: Any) -> None:
        self.w2.accumulate(dz2.T @ self.h)
        self.b2.accumulate(dz2.sum(axis=0))

    return net(grads2=grads2)


@mistake("transpose")
def dweight_transposed_and_not_square() -> Any:
    def vjp(dy: Any, x: Any, weight: Any, bias: Any) -> Any:
        return dy @ weight, x.T @ dy, dy.sum(axis=0)

    return (F.linear, vjp), (data(), rng().standard_normal((M, D)), rng().standard_normal(M)), None, None


@mistake("transpose")
def dx_that_does_not_fit() -> Any:
    model = type("Net", (Net,), {"pass_down": lambda self, dz2: dz2 @ self.w2.data})(h=6)
    return model, (data(),), None, None


@mistake("transpose")
def dx_without_transpose() -> Any:
    return net(pass_down=lambda self, dz2: dz2 @ self.w2.data)


@mistake("wrong-shape")
def bias_with_an_axis_too_many() -> Any:
    return net(bias_sum=lambda self, dz: dz.sum(axis=0, keepdims=True))
