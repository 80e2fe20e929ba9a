"""Derivation sheets: every number is the step's own, every sum adds up, every origin is where it says."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.notation import Derivative, Expression, Indexed, Number, Rest
from scratchnn.notation.scope import Scope
from scratchnn.trace.sheet import Line, Sheet

F32, F64 = np.float32, np.float64


class Residual(snn.Module):
    """y = x + inner(x): the gradient comes back by two ways."""

    def __init__(self, width: int, dtype: Any) -> None:
        self.inner = snn.Sequential(snn.Linear(width, width, dtype=dtype), snn.Tanh())

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)

    def backward(self, dy: Any) -> Any:
        return dy + self.inner.backward(dy)


class Twice(snn.Module):
    """A factor that no operation of the trace has."""

    def __init__(self, width: int, dtype: Any) -> None:
        self.inner = snn.Linear(width, width, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return 2 * self.inner(x)

    def backward(self, dy: Any) -> Any:
        return self.inner.backward(2 * dy)


def small(dtype: Any) -> snn.Module:
    return snn.Sequential(
        snn.Linear(2, 3, dtype=dtype), snn.ReLU(), snn.Linear(3, 1, dtype=dtype), snn.Sigmoid()
    )


def shared(dtype: Any) -> snn.Module:
    layer = snn.Linear(2, 2, dtype=dtype)
    return snn.Sequential(layer, snn.Tanh(), layer)


def classes(dtype: Any) -> snn.Module:
    return snn.Sequential(snn.Linear(2, 5, dtype=dtype), snn.Tanh(), snn.Linear(5, 3, dtype=dtype))


def batch(dtype: Any, rows: int = 4) -> tuple[Any, Any, Any]:
    """x, targets of two classes, class indices."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(rows, 2)).astype(dtype)
    return x, (rng.random((rows, 1)) > 0.5).astype(dtype), rng.integers(0, 3, rows)


def a_trace(name: str, dtype: Any = F32, rows: int = 4) -> Any:
    """One step of a network, by name."""
    snn.manual_seed(3)
    x, two, three = batch(dtype, rows)
    rng = np.random.default_rng(8)
    wide = rng.normal(size=(rows, 2)).astype(dtype)
    linear = snn.Linear
    known: dict[str, Any] = {
        "small": lambda: (small(dtype), snn.BCELoss(), x, two),
        "logits": lambda: (small(dtype)[:3], snn.BCEWithLogitsLoss(pos_weight=[2.0]), x, two),
        "classes": lambda: (classes(dtype), snn.CrossEntropyLoss(), x, three),
        "weighted": lambda: (
            classes(dtype),
            snn.CrossEntropyLoss(weight=[1.0, 2.0, 0.5], label_smoothing=0.1, ignore_index=int(three[0])),
            x,
            three,
        ),
        "log softmax": lambda: (
            snn.Sequential(linear(2, 3, dtype=dtype), snn.LogSoftmax(-1)),
            snn.NLLLoss(reduction="sum"),
            x,
            three,
        ),
        "softmax": lambda: (
            snn.Sequential(linear(2, 3, dtype=dtype), snn.Softmax(1), linear(3, 2, dtype=dtype)),
            snn.L1Loss(),
            x,
            wide,
        ),
        "two linear": lambda: (
            snn.Sequential(linear(2, 4, dtype=dtype), linear(4, 2, bias=False, dtype=dtype)),
            snn.MSELoss(),
            x,
            wide,
        ),
        "dropout": lambda: (
            snn.Sequential(
                linear(2, 4, dtype=dtype), snn.LeakyReLU(0.1), snn.Dropout(0.5), linear(4, 2, dtype=dtype)
            ),
            snn.HuberLoss(delta=0.5),
            x,
            wide,
        ),
        "own": lambda: (
            snn.Sequential(
                linear(2, 3, dtype=dtype), Residual(3, dtype), Twice(3, dtype), linear(3, 2, dtype=dtype)
            ),
            snn.MSELoss(),
            x,
            wide,
        ),
        "shared": lambda: (shared(dtype), snn.MSELoss(), x, wide),
        "one layer": lambda: (linear(2, 2, dtype=dtype), snn.MSELoss(), x, wide),
        "one sample": lambda: (
            snn.Sequential(linear(2, 2, dtype=dtype), snn.Sigmoid()),
            snn.MSELoss(),
            x[0],
            wide[0],
        ),
        "three axes": lambda: (
            snn.Sequential(linear(2, 3, dtype=dtype), snn.Softmax(1), snn.Threshold(0.1, 0.0)),
            snn.MSELoss(),
            np.stack([x, x[::-1]]),
            rng.random((2, rows, 3)).astype(dtype),
        ),
    }
    return snn.trace(*known[name]())


