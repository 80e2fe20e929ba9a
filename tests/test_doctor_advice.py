"""The doctor's words: axes follow the layout, and the batch is found, never guessed from a shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mistakes import Net, Squared, data, rng, sigmoid, targets
from mistakes_of_layout import MISTAKES, Columns, Positions

import scratchnn as snn
from scratchnn.doctor import Diagnosis, diagnose


def said(diagnosis: Diagnosis) -> str:
    """The diagnosis in one line, without the table."""
    text = str(diagnosis)
    return " ".join(text[text.find("Diagnosis:") :].split())


def a_case(name: str, title: str) -> str:
    (make,) = [make for make in MISTAKES[name] if make.__name__ == title]
    subject, inputs, loss_fn, target = make()
    return said(diagnose(subject, *inputs, loss_fn=loss_fn, target=target))


# ---- axes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "title", "cure", "other"),
    [
        ("bias-over-everything", "one_sum_of_columns", "sum over axis 1 with keepdims=True", "axis 0"),
        ("bias-over-everything", "one_sum_of_positions", "sum over axes 0 and 1", "keepdims"),
        ("bias-over-everything", "one_sum", "sum over axis 0", "axis 1"),
        ("bias-wrong-axis", "axis_0_of_columns", "over axis 0; sum over axis 1 with keepdims=True", "axes"),
        ("bias-wrong-axis", "axis_0_of_positions", "over axis 0; sum over axes 0 and 1", "keepdims"),
        ("bias-wrong-axis", "features_of_positions", "over axis 2; sum over axes 0 and 1", "axis 0"),
        ("bias-not-summed", "the_whole_of_columns", "sum over axis 1 with keepdims=True", "axis 0"),
        ("bias-not-summed", "the_last_column", "only the last example counts; sum over axis 1", "axis 0"),
    ],
)
def test_the_cure_is_for_this_layout(name: str, title: str, cure: str, other: str) -> None:
    text = a_case(name, title)
    assert cure in text
    assert other not in text


def test_a_scale_over_positions() -> None:
    class Scale:
        def __init__(self) -> None:
            self.gamma = rng(1).standard_normal(4)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x * self.gamma

        def backward(self, dy: Any) -> Any:
            self.dgamma = (dy * self.x).sum(axis=0)
            return dy * self.gamma

    text = said(diagnose(Scale(), rng(2).standard_normal((2, 5, 4))))
    assert "dgamma: dy was summed over axis 0; sum over axes 0 and 1" in text


def test_products_are_written_as_they_are_and_as_they_should_be() -> None:
    assert "for y = x @ w, dw is x @ dy instead of x.T @ dy" in a_case("transpose", "x_not_turned")
    assert "for y = x * w in " not in a_case("product-swapped", "dy_times_the_same_factor")
    assert "dw is dy * w instead of dy * x" in a_case("product-swapped", "dy_times_the_same_factor")


# ---- the batch --------------------------------------------------------------------------------


def cost(W: Any, X: Any, Y: Any) -> Any:
    p = sigmoid(X @ W)
    return -(Y * np.log(p) + (1 - Y) * np.log(1 - p)).mean()


def test_the_rows_of_a_weight_are_not_the_batch() -> None:
    def cost_vjp(dl: Any, W: Any, X: Any, Y: Any) -> Any:
        return dl * X.T @ (sigmoid(X @ W) - Y)

    r = rng(0)
    X, Y, W = r.standard_normal((6, 3)), r.random((6, 1)).round(), r.standard_normal((3, 1))
    text = said(diagnose((cost, cost_vjp), W, X, Y))
    assert "dW is the right gradient times 6: the batch size (the rows of X)" in text
    assert "sum-for-mean" in text


def test_names_are_a_hint_only() -> None:
    """The weight comes first, and no name tells: the samples are those that stand alone."""

    def op(p: Any, q: Any, r: Any) -> Any:
        return (np.tanh(q @ p) * r).mean()

    def op_vjp(dl: Any, p: Any, q: Any, r: Any) -> Any:
        s = np.tanh(q @ p)
        dz = dl * r * (1 - s * s)  # 1/6 is lost, in all three
        return q.T @ dz, dz @ p.T, dl * s

    random = rng(0)
    shapes = ((3, 1), (6, 3), (6, 1))
    text = said(diagnose((op, op_vjp), *(random.standard_normal(shape) for shape in shapes)))
    assert "times 6: the batch size (the rows of q)" in text


def test_the_batch_of_a_function_that_returns_gradients() -> None:
    def loss(W: Any, X: Any, labels: Any) -> Any:
        e = np.exp(X @ W)
        p = e / e.sum(axis=1, keepdims=True)
        onehot = np.eye(3)[labels]
        return -np.log((p * onehot).sum(axis=1)).mean(), X.T @ (p - onehot)

    r = rng(0)
    text = said(
        diagnose(loss, r.standard_normal((3, 3)), r.standard_normal((3, 3))[[0, 1, 2, 0]], [0, 2, 1, 1])
    )
    assert "times 4: the batch size" in text


@pytest.mark.parametrize(("kind", "shape"), [(Columns, (3, 4)), (Positions, (2, 4, 3)), (Net, (4, 3))])
def test_a_batch_as_long_as_everything_else(kind: Any, shape: Any) -> None:
    """4 samples, 4 hidden units, 4 outputs: only moving a sample tells which 4 is the batch."""

    class Averaged(kind):  # type: ignore[misc]
        def backward(self, dy: Any) -> Any:
            return super().backward(dy) / 4

    text = said(diagnose(Averaged(), rng(7).standard_normal(shape)))
    where = {Columns: "the batch size (the columns of X)", Net: "the batch size", Positions: "the batch size"}
    assert f"divided by 4: {where[kind]}" in text
    assert "mean-for-sum" in text


def test_the_batch_of_positions() -> None:
    class Averaged(Positions):
        def weight(self, x: Any, dy: Any) -> Any:
            return super().weight(x, dy) / 10

    text = said(diagnose(Averaged(), rng(7).standard_normal((2, 5, 3))))
    assert "divided by 10: the number of samples (axes 0 and 1 of x)" in text


def test_samples_that_depend_on_each_other() -> None:
    """Under normalisation over the batch no sample stands alone, and nothing else is called the batch."""

    def centre(x: Any) -> Any:
        return np.tanh(x - x.mean(axis=0))

    def centre_vjp(dy: Any, x: Any) -> Any:
        dz = dy * (1 - centre(x) ** 2)
        return (dz - dz.mean(axis=0)) / len(x)

    text = said(diagnose((centre, centre_vjp), rng(7).standard_normal((5, 3))))
    assert "divided by 5: the rows of x" in text


def test_nothing_is_said_of_a_mean_where_there_is_none() -> None:
    """Five samples, two outputs: twice the gradient is a 2 too many, five times it a 5 without a meaning."""
    net = type("Net", (Net,), {"grads2": lambda self, dz: Net.grads2(self, 2 * dz)})(m=2)
    assert diagnose(net, data()).mistakes == ["factor-2-doubled"]
    net = type("Net", (Net,), {"grads2": lambda self, dz: Net.grads2(self, 5 * dz)})(m=2)
    diagnosis = diagnose(net, data())
    assert diagnosis.mistakes == ["constant-factor"]
    assert "too large by 5, which is the batch size" in said(diagnosis)


# ---- the report -------------------------------------------------------------------------------


def test_a_diagnosis_is_true_only_where_the_gradient_is_right() -> None:
    x = data()
    assert diagnose((np.tanh, lambda dy, y: dy * (1 - y * y)), x)
    assert not diagnose((np.tanh, lambda dy, y: 7 * dy), x)
    net = type("Net", (Net,), {"pass_down": lambda self, dz: dz @ self.w2.data})(m=2)
    assert not diagnose(net, x)  # the backward stops

    class Unchecked:
        """A weight whose gradient is nowhere."""

        def __init__(self) -> None:
            self.W = rng(1).standard_normal((3, 2))

        def forward(self, x: Any) -> Any:
            return np.tanh(x @ self.W)

        def backward(self, dy: Any) -> Any:
            return dy * 0

    nothing = diagnose(Net(), np.zeros((0, 3)))
    assert not nothing
    assert "the gradient is right" not in str(nothing)
    assert not diagnose(Unchecked(), x)


def test_alternatives_are_other_ways_to_the_same_numbers() -> None:
    """With two rows a lost 2 and a lost mean cannot be told apart: both are said."""

    class Loss(Squared):
        def __call__(self, p: Any, t: Any) -> Any:
            self.p, self.t = p, t
            return ((p - t) ** 2).sum(axis=1).mean()

        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * (self.p - self.t)

    diagnosis = snn.diagnose(Net(), data(), loss_fn=Loss(), target=targets())
    assert diagnosis.mistakes == ["sum-for-mean", "factor-2-dropped"]

    class Two(Loss):
        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * 2 * (self.p - self.t)

    diagnosis = snn.diagnose(Net(), data()[:2], loss_fn=Two(), target=targets()[:2])
    names = {diagnosis.mistake, *(others[0].name for others in diagnosis.alternatives)}
    assert names == {"sum-for-mean", "factor-2-doubled"}
    assert "The same numbers would come from" in str(diagnosis)
