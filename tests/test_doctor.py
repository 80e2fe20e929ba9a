"""Every mistake of the catalogue, made in a network by hand, is called by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from programs import Program, programs

import scratchnn as snn
from scratchnn import functional as F
from scratchnn.doctor import CATALOGUE, diagnose

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


# ---- activations ------------------------------------------------------------------------------


@mistake("derivative-at-output")
def tanh_slope_of_its_output() -> Any:
    return net(slope=lambda self: 1 - np.tanh(self.h) ** 2)


@mistake("derivative-at-output")
def sigmoid_of_a_sigmoid() -> Any:
    return net(output_slope=lambda self: sigmoid(self.y) * (1 - sigmoid(self.y)))


@mistake("derivative-at-output")
def in_a_pair() -> Any:
    def vjp(dy: Any, y: Any) -> Any:
        return dy * np.cos(y)

    return (np.sin, vjp), (data(),), None, None


@mistake("derivative-at-input")
def sigmoid_slope_of_its_input() -> Any:
    return net(output_slope=lambda self: self.z2 * (1 - self.z2))


@mistake("derivative-at-input")
def tanh_slope_of_its_input() -> Any:
    return net(slope=lambda self: 1 - self.z1**2)


@mistake("derivative-at-input")
def library_sigmoid_given_x() -> Any:
    class Sigmoid(snn.Sigmoid):
        def forward(self, x: Any) -> Any:
            self.kept = x
            return super().forward(x)

        def backward(self, dy: Any) -> Any:
            return F.sigmoid_vjp(dy, self.kept)

    model = snn.Sequential(snn.Linear(D, H), Sigmoid(), snn.Linear(H, M), Sigmoid())
    return model, (data().astype(np.float32),), None, None


@mistake("derivative-forgotten")
def tanh_passed_over() -> Any:
    return net(hidden=lambda self, dh: dh)


@mistake("derivative-forgotten")
def relu_passed_over() -> Any:
    class ReLU(snn.ReLU):
        def backward(self, dy: Any) -> Any:
            return dy

    model = snn.Sequential(snn.Linear(D, 8), ReLU(), snn.Linear(8, 8), ReLU(), snn.Linear(8, 1))
    return model, (data().astype(np.float32),), snn.MSELoss(), targets(1)


@mistake("derivative-twice")
def tanh_twice() -> Any:
    return net(hidden=lambda self, dh: dh * self.slope() * self.slope())


@mistake("relu-mask-from-gradient")
def mask_from_dy() -> Any:
    class ReLU(snn.ReLU):
        def backward(self, dy: Any) -> Any:
            return dy * (dy > 0)

    model = snn.Sequential(snn.Linear(D, 8), ReLU(), snn.Linear(8, M))
    return model, (data().astype(np.float32),), None, None


@mistake("relu-mask-from-gradient")
def mask_from_dh() -> Any:
    return net(activation=lambda self, z: np.maximum(z, 0), hidden=lambda self, dh: np.where(dh > 0, dh, 0))


@mistake("relu-mask-from-gradient")
def mask_from_both() -> Any:
    return net(
        activation=lambda self, z: np.maximum(z, 0),
        hidden=lambda self, dh: dh * (self.z1 > 0) * (dh > 0),
    )


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@mistake("softmax-off-diagonal")
def softmax_like_a_sigmoid() -> Any:
    class Softmax(snn.Softmax):
        def backward(self, dy: Any) -> Any:
            dy, y = self._recall(dy)
            return dy * y * (1 - y)

    model = snn.Sequential(snn.Linear(D, H), snn.Tanh(), snn.Linear(H, M), Softmax(-1))
    return model, (data().astype(np.float32),), snn.MSELoss(), targets()


@mistake("softmax-off-diagonal")
def softmax_pair() -> Any:
    return (softmax, lambda dy, y: dy * y * (1 - y)), (data(),), None, None


class LogOfClass:
    """-log p[target], on probabilities; with the gradient of the logits instead of the probabilities'."""

    def __call__(self, p: Any, t: Any) -> Any:
        self.p, self.t = p, t
        return -np.log(p[np.arange(len(t)), t]).mean()

    def backward(self, dloss: Any = 1.0) -> Any:
        onehot = np.eye(self.p.shape[1])[self.t]
        return dloss * (self.p - onehot) / len(self.t)


