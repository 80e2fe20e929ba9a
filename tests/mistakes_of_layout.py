"""Networks with one mistake each, in the layouts of courses: samples in columns, positions, products."""

from __future__ import annotations

from typing import Any

import numpy as np
from mistakes import MISTAKES, D, H, M, N, data, mistake, net, rng, sigmoid

__all__ = ["MISTAKES", "Columns", "Positions", "columns", "positions"]


class Columns:
    """The layout of courses: A = tanh(W X + b) with samples in columns, b of shape (n, 1)."""

    def __init__(self, h: int = H, m: int = M) -> None:
        self.W1, self.b1 = rng(1).standard_normal((h, D)), rng(2).standard_normal((h, 1))
        self.W2, self.b2 = rng(3).standard_normal((m, h)), rng(4).standard_normal((m, 1))

    def forward(self, X: Any) -> Any:
        self.X = X
        self.A1 = np.tanh(self.W1 @ X + self.b1)
        self.A2 = sigmoid(self.W2 @ self.A1 + self.b2)
        return self.A2

    def backward(self, dA: Any) -> Any:
        dZ2 = dA * self.A2 * (1 - self.A2)
        self.dW2, self.db2 = self.weight(dZ2, self.A1), self.bias(dZ2)
        dZ1 = (self.W2.T @ dZ2) * self.slope()
        self.dW1, self.db1 = self.weight(dZ1, self.X), self.bias(dZ1)
        return self.W1.T @ dZ1

    def slope(self) -> Any:
        return 1 - self.A1**2

    def weight(self, dZ: Any, A: Any) -> Any:
        return dZ @ A.T

    def bias(self, dZ: Any) -> Any:
        return dZ.sum(axis=1, keepdims=True)


class Positions:
    """A layer over (B, T, D): y = tanh(x W + b) at every position, then another."""

    def __init__(self) -> None:
        self.W1, self.b1 = rng(1).standard_normal((D, H)), rng(2).standard_normal(H)
        self.W2, self.b2 = rng(3).standard_normal((H, M)), rng(4).standard_normal(M)

    def forward(self, x: Any) -> Any:
        self.x = x
        self.h = np.tanh(x @ self.W1 + self.b1)
        return self.h @ self.W2 + self.b2

    def backward(self, dy: Any) -> Any:
        self.dW2, self.db2 = self.weight(self.h, dy), self.bias(dy)
        dz = dy @ self.W2.T * (1 - self.h**2)
        self.dW1, self.db1 = self.weight(self.x, dz), self.bias(dz)
        return dz @ self.W1.T

    def weight(self, x: Any, dy: Any) -> Any:
        return np.einsum("btd,btm->dm", x, dy)

    def bias(self, dy: Any) -> Any:
        return dy.sum(axis=(0, 1))


B, T = 2, 5


def columns(**methods: Any) -> tuple[Any, ...]:
    return type("Columns", (Columns,), methods)(), (data().T,), None, None


def positions(**methods: Any) -> tuple[Any, ...]:
    return type("Positions", (Positions,), methods)(), (rng(7).standard_normal((B, T, D)),), None, None


# ---- sums over samples ------------------------------------------------------------------------


@mistake("bias-over-everything")
def one_sum_of_columns() -> Any:
    return columns(bias=lambda self, dZ: np.full((len(dZ), 1), dZ.sum()))


@mistake("bias-over-everything")
def one_sum_of_positions() -> Any:
    return positions(bias=lambda self, dy: np.full(dy.shape[-1], dy.sum()))


@mistake("bias-wrong-axis")
def axis_0_of_columns() -> Any:
    return columns(bias=lambda self, dZ: dZ.sum(axis=0, keepdims=True))


@mistake("bias-wrong-axis")
def axis_0_of_square_columns() -> Any:
    model = type("Columns", (Columns,), {"bias": lambda self, dZ: dZ.sum(axis=0).reshape(-1, 1)})(N, N)
    return model, (data().T,), None, None


@mistake("bias-wrong-axis")
def axis_0_of_positions() -> Any:
    return positions(bias=lambda self, dy: dy.sum(axis=0))


@mistake("bias-wrong-axis")
def features_of_positions() -> Any:
    return positions(bias=lambda self, dy: dy.sum(axis=-1))


@mistake("bias-not-summed")
def the_whole_of_columns() -> Any:
    return columns(bias=lambda self, dZ: dZ)


@mistake("bias-not-summed")
def the_last_column() -> Any:
    return columns(bias=lambda self, dZ: dZ[:, -1:])


