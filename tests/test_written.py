"""What is printed is what is run: each formula's text, read by SymPy and by us, against its function."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sympy
from cases import CASES, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cotangent, seeds

import scratchnn.functional as F
from scratchnn.functional.written import FORMULAS, VARIANTS, formulas_for, written
from scratchnn.notation import Equation, Indexed, Name, parse
from scratchnn.trace.calls import counts_of, output_names, scope_of

# Functions of `functional` that stand in no formula of a step.
UNWRITTEN = {
    "adam_scalars",
    "adamw_scalars",
    "cross_entropy_floor_of_probabilities",
    "hits",
    "sgd_scalars",
    "total_norm",
}
ROWS, CLASSES, FEATURES = 4, 3, 5
RTOL = 1e-12
REDUCTIONS = ("mean", "sum", "none")


def test_every_function_is_written() -> None:
    functions = {name for name, value in vars(F).items() if inspect.isfunction(value)}
    assert functions - set(FORMULAS) == UNWRITTEN
    assert set(FORMULAS) <= functions


def test_a_written_function_is_the_same_object() -> None:
    def double(x: float) -> float:
        return 2 * x

    try:
        assert written("y = 2 * x")(double) is double
        assert FORMULAS["double"] == ("y = 2 * x",)
    finally:
        del FORMULAS["double"], VARIANTS["double"]


def test_settings_may_be_numpys_numbers() -> None:
    """The optimizers cast theirs to the dtype of the parameters."""
    for zero in (0, 0.0, np.float32(0), np.array(0.0)):
        assert formulas_for("sgd", {"momentum": zero})[-1] == "p_next = p - lr * d"
    assert formulas_for("sgd", {"momentum": np.float32(0.9), "nesterov": np.bool_(True)}) == formulas_for(
        "sgd", {"momentum": 0.9, "nesterov": True}
    )


# ---- calls: arguments for every function, in every way it may be called ------------------------------


def a_call(name: str, rng: np.random.Generator, **chosen: Any) -> dict[str, Any]:
    """Random arguments of `name`, by their names; smooth, and float64."""
    n, c, d = ROWS, CLASSES, FEATURES
    loss = name.removesuffix("_vjp") in ("mse", "l1", "huber", "bce", "bce_with_logits", "half_square")
    classes = name.removesuffix("_vjp") in ("nll", "cross_entropy")
    shape: tuple[int, ...] = (n,) if loss else (n, c)

    def signed(*shape: int) -> np.ndarray:
        return rng.uniform(0.2, 2.0, shape) * rng.choice([-1, 1], shape)

    def default(argument: str) -> Any:
        if argument == "target" and classes:
            return rng.integers(0, c, n)
        if argument in ("p", "prediction", "t", "target") and name.startswith("bce"):
            return rng.uniform(0.1, 0.9, shape)
        known: dict[str, Any] = {
            "dloss": signed(n) if chosen.get("reduction") == "none" else signed()[()],
            "axis": 1,
            "weight": signed(c, d) if name.startswith("linear") else None,
            "bias": signed(c),
            "pos_weight": 1.7 if "terms" in name else None,
            "ignore_index": -100,
            "reduction": "mean",
            "label_smoothing": 0.0,
            "row_weights": rng.uniform(0.5, 2, n),
            "negative_slope": 0.3,
            "limit": 0.1,
            "value": -0.7,
            "delta": 0.8,
            "nesterov": False,
            "maximize": False,
            "amsgrad": False,
            "c": 0.8,
        }
        scalars = ("lr", "momentum", "gain", "weight_decay", "step_size", "root", "eps", "gain1", "beta2")
        scalars += ("gain2", "shrink", "norm")
        if argument in scalars or (argument == "p" and name == "dropout_factor"):
            return float(rng.uniform(0.1, 0.4))
        if name in ("half_square", "half_square_vjp") and argument == "weight":
            return signed(n)
        if argument in known:
            return known[argument]
        if argument == "x" and name.startswith("linear"):
            return signed(n, d)
        if argument in ("v", "peak", "mask"):
            return rng.uniform(0.1, 2.0, shape)
        return signed(*shape)

    return {a: chosen.get(a, default(a)) for a in inspect.signature(getattr(F, name)).parameters}


def chosen_for(name: str, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Settings that between them lead to every text of `name`."""
    base = name.removesuffix("_vjp")
    parameters = inspect.signature(getattr(F, name)).parameters
    reductions = REDUCTIONS if "reduction" in parameters else (None,)
    options: list[dict[str, Any]] = [{}]
    if base in ("nll", "cross_entropy"):
        weight = rng.uniform(0.5, 2, CLASSES)
        ignored = np.array([0, -100, 2, 1])
        options += [{"weight": weight}, {"target": ignored}, {"weight": weight, "target": ignored}]
        if base == "cross_entropy":
            probabilities = rng.dirichlet(np.ones(CLASSES), ROWS)
            more = [{"label_smoothing": 0.1}, {"target": probabilities, "label_smoothing": 0.2}]
            options += [{**a, **b} for a, b in itertools.product(options, more) if not a.keys() & b.keys()]
            options += [{"target": probabilities}, {"target": probabilities, "weight": weight}]
    elif base in ("bce", "bce_with_logits"):
        options += [{"weight": rng.uniform(0.5, 2, ROWS)}]
        if base == "bce":
            near = np.array([1e-50, 0.3, 0.6, 1 - 1e-14])
            options += [{"prediction": near}, {"prediction": near, "weight": rng.uniform(0.5, 2, ROWS)}]
        else:
            options += [{**o, "pos_weight": rng.uniform(0.5, 2, ROWS)} for o in options]
            options += [{**o, "logits": np.array([-40.0, 0.3, 25.0, 1.2])} for o in options]
    elif base == "bce_terms":
        options += [{"p": rng.choice([1e-50, 0.3, 1 - 1e-14], (ROWS, CLASSES))}]
    elif base == "bce_with_logits_terms":
        options += [{"x": rng.uniform(-40, 40, (ROWS, CLASSES))}]
    elif base == "linear" and "bias" in parameters:
        options += [{"bias": None}]
    elif base == "sgd":
        options += [
            {"momentum": 0.0},
            {"nesterov": True},
            {"maximize": True},
            {"momentum": 0.0, "maximize": True},
        ]
    elif base in ("adam", "adamw"):
        options += [{"amsgrad": True}, {"maximize": True}, {"gain1": 0.7}]
    for option, reduction in itertools.product(options, reductions):
        yield option if reduction is None else {**option, "reduction": reduction}