NETWORKS = [
    "small",
    "logits",
    "classes",
    "weighted",
    "log softmax",
    "softmax",
    "two linear",
    "dropout",
    "own",
    "shared",
    "one layer",
    "one sample",
    "three axes",
]


def entries(trace: Any) -> list[tuple[str, tuple[int, ...]]]:
    """One entry of everything that can be explained: the one with the largest gradient."""
    found = [
        (name, tuple(map(int, np.unravel_index(np.abs(gradient).argmax(), gradient.shape))))
        for name, gradient in trace.gradients.items()
    ]
    return [*found, ("x", tuple(0 for _ in trace.x.shape)), ("loss", ())]


def evaluated(node: Expression) -> float:
    return Scope((), {}).value(node, {})


def all_lines(sheet: Sheet) -> list[Line]:
    return [*([] if sheet.chain is None else [sheet.chain]), *sheet.lines]


def rests(node: Expression) -> list[Rest]:
    found = [node] if isinstance(node, Rest) else []
    return found + [rest for child in node.children() for rest in rests(child)]


def numbers(node: Expression) -> list[Number]:
    found = [node] if isinstance(node, Number) else []
    return found + [number for child in node.children() for number in numbers(child)]


# ---- every sheet -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_line_adds_up_and_all_checks_agree(network: str, dtype: Any) -> None:
    trace = a_trace(network, dtype)
    eps = float(np.finfo(dtype).eps)
    largest = max(float(np.abs(g).max()) for g in trace.gradients.values())
    for name, index in entries(trace):
        sheet = trace.explain(name, index)
        for line in all_lines(sheet):
            scale = sum(abs(number.value) for number in numbers(line.numbers)) + abs(line.value) + largest
            assert evaluated(line.numbers) == pytest.approx(line.value, abs=64 * eps * scale), line.name
        for check in sheet.checks:
            if network == "own" and check.name == "PyTorch":
                assert "has no twin" in check.remark
                continue
            assert check.value is not None, check.remark
            assert check.difference is not None
            tolerance = 64 * eps * max(largest, abs(sheet.value))
            assert check.value == pytest.approx(sheet.value, abs=tolerance), (name, check)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_factor_is_what_it_says(network: str) -> None:
    """Followed back by its words alone, a factor has the value that the trace has there."""
    trace = a_trace(network)
    found: set[str] = set()
    for name, index in entries(trace):
        sheet = trace.explain(name, index)
        by_number = {line.number: line for line in sheet.lines}
        for line in all_lines(sheet):
            for factor in line.factors:
                if factor.line:
                    assert by_number[factor.line].value == factor.value
                    assert by_number[factor.line].name == factor.key
                if re.match(r"\w+\[[\d,]+\] of ", factor.origin) and " + " not in factor.origin:
                    assert in_the_trace(trace, factor.origin) == factor.value, factor
                    found.add("step")
                if factor.origin.endswith(", a parameter"):
                    key, _, place = factor.origin.removesuffix(", a parameter").partition("[")
                    assert trace.parameters[key][as_index(place)] == factor.value
                    found.add("parameter")
                if factor.origin.endswith(", the input"):
                    place = factor.origin.removesuffix(", the input").partition("[")[2]
                    assert trace.x[as_index(place)] == factor.value
                    found.add("input")
    assert found == {"step", "parameter", "input"}


