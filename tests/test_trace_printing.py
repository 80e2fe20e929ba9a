"""`print(trace)`: aligned, no wider than the terminal, coloured where it has colours."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import numpy as np
import pytest
import traced
from traced import CASES

import scratchnn as snn
from scratchnn.trace.printing import width_of_terminal

CODES = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def step(make: Any = traced.circles) -> snn.Trace:
    model, loss_fn, x, target = make()
    return snn.trace(model, loss_fn, x, target, optimizer=snn.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize("width", [20, 33, 40, 60, 80, 132, 400])
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_no_line_is_wider_than_the_terminal(make: Any, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert width_of_terminal() == width
    lines = str(step(make)).splitlines()
    assert max(len(line) for line in lines) <= width
    assert all(line == line.rstrip() for line in lines)


def test_80_columns_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(sys, "__stdout__", io.StringIO())
    assert width_of_terminal() == 80


def test_what_a_reader_sees() -> None:
    model = snn.Sequential(snn.Linear(2, 3, dtype=np.float64), snn.ReLU(), snn.Linear(3, 1, dtype=np.float64))
    for parameter in model.parameters():
        parameter.data[...] = np.arange(parameter.data.size).reshape(parameter.shape) / 4 - 0.5
    x, target = np.array([[1.0, 2.0], [-3.0, 0.5]]), np.array([[1.0], [0.0]])
    trace = snn.trace(model, snn.MSELoss(), x, target, optimizer=snn.SGD(model.parameters(), lr=0.1))
    expected = """\
One step of Sequential with MSELoss, 2 samples, loss 1.6602

Forward
  0  Linear(2, 3)  (2, 2) -> (2, 3)
      y[n,m] = Σ_d x[n,d]·weight[m,d] + bias[m]
      x       (2, 2)   1     2
                      -3     0.5
      weight  (3, 2)  -0.5   -0.25
                       0      0.25
                       0.5    0.75
      bias    (3,)    -0.5   -0.25   0
      y       (2, 3)  -1.5     0.25    2
                       0.875  -0.125  -1.125
      saved for the backward: x
  1  ReLU()  (2, 3) -> (2, 3)
      y = 0 if x ≤ 0 else x
      x          y of 0 (Linear)
      y  (2, 3)  0      0.25   2
                 0.875  0      0
      saved for the backward: x
"""
    text = str(trace)
    assert text.startswith(expected)
    backward = """\
  1  ReLU()  (2, 3) <- (2, 3)
      dx = 0 if x ≤ 0 else dy
      dy          dx of 2 (Linear)
      dx  (2, 3)  0       0.3906  0
                  0.4688  0       0
"""
    assert backward in text
    assert text.count("reduction") == 1
    assert "Arrays are shortened" not in text


def test_numbers_of_one_array_have_their_points_below_each_other() -> None:
    model, x = snn.Sequential(snn.Linear(1, 4)), np.array([[1e-7], [123456.0], [-1.5], [-0.0]])
    text = str(snn.trace(model, snn.MSELoss(), x, np.zeros((4, 4))))
    block = text[text.index("x       (4, 1)") :].splitlines()[:4]
    assert block == [
        "x       (4, 1)   1e-07",
        "                       1.235e+05",
        "                      -1.5",
        "                       0",
    ]


def test_a_none_is_left_out_of_the_formula() -> None:
    model = snn.Sequential(snn.Linear(2, 2, bias=False))
    text = str(snn.trace(model, snn.BCEWithLogitsLoss(), [[1, 2]], [[1, 0]]))
    assert "y[n,m] = Σ_d x[n,d]·weight[m,d]\n" in text
    assert "bias" not in text
    assert "pos_weight" not in text


def test_large_arrays_are_shortened_and_the_way_to_more_is_said() -> None:
    model = snn.MLP(50, [100], 3)
    trace = snn.trace(model, snn.MSELoss(), traced.batch(5000, 50), traced.batch(5000, 3, seed=1))
    text = str(trace)
    assert len(text.splitlines()) < 150
    assert "... 4,996 more rows" in text
    low, high = trace.x.min(), trace.x.max()
    assert f"from {low:.4g} to {high:.4g}" in text
    first, last = trace.x[0], trace.x[-1]
    assert f"{first[0]:.4g}" in text
    assert f"{last[-1]:.4g}" in text
    assert 'trace["0"].forward.outputs["y"] has every number' in " ".join(text.split())


def test_colours_only_where_the_terminal_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = step()
    plain = str(trace)
    assert "\x1b" not in plain
    monkeypatch.setattr(sys, "stdout", Terminal())
    coloured = str(trace)
    assert "\x1b[1m" in coloured
    assert "\x1b[35m" in coloured  # gradients
    lines = [line.rstrip() for line in CODES.sub("", coloured).splitlines()]
    assert lines == plain.splitlines()
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert str(trace) == plain


def test_a_terminal_without_the_signs_gets_code(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = step()
    monkeypatch.setattr(sys, "stdout", Terminal("ascii"))
    text = str(trace)
    assert "y[n, m] = Sum(x[n, d] * weight[m, d], d) + bias[m]" in text
    text.encode("ascii")


def test_nan_and_infinity_are_printed() -> None:
    model, _, x, target = traced.circles()
    x[3, 1], x[5, 0] = np.nan, np.inf
    text = str(snn.trace(model, snn.BCEWithLogitsLoss(), x, target))
    assert "nan" in text
    assert "! 0 (Linear): 2 of 128 entries of x are NaN or infinite" in text


def test_one_line_for_the_prompt() -> None:
    assert repr(step()).startswith("<Trace: one step of Sequential with BCELoss, 64 samples, loss 0.")
    assert "\n" not in repr(step())


def test_an_input_is_named_by_where_it_came_from() -> None:
    """Also where the step just before is another: the input of a residual block, and its upstream."""
    text = " ".join(str(step(traced.residual)).split())
    assert "1 Residual() (5, 4) -> (5, 4) computed by Residual.forward x y of 0 (Linear) y (5, 4)" in text
    assert "1 Residual() (5, 4) <- (5, 4) computed by Residual.backward dy dx of 2 (Linear) dx (5, 4)" in text


def test_a_parameter_is_printed_though_it_equals_an_output() -> None:
    model = snn.Sequential(snn.Linear(2, 2, bias=False), snn.Linear(2, 2, bias=False))
    for layer in model:
        layer.weight.data[...] = np.eye(2)  # type: ignore[attr-defined]
    text = str(snn.trace(model, snn.MSELoss(), np.eye(2), np.zeros((2, 2))))
    assert "weight  (2, 2)  1  0\n" in text
    assert "weight          y of" not in text