def results_of(name: str, call: dict[str, Any]) -> dict[str, np.ndarray]:
    """What the function gives, by the names on the left of its equations."""
    given = getattr(F, name)(*call.values())
    values = given if isinstance(given, tuple) else (given,)
    return dict(zip(output_names(name, call), map(np.asarray, values), strict=True))


each_function = pytest.mark.parametrize("name", sorted(FORMULAS))


@each_function
def test_every_text_is_reached(name: str) -> None:
    rng = np.random.default_rng(0)
    reached = {formulas_for(name, a_call(name, rng, **chosen)) for chosen in chosen_for(name, rng)}
    assert reached == {equations for _, equations in VARIANTS[name]}
    assert FORMULAS[name] == VARIANTS[name][0][1]


# ---- by SymPy -----------------------------------------------------------------------------------------


class Reader:
    """Equations as SymPy reads them, in one call."""

    def __init__(self, call: dict[str, Any], counts: dict[str, int]) -> None:
        self.values = {**call, **counts}
        # What the notation leaves out: a factor of 1, a term of 0.
        self.values |= {k: 1.0 for k in ("weight", "pos_weight") if k in call and call[k] is None}
        self.values |= {k: 0.0 for k in ("bias",) if k in call and call[k] is None}
        self.sizes = {"m": CLASSES, "d": FEATURES, "c": CLASSES, "k": CLASSES}
        self.sizes |= {"n": ROWS, "j": ROWS, "i": CLASSES if "terms" in call else ROWS}

    def expression(self, text: str) -> Any:
        text = re.sub(r"(\w+) == (\w+(?:\[\w+\])?)", r"Eq(\1, \2)", text)
        text = re.sub(r"(\w+\[\w+\]) == (\w+)", r"Eq(\1, \2)", text)
        subscripted = set(re.findall(r"(\w+)\[", text))
        names = set(re.findall(r"[A-Za-z_]\w*", text))
        local: dict[str, Any] = {name: sympy.Symbol(name) for name in names}
        local |= {name: sympy.IndexedBase(name) for name in subscripted}
        local |= {f: sympy.true if v else sympy.false for f, v in self.values.items() if isinstance(v, bool)}
        local |= {
            "Sum": lambda body, over: sympy.Sum(body, (over, 0, self.sizes[over.name] - 1)),
            "where": lambda test, yes, no: sympy.Piecewise((yes, test), (no, True)),
            "minimum": sympy.Min,
            "maximum": sympy.Max,
            "log1p": lambda z: sympy.log(1 + z),
            "exp": sympy.exp,
            "log": sympy.log,
            "sqrt": sympy.sqrt,
            "tanh": sympy.tanh,
            "Eq": sympy.Eq,
        }
        return sympy.parse_expr(text, local_dict=local)

    def value(self, expression: Any, letters: dict[str, int], index: tuple[int, ...]) -> float:
        """The number that it is, with index letters replaced; `index` is that of elementwise names."""
        expression = expression.subs({sympy.Symbol(k): v for k, v in letters.items()}).doit()
        expression = expression.replace(lambda e: isinstance(e, sympy.Indexed), self._entry)
        names = {s: self._scalar(s.name, index) for s in expression.free_symbols}
        return float(expression.subs(names).evalf(30))

    def _entry(self, entry: Any) -> Any:
        array = np.asarray(self.values[str(entry.base)])
        index = tuple(int(i) for i in entry.indices)[len(entry.indices) - array.ndim :]
        if any(not 0 <= i < size for i, size in zip(index, array.shape, strict=True)):
            return sympy.nan  # of an ignored row: no branch that is taken may ask
        value = array[index]
        return sympy.Integer(int(value)) if array.dtype.kind in "iu" else sympy.Float(float(value), 30)

    def _scalar(self, name: str, index: tuple[int, ...]) -> Any:
        array = np.asarray(self.values[name])
        return sympy.Float(float(array[index] if array.ndim else array), 30)

    def array(self, equation: str) -> np.ndarray:
        """All entries of the left side, which from then on has a value."""
        left, _, right = equation.partition(" = ")
        expression = self.expression(right)
        name, _, inside = left.rstrip("]").partition("[")
        if inside:
            letters = inside.split(", ")
            shape = tuple(self.sizes[letter] for letter in letters)
        else:
            letters, shape = [], self._shape(right)
        result = np.empty(shape)
        for index in np.ndindex(shape):
            at = dict(zip(letters, index, strict=False)) if letters else {}
            result[index] = self.value(expression, at, index)
        self.values[name] = result
        return result

    def _shape(self, right: str) -> tuple[int, ...]:
        bare = set(re.findall(r"[A-Za-z_]\w*(?!\w*\[)", right)) & set(self.values)
        if "Sum(" in right or "[" in right:
            return ()
        return np.broadcast_shapes(*(np.shape(self.values[name]) for name in bare))