@mistake("softmax-twice")
def short_gradient_through_softmax() -> Any:
    model = snn.Sequential(snn.Linear(D, M), snn.Softmax(-1))
    return model, (data().astype(np.float32),), LogOfClass(), np.arange(N) % M


@mistake("softmax-twice")
def short_gradient_through_sigmoid() -> Any:
    class Loss(snn.BCELoss):
        def backward(self, dloss: Any = 1) -> Any:
            p, t = self._saved[:2]
            return dloss * (p - t) / p.size

    return with_loss(Loss())


# ---- contributions and values -----------------------------------------------------------------


class Shared(snn.Module):
    """y = tanh(tanh(x W) W) + x: the weight and the input are used twice."""

    def __init__(self) -> None:
        self.weight = snn.Parameter(rng(1).standard_normal((D, D)))

    def forward(self, x: Any) -> Any:
        self.x = x
        self.h = np.tanh(x @ self.weight.data)
        self.y = np.tanh(self.h @ self.weight.data)
        return self.y + x

    def backward(self, dy: Any) -> Any:
        dz = dy * (1 - self.y**2)
        self.keep(self.h.T @ dz)
        dz = (dz @ self.weight.data.T) * (1 - self.h**2)
        self.keep(self.x.T @ dz)
        return self.into_x(dz @ self.weight.data.T, dy)

    def keep(self, dweight: Any) -> None:
        self.weight.accumulate(dweight)

    def into_x(self, through: Any, around: Any) -> Any:
        return through + around


@mistake("not-accumulated")
def weight_overwritten() -> Any:
    def keep(self: Any, dweight: Any) -> None:
        self.weight.grad = dweight

    return type("Shared", (Shared,), {"keep": keep})(), (data(),), None, None


@mistake("not-accumulated")
def residual_forgotten() -> Any:
    return type("Shared", (Shared,), {"into_x": lambda self, a, b: a})(), (data(),), None, None


@mistake("weights-updated-early")
def step_inside_backward() -> Any:
    def grads2(self: Any, dz2: Any) -> None:
        Net.grads2(self, dz2)
        self.w2.data -= 0.1 * self.w2.grad

    return net(grads2=grads2)


@mistake("weights-updated-early")
def step_without_keeping_the_gradient() -> Any:
    def grads2(self: Any, dz2: Any) -> None:
        self.w2.data = self.w2.data - 0.1 * (self.h.T @ dz2)
        self.b2.data = self.b2.data - 0.1 * dz2.sum(axis=0)

    return net(grads2=grads2)


@mistake("upstream-ignored")
def dy_not_used() -> Any:
    def backward(self: Any, dy: Any) -> Any:
        return Net.backward(self, np.ones_like(dy))

    return net(backward=backward)


@mistake("upstream-ignored")
def one_layer_ignores_it() -> Any:
    class Tanh(snn.Tanh):
        def backward(self, dy: Any) -> Any:
            _, y = self._recall(dy)
            return 1 - y * y

    model = snn.Sequential(snn.Linear(D, H), Tanh(), snn.Linear(H, M))
    return model, (data().astype(np.float32),), snn.MSELoss(), targets()


@mistake("upstream-ignored")
def dloss_not_used() -> Any:
    class Loss(Squared):
        def backward(self, dloss: Any = 1.0) -> Any:
            return 2 * (self.p - self.t) / self.p.size

    return with_loss(Loss())


@mistake("modified-in-place")
def doubled_in_place() -> Any:
    class Double(snn.Module):
        def forward(self, x: Any) -> Any:
            x *= 2
            return x

        def backward(self, dy: Any) -> Any:
            return 2 * dy

    model = snn.Sequential(snn.Linear(D, 8), snn.Sigmoid(), Double(), snn.Linear(8, M))
    return model, (data().astype(np.float32),), None, None


@mistake("modified-in-place")
def centred_in_place() -> Any:
    class Centred(Net):
        def forward(self, x: Any) -> Any:
            y = super().forward(x)
            self.h -= 0.5
            return y

    return Centred(), (data(),), None, None


@mistake("modified-in-place")
def dy_scaled_in_place() -> Any:
    class Branches(snn.Module):
        def __init__(self) -> None:
            self.left = Halving()
            self.right = snn.Linear(D, D)

        def forward(self, x: Any) -> Any:
            return self.left(x) + self.right(x)

        def backward(self, dy: Any) -> Any:
            return self.left.backward(dy) + self.right.backward(dy)

    class Halving(snn.Module):
        def forward(self, x: Any) -> Any:
            return x / 2

        def backward(self, dy: Any) -> Any:
            dy /= 2
            return dy

    return Branches(), (data().astype(np.float32),), None, None