def as_index(text: str) -> tuple[int, ...]:
    return tuple(int(i) for i in text.rstrip("]").split(",") if i)


def in_the_trace(trace: Any, origin: str) -> float:
    """ "dx[2,3] of 1 (ReLU)", looked up in the steps."""
    entry, _, place = origin.partition(" of ")
    name, _, index = entry.partition("[")
    path = place.partition(" (")[0] if " (" in place else ""
    forward, backward = trace[path]
    outputs = {**backward.outputs, **forward.outputs}
    if name not in outputs and name.startswith("d"):
        name = "dprediction"
    found = outputs[name] if name in outputs else forward.inputs[name]
    return float(np.asarray(found)[as_index(index)]) if np.ndim(found) else float(found)


# ---- the chain of numbers ---------------------------------------------------------------------------


def test_a_gradient_is_followed_back_to_the_loss() -> None:
    sheet = a_trace("small").explain("0.weight", (1, 1))
    back = [line.name for line in sheet.passes[0][1]]
    sample = back[1].partition("[")[2].partition(",")[0]
    assert back == [
        "0.dweight[1,1]",
        f"1.dx[{sample},1]",
        f"2.dx[{sample},1]",
        f"3.dx[{sample},0]",
        f"loss.dprediction[{sample},0]",
    ]
    assert [line.depth for line in sheet.lines[:5]] == [0, 1, 2, 3, 4]
    assert [title for title, _ in sheet.passes] == [
        "The way back",
        "What the way back needed of the forward pass",
    ]
    assert sheet.heading == f"Step by step, following sample {sample}"
    assert sheet.chain is not None
    assert sheet.chain.symbols[0].text() == (
        "∂L/∂0.weight[1,1] = Σₙ ∂L/∂3.y[n,0] · ∂3.y[n,0]/∂2.y[n,0] · ∂2.y[n,0]/∂1.y[n,1] · "
        "∂1.y[n,1]/∂0.y[n,1] · ∂0.y[n,1]/∂0.weight[1,1]"
    )
    assert [factor.origin for factor in sheet.chain.factors] == [
        "dprediction of loss (BCELoss)",
        "(1 - y)·y, of 3 (Sigmoid)",
        "weight[0,1] of 2 (Linear)",
        "0 if x ≤ 0 else 1, of 1 (ReLU)",
        "x[n,1] of 0 (Linear)",
    ]


def test_every_value_of_the_way_back_is_derived_down_to_inputs_and_parameters() -> None:
    sheet = a_trace("small").explain("0.weight", (1, 1))
    for line in sheet.lines[1:]:
        for factor in line.factors:
            leaf = factor.origin.endswith((", a parameter", ", the input")) or factor.key.startswith("target")
            assert factor.line or leaf or factor.symbol.text() in ("N", "dloss"), (line.name, factor)


def test_the_chosen_sample_is_followed() -> None:
    trace = a_trace("small", rows=64)
    sheet = trace.explain("0.weight", (1, 1), sample=5)
    assert sheet.heading == "Step by step, following sample 5"
    assert sheet.lines[1].name == "1.dx[5,1]"
    assert any(factor.key == "x[5,1]" for factor in sheet.lines[0].factors)
    assert sheet.lines[0].note.startswith("3 of 64 terms, the largest and what is followed: n = ")
    assert sheet.chain is not None
    assert sheet.chain.note.startswith("3 of 64 paths, the largest and what is followed: n = ")
    assert trace.explain("0.weight", (1, 1), sample=-1).heading == "Step by step, following sample 63"


