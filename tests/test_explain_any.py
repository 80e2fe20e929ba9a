"""Sheets of networks that nobody thought of: containers in containers, layers in two places, one sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from file_cases import models
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_explain import all_lines, evaluated, numbers

import scratchnn as snn

LOSSES = [
    snn.MSELoss(),
    snn.L1Loss(reduction="sum"),
    snn.HuberLoss(delta=0.3),
    snn.BCEWithLogitsLoss(),
    snn.CrossEntropyLoss(),
]


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(
    data=st.data(),
    model=models(depth=2, lists=False),
    loss_fn=st.sampled_from(LOSSES),
    rows=st.sampled_from([1, 4, 9]),
    seed=st.integers(0, 99),
)
def test_every_sheet_of_any_network(data: Any, model: Any, loss_fn: Any, rows: int, seed: int) -> None:
    kinds = {parameter.dtype for parameter in model.parameters()}
    assume(len(kinds) == 1)
    dtype = kinds.pop()
    for layer in model.modules():
        if isinstance(layer, snn.Threshold):  # in float64, where the check runs, at the same place
            layer.threshold = float(dtype.type(layer.threshold))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)).astype(dtype)
    target = (
        rng.integers(0, 3, rows)
        if isinstance(loss_fn, snn.CrossEntropyLoss)
        else rng.random((rows, 3)).astype(dtype)
    )
    trace = snn.trace(model, loss_fn, x, target)
    eps = float(np.finfo(dtype).eps)
    largest = max((float(np.abs(g).max()) for g in trace.gradients.values()), default=0.0)
    name = data.draw(st.sampled_from([*trace.gradients, "x", "loss"]))
    shape = {"x": x.shape, "loss": ()}.get(name, np.shape(trace.parameters.get(name)))
    index = tuple(data.draw(st.integers(0, length - 1)) for length in shape)
    sheet = trace.explain(name, index)
    assert sheet.lines
    for line in all_lines(sheet):
        scale = sum(abs(number.value) for number in numbers(line.numbers)) + abs(line.value) + largest
        assert abs(evaluated(line.numbers) - line.value) <= 64 * eps * scale, line.name
    for check in sheet.checks:
        if check.name != "central differences":
            assert check.value is not None, check
            scale = largest + max(1.0, abs(trace.loss)) * (name == "loss") + abs(sheet.value)
            assert abs(check.value - sheet.value) <= 256 * eps * scale, (name, index, check)
    assert str(sheet)
    assert sheet.to_latex().count("{") == sheet.to_latex().count("}")


def test_infinities_of_both_signs() -> None:
    """What a diverged step leaves: the sheet says NaN, as the step does."""
    model = snn.Sequential(snn.Linear(2, 2, dtype=np.float64), snn.Linear(2, 1, dtype=np.float64))
    model[0].weight.data[...] = [[np.inf, 1.0], [-np.inf, 1.0]]
    with np.errstate(all="ignore"):
        trace = snn.trace(model, snn.MSELoss(), np.ones((3, 2)), np.zeros((3, 1)))
        sheet = trace.explain("0.weight", (0, 0))
    assert np.isnan(trace.loss)
    assert "nan" in str(sheet).lower()