@mistake("weight-not-summed")
def overwritten_in_a_loop() -> Any:
    def grads2(self: Any, dz2: Any) -> None:
        for row, dz in zip(self.h, dz2, strict=True):
            dw = np.outer(row, dz)  # += is right
        self.w2.accumulate(dw)
        self.b2.accumulate(dz2.sum(axis=0))

    return net(grads2=grads2)


@mistake("weight-not-summed")
def one_matrix_for_each_sample() -> Any:
    return positions(weight=lambda self, x, dy: np.swapaxes(x, 1, 2) @ dy)


@mistake("weight-not-summed")
def the_first_sample_of_columns() -> Any:
    return columns(weight=lambda self, dZ, A: np.outer(dZ[:, 0], A[:, 0]))


@mistake("wrong-shape")
def keepdims_forgotten_in_columns() -> Any:
    return columns(bias=lambda self, dZ: dZ.sum(axis=1))


# ---- factors ----------------------------------------------------------------------------------


@mistake("mean-for-sum")
def a_mean_over_columns() -> Any:
    return columns(
        weight=lambda self, dZ, A: dZ @ A.T / N, bias=lambda self, dZ: dZ.mean(axis=1, keepdims=True)
    )


@mistake("factor-2-doubled")
def a_2_too_many_in_a_cost() -> Any:
    def cost(W: Any, X: Any, y: Any) -> Any:
        return 0.5 * ((X @ W - y) ** 2).mean()

    def cost_vjp(dl: Any, W: Any, X: Any, y: Any) -> Any:
        return dl * 2 * X.T @ (X @ W - y) / y.size  # the half is there to cancel this 2

    return (
        (cost, cost_vjp),
        (rng(1).standard_normal((D, 1)), data(), rng(2).standard_normal((N, 1))),
        None,
        None,
    )


@mistake("factor-2-dropped")
def an_l2_distance_without_it() -> Any:
    pair = (
        lambda a, b: ((a - b) ** 2).sum(axis=1),
        lambda dy, a, b: (dy[:, None] * (a - b), dy[:, None] * (b - a)),
    )
    return pair, (data(), rng(2).standard_normal((N, D))), None, None


@mistake("no-gradient")
def a_layer_left_out() -> Any:
    return positions(weight=lambda self, x, dy: np.zeros((x.shape[-1], dy.shape[-1])))


@mistake("derivative-twice")
def a_sine_twice() -> Any:
    return (np.sin, lambda dy, x: dy * np.cos(x) * np.cos(x)), (data(),), None, None


# ---- products ---------------------------------------------------------------------------------


def gate(x: Any, w: Any) -> Any:
    return x * w


@mistake("product-swapped")
def dy_times_the_same_factor() -> Any:
    pair = (gate, lambda dy, x, w: (dy * x, dy * w))
    return pair, (data(), rng(1).standard_normal((N, D))), None, None


@mistake("product-swapped")
def a_scale_swapped() -> Any:
    class Scale:
        def __init__(self) -> None:
            self.gamma = rng(1).standard_normal(D)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x * self.gamma

        def backward(self, dy: Any) -> Any:
            self.dgamma = (dy * self.x).sum(axis=0)
            return dy * self.x  # right: dy * gamma

    return Scale(), (data(),), None, None


@mistake("product-order")
def weight_first() -> Any:
    """dh = dz W^T; for a square W and as many samples, W^T dz fits as well."""
    model = type("Net", (type(net()[0]),), {"pass_down": lambda self, dz2: self.w2.data.T @ dz2})()
    return model, (rng(7).standard_normal((H, D)),), None, None


@mistake("product-order")
def dy_first_in_columns() -> Any:
    def backward(self: Any, dA: Any) -> Any:
        dX = Columns.backward(self, dA)
        dZ2 = dA * self.A2 * (1 - self.A2)
        self.dW2 = self.A1.T @ dZ2
        return dX

    return type("Columns", (Columns,), {"backward": backward})(N, N), (data().T,), None, None


@mistake("transpose")
def dy_turned() -> Any:
    pair = (lambda x, w: x @ w, lambda dy, x, w: (dy @ w.T, dy.T @ x))
    return pair, (data(), rng(1).standard_normal((D, M))), None, None


@mistake("transpose")
def x_not_turned() -> Any:
    """x dy for a square batch, where x^T dy is right."""
    pair = (lambda x, w: x @ w, lambda dy, x, w: (dy @ w.T, x @ dy))
    return pair, (rng(7).standard_normal((M, M)), rng(1).standard_normal((M, M))), None, None


@mistake("weight-term")
def weight_decay_in_the_gradient() -> Any:
    return columns(weight=lambda self, dZ, A: dZ @ A.T + 0.01 * (self.W1 if A is self.X else 0))