def test_the_sample_that_counts_most_is_followed_otherwise() -> None:
    trace = a_trace("small", rows=64)
    terms = trace["0"].backward.inputs["dy"][:, 1] * trace.x[:, 1]
    assert trace.explain("0.weight", (1, 1)).heading.endswith(f"sample {np.abs(terms).argmax()}")


def test_short_sums_are_whole_and_long_ones_folded() -> None:
    short = a_trace("small", rows=4).explain("0.weight", (1, 1)).lines[0]
    assert (short.terms, short.shown, rests(short.numbers)) == (4, 4, [])
    assert len(short.factors) == 8
    line = a_trace("small", rows=64).explain("0.weight", (1, 1)).lines[0]
    assert (line.terms, line.shown) == (64, 3)
    (rest,) = rests(line.numbers)
    assert rest.count == 61
    assert "largest of 64 terms" in line.note


def test_the_terms_of_a_folded_sum_are_the_largest_first() -> None:
    trace = a_trace("small", rows=64)
    line = trace.explain("0.weight", (1, 1)).lines[0]
    terms = trace["0"].backward.inputs["dy"][:, 1] * trace.x[:, 1]
    order = np.argsort(-np.abs(terms))[:3]
    assert line.note == f"The 3 largest of 64 terms: n = {', '.join(map(str, order))}."


def test_a_gradient_that_comes_by_two_ways_is_their_sum() -> None:
    trace = a_trace("own")
    sheet = trace.explain("0.weight", (2, 1))
    line = next(line for line in sheet.lines if line.name.startswith("1.dx"))
    assert line.where == "backward of 1 (Residual)"
    assert {factor.origin.partition(" of ")[2] for factor in line.factors} == {
        "1.inner.0 (Linear)",
        "2 (Twice)",
    }
    assert all(factor.line for factor in line.factors)


def test_what_no_operation_gives_is_said_to_be_the_modules_own() -> None:
    sheet = a_trace("own").explain("2.inner.weight", (2, 1))
    assert sheet.lines[0].factors[0].origin == "computed by Twice.backward"
    assert sheet.chain is not None
    assert "computed by Twice.backward" in sheet.chain.factors[0].origin


def test_a_gradient_of_somebodys_own_backward_has_its_checks() -> None:
    class Scale(snn.Module):
        def __init__(self) -> None:
            self.weight = snn.Parameter(np.array([2.0, 3.0]))

        def forward(self, x: Any) -> Any:
            self.x = x
            return x * self.weight.data

        def backward(self, dy: Any) -> Any:
            self.weight.accumulate((dy * self.x).sum(axis=0))
            return dy * self.weight.data

    x, two, _ = batch(F64)
    trace = snn.trace(snn.Sequential(Scale(), snn.Linear(2, 1, dtype=F64)), snn.MSELoss(), x, two)
    sheet = trace.explain("0.weight", (1,))
    assert (sheet.chain, sheet.lines) == (None, ())
    assert "computed by the backward of 0 (Scale), its author's own" in sheet.subtitle
    assert sheet.checks[0].value == pytest.approx(sheet.value, rel=1e-12)
    assert "complex step" in str(sheet)
    assert sheet.to_latex().count("align*") == 0


