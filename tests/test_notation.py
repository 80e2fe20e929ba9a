"""Formulas as trees: what they print as, and that their printing can be trusted."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scratchnn.functional.written import VARIANTS
from scratchnn.notation import (
    Add,
    Blank,
    Call,
    Derivative,
    Divide,
    Expression,
    Indexed,
    Multiply,
    Name,
    Negative,
    Number,
    Power,
    Rest,
    Sum,
    parse,
)
from scratchnn.notation.filled import FULL, SHOWN, fill
from scratchnn.notation.scope import Scope
from scratchnn.notation.text import as_number

EVERY = sorted({e for variants in VARIANTS.values() for _, equations in variants for e in equations})


@pytest.mark.parametrize(
    ("formula", "text", "latex"),
    [
        ("y = x", "y = x", "y = x"),
        (
            "dx = dy * (1 - y) * y",
            "dx = dy·(1 - y)·y",
            r"\mathrm{d}x = \mathrm{d}y \cdot \left(1 - y\right) \cdot y",
        ),
        (
            "dx[n, d] = Sum(dy[n, m] * weight[m, d], m)",
            "dx[n,d] = Σₘ dy[n,m]·weight[m,d]",
            r"\mathrm{d}x_{n,d} = \sum_{m} \mathrm{d}y_{n,m} \cdot \text{weight}_{m,d}",
        ),
        ("-a / b / c * d", "-a·d / (b·c)", r"-\frac{a \cdot d}{b \cdot c}"),
        ("a - (b - c)", "a - (b - c)", r"a - \left(b - c\right)"),
        ("a - Sum(b[n], n)", "a - Σₙ b[n]", r"a - \sum_{n} b_{n}"),
        ("(a + b) ** 2", "(a + b)²", r"\left(a + b\right)^{2}"),
        ("where(x <= 0, 0, x)", "0 if x ≤ 0 else x", None),
        ("maximum(a, -b)", "max(a, -b)", r"\max\left(a, -b\right)"),
        ("-(-a)", "-(-a)", r"-\left(-a\right)"),
        ("1e-5 ** 2", "(1e-5)²", r"\left(10^{-5}\right)^{2}"),
    ],
)
def test_formulas_as_text_and_latex(formula: str, text: str, latex: str | None) -> None:
    tree = parse(formula)
    assert str(tree) == tree.text() == text
    assert latex is None or tree.latex() == latex


def test_what_only_sheets_print() -> None:
    slope = Derivative(Name("L"), Indexed("y", (Name("n"), Number(3)), "0"))
    assert slope.text() == "∂L/∂0.y[n,3]"
    assert slope.latex() == r"\frac{\partial L}{\partial y^{(0)}_{n,3}}"
    folded = Add(
        (
            Multiply((Number(-0.5), Number(-2.0))),
            Multiply((Number(-0.25), Number(3))),
            Rest(61, Number(-1e-5)),
        )
    )
    assert folded.text() == "-0.5·(-2) + (-0.25)·3 + [61 more: -1e-5]"
    assert folded.latex() == (
        r"-0.5 \cdot \left(-2\right) + \left(-0.25\right) \cdot 3 + \underbrace{-10^{-5}}_{61\text{ more}}"
    )
    assert Blank("a").text() == "__a__"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2"),
        (-0.0, "0"),
        (0.123456, "0.1235"),
        (1.2e-5, "1.2e-5"),
        (123456.7, "1.235e5"),
        (1e6, "1000000"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert as_number(value) == text


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_none_print_too(value: float) -> None:
    assert as_number(value) == str(value)
    assert Number(value).latex()


@pytest.mark.parametrize(
    "text", ["y = ", "x @ w", "f(x)", "x[1:2]", "x = y = z", "lambda: 1", "True", "import os", "where(x, y)"]
)
def test_what_is_no_formula_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"formula"):
        parse(text)


# ---- every formula prints ---------------------------------------------------------------------------


@pytest.mark.parametrize("formula", EVERY)
def test_mathml_is_well_formed_and_has_every_name(formula: str) -> None:
    tree = parse(formula)
    root = ElementTree.fromstring(tree.mathml())
    assert root.tag.endswith("math")
    shown = "".join(root.itertext())
    for name in set(re.findall(r"[A-Za-z_]{3,}", formula)) - {
        "Sum",
        "where",
        "minimum",
        "maximum",
        "log1p",
        "sqrt",
    }:
        assert name.removesuffix("_next") in shown


@pytest.mark.parametrize("name", ["enc_fc 1", "<b>&amp;</b>", "a\\b{c}^~$#%", "日本", "é"])
def test_names_that_somebody_gave(name: str) -> None:
    entry = Indexed("dweight", (Number(3), Number(1)), name)
    root = ElementTree.fromstring(entry.mathml())
    assert name in "".join(root.itertext()).replace("\xa0", " ")
    assert "<b>" not in entry.mathml()
    latex = entry.latex()
    assert latex.replace(r"\{", "").count("{") == latex.replace(r"\}", "").count("}")
    assert "日" not in latex


@pytest.mark.parametrize("formula", EVERY)
def test_latex_has_its_brackets_in_pairs(formula: str) -> None:
    latex = parse(formula).latex()
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")
    assert latex.count(r"\begin") == latex.count(r"\end")


# ---- brackets: what is printed means what the tree means ---------------------------------------------------

numbers = st.sampled_from([2.0, -3.0, 0.5, -0.25, 7.0]).map(Number)


def larger(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        several.map(Add),
        several.map(Multiply),
        st.builds(Divide, inner, inner),
        st.builds(Negative, inner),
        st.builds(lambda a: Power(a, Number(2)), inner),
        st.builds(lambda a, b: Call("maximum", (a, b)), inner, inner),
    )


def from_text(text: str) -> str:
    """Printed text as a program."""
    return text.replace("·", "*").replace("²", "**2").replace("/", "/one/")


def from_latex(latex: str) -> str:
    """LaTeX as a program: a fraction as (top)/one/(bottom)."""
    for sign, word in {r"\left": "", r"\right": "", r"\cdot": "*", r"\frac": "", r"\max": "max"}.items():
        latex = latex.replace(sign, word)
    return latex.replace("^", "**").replace("}{", ")/one/(").replace("{", "(").replace("}", ")")


@settings(max_examples=300)
@given(tree=st.recursive(numbers, larger, max_leaves=8))
def test_what_is_printed_means_what_the_tree_means(tree: Expression) -> None:
    with np.errstate(all="ignore"):
        expected = Scope((), {}).value(tree, {})
        assume(math.isfinite(expected) and abs(expected) < 1e15)
        for program in (from_text(tree.text()), from_latex(tree.latex())):
            found = eval(program, {"max": np.maximum, "one": np.float64(1)})
            assert found == pytest.approx(expected, rel=1e-12), program


# ---- a formula in a call --------------------------------------------------------------------------------


def test_what_is_none_is_left_out() -> None:
    values = {"x": np.ones((2, 3)), "weight": np.ones((4, 3)), "bias": None}
    scope = Scope(["y[n, m] = Sum(x[n, d] * weight[m, d], d) + bias[m]"], values)
    assert scope.equation("y").right.text() == "Σ_d x[n,d]·weight[m,d]"
    scope = Scope(["y = -weight * (a - b)"], {"weight": None, "a": 1.0, "b": np.array(3.0)})
    assert scope.equation("y").right.text() == "-(a - b)"


def test_flags_are_decided() -> None:
    scope = Scope(["d = where(maximize, -g, g) + p"], {"maximize": True, "g": np.ones(2), "p": np.ones(2)})
    assert scope.equation("d").right.text() == "-g + p"


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)])
def test_rows_of_any_shape(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=shape), rng.normal(size=(4, 3))
    scope = Scope(["y[n, m] = Sum(x[n, d] * weight[m, d], d)"], {"x": x, "weight": weight})
    y = x @ weight.T
    for index in np.ndindex(y.shape):
        assert scope.value(scope.equation("y").right, scope.at("y", index)) == pytest.approx(y[index])


def total(values: Any) -> Any:
    scope = Scope(["y = Sum(x[n], n)"], {"x": np.asarray(values, float)})
    return fill(scope, scope.equation("y").right, {}, keep=lambda over, index: index == (0,))


def test_a_short_sum_is_shown_whole_as_it_stands() -> None:
    filled = total([1, -5, 2, 3, 4, 6])
    assert len(filled.leaves) == FULL
    assert filled.expression.text() == "1 - 5 + 2 + 3 + 4 + 6"


def test_a_long_sum_is_folded_with_its_count() -> None:
    filled = total([0.5, -9, 2, 8, 4, 6, 1])
    # The two largest, the one that is to be kept, and what is left.
    assert filled.expression.text() == "-9 + 8 + 0.5 + [4 more: 13]"
    assert filled.sums[0].terms == 7
    assert filled.sums[0].shown == [(1,), (3,), (0,)]
    assert len(filled.leaves) == SHOWN


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([9, 8, 7, 6, 5, 4, 1], "The 3 largest of 7 terms"),
        ([1, 8, 7, 6, 5, 4, 9], "3 of 7 terms, the largest and what is followed"),
        ([0, 0, 2, 0, 0, 0, 0], "The 3 largest of 7 terms"),
    ],
)
def test_what_is_shown_is_called_what_it_is(values: list[float], words: str) -> None:
    assert total(values).sums[0].words == words


@settings(max_examples=50)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_folding_loses_nothing(values: list[float]) -> None:
    filled = total(values)
    assert Scope((), {}).value(filled.expression, {}) == pytest.approx(math.fsum(values), abs=1e-9)


def test_an_entry_that_does_not_exist_is_not_looked_up() -> None:
    scope = Scope(
        ["y = Sum(where(t[n] == ignore, 0, x[n, t[n]]), n)"],
        {"t": np.array([1, -100]), "x": np.array([[1.0, 2.0], [3.0, 4.0]]), "ignore": -100},
    )
    assert scope.value(scope.equation("y").right, {}) == 2.0
    assert fill(scope, scope.equation("y").right, {}).expression.text() == "(0 if 1 = -100 else 2) + 0"


def test_a_sum_over_nothing_known_is_an_error() -> None:
    scope = Scope(["y = Sum(a * 2, n)"], {"a": 1.0})
    with pytest.raises(ValueError, match="how far n runs"):
        scope.value(scope.equation("y").right, {})


def test_equal_trees_are_equal() -> None:
    assert parse("Sum(x[n], n)") == Sum(Indexed("x", (Name("n"),)), "n")