@mistake("weight-term")
def a_penalty_without_its_2() -> Any:
    def cost(W: Any, X: Any, y: Any) -> Any:
        return ((X @ W - y) ** 2).mean() + 0.1 * (W * W).sum()

    def cost_vjp(dl: Any, W: Any, X: Any, y: Any) -> Any:
        return dl * (2 * X.T @ (X @ W - y) / y.size + 0.1 * W)

    return (
        (cost, cost_vjp),
        (rng(1).standard_normal((D, 1)), data(), rng(2).standard_normal((N, 1))),
        None,
        None,
    )


@mistake("constant-factor")
def attention_without_its_scale() -> Any:
    def scores(q: Any, k: Any) -> Any:
        return np.tanh(q @ k.T / np.sqrt(q.shape[1]))

    def scores_vjp(dy: Any, q: Any, k: Any, y: Any) -> Any:
        ds = dy * (1 - y * y)
        return ds @ k, ds.T @ q

    return (scores, scores_vjp), (rng(1).standard_normal((4, D)), rng(2).standard_normal((N, D))), None, None


# ---- (N,) against (N, 1), and other counts -----------------------------------------------------


@mistake("broadcast")
def the_forward_makes_a_table() -> Any:
    """p is (N, 1) and t is (N,): p - t is (N, N), its mean a number, and nothing complains."""
    pair = (
        lambda p, t: ((p - t) ** 2).mean(),
        lambda dloss, p, t: dloss * 2 * (p - t.reshape(-1, 1)) / len(p),
    )
    return pair, (rng(5).standard_normal((N, 1)), rng(6).standard_normal(N)), None, None


@mistake("broadcast")
def logistic_regression_with_flat_targets() -> Any:
    """The cost stands targets up as a column, its gradient forgets to: p - y is (N, N)."""

    def cost(w: Any, X: Any, y: Any) -> Any:
        p, t = sigmoid(X @ w), y.reshape(-1, 1)
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()

    def cost_vjp(dl: Any, w: Any, X: Any, y: Any) -> Any:
        return dl * (X.T @ (sigmoid(X @ w) - y)).sum(axis=1, keepdims=True) / len(y)

    return (cost, cost_vjp), (rng(1).standard_normal((D, 1)), data(), rng(6).random(N).round()), None, None


class Regression:
    """Least squares in a class: targets are (N,), predictions (N, 1), which the gradient forgets."""

    def __init__(self) -> None:
        self.w, self.b = rng(1).standard_normal((D, 1)), np.zeros((1, 1))

    def loss(self, X: Any, y: Any) -> Any:
        self.p = X @ self.w + self.b
        return ((self.p - y.reshape(-1, 1)) ** 2).mean()

    def gradient(self, X: Any, y: Any) -> Any:
        e = self.p - y
        return {"w": 2 * X.T @ e / len(X), "b": 2 * e.sum(axis=0, keepdims=True) / len(X)}


@mistake("broadcast")
def a_gradient_of_too_many_columns() -> Any:
    return Regression(), (data(), rng(2).standard_normal(N)), None, None


@mistake("broadcast")
def flat_weights_and_a_column_of_targets() -> Any:
    def regression(w: Any, X: Any, y: Any) -> Any:
        e = X @ w - y  # (N,) less (N, 1)
        return ((X @ w - y.ravel()) ** 2).mean(), 2 * (X.T @ e).mean(axis=1)

    return regression, (rng(1).standard_normal(D), data(), rng(2).standard_normal((N, 1))), None, None


@mistake("divided-by-another-size")
def columns_for_rows() -> Any:
    def loss(p: Any, t: Any) -> Any:
        return ((p - t) ** 2).sum() / len(p)

    pair = (loss, lambda dloss, p, t: dloss * 2 * (p - t) / p.shape[1])
    return pair, (rng(5).standard_normal((5, 3)), rng(6).standard_normal((5, 3))), None, None


@mistake("divided-by-another-size")
def features_for_samples() -> Any:
    def cost(W: Any, X: Any, Y: Any) -> Any:
        p = sigmoid(X @ W)
        return -(Y * np.log(p) + (1 - Y) * np.log(1 - p)).sum() / len(X)

    def cost_vjp(dl: Any, W: Any, X: Any, Y: Any) -> Any:
        return dl * X.T @ (sigmoid(X @ W) - Y) / Y.shape[1]

    r = rng(3)
    return (
        (cost, cost_vjp),
        (r.standard_normal((3, 2)), r.standard_normal((7, 3)), r.random((7, 2)).round()),
        None,
        None,
    )