def assert_same(ours: Any, theirs: Any) -> None:
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=RTOL, atol=1e-13)


@each_function
def test_sympy_reads_what_runs(name: str) -> None:
    rng = np.random.default_rng(1)
    for chosen in chosen_for(name, rng):
        call = a_call(name, rng, **chosen)
        reader = Reader(call, counts_of(name, call))
        written_down = {
            eq.partition(" = ")[0].partition("[")[0]: reader.array(eq) for eq in formulas_for(name, call)
        }
        for output, result in results_of(name, call).items():
            if output in written_down:
                assert_same(written_down[output], result)
            else:
                assert output == "b_next"  # the buffer, which is not read without momentum
                assert call["momentum"] == 0


# ---- by our own notation, in every shape -------------------------------------------------------------


def test_every_equation_has_a_name_on_its_left() -> None:
    for variants in VARIANTS.values():
        for _, equations in variants:
            for equation in map(parse, equations):
                assert isinstance(equation, Equation)
                assert isinstance(equation.left, (Name, Indexed))


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=40)
@given(data=st.data(), seed=seeds)
def test_the_notation_evaluates_to_what_runs(case: Case, data: Any, seed: int) -> None:
    # The code is written so that exp cannot overflow, the textbook's softmax is not.
    arguments = tuple(
        np.clip(a, -300, 300) if getattr(a, "dtype", None) == np.float64 else a
        for a in case.draw(data.draw, np.float64, True)
    )
    known = dict(zip(inspect.signature(case.op).parameters, arguments, strict=False))
    with np.errstate(all="ignore"):
        y = case.op(*arguments)
    dy = cotangent(seed, np.shape(y), np.float64)
    known["y"] = y
    for name in (case.name, f"{case.name}_vjp"):
        first = iter(inspect.signature(getattr(F, name)).parameters)
        call = {a: known.get(a, dy) for a in first if a in known or a.startswith("d")}
        scope = scope_of(name, call)
        for output, result in results_of(name, call).items():
            scale = max(1.0, float(np.abs(result).max(initial=0)))
            for index in list(np.ndindex(result.shape))[:12]:
                value = scope.value(scope.equation(output).right, scope.at(output, index))
                assert value == pytest.approx(result[index], rel=1e-9, abs=1e-10 * scale), (name, index)
