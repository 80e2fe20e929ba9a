"""Where learning is lost: the figures of each layer, and the sentences about what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import traced

import scratchnn as snn


def linear(weight: Any, bias: Any) -> snn.Linear:
    weight = np.asarray(weight, np.float64)
    layer = snn.Linear(weight.shape[1], weight.shape[0], dtype=np.float64)
    layer.weight.data[...] = weight
    assert layer.bias is not None
    layer.bias.data[...] = bias
    return layer


def half_dead(dead: int, units: int = 10) -> snn.Sequential:
    bias = np.where(np.arange(units) < dead, -100.0, 1.0)
    return snn.Sequential(linear(np.ones((units, 2)), bias), snn.ReLU(), linear(np.ones((1, units)), 0))


def x_of(rows: int) -> Any:
    return traced.batch(rows, 2, np.float64)


def trace(model: Any, x: Any, loss_fn: Any = None, target: Any = None, **options: Any) -> snn.Trace:
    target = np.zeros((len(x), 1)) if target is None else target
    return snn.trace(model, snn.MSELoss() if loss_fn is None else loss_fn, x, target, **options)


def layer(step: snn.Trace, path: str) -> Any:
    return next(each for each in step.layers if each.path == path)


def test_norms_are_those_of_the_arrays() -> None:
    model, loss_fn, x, target = traced.circles()
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    step = snn.trace(model, loss_fn, x, target, optimizer=optimizer)
    assert [each.path for each in step.layers] == ["0", "1", "2", "3"]
    for each in step.layers:
        pair = step[each.path]
        assert pair.backward is not None
        assert each.activation == np.linalg.norm(pair.forward.outputs["y"].astype(np.float64))
        assert each.gradient == np.linalg.norm(pair.backward.inputs["dy"].astype(np.float64))
        assert (each.samples, each.units) == pair.forward.outputs["y"].shape
    (weight, bias) = layer(step, "0").parameters
    assert (weight.name, bias.name) == ("0.weight", "0.bias")
    assert weight.norm == np.linalg.norm(step.parameters["0.weight"].astype(np.float64))
    assert weight.gradient == np.linalg.norm(step.gradients["0.weight"].astype(np.float64))
    assert weight.ratio == pytest.approx(0.1 * weight.gradient / weight.norm, rel=1e-5)
    plain = snn.trace(model, loss_fn, x, target)
    assert layer(plain, "0").parameters[0].ratio is None


@pytest.mark.parametrize("dead", [0, 1, 9])
def test_dead_units_are_counted_and_named(dead: int) -> None:
    step = trace(half_dead(dead), x_of(64))
    assert (layer(step, "1").dead, layer(step, "1").units) == (dead, 10)
    assert layer(step, "0").dead is None
    gradient = step.gradients["0.weight"]
    assert (gradient == 0).all(axis=1).sum() == dead  # they receive no gradient indeed
    sentences = {
        0: [],
        1: ["1 (ReLU): 1 of 10 units is dead for all 64 samples; it receives no gradient."],
        9: ["1 (ReLU): 9 of 10 units are dead for all 64 samples; they receive no gradient."],
    }
    assert [f for f in step.findings if "ReLU" in f] == sentences[dead]


def test_a_few_samples_say_little_about_death() -> None:
    assert not any("dead" in finding for finding in trace(half_dead(9), x_of(7)).findings)
    assert any("dead" in finding for finding in trace(half_dead(9), x_of(8)).findings)
    for rows in (1, 64):
        findings = trace(half_dead(10), x_of(rows), None, np.ones((rows, 1))).findings
        samples = "the one sample" if rows == 1 else "all 64 samples"
        assert findings[0] == (
            f"1 (ReLU): all 10 units are zero for {samples}; no gradient passes through it."
        )
        assert any("0 (Linear): the gradient of 0.weight and 0.bias is exactly 0" in f for f in findings)


def test_a_unit_at_the_kink_lets_nothing_through() -> None:
    model = snn.Sequential(linear(np.eye(2), 0), snn.ReLU(), linear(np.ones((1, 2)), 0))
    step = trace(model, np.column_stack([np.zeros(9), np.arange(9.0)]), None, np.ones((9, 1)))
    assert layer(step, "1").dead == 1
    assert not step.gradients["0.weight"][0].any()


def test_a_layer_used_twice_is_reported_once() -> None:
    shared = linear(np.eye(2), 0)
    cut = snn.Sequential(linear(np.eye(2), -100), snn.ReLU())
    step = trace(snn.Sequential(shared, shared, *cut), x_of(9), None, np.ones((9, 2)))
    said = [finding for finding in step.findings if "0.weight" in finding]
    assert said == ["0 (Linear): the gradient of 0.weight and 0.bias is exactly 0; it learns nothing."]


def test_units_that_die_at_a_threshold_are_dead_too() -> None:
    model = snn.Sequential(linear([[1.0], [1.0]], [0, -9]), snn.Threshold(1.0, 5.0), linear([[1.0, 1.0]], 0))
    x = np.linspace(0, 4, 9)[:, None]
    step = trace(model, x)
    assert layer(step, "1").dead == 1


@pytest.mark.parametrize(
    ("kind", "limit"), [(snn.Sigmoid, np.log(999 / 1 * 0.4)), (snn.Tanh, np.arctanh(np.sqrt(0.99)))]
)
def test_saturated_is_where_the_slope_is_below_a_hundredth_of_the_steepest(kind: Any, limit: float) -> None:
    # sigmoid: y (1 - y) = 0.0025; tanh: 1 - y^2 = 0.01
    if kind is snn.Sigmoid:
        y = (1 + np.sqrt(1 - 4 * 0.0025)) / 2
        limit = float(np.log(y / (1 - y)))
    model = snn.Sequential(linear([[1.0]], 0), kind(), linear([[1.0]], 0))
    x = np.array([[limit * 1.001], [-limit * 1.001], [limit * 0.999], [0.0]])
    step = trace(model, x)
    assert layer(step, "1").saturated == 0.5
    assert layer(step, "0").saturated is None
    assert not any("saturated" in finding for finding in step.findings)
    wide = trace(model, np.array([[99.0], [-99.0], [50.0], [0.0]]))
    assert any(f.startswith(f"1 ({kind.__name__}): 75 % of its outputs are saturated") for f in wide.findings)


def test_a_sure_answer_is_no_fault_unless_it_is_wrong() -> None:
    model = snn.Sequential(linear([[1.0]], 0), snn.Sigmoid())
    x = np.array([[900.0], [-900.0], [20.0], [-20.0]])
    right = (x > 0).astype(np.float64)
    assert not any("Sigmoid" in f for f in trace(model, x, snn.BCELoss(), right).findings)
    # sigmoid(900) is 1 to the last bit; sigmoid(-900) is not quite 0.
    assert trace(model, x, snn.BCELoss(), 1 - right).findings == [
        "1 (Sigmoid): 1 of 4 probabilities is exactly 0 or 1 on the wrong side, where the gradient is "
        "exactly 0. Take BCEWithLogitsLoss without the Sigmoid."
    ]


def test_a_gradient_that_vanishes() -> None:
    modules: list[Any] = []
    for _ in range(8):
        modules += [linear(np.eye(2), 0), snn.Sigmoid()]
    step = trace(snn.Sequential(*modules), np.ones((4, 2)), None, np.zeros((4, 2)))
    (said,) = step.findings
    sizes = [np.sqrt(np.mean(step.gradients[f"{path}.weight"] ** 2)) for path in (14, 0)]
    assert said == (
        f"The gradient vanishes: an entry of dL/dweight is about {sizes[0]:.1e} in 14 (Linear) and "
        f"{sizes[1]:.1e} in 0 (Linear), which learns {sizes[0] / sizes[1]:,.0f} times more slowly."
    )


@pytest.mark.parametrize(("layers", "said"), [(6, True), (4, False)])
def test_a_gradient_that_explodes(layers: int, said: bool) -> None:
    # y = 10 x - 9 keeps an x of 1 where it is, while dy grows by 10 from layer to layer: 10^5, and 10^3.
    model = snn.Sequential(*(linear(10 * np.eye(2), -9) for _ in range(layers)))
    findings = trace(model, np.ones((4, 2)), None, np.zeros((4, 2))).findings
    (sentence,) = [finding for finding in findings if "explodes" in finding] or [""]
    assert ("100,000 times" in sentence) is bool(sentence) is said


def test_nan_is_the_only_thing_said_where_it_begins() -> None:
    model = half_dead(3)
    model[2].weight.data[0, 4] = np.inf  # type: ignore[attr-defined]
    step = trace(model, x_of(16))
    assert len(step.findings) == 1
    assert step.findings[0].startswith("2 (Linear): 1 of 10 entries of weight are NaN or infinite")


def test_layers_that_the_backward_does_not_reach() -> None:
    class Cut(snn.Module):
        def __init__(self) -> None:
            self.seen, self.cut = linear(np.eye(2), 0), linear(np.eye(2), 0)

        def forward(self, x: Any) -> Any:
            return self.seen(self.cut(x))

        def backward(self, dy: Any) -> Any:
            return self.seen.backward(dy)

    step = trace(Cut(), x_of(4), None, np.zeros((4, 2)))
    assert step.findings == [
        "cut (Linear): no gradient reaches cut.weight and cut.bias; its backward gives none."
    ]
    assert "cut.weight" not in step.gradients
    assert step["cut"].backward is None
    assert layer(step, "cut").gradient is None
    assert "-" in str(step)


def test_a_loss_at_its_minimum_asks_for_nothing() -> None:
    model = snn.Sequential(linear(np.eye(2), 0))
    x = x_of(4)
    assert trace(model, x, None, x).findings == [
        "dL/dprediction is exactly 0: the loss asks for no change, and nothing moves."
    ]


def test_updates_too_large_and_too_small() -> None:
    model = snn.Sequential(linear(np.ones((1, 2)), 0))
    x = x_of(16)
    large = trace(model, x, optimizer=snn.SGD(model.parameters(), lr=100.0)).findings
    assert any(f.startswith("0.weight: one step moves it by") and "too large" in f for f in large)
    small = trace(model, x, optimizer=snn.SGD(model.parameters(), lr=1e-12)).findings
    assert any("rounding swallows" in f for f in small)
    assert trace(model, x, optimizer=snn.SGD(model.parameters(), lr=1e-2)).findings == []


def test_softmax_before_cross_entropy_is_said_with_its_floor(recwarn: Any) -> None:
    model, loss_fn, x, target = traced.softmax_twice()
    step = snn.trace(model, loss_fn, x, target)
    assert step.findings[0] == (
        "CrossEntropyLoss got the output of a Softmax layer. It applies softmax itself, to logits: of "
        "probabilities of 3 classes it cannot fall below 0.5514. Leave the Softmax out, or take LogSoftmax "
        "with NLLLoss."
    )
    assert len(recwarn) == 0
    with pytest.warns(UserWarning, match="output of a Softmax layer"):  # it is still to come in training
        loss_fn(model(x), target)


def test_the_floor_counts_the_classes_though_the_softmax_goes_another_way() -> None:
    model = snn.Sequential(snn.Linear(2, 3), snn.Softmax(0))
    step = snn.trace(model, snn.CrossEntropyLoss(), traced.batch(5, 2), np.arange(5) % 3)
    assert "below 0.5514" in step.findings[0]


def test_a_healthy_step_has_no_findings() -> None:
    snn.manual_seed(1)
    model, loss_fn, x, target = traced.logits()
    optimizer = snn.SGD(model.parameters(), lr=0.01)
    assert snn.trace(model, loss_fn, x, target, optimizer=optimizer).findings == []
