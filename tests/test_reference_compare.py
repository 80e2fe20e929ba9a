"""compare: right networks pass, and each kind of wrong one fails where it is wrong."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
import scratchnn as snn
from reference.report import ParityReport, Row, largest_difference

torch.set_num_threads(1)

ACTIVATIONS = {
    "relu": snn.ReLU,
    "leaky": lambda: snn.LeakyReLU(0.1),
    "sigmoid": snn.Sigmoid,
    "tanh": snn.Tanh,
    "softmax": lambda: snn.Softmax(-1),
    "log_softmax": lambda: snn.LogSoftmax(-1),
    "threshold": lambda: snn.Threshold(0.1, -0.2),
    "identity": snn.Identity,
    "dropout": lambda: snn.Dropout(0.3),
}
LOSSES = ("mse", "l1", "huber", "bce", "bce_with_logits", "nll", "cross_entropy")


def batch_for(loss: str, reduction: str, n: int, width: int, rng: np.random.Generator):
    """(modules to append, loss, target) that fit each other."""
    real, labels = rng.standard_normal((n, width)), rng.integers(0, width, n)
    return {
        "mse": ([], snn.MSELoss(reduction), real),
        "l1": ([], snn.L1Loss(reduction), real),
        "huber": ([], snn.HuberLoss(reduction, 0.5), real),
        "bce": ([snn.Sigmoid()], snn.BCELoss(reduction=reduction), rng.integers(0, 2, (n, width))),
        "bce_with_logits": ([], snn.BCEWithLogitsLoss(reduction=reduction), rng.random((n, width))),
        "nll": ([snn.LogSoftmax(-1)], snn.NLLLoss(reduction=reduction), labels),
        "cross_entropy": ([], snn.CrossEntropyLoss(reduction=reduction, label_smoothing=0.1), labels),
    }[loss]


@pytest.mark.filterwarnings("ignore:CrossEntropyLoss got predictions of one class:UserWarning")
@settings(max_examples=150)
@given(
    widths=st.lists(st.integers(1, 24), min_size=2, max_size=6),
    activations=st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=5, max_size=5),
    loss=st.sampled_from(LOSSES),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    n=st.integers(1, 20),
    bias=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    scale=st.sampled_from([0.01, 1.0, 10.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_random_networks_pass(widths, activations, loss, reduction, n, bias, dtype, scale, seed) -> None:
    snn.manual_seed(seed)
    rng = np.random.default_rng(seed)
    modules: list[snn.Module] = []
    for i, (d, m) in enumerate(itertools.pairwise(widths)):
        modules += [ACTIVATIONS[activations[i]]()] if i else []
        modules.append(snn.Linear(d, m, bias=bias, dtype=dtype))
    last, loss_fn, y = batch_for(loss, reduction, n, widths[-1], rng)
    model = snn.Sequential(*modules, *last)
    report = reference.compare(model, loss_fn, (scale * rng.standard_normal((n, widths[0]))).astype(dtype), y)
    assert report, str(report)
    names = [row.name for row in report.rows]
    parameters = [f"dL/d({name})" for name, _ in model.named_parameters()]
    assert names == ["prediction", "loss", "dL/dprediction", "dL/dx", *parameters]


def network(dtype: type = np.float64) -> tuple[snn.Sequential, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    model = snn.Sequential(snn.Linear(3, 5, dtype=dtype), snn.Tanh(), snn.Linear(5, 2, dtype=dtype))
    return model, rng.standard_normal((7, 3)).astype(dtype), rng.standard_normal((7, 2)).astype(dtype)


class ForgottenDerivative(snn.Tanh):
    def backward(self, dy):
        super().backward(dy)
        return dy


class WrongAxis(snn.Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.grad = np.full_like(self.bias.grad, np.sum(dy))
        return dx


class SlightlyWrongWeight(snn.Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.weight.grad[1, 0] *= 1 + 1e-9
        return dx


class Transposed(snn.Linear):
    def backward(self, dy):
        super().backward(dy)
        return -np.asarray(dy @ self.weight.data)


class Forgetful(snn.Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.bias.grad = None
        return dx


class Overwriting(snn.Linear):
    def backward(self, dy):
        self.weight.grad = None
        return super().backward(dy)


class WrongForward(snn.Tanh):
    def forward(self, x):
        return super().forward(x) * 1.001


class TwiceTooSmall(snn.MSELoss):
    def backward(self, dloss=1):
        return super().backward(dloss) / 2


class UnmovedLoss(snn.MSELoss):
    def forward(self, prediction, target):
        return super().forward(prediction, target) + 1e-9


@pytest.mark.parametrize(
    ("place", "wrong", "failing", "words"),
    [
        (1, ForgottenDerivative, {"dL/d(0.weight)", "dL/d(0.bias)", "dL/dx"}, "Going backward, dL/d(0.bias)"),
        (2, lambda: WrongAxis(5, 2, dtype=np.float64), {"dL/d(2.bias)"}, "dL/d(2.bias) is the first"),
        (0, lambda: SlightlyWrongWeight(3, 5, dtype=np.float64), {"dL/d(0.weight)"}, "dL/d(0.weight)"),
        (0, lambda: Transposed(3, 5, dtype=np.float64), {"dL/dx"}, "the first layer's backward"),
        (2, lambda: Forgetful(5, 2, dtype=np.float64), {"dL/d(2.bias)"}, "dL/d(2.bias)"),
    ],
)
def test_a_wrong_backward_is_caught_where_it_is(place, wrong, failing, words) -> None:
    model, x, y = network()
    assert reference.compare(model, snn.MSELoss(), x, y)
    model[place] = wrong()
    report = reference.compare(model, snn.MSELoss(), x, y)
    assert not report
    assert {row.name for row in report.failures} == failing
    assert words in report.parted
    assert "FAILED" in str(report)


def test_an_overwritten_gradient_is_caught_in_a_layer_used_twice() -> None:
    _, x, _ = network()
    for kind, right in ((snn.Linear, True), (Overwriting, False)):
        layer = kind(3, 3, dtype=np.float64)
        model = snn.Sequential(layer, snn.Tanh(), layer)
        report = reference.compare(model, snn.MSELoss(), x, np.ones_like(x))
        assert report.passed is right
        assert right or {row.name for row in report.failures} == {"dL/d(0.weight)"}


def test_the_position_of_the_fault_is_given() -> None:
    model, x, y = network()
    model[0] = SlightlyWrongWeight(3, 5, dtype=np.float64)
    row = reference.compare(model, snn.MSELoss(), x, y).failures[0]
    assert row.index == (1, 0)
    assert row.in_eps > 64


def test_a_wrong_forward_and_a_wrong_loss_are_told_apart() -> None:
    model, x, y = network()
    report = reference.compare(model, TwiceTooSmall(), x, y)
    assert report.parted == "Forward and loss agree, dL/dprediction does not: look at the loss's backward."
    report = reference.compare(model, UnmovedLoss(), x, y)
    assert report.failures[0].name == "loss"
    assert "look at the loss's forward" in report.parted
    model[1] = WrongForward()
    report = reference.compare(model, snn.MSELoss(), x, y)
    assert report.failures[0].name == "prediction"
    assert report.parted == "The predictions already differ: look at the forward pass."


def test_nothing_is_changed_by_a_comparison() -> None:
    model, x, y = network()
    model.append(snn.Dropout(0.5))
    loss_fn = snn.MSELoss()
    loss_fn(model(x), y)
    model.backward(loss_fn.backward())
    x.flags.writeable = y.flags.writeable = False
    before = [(p.data.copy(), p.grad.copy()) for p in model.parameters()]
    state, torch_state = snn.default_generator.get_state(), torch.get_rng_state()
    assert reference.compare(model, loss_fn, x, y)
    for parameter, (data, grad) in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.data, data)
        np.testing.assert_array_equal(parameter.grad, grad)
    np.testing.assert_array_equal(snn.default_generator.get_state(), state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_dropout_draws_the_masks_that_ours_draws() -> None:
    model, x, y = network()
    model[1] = snn.Dropout(0.5)
    for seed in range(5):
        snn.manual_seed(seed)
        torch.manual_seed(seed + 1)
        report = reference.compare(model, snn.MSELoss(), x, y)
        assert report
        assert not report.chaotic


def test_kinks_and_saturation_follow_torch() -> None:
    x = np.array([[0.0, -0.0, 0.1], [40.0, -800.0, 1e4], [0.1, 0.0, 1.0]])
    for activation in (snn.ReLU(), snn.LeakyReLU(), snn.Threshold(0.1, 2.0)):
        assert reference.compare(activation, snn.MSELoss(), x, np.ones_like(x))
    labels = np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.5]])
    assert reference.compare(snn.Sigmoid(), snn.BCELoss(), x, labels)
    assert reference.compare(snn.Identity(), snn.BCEWithLogitsLoss(), x, labels)
    assert reference.compare(snn.Identity(), snn.CrossEntropyLoss(), x, np.array([0, 2, 1]))


def test_a_module_of_ones_own_is_judged_by_a_torch_module_of_ones_own() -> None:
    class Twice(snn.Module):
        def __init__(self, factor: float) -> None:
            self.inner, self.factor = snn.Linear(2, 2, dtype=np.float64), factor

        def forward(self, x):
            return 2 * self.inner(x)

        def backward(self, dy):
            return self.inner.backward(self.factor * dy)

    class TorchTwice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(2, 2, dtype=torch.float64)

        def forward(self, x):
            return 2 * self.inner(x)

    x = np.random.default_rng(0).standard_normal((4, 2))
    judge = TorchTwice()
    before = {key: value.clone() for key, value in judge.state_dict().items()}
    assert reference.compare(Twice(2.0), snn.MSELoss(), x, x, torch_model=judge)
    assert not reference.compare(Twice(1.0), snn.MSELoss(), x, x, torch_model=judge)
    assert all(torch.equal(value, before[key]) for key, value in judge.state_dict().items())


def test_a_report_reads_as_a_table_and_as_json() -> None:
    model, x, y = network(np.float32)
    report = reference.compare(model, snn.MSELoss(), x, y)
    lines = str(report).splitlines()
    assert lines[0] == "Sequential and MSELoss, 7 rows (float32, PyTorch on cpu)"
    assert lines[-1] == report.verdict == "passed"
    ends = {line.index("verdict") if "verdict" in line else line.index("passed") for line in lines[2:-2]}
    assert len(ends) == 1  # one column
    read = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert read["passed"] is True
    assert read["dtype"] == "float32"
    assert [row["name"] for row in read["rows"]] == [row.name for row in report.rows]
    with pytest.raises(KeyError, match="no row 'speed'; there are prediction, loss"):
        report.row("speed")


def test_nan_and_infinity_in_a_report() -> None:
    nan, inf = np.nan, np.inf
    assert largest_difference(np.array([nan, inf, 1.0]), np.array([nan, inf, 1.0])) == (0.0, (0,))
    difference, index = largest_difference(np.array([1.0, 5.0, nan]), np.array([1.0, 2.0, 3.0]))
    assert math.isnan(difference)
    assert index == (2,)
    assert largest_difference(np.array([inf]), np.array([-inf]))[0] == inf
    with pytest.raises(ValueError, match="shapes"):
        largest_difference(np.zeros(1), np.zeros((1, 1)))
    row = Row("p", nan, 1.0, 1e-6, 1e-7)
    assert not row.passed
    report = ParityReport("t", "float32", "cpu", [row])
    assert not report
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["rows"][0]["difference"] == "nan"
    assert "FAILED: p" in str(report)