@mistake("broadcast")
def rows_against_columns() -> Any:
    class Loss(Squared):
        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * 2 * (self.p - self.t.reshape(-1, 1)) / len(self.t)

    return Net(m=1), (data(),), Loss(), targets(1).ravel()


@mistake("broadcast")
def columns_against_rows() -> Any:
    def loss_vjp(dloss: Any, p: Any, t: Any) -> Any:
        return dloss * 2 * (p - t.ravel()) / p.size

    pair = (lambda p, t: ((p - t) ** 2).mean(), loss_vjp)
    return pair, (rng(5).standard_normal(N), rng(6).standard_normal((N, 1))), None, None


@mistake("weights-updated-early")
def every_layer_steps_by_itself() -> Any:
    class Linear(snn.Linear):
        def backward(self, dy: Any) -> Any:
            dy, x = self._recall(dy)
            _, dweight, dbias = F.linear_vjp(dy, x, self.weight.data)
            self.weight.accumulate(dweight)
            self.bias.accumulate(dbias)
            self.weight.data = self.weight.data - 0.1 * dweight
            return dy @ self.weight.data

    model = snn.Sequential(Linear(D, H), snn.Tanh(), Linear(H, H), snn.Sigmoid(), Linear(H, M))
    return model, (data().astype(np.float32),), snn.CrossEntropyLoss(), np.arange(N) % M


@mistake("broadcast")
def broadcast_in_the_backward_alone() -> Any:
    class Loss(Squared):
        def __call__(self, p: Any, t: Any) -> Any:
            self.p, self.t = p, t
            return ((p.reshape(-1) - t) ** 2).mean()

    return Net(m=1), (data(),), Loss(), targets(1).ravel()


@mistake("broadcast")
def broadcast_and_summed() -> Any:
    class Loss(Squared):
        def __call__(self, p: Any, t: Any) -> Any:
            self.p, self.t = p, t
            return ((p - t.reshape(-1, 1)) ** 2).mean()

        def backward(self, dloss: Any = 1.0) -> Any:
            return dloss * (2 * (self.p - self.t)).mean(axis=1, keepdims=True) / len(self.t)

    return Net(m=1), (data(),), Loss(), targets(1).ravel()


CASES = [
    pytest.param(name, make, id=f"{name}: {make.__name__}") for name in MISTAKES for make in MISTAKES[name]
]


@pytest.mark.parametrize(("name", "make"), CASES)
def test_the_mistake_is_named(name: str, make: Any) -> None:
    subject, inputs, loss_fn, target = make()
    diagnosis = diagnose(subject, *inputs, loss_fn=loss_fn, target=target)
    assert not diagnosis.passed
    assert diagnosis.mistake == name, str(diagnosis)
    assert name in str(diagnosis)


@settings(max_examples=10)
@given(program=programs())
def test_right_networks_are_not_accused(program: Program) -> None:
    made = program.run()
    diagnosis = diagnose(made["model"], made["X"], loss_fn=made["loss_fn"], target=made["y"])
    assert diagnosis.passed, f"{diagnosis}\n{program!r}"
    assert diagnosis.mistake is None


@pytest.mark.parametrize(("name", "make"), CASES)
def test_a_mistake_of_no_name_is_not_given_one(name: str, make: Any) -> None:
    """The same networks, with noise in every gradient besides: nothing in the catalogue fits that."""
    subject, inputs, loss_fn, target = make()
    if not isinstance(subject, Net):
        return
    noise = rng(11)

    class Noisy(type(subject)):  # type: ignore[misc]
        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad = parameter.grad + 0.01 * noise.standard_normal(parameter.grad.shape)
            return dx * (1 + 0.01 * noise.standard_normal(dx.shape))

    subject.__class__ = Noisy
    diagnosis = diagnose(subject, *inputs, loss_fn=loss_fn, target=target)
    assert not diagnosis.passed
    if diagnosis.report is None:  # a shape stopped it before the noise came in
        return
    assert diagnosis.mistake is None, str(diagnosis)
    assert "no mistake of the catalogue fits" in str(diagnosis)
    assert "wrong / right" in str(diagnosis)


def test_every_entry_of_the_catalogue_has_a_case() -> None:
    assert set(MISTAKES) == set(CATALOGUE)
