"""Networks with one mistake each: slopes of the wrong thing, softmaxes, epsilons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mistakes import MISTAKES, D, M, N, Net, data, mistake, net, rng, sigmoid, targets, with_loss

import scratchnn as snn
from scratchnn import functional as F

__all__ = ["MISTAKES", "Plain", "log_softmax", "softmax"]


def softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x: Any) -> Any:
    z = x - x.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


class Plain:
    """A class that knows nothing of the library: y = f(x W + b), `into(dy)` is dL/d(x W + b)."""

    def __init__(self, forward: Callable[[Any], Any], into: Callable[[Any, Any, Any], Any]) -> None:
        self.W, self.b = rng(1).standard_normal((D, M)), rng(2).standard_normal(M)
        self.function, self.into = forward, into

    def forward(self, x: Any) -> Any:
        self.x, self.z = x, x @ self.W + self.b
        self.y = self.function(self.z)
        return self.y

    def backward(self, dy: Any) -> Any:
        dz = self.into(dy, self.z, self.y)
        self.dW, self.db = self.x.T @ dz, dz.sum(axis=0)
        return dz @ self.W.T


def plain(forward: Callable[[Any], Any], into: Callable[[Any, Any, Any], Any]) -> tuple[Any, ...]:
    return Plain(forward, into), (data(),), None, None


def pair(forward: Callable[[Any], Any], vjp: Callable[..., Any], shape: Any = (N, M)) -> tuple[Any, ...]:
    return (forward, vjp), (rng(9).standard_normal(shape),), None, None


# ---- slopes of the wrong thing ----------------------------------------------------------------


@mistake("derivative-at-gradient")
def sigmoid_slope_of_dy() -> Any:
    return plain(sigmoid, lambda dy, z, y: dy * dy * (1 - dy))


@mistake("derivative-at-gradient")
def tanh_slope_of_dh() -> Any:
    return net(hidden=lambda self, dh: dh * (1 - np.tanh(dh) ** 2))


@mistake("derivative-at-gradient")
def slope_of_dy_alone() -> Any:
    return pair(np.tanh, lambda dy, y: 1 - dy**2)


@mistake("derivative-of-another")
def sigmoid_slope_for_tanh() -> Any:
    return net(slope=lambda self: self.h * (1 - self.h))


@mistake("derivative-of-another")
def softmax_gradient_for_log_softmax() -> Any:
    return pair(log_softmax, lambda dy, y: F.softmax_vjp(dy, np.exp(y), -1))


@mistake("derivative-misspelt")
def tanh_without_the_square() -> Any:
    return net(slope=lambda self: 1 - self.h)


@mistake("derivative-misspelt")
def y_for_y_times_1_minus_y() -> Any:
    return plain(sigmoid, lambda dy, z, y: dy * y)


@mistake("derivative-forgotten")
def the_error_passed_down() -> Any:
    """e W^T where (e f') W^T is right; dW has the derivative."""

    def backward(self: Any, dy: Any) -> Any:
        dz2 = dy * self.output_slope()
        self.grads2(dz2)
        dz1 = self.hidden(self.pass_down(dy))
        self.w1.accumulate(self.x.T @ dz1)
        self.b1.accumulate(self.bias_sum(dz1))
        return dz1 @ self.w1.data.T

    return net(backward=backward)


# ---- softmax ----------------------------------------------------------------------------------


@mistake("softmax-dot-forgotten")
def y_times_dy() -> Any:
    return plain(softmax, lambda dy, z, y: y * dy)


@mistake("softmax-dot-forgotten")
def sum_of_dy_alone() -> Any:
    class Softmax(snn.Softmax):
        def backward(self, dy: Any) -> Any:
            dy, y = self._recall(dy)
            return y * (dy - dy.sum(axis=-1, keepdims=True))

    model = snn.Sequential(snn.Linear(D, M), Softmax(-1), snn.Linear(M, 2))
    return model, (data().astype(np.float32),), snn.MSELoss(), targets(2)


@mistake("softmax-off-diagonal")
def diagonal_of_positions() -> Any:
    return pair(softmax, lambda dy, y: dy * y * (1 - y), (2, N, M))


@mistake("softmax-wrong-axis")
def backward_sums_over_rows() -> Any:
    return plain(softmax, lambda dy, z, y: y * (dy - (dy * y).sum(axis=0, keepdims=True)))


@mistake("softmax-wrong-axis")
def forward_over_the_batch() -> Any:
    """The forward's axis is the slip; the backward, the usual one, is right for the other axis."""
    return pair(lambda x: softmax(x, axis=0), lambda dy, y: y * (dy - (dy * y).sum(axis=1, keepdims=True)))


@mistake("softmax-wrong-axis")
def forward_over_everything() -> Any:
    def everything(x: Any) -> Any:
        e = np.exp(x - x.max())
        return e / e.sum()

    return plain(everything, lambda dy, z, y: F.softmax_vjp(dy, y, -1))


@mistake("softmax-wrong-axis")
def positions_for_features() -> Any:
    return pair(softmax, lambda dy, y: y * (dy - (dy * y).sum(axis=1, keepdims=True)), (2, N, M))


@mistake("softmax-wrong-axis")
def log_softmax_over_the_batch() -> Any:
    return plain(log_softmax, lambda dy, z, y: dy - np.exp(y) * dy.sum(axis=0, keepdims=True))


@mistake("softmax-wrong-axis")
def keepdims_forgotten() -> Any:
    return pair(softmax, lambda dy, y: y * (dy - (dy * y).sum(axis=-1)), (M, M))


@mistake("softmax-wrong-axis")
def cross_entropy_of_the_other_axis() -> Any:
    """softmax over axis 0 in the forward, and the famous p - t."""

    def loss(z: Any, t: Any) -> Any:
        return -(t * np.log(softmax(z, axis=0))).sum() / len(t)

    def loss_vjp(dloss: Any, z: Any, t: Any) -> Any:
        return dloss * (softmax(z, axis=0) - t) / len(t)

    z = rng(9).standard_normal((N, M))
    return (loss, loss_vjp), (z, np.eye(M)[np.arange(N) % M]), None, None


@mistake("log-softmax-sum-forgotten")
def dy_minus_p() -> Any:
    return pair(log_softmax, lambda dy, y: dy - np.exp(y))


@mistake("log-softmax-sum-forgotten")
def dy_minus_p_dy() -> Any:
    return plain(log_softmax, lambda dy, z, y: dy - np.exp(y) * dy)


# ---- epsilons ---------------------------------------------------------------------------------


class LogLoss:
    """-mean log p of a sigmoid's probabilities, with an epsilon in one of the two passes."""

    def __init__(self, forward: float = 0.0, backward: float = 0.0) -> None:
        self.above, self.below = forward, backward

    def __call__(self, p: Any, t: Any) -> Any:
        self.p, self.t = p, t
        e = self.above
        return -(t * np.log(p + e) + (1 - t) * np.log(1 - p + e)).mean() if e else self.exactly(p, t)

    def exactly(self, p: Any, t: Any) -> Any:
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()

    def backward(self, dloss: Any = 1.0) -> Any:
        p, t, e = self.p, self.t, self.below
        return dloss * (-t / (p + e) + (1 - t) / (1 - p + e)) / p.size


@mistake("epsilon-in-one-pass")
def in_the_forward() -> Any:
    return with_loss(LogLoss(forward=1e-8))


@mistake("epsilon-in-one-pass")
def in_the_backward() -> Any:
    return with_loss(LogLoss(backward=1e-7))


@mistake("epsilon-in-one-pass")
def p_minus_t_for_a_padded_log() -> Any:
    """loss = -mean log(p + 1e-5), and p - t of the logits for its gradient."""

    def loss(z: Any, t: Any) -> Any:
        return -(t * np.log(softmax(z) + 1e-5)).sum(axis=1).mean()

    def loss_vjp(dloss: Any, z: Any, t: Any) -> Any:
        return dloss * (softmax(z) - t) / len(t)

    z = rng(9).standard_normal((N, M))
    return (loss, loss_vjp), (z, np.eye(M)[np.arange(N) % M]), None, None


@mistake("epsilon-in-one-pass")
def normalised_without_it() -> Any:
    def normalise(x: Any) -> Any:
        c = x - x.mean(axis=0)
        return c / np.sqrt((c * c).mean(axis=0) + 1e-5)

    def vjp(dy: Any, x: Any) -> Any:
        c = x - x.mean(axis=0)
        s = np.sqrt((c * c).mean(axis=0))  # 1e-5 is lost
        y = c / s
        return (dy - dy.mean(axis=0) - y * (dy * y).mean(axis=0)) / s

    return pair(normalise, vjp)


@mistake("derivative-at-output")
def right_but_for_the_output_of_a_class() -> Any:
    class Sine(Net):
        def activation(self, z: Any) -> Any:
            return np.sin(z)

        def slope(self) -> Any:
            return np.cos(self.h)

    return Sine(), (data(),), None, None
