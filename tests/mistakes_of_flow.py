"""Networks with one mistake each: activations, contributions lost, values changed, broadcasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from mistakes import MISTAKES, D, H, M, N, Net, Squared, data, mistake, net, rng, sigmoid, targets, with_loss

import scratchnn as snn
from scratchnn import functional as F

__all__ = ["MISTAKES"]


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