def test_a_parameter_may_be_called_x() -> None:
    class Scale(snn.Module):
        def __init__(self) -> None:
            self.x = snn.Parameter(np.array([2.0, 3.0]))

        def forward(self, x: Any) -> Any:
            self.seen = x
            return x * self.x.data

        def backward(self, dy: Any) -> Any:
            self.x.accumulate((dy * self.seen).sum(axis=0))
            return dy * self.x.data

    x = batch(F64)[0]
    sheet = snn.trace(Scale(), snn.MSELoss(), x, 0 * x).explain("x", 1)
    assert sheet.subtitle.startswith("x[1] is 3. When it grows, the loss rises")
    assert sheet.checks[0].value == pytest.approx(sheet.value, rel=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
def test_an_entry_in_the_chain_has_an_index_for_every_axis(network: str) -> None:
    trace = a_trace(network)
    for name in trace.gradients:
        chain = trace.explain(name, (0,) * trace.gradients[name].ndim).chain
        assert chain is not None
        for factor in chain.factors:
            assert isinstance(factor.symbol, Derivative)
            if isinstance(factor.symbol.of, Indexed):
                y = trace[factor.symbol.of.path].forward.outputs["y"]
                assert len(factor.symbol.of.indices) == y.ndim


def test_the_chain_along_an_axis_in_the_middle() -> None:
    chain = a_trace("three axes").explain("0.weight", (1, 1)).chain
    assert chain is not None
    assert chain.symbols[0].text() == (
        "∂L/∂0.weight[1,1] = Σₙ Σᵢ Σₘ ∂L/∂2.y[n,m,1] · ∂2.y[n,m,1]/∂1.y[n,m,1] · "
        "∂1.y[n,m,1]/∂0.y[n,i,1] · ∂0.y[n,i,1]/∂0.weight[1,1]"
    )


def test_every_layer_of_a_deep_chain_has_a_letter_of_its_own() -> None:
    """None of them L, which is the loss; a layer of one unit needs none."""
    deep = [snn.Linear(2, 2) for _ in range(17)]
    model = snn.Sequential(*deep, snn.Linear(2, 1), snn.Softmax(1))
    x = batch(F32, rows=1)[0]
    chain = snn.trace(model, snn.MSELoss(), x, x[:, :1]).explain("x", (0, 0)).chain
    assert chain is not None
    assert len(re.findall("Σ", chain.symbols[0].text())) == 16  # then there are too many paths
    assert not re.search(r"[A-Z]", chain.symbols[0].text().replace("∂L/", ""))
    last = snn.Sequential(*deep[:2], snn.Linear(2, 1), snn.Softmax(1))
    chain = snn.trace(last, snn.MSELoss(), x, x[:, :1]).explain("x", (0, 0)).chain
    assert chain is not None
    assert chain.symbols[0].text().startswith("∂L/∂x[0,0] = Σₘ Σₖ ∂L/∂3.y[0,0] · ∂3.y[0,0]/∂2.y[0,0] · ")


def test_the_chain_knows_the_slopes_of_every_activation() -> None:
    from scratchnn.functional import activations
    from scratchnn.trace.chain import ELEMENTWISE, ROWWISE

    ops = {name.removesuffix("_vjp") for name in activations.__all__ if name.endswith("_vjp")}
    assert {*ELEMENTWISE, *ROWWISE} == ops


def test_a_parameter_used_twice_gets_the_sum() -> None:
    trace = a_trace("shared")
    sheet = trace.explain("0.weight", (1, 1))
    first = sheet.lines[0]
    assert first.name == "0.weight.grad[1,1]"
    assert [factor.key for factor in first.factors] == ["2.dweight[1,1]", "0.dweight[1,1]"]
    assert sheet.chain is not None
    *_, one, other = re.split(" on the paths | and |[.]$", sheet.chain.note.removesuffix("."))
    sample = sheet.heading.rpartition(" ")[2]
    assert one == f"n = {sample}"
    assert re.fullmatch(rf"n = {sample}, m = \d", other)
    assert sheet.value == pytest.approx(trace.gradients["0.weight"][1, 1], rel=1e-6)


def test_a_dropped_unit_sends_nothing_back() -> None:
    trace = a_trace("dropout")
    factor = trace["2"].forward.inputs["factor"]
    sample, unit = map(int, np.argwhere(factor == 0)[0])
    sheet = trace.explain("0.bias", (unit,), sample=sample)
    line = next(line for line in sheet.lines if line.name == f"2.dx[{sample},{unit}]")
    assert line.value == 0
    assert any(f.value == 0 and "dropout mask" in f.origin for f in line.factors)


def test_the_loss_is_explained_from_its_terms_down() -> None:
    trace = a_trace("small", rows=64)
    sheet = trace.explain("loss")
    assert sheet.chain is None
    assert sheet.title == "loss"
    assert sheet.value == pytest.approx(trace.loss)
    assert sheet.lines[0].name == "loss"
    assert sheet.lines[0].terms == 64
    assert [check.name for check in sheet.checks] == ["double precision", "PyTorch"]
    terms = -np.log(np.where(trace.target == 1, trace.prediction, 1 - trace.prediction))
    assert sheet.heading.endswith(f"sample {terms.argmax()}")


def test_a_loss_of_many_is_explained_term_by_term() -> None:
    x, two, _ = batch(F32)
    trace = snn.trace(small(F32), snn.BCELoss(reduction="none"), x, two)
    sheet = trace.explain("loss", (2, 0))
    assert sheet.lines[0].name == "loss[2,0]"
    with pytest.raises(IndexError, match=r"shape \(4, 1\)"):
        trace.explain("loss")


def test_saturated_predictions_are_explained_as_the_code_has_them() -> None:
    """Where p is 1 to the last bit, the textbook's formula would divide by zero."""
    model = small(F32)
    model[2].weight.data *= 1000
    model[2].bias.data[...] = 90
    x, two, _ = batch(F32)
    trace = snn.trace(model, snn.BCELoss(), x, two * 0)
    line = next(line for line in trace.explain("2.weight", (0, 0)).lines if line.name.startswith("loss."))
    assert "max((1 - prediction" in line.symbols[0].text()
    assert evaluated(line.numbers) == pytest.approx(line.value, rel=1e-5)


def test_numbers_have_the_dtype_of_the_arrays() -> None:
    """In float32 this threshold is 0, and a 0 does not pass."""
    model = snn.Sequential(snn.Linear(2, 1), snn.ReLU(), snn.Threshold(-1e-248, 0.0))
    model[0].bias.data[...] = -9
    x, two, _ = batch(F32)
    line = next(
        line
        for line in snn.trace(model, snn.MSELoss(), x, two + 1).explain("0.weight", (0, 0)).lines
        if line.name.startswith("2.dx")
    )
    assert evaluated(line.numbers) == line.value == 0


def test_scores_that_overflow_are_pointed_out() -> None:
    model = classes(F64)
    model[2].bias.data[0] = 1000
    x, _, three = batch(F64)
    sheet = snn.trace(model, snn.CrossEntropyLoss(), x, three).explain("2.bias", (0,))
    assert "without overflow" in " ".join(line.note for line in sheet.lines)


# ---- checks ---------------------------------------------------------------------------------------------


def test_without_pytorch_the_sheet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = a_trace("small")
    monkeypatch.setitem(sys.modules, "torch", None)
    checks = {check.name: check for check in trace.explain("0.weight", (1, 1)).checks}
    assert checks["PyTorch"].value is None
    assert checks["PyTorch"].remark == "torch is not installed"
    assert checks["complex step"].value is not None


def test_a_network_that_is_not_analytic_is_checked_by_differences() -> None:
    class Absolute(snn.Module):
        def forward(self, x: Any) -> Any:
            self.sign = np.sign(x.real).astype(x.dtype)
            return np.abs(x)

        def backward(self, dy: Any) -> Any:
            return dy * self.sign

    x, two, _ = batch(F64)
    trace = snn.trace(snn.Sequential(snn.Linear(2, 1, dtype=F64), Absolute()), snn.MSELoss(), x, two)
    check = trace.explain("0.weight", (0, 1)).checks[0]
    assert check.name == "central differences"
    assert check.value == pytest.approx(trace.gradients["0.weight"][0, 1], rel=1e-6)


def test_a_wrong_backward_is_seen_in_the_checks() -> None:
    class Wrong(snn.Tanh):
        def backward(self, dy: Any) -> Any:
            return 2 * super().backward(dy)

    x, two, _ = batch(F64)
    trace = snn.trace(snn.Sequential(snn.Linear(2, 1, dtype=F64), Wrong()), snn.MSELoss(), x, two)
    for check in trace.explain("0.weight", (0, 1)).checks:
        assert check.difference is not None
        assert check.difference > 1e10


@pytest.mark.parametrize(("name", "index"), [("0.weight", (1, 1)), ("loss", ())])
def test_the_checks_drop_what_the_step_dropped(name: str, index: Any) -> None:
    """However much was drawn since."""
    trace = a_trace("dropout", F64)
    snn.rand(101)
    for check in trace.explain(name, index).checks:
        assert check.difference is not None
        assert check.difference < 64


def test_explaining_changes_nothing() -> None:
    trace = a_trace("dropout")
    state = snn.default_generator.get_state().copy()
    before = {name: value.copy() for name, value in trace.parameters.items()}
    trace.explain("0.weight", (1, 1))
    trace.explain("loss")
    assert np.array_equal(snn.default_generator.get_state(), state)
    assert all(np.array_equal(before[name], trace.parameters[name]) for name in before)
    assert all(p.grad is None for p in trace.model.parameters())


# ---- exercises --------------------------------------------------------------------------------------------


def test_blanks_are_the_same_for_the_same_seed() -> None:
    trace = a_trace("small")
    sheets = [trace.explain("0.weight", (1, 1), blanks=4, seed=seed) for seed in (0, 0, 1)]
    assert sheets[0] == sheets[1]
    assert sheets[0].answers != sheets[2].answers
    assert [answer.label for answer in sheets[0].answers] == ["a", "b", "c", "d"]


def test_a_blank_is_blank_wherever_it_stands() -> None:
    trace = a_trace("small")
    whole, exercise = (trace.explain("0.weight", (1, 1), blanks=blanks) for blanks in (0, 5))
    answers = {answer.name: answer for answer in exercise.answers}
    assert len(answers) == 5
    for full, line in zip(all_lines(whole), all_lines(exercise), strict=True):
        hidden = [number.key for number in numbers(line.numbers)]
        assert not set(hidden) & set(answers)
        wanted = [answers[n.key].label for n in numbers(full.numbers) if n.key in answers]
        assert re.findall(r"__(\w+)__", line.numbers.text()) == wanted
        for factor in line.factors:
            assert factor.blank == (answers[factor.key].label if factor.key in answers else "")
        if line.name in answers:
            assert answers[line.name].value == full.value
            assert line.blank == answers[line.name].label


def test_answers_stand_apart() -> None:
    trace = a_trace("small")
    name = trace.explain("0.weight", (1, 1)).lines[3].name
    sheet = trace.explain("0.weight", (1, 1), blanks=name)
    (answer,) = sheet.answers
    assert str(answer) == f"(a) {name} = {answer.value:.7g}"
    assert str(answer) not in str(sheet)
    assert f"{answer.value:.7g}" not in str(sheet)
    assert r"\newpage" in sheet.to_latex()


def test_blanks_that_are_not_there() -> None:
    trace = a_trace("small")
    with pytest.raises(KeyError, match=r"1\.dx\["):
        trace.explain("0.weight", (1, 1), blanks=["5.dx[0,0]"])
    with pytest.raises(ValueError, match="intermediate values"):
        trace.explain("0.weight", (1, 1), blanks=99)
    with pytest.raises(TypeError):
        trace.explain("0.weight", (1, 1), blanks=1.5)


# ---- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "words"),
    [
        (("0.wieght", (1, 1)), {}, KeyError, r"'0\.weight', '0\.bias', '2\.weight', '2\.bias', 'x', 'loss'"),
        (("0.weight", (3, 1)), {}, IndexError, r"shape \(3, 2\).*last one is \(2, 1\)"),
        (("0.weight", (1,)), {}, IndexError, r"shape \(3, 2\); it needs an index of 2: \(0, 0\)"),
        (("0.weight",), {}, IndexError, "it needs an index of 2"),
        (("0.weight", (0.5, 1)), {}, TypeError, "needs integers"),
        (("loss", (0,)), {}, IndexError, "needs no index"),
        (("x", (4, 0)), {}, IndexError, r"shape \(4, 2\)"),
        (("0.weight", (1, 1)), {"sample": 4}, IndexError, "batch of 4; they are counted from 0 to 3"),
    ],
)
def test_what_does_not_exist(arguments: Any, options: Any, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        a_trace("small").explain(*arguments, **options)


def test_negative_indices_count_from_the_end() -> None:
    trace = a_trace("small")
    assert trace.explain("0.weight", (-1, -1)).title == "dL/d(0.weight[2,1])"
    assert trace.explain("0.bias", 1).title == "dL/d(0.bias[1])"


def test_a_parameter_that_leads_nowhere() -> None:
    class Unused(snn.Module):
        def __init__(self) -> None:
            self.used, self.spare = snn.Linear(2, 1), snn.Linear(2, 1)

        def forward(self, x: Any) -> Any:
            return self.used(x)

        def backward(self, dy: Any) -> Any:
            return self.used.backward(dy)

    x, two, _ = batch(F32)
    with pytest.raises(ValueError, match=r"spare\.weight got no gradient"):
        snn.trace(Unused(), snn.MSELoss(), x, two).explain("spare.weight", (0, 0))


# ---- how it looks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_sheet_is_no_wider_than_the_terminal(
    network: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    trace = a_trace(network)
    for name, index in entries(trace):
        for line in str(trace.explain(name, index)).splitlines():
            words = line.split()
            assert len(line) <= columns or len(words) == 1 or max(map(len, words)) > columns - 10, line


def test_a_sheet_prints_its_three_writings() -> None:
    text = str(a_trace("small").explain("0.weight", (1, 1)))
    assert "dweight[1,1] = Σₙ dy[n,1]·x[n,1]\n" in text
    assert re.search(r"\n      = .*·.* \+ .*\n      = ", text)
    assert "complex step" in text
    assert "PyTorch" in text


@pytest.mark.parametrize("network", NETWORKS)
def test_a_sheet_is_json_too(network: str) -> None:
    trace = a_trace(network)
    for name, index in entries(trace):
        found = json.loads(json.dumps(trace.explain(name, index).to_dict()))
        assert set(found) >= {"title", "value", "chain", "lines", "checks", "answers"}
        assert set(found["lines"][0]["symbols"][0]) == {"text", "latex"}


def test_latex_has_an_environment_for_each_line() -> None:
    sheet = a_trace("small").explain("0.weight", (1, 1), blanks=2)
    latex = sheet.to_latex()
    assert latex.startswith(r"\documentclass")
    assert latex.count(r"\begin{align*}") == latex.count(r"\end{align*}") == len(sheet.lines) + 1
    assert latex.count("{") == latex.count("}")
    assert latex.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    for network in ("small", "weighted", "own", "three axes"):
        trace = a_trace(network, rows=9)
        for i, (name, index) in enumerate(entries(trace)):
            if i in (0, len(trace.gradients), len(trace.gradients) + 1):
                source = tmp_path / f"{network.replace(' ', '-')}-{i}.tex"
                source.write_text(trace.explain(name, index, blanks=1).to_latex())
                command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", source.name]
                done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stdout[-2000:]
                wide = [float(pt) for pt in re.findall(r"Overfull \\hbox \(([\d.]+)pt", done.stdout)]
                assert max(wide, default=0) < 40


def test_the_sum_of_the_parts_is_the_whole_gradient() -> None:
    """Over all entries, sheets give the gradient that backward left."""
    trace = a_trace("classes")
    for name, gradient in trace.gradients.items():
        for index in np.ndindex(gradient.shape):
            sheet = trace.explain(name, index)
            assert sheet.value == gradient[index]
            assert math.isclose(
                evaluated(sheet.lines[0].numbers), gradient[index], rel_tol=1e-4, abs_tol=1e-7
            )
