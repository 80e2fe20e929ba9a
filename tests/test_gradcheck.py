"""gradcheck: right gradients pass to machine precision, wrong ones do not, and nothing else changes."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import scratchnn as snn
from scratchnn import functional as F
from scratchnn.gradcheck import GradcheckError
from scratchnn.random import bernoulli, default_generator

EPS = np.finfo(float).eps


def draws(*shape: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(shape)
    values.flags.writeable = False
    return values


def bits(*shape: int) -> np.ndarray:
    return (draws(*shape, seed=9) > 0) * 1.0


# ---- right ------------------------------------------------------------------------------------

LAYERS: list[Callable[[], snn.Module]] = [
    lambda: snn.Linear(4, 3),
    lambda: snn.Linear(4, 3, bias=False, dtype=np.float64),
    snn.ReLU,
    lambda: snn.LeakyReLU(0.2),
    snn.Sigmoid,
    snn.Tanh,
    snn.Identity,
    snn.Dropout,
    lambda: snn.Softmax(-1),
    lambda: snn.LogSoftmax(0),
    lambda: snn.Threshold(0.1, 2.0),
    lambda: snn.MLP(4, [5, 5], 2, "tanh", "sigmoid"),
]


@pytest.mark.parametrize("make", LAYERS, ids=lambda make: type(make()).__name__)
@pytest.mark.parametrize("method", ["auto", "complex", "directional"])
def test_layers_are_right_to_machine_precision(make: Any, method: str) -> None:
    report = snn.gradcheck(make(), draws(3, 4), method=method)
    assert report
    assert report.kinks == 0
    assert report.reason == ""
    assert all(row.relative <= 1e-13 for row in report.tensors)
    assert report.tensors[0].name == "x"


@pytest.mark.parametrize(
    ("loss_fn", "last", "target"),
    [
        (snn.MSELoss(), snn.Identity(), draws(5, 3, seed=1)),
        (snn.L1Loss("sum"), snn.Identity(), draws(5, 3, seed=1)),
        (snn.BCELoss(), snn.Sigmoid(), bits(5, 3)),
        (snn.BCEWithLogitsLoss(pos_weight=[1.0, 2.0, 3.0]), snn.Identity(), bits(5, 3)),
        (snn.BCEWithLogitsLoss(reduction="none"), snn.Identity(), bits(5, 3)),
        (snn.NLLLoss(), snn.LogSoftmax(-1), np.array([0, 1, 2, -100, 0])),
        (snn.CrossEntropyLoss(label_smoothing=0.1), snn.Identity(), np.array([0, 1, 2, 1, 0])),
        (snn.CrossEntropyLoss(), snn.Softmax(-1), np.array([0, 1, 2, 1, 0])),
        ((F.mse, F.mse_vjp), snn.Tanh(), draws(5, 3, seed=1)),
    ],
    ids=lambda value: getattr(type(value), "__name__", "") if callable(value) else "",
)
def test_a_float32_model_with_a_loss_is_checked_in_float64(loss_fn: Any, last: Any, target: Any) -> None:
    model = snn.Sequential(snn.Linear(2, 6), snn.ReLU(), snn.Dropout(0.2), snn.Linear(6, 3), last)
    report = snn.gradcheck(model, draws(5, 2).astype(np.float32), loss_fn=loss_fn, target=target)
    assert [row.name for row in report.tensors] == ["x", "0.weight", "0.bias", "3.weight", "3.bias"]
    assert report
    assert report.method == "complex"
    assert all(row.relative <= 1e-13 and row.entries == row.size for row in report.tensors)


@pytest.mark.parametrize(
    ("pair", "inputs", "names"),
    [
        ((F.linear, F.linear_vjp), (draws(3, 4), draws(2, 4), draws(2)), ["x", "weight", "bias"]),
        ((F.linear, F.linear_vjp), (draws(3, 4), draws(2, 4), None), ["x", "weight"]),
        ((F.softmax, F.softmax_vjp), (draws(3, 4), -1), ["x"]),
        ((F.leaky_relu, F.leaky_relu_vjp), (draws(3, 4), 0.1), ["x"]),
        ((F.mse, F.mse_vjp), (draws(3, 4), draws(3, 4, seed=1), "sum"), ["prediction"]),
        ((F.nll, F.nll_vjp), (draws(3, 4), np.array([0, 1, 3])), ["log_probs"]),
        ((np.tanh, lambda dy, y: dy * (1 - y * y)), (draws(3),), ["x"]),
    ],
)
def test_pairs(pair: Any, inputs: Any, names: list[str]) -> None:
    report = snn.gradcheck(pair, *inputs)
    assert report
    assert [row.name for row in report.tensors] == names
    assert all(row.relative <= 1e-13 for row in report.tensors)


def test_a_pair_may_save_what_its_vjp_wants() -> None:
    def scaled(x: Any, weight: Any) -> Any:
        norm = np.sqrt((x * x).sum(axis=-1, keepdims=True))
        return weight * x / norm, norm

    def scaled_vjp(dy: Any, x: Any, weight: Any, norm: Any) -> Any:
        h = x / norm
        dh = dy * weight
        return (dh - h * (dh * h).sum(axis=-1, keepdims=True)) / norm, (dy * h).sum(axis=0)

    report = snn.gradcheck((scaled, scaled_vjp), draws(3, 4), draws(4, seed=1))
    assert report
    assert [row.name for row in report.tensors] == ["x", "weight"]


class Plain:
    """A layer of somebody who never heard of scratchnn."""

    def __init__(self, where: str = "dW", factor: float = 1.0) -> None:
        self.W = draws(4, 2, seed=3).astype(np.float32)
        self.scale = np.float32([2.0, 3.0])
        self.where, self.factor, self.grads = where, factor, {}

    def forward(self, inputs: Any) -> Any:
        self.seen = inputs
        return inputs @ self.W * self.scale

    def backward(self, dout: Any) -> Any:
        dW = self.factor * self.seen.T @ (dout * self.scale)
        if self.where == "grads":
            self.grads["W"] = dW
        else:
            setattr(self, self.where, dW)
        return (dout * self.scale) @ self.W.T


@pytest.mark.parametrize("where", ["dW", "W_grad", "grad_W", "grads"])
def test_a_layer_that_knows_nothing_of_scratchnn(where: str) -> None:
    layer = Plain(where)
    before = layer.W.copy()
    left = snn.gradcheck(layer, draws(3, 4))
    assert left.verdict == "not checked"
    assert left["scale"].status == "not checked"
    report = snn.gradcheck(layer, draws(3, 4), constants=["scale"])
    assert report
    assert report.constants == ["scale"]
    assert [row.name for row in report.tensors] == ["inputs", "W"], str(report)
    assert "Plain" in str(report)
    assert layer.W.dtype == np.float32
    assert np.array_equal(layer.W, before)
    assert not hasattr(layer, "seen")
    wrong = snn.gradcheck(
        Plain(where, factor=1.01),
        draws(3, 4),
        loss_fn=snn.MSELoss(),
        target=np.zeros((3, 2)),
        constants="scale",
    )
    assert [row.name for row in wrong.tensors if row.status == "FAIL"] == ["W"]


def test_a_loss_object_by_itself() -> None:
    report = snn.gradcheck(snn.BCEWithLogitsLoss(), draws(3, 4), bits(3, 4))
    assert report
    assert report["prediction"].relative <= 1e-13


@pytest.mark.parametrize("logit", [10.0, 16.0, 20.0])
def test_saturated_probabilities_are_ill_conditioned_not_wrong(logit: float) -> None:
    model = snn.Sequential(snn.Linear(1, 1, bias=False), snn.Sigmoid())
    model[0].weight.data[:] = 1
    x, target = np.array([[logit], [1.0]]), np.zeros((2, 1))
    report = snn.gradcheck(model, x, loss_fn=snn.BCELoss(), target=target)
    assert report
    assert "ill-conditioned" in str(report)

    class Wrong(snn.Sigmoid):
        def backward(self, dy: Any) -> Any:
            return super().backward(dy) * (1 + 1e-4)

    model = snn.Sequential(model[0], Wrong())
    assert not snn.gradcheck(model, x, loss_fn=snn.BCELoss(), target=target)


@pytest.mark.parametrize("scale", [1e3, 1e5])
def test_a_saturated_softmax_is_right(scale: float) -> None:
    for method in ("auto", "directional"):
        assert snn.gradcheck(snn.Softmax(-1), scale * draws(4, 5), method=method)


def test_a_large_loss_does_not_cover_a_small_mistake() -> None:
    class Wrong(snn.Linear):
        def backward(self, dy: Any) -> Any:
            return super().backward(dy) * (1 + 1e-11)

    target = 1e4 + draws(4, 2)
    for layer in (snn.Linear(3, 2), Wrong(3, 2)):
        for method in ("auto", "directional"):
            report = snn.gradcheck(layer, draws(4, 3), loss_fn=snn.MSELoss(), target=target, method=method)
            assert report.passed == (type(layer) is snn.Linear)


# ---- wrong ------------------------------------------------------------------------------------


def test_the_worst_entry_is_told() -> None:
    def vjp(dy: Any, x: Any) -> Any:
        dx = dy * 2 * x
        dx[1, 2] += 0.25
        return dx

    report = snn.gradcheck((np.square, vjp), draws(3, 4))
    row = report.tensors[0]
    assert not report
    assert row.status == "FAIL"
    assert row.index == (1, 2)
    assert row.analytic - row.numeric == pytest.approx(0.25)
    scale = row.relative / row.error / EPS
    assert scale == pytest.approx(1)
    assert row.error > 1e14
    assert "(1, 2)" in str(report)
    assert "FAIL" in str(report)


@pytest.mark.parametrize("method", ["auto", "complex", "central", "directional"])
def test_a_small_error_is_seen(method: str) -> None:
    size = 1e-5 if method == "central" else 1e-12
    report = snn.gradcheck((F.tanh, lambda dy, y: F.tanh_vjp(dy, y) * (1 + size)), draws(3, 4), method=method)
    assert not report
    assert snn.gradcheck((F.tanh, F.tanh_vjp), draws(3, 4), method=method)


def test_a_softmax_gradient_three_times_too_large_does_not_hide() -> None:
    assert not snn.gradcheck((F.softmax, lambda dy, y: 3 * F.softmax_vjp(dy, y, -1)), draws(3, 4), -1)


def test_a_wrong_parameter_gradient_is_laid_where_it_is() -> None:
    class Wrong(snn.Linear):
        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            self.bias.grad = self.bias.grad * 1.5
            return dx

    model = snn.Sequential(snn.Linear(2, 3), snn.Tanh(), Wrong(3, 2))
    report = snn.gradcheck(model, draws(4, 2))
    assert [row.name for row in report.tensors if row.status == "FAIL"] == ["2.bias"]
    assert report["2.weight"].status == "pass"
    with pytest.raises(KeyError, match=r"no tensor 'bias'; there are x, 0\.weight"):
        report["bias"]


def test_raise_on_fail() -> None:
    with pytest.raises(GradcheckError, match="FAIL") as caught:
        snn.gradcheck((np.sin, lambda dy, x: dy * np.sin(x)), draws(3), raise_on_fail=True)
    assert not caught.value.report
    assert snn.gradcheck((np.sin, lambda dy, x: dy * np.cos(x)), draws(3), raise_on_fail=True)


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (lambda g: None, "no gradient"),
        (lambda g: g.sum(axis=0), r"gradient of shape \(4,\)"),
        (lambda g: np.full_like(g, np.nan), "FAIL"),
        (lambda g: g.astype(complex), "gradient of dtype complex128"),
    ],
)
@pytest.mark.parametrize("method", ["auto", "directional"])
def test_gradients_of_a_wrong_kind(spoil: Any, note: str, method: str) -> None:
    class Spoilt(snn.Tanh):
        def backward(self, dy: Any) -> Any:
            return spoil(super().backward(dy))

    report = snn.gradcheck(Spoilt(), draws(3, 4), method=method)
    assert not report
    if method == "auto":
        assert re.search(note, str(report))


def test_an_entry_that_was_not_sampled_does_not_hide() -> None:
    def vjp(dy: Any, x: Any) -> Any:
        dx = dy * np.cos(x)
        dx[17] *= 1.1
        return dx

    wrong = snn.gradcheck((np.sin, vjp), draws(300), max_entries=5)
    assert not wrong
    right = snn.gradcheck((np.sin, lambda dy, x: dy * np.cos(x)), draws(300), max_entries=5)
    assert right
    assert right.tensors[0].entries == 5
    assert "5 of 300" in str(right)


# ---- what cannot be checked by complex step ---------------------------------------------------


@pytest.mark.parametrize(
    ("op", "vjp", "why"),
    [
        (np.abs, lambda dy, x: dy * np.sign(x), "not analytic"),
        (lambda x: x.real * x, lambda dy, x: dy * 2 * x, "not analytic"),
        (lambda x: np.hypot(x, 1.0), lambda dy, x, y: dy * x / y, "does not run on complex arrays"),
        (
            lambda x: np.asarray(x, np.float64) ** 2,
            lambda dy, x: dy * 2 * x,
            "does not run on complex arrays",
        ),
    ],
)
def test_central_differences_step_in_and_say_why(op: Any, vjp: Any, why: str) -> None:
    report = snn.gradcheck((op, vjp), draws(3, 4))
    assert report, str(report)
    assert report.method == "central"
    assert why in report.reason
    assert not snn.gradcheck((op, functools.wraps(vjp)(lambda *a: vjp(*a) * 1.001)), draws(3, 4))
    with pytest.raises(ValueError, match="cannot be checked by complex step"):
        snn.gradcheck((op, vjp), draws(3, 4), method="complex")


def test_abs_in_a_small_branch_is_noticed() -> None:
    def op(x: Any) -> Any:
        return np.exp(x) + np.where(np.arange(x.size) == 7, 0.01 * np.abs(x), 0)

    def vjp(dy: Any, x: Any) -> Any:
        return dy * (np.exp(x) + np.where(np.arange(x.size) == 7, 0.01 * np.sign(x), 0))

    x = -np.abs(draws(300))
    report = snn.gradcheck((op, vjp), x)
    assert report
    assert report.method == "central"
    assert "not analytic" in report.reason
    assert not snn.gradcheck((op, lambda dy, x: vjp(dy, x) * (1 + 1e-4)), x)


def test_a_path_that_the_complex_step_cannot_see_is_not_passed_over() -> None:
    """np.var takes |x|^2, whose complex derivative is 0: so is that of whoever forgot the variance."""

    def centred(x: Any) -> Any:
        return (x - x.mean()) / np.sqrt(x.var() + 0.1)

    def forgets_the_variance(dy: Any, x: Any) -> Any:
        return (dy - dy.mean()) / np.sqrt(x.var() + 0.1)

    report = snn.gradcheck((centred, forgets_the_variance), draws(40))
    assert not report
    assert report.method == "central"


# ---- kinks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "central"])
def test_relu_at_zero_is_a_kink(method: str) -> None:
    x = np.array([[0.0, 1.0, -2.0, 0.0]])
    report = snn.gradcheck((F.relu, F.relu_vjp), x, method=method)
    assert report
    assert report.kinks == 2
    assert report.tensors[0].status == "kink"
    assert "2 on a kink" in str(report)


def test_ties_of_l1_are_kinks() -> None:
    x = draws(2, 3)
    report = snn.gradcheck(snn.L1Loss(), x, np.where(np.arange(6).reshape(2, 3) % 2, x, 0))
    assert report
    assert report.kinks == 3


def test_an_empty_image_into_a_fresh_network_is_all_kinks() -> None:
    model = snn.Sequential(snn.Linear(3, 8), snn.ReLU(), snn.Linear(8, 2))
    model[0].bias.data[:] = 0
    report = snn.gradcheck(model, np.zeros((2, 3)))
    assert report
    assert report["x"].status == "kink"
    assert report["2.bias"].status == "pass"


@pytest.mark.parametrize("factor", [2.0, -1.0, 1.001])
def test_a_wrong_gradient_does_not_hide_on_a_kink(factor: float) -> None:
    report = snn.gradcheck((F.relu, lambda dy, x: factor * F.relu_vjp(dy, x)), np.zeros((1, 3)))
    assert not report


def test_a_step_is_no_excuse() -> None:
    """A wrong value on smooth ground beside kinks is wrong."""
    x = np.array([[0.0, 1.0]])
    report = snn.gradcheck((F.relu, lambda dy, x: dy * np.where(x > 0, 1.5, 0)), x)
    assert not report
    assert report.tensors[0].index == (0, 1)


# ---- nothing changes --------------------------------------------------------------------------


def test_nothing_of_the_users_changes() -> None:
    snn.manual_seed(3)
    model = snn.Sequential(snn.Linear(3, 4), snn.Dropout(0.5), snn.Linear(4, 1))
    loss_fn = snn.MSELoss()
    x, y = draws(5, 3).astype(np.float32), draws(5, 1).astype(np.float32)
    loss_fn(model(x), y)
    model.backward(loss_fn.backward())
    before = [(p, p.data, p.data.copy(), p.grad, p.grad.copy()) for p in model.parameters()]
    saved = copy.deepcopy([module._snapshot() for module in model[0::2].modules()][1:])
    state, numpys = default_generator.get_state(), np.random.get_state()
    for method in ("auto", "central", "directional"):
        assert snn.gradcheck(model, x, loss_fn=loss_fn, target=y, method=method)
    assert np.array_equal(default_generator.get_state(), state)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpys, strict=True))
    for (p, data, values, grad, slopes), q in zip(before, model.parameters(), strict=True):
        assert p is q
        assert p.data is data
        assert p.grad is grad
        assert p.dtype == np.float32
        assert np.array_equal(data, values)
        assert np.array_equal(grad, slopes)
    after = [module._snapshot() for module in model[0::2].modules()][1:]
    for (a, _), (b, _) in zip(saved, after, strict=True):
        assert all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))
    model.backward(loss_fn.backward())  # the last forward is still there


class Noise(snn.Module):
    """Multiplies by a random mask from wherever `draw` takes it."""

    def __init__(self, draw: Any, **state: Any) -> None:
        self.draw = draw
        vars(self).update(state)

    def forward(self, x: Any) -> Any:
        self.mask = self.draw(self, x.shape)
        return x * self.mask

    def backward(self, dy: Any) -> Any:
        return dy * self.mask


@pytest.mark.parametrize(
    "noise",
    [
        Noise(lambda self, shape: bernoulli(0.5, shape)),
        Noise(lambda self, shape: np.random.rand(*shape)),
        Noise(lambda self, shape: self.rng.random(shape), rng=np.random.default_rng(0)),
    ],
    ids=["ours", "numpy's", "its own"],
)
def test_masks_are_held_while_checking(noise: Any) -> None:
    assert snn.gradcheck(snn.Sequential(snn.Linear(3, 3), noise), draws(4, 3))


def test_randomness_that_cannot_be_held_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="different outputs for the same input"):
        snn.gradcheck(Noise(lambda self, shape: rng.random(shape)), draws(4, 3))


def test_the_upstream_gradient_follows_the_seed() -> None:
    a, b, c = (snn.gradcheck(snn.Tanh(), draws(3, 4), seed=seed).tensors[0].numeric for seed in (0, 0, 1))
    assert a == b != c


def test_the_upstream_gradient_is_not_the_users_data() -> None:
    """x drawn by default_rng(0), as everybody does: dy * x must not pass for x * x."""
    report = snn.gradcheck((lambda x: x**3 / 3, lambda dy, x: x**3), draws(5, 4))
    assert not report


# ---- PyTorch's own ----------------------------------------------------------------------------


class Cube(torch.autograd.Function):
    factor = 3.0

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @classmethod
    def backward_of(cls, ctx: Any, dy: Any) -> Any:
        (x,) = ctx.saved_tensors
        return cls.factor * x**2 * dy

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return Cube.backward_of(ctx, dy)


class WrongCube(Cube):
    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 2 * x**2 * dy


def test_torch_functions_and_modules() -> None:
    x = torch.from_numpy(draws(4, 3).copy()).float()
    assert snn.gradcheck(Cube, x)
    assert not snn.gradcheck(WrongCube, x)
    assert snn.gradcheck(lambda a, b: torch.sin(a) * b, x, x + 1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Tanh())
    state = torch.random.get_rng_state()
    report = snn.gradcheck(model, draws(5, 3))
    assert report
    assert report.method == "central"
    assert [row.name for row in report.tensors] == ["x", "0.weight", "0.bias"]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert next(model.parameters()).dtype == torch.float32
    assert snn.gradcheck(model, x, loss_fn=torch.nn.MSELoss(), target=torch.zeros(4, 4))


# ---- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: snn.gradcheck(snn.Tanh(), draws(2), method="exact"), ValueError, "must be one of 'auto'"),
        (lambda: snn.gradcheck(snn.Tanh, draws(2)), TypeError, "pass an object"),
        (lambda: snn.gradcheck(snn.Tanh()), TypeError, "needs an input"),
        (
            lambda: snn.gradcheck(snn.Tanh(), draws(2), target=draws(2)),
            TypeError,
            "loss_fn and target together",
        ),
        (lambda: snn.gradcheck(snn.Tanh(), draws(2), loss_fn=3, target=1), TypeError, "needs a loss object"),
        (lambda: snn.gradcheck(snn.MSELoss(), draws(2)), TypeError, "needs its two inputs"),
        (lambda: snn.gradcheck(np.sin, draws(2)), TypeError, "it needs a Module, a loss, a pair"),
        (lambda: snn.gradcheck((F.relu, F.relu_vjp), 3), TypeError, "at least one float array"),
        (lambda: snn.gradcheck((F.relu, lambda dy, z: dy), draws(2)), None, ""),
        (lambda: snn.gradcheck((F.relu, lambda dy, z, w: dy), draws(2)), TypeError, "no argument of relu"),
        (
            lambda: snn.gradcheck((F.relu, lambda dy: (dy, dy)), draws(2)),
            TypeError,
            "returned 2 gradients for 1",
        ),
        (lambda: snn.gradcheck((F.relu, lambda dy: None), draws(2)), TypeError, "must return gradients"),
        (lambda: snn.gradcheck((np.isnan, lambda dy: dy), draws(2)), TypeError, "dtype bool"),
        (lambda: snn.gradcheck(snn.Tanh(), np.array(["a"])), TypeError, "it needs numbers"),
        (
            lambda: snn.gradcheck((lambda x: x.astype(np.float32), lambda dy, x: dy), draws(2)),
            TypeError,
            "take the cast out",
        ),
        (lambda: snn.gradcheck(snn.Linear(3, 2), draws(4, 5)), ValueError, "the last axis must be 3"),
        (
            lambda: snn.gradcheck((F.relu, F.relu_vjp), draws(2), loss_fn=snn.MSELoss(), target=draws(2)),
            TypeError,
            "takes no loss_fn",
        ),
    ],
)
def test_what_cannot_be_checked_says_so(call: Any, error: Any, match: str) -> None:
    if error is None:
        call()
        return
    with pytest.raises(error, match=match):
        call()


def test_the_table_reads_like_a_table() -> None:
    text = str(snn.gradcheck(snn.Linear(2, 2), draws(3, 2)))
    head, by, _, titles, *rows = text.splitlines()
    assert head == "gradcheck of Linear(in_features=2, out_features=2, bias=True): PASS, 3 of 3 tensors right"
    assert by == "by complex step in float64, tolerance 1e-13 of each entry"
    assert titles.split() == [
        "tensor",
        "shape",
        "compared",
        "worst",
        "at",
        "numeric",
        "analytic",
        "error/eps",
    ]
    assert [row.split()[0] for row in rows] == ["x", "weight", "bias"]
