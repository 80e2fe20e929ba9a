"""The chain rule in one: a product of slopes along every path from the loss to an entry, summed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ..checks import Array
from ..functional import formulas as F
from ..notation import (
    Add,
    Derivative,
    Equation,
    Expression,
    Indexed,
    Multiply,
    Name,
    Number,
    Rest,
    Sum,
    parse,
)
from ..notation.filled import folded_order, shown_words
from ..notation.parse import product
from ..notation.scope import exact_sum
from ..notation.text import as_number
from .derive import AGREES, Derivation
from .origins import Index, Origins, Source
from .sheet import Factor, Line
from .steps import Step

__all__ = ["chain_rule"]

MOST_PATHS = 100_000
# Of the units that paths run through, one for each layer; more than MOST_PATHS can branch two ways.
LETTERS = "mkjlpqrstuvabefg"
ROWS = "nihw"  # of the axes before that of the units; more than so many take letters from the end
ELEMENTWISE = ("identity", "relu", "leaky_relu", "threshold", "sigmoid", "tanh", "dropout")
ROWWISE = ("softmax", "log_softmax")


@dataclass(eq=False)
class _Paths:
    """All paths from one entry up to some operation's output, and the slopes passed on the way.

    Attributes:
        at: (paths, axes) which entry of that output each path has reached.
        symbol: that entry in letters: y[n,m]; L at the end of the way.
        over: for each letter in which paths differ, what it is on each of them.
        slopes: from the entry upwards.
    """

    at: Array
    symbol: Expression
    over: dict[str, Array] = field(default_factory=dict)
    slopes: list[_Slope] = field(default_factory=list)

    def branched(self, axis: int, branches: int, letter: str) -> tuple[_Paths, Array]:
        """Every path goes on to all `branches` entries along an axis; and where each new path came from."""
        parents = np.repeat(np.arange(len(self.at)), branches)
        at = self.at[parents].copy()
        at[:, axis] = np.tile(np.arange(branches), len(self.at))
        over = {key: value[parents] for key, value in self.over.items()}
        if letter:
            over[letter] = at[:, axis]
        return _Paths(at, self.symbol, over, [slope.branched(parents) for slope in self.slopes]), parents

    def next_unit(self, units: int) -> tuple[str, Expression]:
        """The letter that runs over so many units, and the unit as an index; of one unit, "" and 0."""
        if units == 1:
            return "", Number(0)
        letter = next(letter for letter in LETTERS if letter not in self.over)
        return letter, Name(letter)


@dataclass
class _Slope:
    """One factor of every path: the derivative in symbols, a number for each path, and where it is from."""

    symbol: Expression
    values: Array
    origin: str
    keys: list[str] | None = None
    take: Array | None = None  # which of `values` belongs to each path, after paths have branched

    def of(self, path: int) -> tuple[float, str]:
        i = path if self.take is None else int(self.take[path])
        return float(self.values[i]), self.keys[i] if self.keys else ""

    def all(self) -> Array:
        return self.values if self.take is None else self.values[self.take]

    def branched(self, parents: Array) -> _Slope:
        return replace(self, take=parents if self.take is None else self.take[parents])


def chain_rule(
    origins: Origins,
    derivation: Derivation,
    name: str,
    uses: list[tuple[Step, str]],
    sources: list[Source],
    index: Index,
    value: float,
) -> Line:
    """The line that has the whole chain, for an entry of a parameter or of the input.

    Args:
        uses: the backward steps that give it a gradient, and the argument that it is there.
        sources: those gradients.
        value: the gradient, as the step has it.
    """
    entry = Indexed(name.rpartition(".")[2], tuple(map(Number, index)), name.rpartition(".")[0])
    symbols: list[Expression] = []
    families = []
    for (step, argument), source in zip(uses, sources, strict=True):
        paths = _finished(origins, _start(origins, step, argument, source.index(index), entry))
        factors = tuple(slope.symbol for slope in reversed(paths.slopes))
        body: Expression = factors[0] if len(factors) == 1 else Multiply(factors)
        for letter in reversed(paths.over):
            body = Sum(body, letter)
        symbols.append(body)
        families.append(paths)
    left = Derivative(Name("L"), entry)
    right = symbols[0] if len(symbols) == 1 else Add(tuple(symbols))
    numbers, count, shown, note, total = _numbers(families, derivation.sample)
    if abs(total - value) > AGREES * max(derivation.magnitude, abs(value)):
        note = f"The paths add up to {as_number(total, 6)}. {note}"
    return Line(
        0,
        0,
        f"dL/d({entry.text()})",
        "the chain rule",
        (Equation(left, right),),
        numbers,
        value,
        tuple(_factors(families, derivation)),
        count,
        shown,
        note,
        "backward",
    )


# From the entry upwards -----------------------------------------------------------------------------


def _start(origins: Origins, step: Step, argument: str, index: Index, entry: Expression) -> _Paths:
    """Paths from the entry to the output of the operation that uses it, one for each way it counts."""
    if argument not in step.parameters:  # the input: it stands where dx does
        paths = _Paths(np.array([index], np.intp).reshape(1, -1), entry)
        if _has_slopes(step):
            return _through(step, paths)
        return _ended(paths, None, step.outputs["dx"], _own_backward(step))
    if step.op != "linear_vjp":
        gradient = step.outputs[f"d{argument}"]
        paths = _Paths(np.array([index], np.intp).reshape(1, -1), entry)
        return _ended(paths, None, gradient, _own_backward(step))
    x = np.asarray(step.inputs["x"])
    lead, unit = x.shape[:-1], index[0]
    rows = list(np.ndindex(*lead))
    at = np.array([(*row, unit) for row in rows], np.intp).reshape(-1, x.ndim)
    over = dict(zip((*ROWS, *reversed(LETTERS)), at[:, :-1].T, strict=False))
    symbol = Indexed("y", (*map(Name, over), Number(unit)), step.path)
    derivative = Derivative(symbol, entry)
    if argument == "bias":
        return _Paths(at, symbol, over, [_Slope(derivative, np.ones(len(at)), "the bias is added as it is")])
    source = origins.of_input(step, "x")
    keys = [source.key((*row, index[1])) for row in rows]
    words = f"x[{','.join((*over, str(index[1])))}] of {step.label}"
    values = x.reshape(-1, x.shape[-1])[:, index[1]].astype(float)
    return _Paths(at, symbol, over, [_Slope(derivative, values, words, keys)])


def _own_backward(step: Step) -> str:
    return f"computed by the backward of {step.label}, which is its author's own"


def _finished(origins: Origins, paths: _Paths) -> _Paths:
    """Follow the paths to the loss, or to where the way is not known or the paths are too many."""
    while (step := _step_of(origins, paths)) is not None:
        first = next(iter(step.inputs))
        gradient, source = np.asarray(step.inputs[first]), origins.of_input(step, first)
        above = source.step if source.kind == "step" and source.reshaped is None else None
        if above is None:
            words = source.words(()) if source.kind == "given" else "a sum of two gradients"
            return _ended(paths, source, gradient, f"what comes back to {step.label}: {words}")
        if above.path == "loss":
            return _ended(paths, source, gradient, f"{source.name} of {above.label}")
        if not _has_slopes(above):
            return _ended(paths, source, gradient, _own_backward(above))
        if _too_many(above, paths):
            return _ended(
                paths, source, gradient, f"{source.name} of {above.label}; beyond are too many paths"
            )
        paths = _through(above, paths)
    return paths


def _step_of(origins: Origins, paths: _Paths) -> Step | None:
    """The backward step at whose output the paths stand; None when they have reached the loss."""
    if not isinstance(paths.symbol, Indexed):
        return None
    path = paths.symbol.path
    return next(s for s in origins.trace.steps if s.direction == "backward" and s.path == path)


def _has_slopes(step: Step) -> bool:
    return step.op.removesuffix("_vjp") in (*ELEMENTWISE, *ROWWISE, "linear")


def _too_many(step: Step, paths: _Paths) -> bool:
    branches = 1
    if step.op == "linear_vjp":
        branches = step.inputs["weight"].shape[0]
    elif step.op.removesuffix("_vjp") in ROWWISE:
        branches = step.inputs["y"].shape[step.inputs["axis"]]
    return branches * len(paths.at) > MOST_PATHS


def _ended(paths: _Paths, source: Source | None, gradient: Array, words: str) -> _Paths:
    places = [tuple(map(int, row)) for row in paths.at]
    values = np.array([gradient[place] for place in places], float)
    keys = None if source is None else [source.key(place) for place in places]
    paths.slopes.append(_Slope(Derivative(Name("L"), paths.symbol), values, words, keys))
    return replace(paths, symbol=Name("L"))


def _through(step: Step, paths: _Paths) -> _Paths:
    """Across one operation: from its input, where the paths stand, to its output."""
    op = step.op.removesuffix("_vjp")
    if op == "linear":
        return _through_linear(step, paths)
    if op in ROWWISE:
        return _through_rows(step, op, paths)
    dy = np.asarray(step.inputs["dy"])
    rest = [value for name, value in step.inputs.items() if name != "dy"]
    slopes = getattr(F, step.op)(np.ones_like(dy), *rest)
    assert isinstance(paths.symbol, Indexed)
    symbol = Indexed("y", paths.symbol.indices, step.path)
    values = np.array([slopes[tuple(row)] for row in paths.at], float)
    slope = _Slope(Derivative(symbol, paths.symbol), values, _slope_words(step))
    return replace(paths, symbol=symbol, slopes=[*paths.slopes, slope])


def _through_linear(step: Step, paths: _Paths) -> _Paths:
    weight = np.asarray(step.inputs["weight"])
    assert isinstance(paths.symbol, Indexed)
    letter, unit = paths.next_unit(len(weight))
    ahead, parents = paths.branched(-1, len(weight), letter)
    outs, ins = ahead.at[:, -1], paths.at[parents, -1]
    name = step.parameters.get("weight", "weight")
    keys = [f"{name}[{m},{d}]" for m, d in zip(outs.tolist(), ins.tolist(), strict=True)]
    words = f"weight[{unit.text()},{paths.symbol.indices[-1].text()}] of {step.label}"
    symbol = Indexed("y", (*paths.symbol.indices[:-1], unit), step.path)
    slope = _Slope(Derivative(symbol, paths.symbol), weight[outs, ins].astype(float), words, keys)
    return replace(ahead, symbol=symbol, slopes=[*ahead.slopes, slope])


def _through_rows(step: Step, op: str, paths: _Paths) -> _Paths:
    """Across a softmax, where every score moves every output of its row."""
    y, axis = np.asarray(step.inputs["y"], float), int(step.inputs["axis"])
    axis %= y.ndim
    assert isinstance(paths.symbol, Indexed)
    letter, unit = paths.next_unit(y.shape[axis])
    ahead, parents = paths.branched(axis, y.shape[axis], letter)
    same = ahead.at[:, axis] == paths.at[parents, axis]
    mine, theirs = y[tuple(paths.at[parents].T)], y[tuple(ahead.at.T)]
    if op == "softmax":
        values = theirs * (same - mine)
        words = f"y·(1 - y) for its own score, -y·y for another's, of {step.label}"
    else:
        values = same - np.exp(mine)
        words = f"1 - exp(y) for its own score, -exp(y) for another's, of {step.label}"
    indices = list(paths.symbol.indices)
    indices[axis - y.ndim] = unit
    symbol = Indexed("y", tuple(indices), step.path)
    slope = _Slope(Derivative(symbol, paths.symbol), values, words)
    return replace(ahead, symbol=symbol, slopes=[*ahead.slopes, slope])


def _slope_words(step: Step) -> str:
    """The slope in symbols: the vjp's formula with dy = 1."""
    equation = parse(step.formulas[-1]) if step.formulas else None
    if not isinstance(equation, Equation):
        return f"the slope of {step.label}"

    def one(node: Expression) -> Expression:
        if node == Name("dy"):
            return Number(1)
        changed = node.map(one)
        return product(*changed.factors) if isinstance(changed, Multiply) else changed

    return f"{one(equation.right).text()}, of {step.label}"


# Numbers ----------------------------------------------------------------------------------------------


def _products(families: list[_Paths]) -> Iterator[tuple[_Paths, Array]]:
    for paths in families:
        yield paths, np.prod([slope.all() for slope in paths.slopes], axis=0)


def _numbers(families: list[_Paths], sample: int | None) -> tuple[Expression, int, int, str, float]:
    """(numbers, how many paths, how many shown, a note, the sum)."""
    all_paths = [(paths, i, float(v)) for paths, values in _products(families) for i, v in enumerate(values)]
    values = [v for _, _, v in all_paths]
    followed = [(paths, _followed(paths, v, sample)) for paths, v in _products(families) if len(v)]
    order = folded_order(values, [(paths, i) in followed for paths, i, _ in all_paths])
    terms: list[Expression] = []
    for place in order:
        paths, i, _ = all_paths[place]
        factors = tuple(Number(*slope.of(i)) for slope in reversed(paths.slopes))
        terms.append(factors[0] if len(factors) == 1 else Multiply(factors))
    places = [_place(paths, i) for paths, i in followed if paths.over]
    path = "path" if len(places) == 1 else "paths"
    note = f"Below, the slopes on the {path} {' and '.join(places)}." if len(values) > 1 and places else ""
    if len(order) < len(values):
        rest = exact_sum(v for i, v in enumerate(values) if i not in set(order))
        terms.append(Rest(len(values) - len(order), Number(rest)))
        shown = "; ".join(_place(*all_paths[place][:2]) for place in order)
        note = f"{shown_words(values, order, 'paths')}: {shown}. {note}"
    numbers = terms[0] if len(terms) == 1 else Add(tuple(terms))
    return numbers, len(values), len(order), note, exact_sum(values)


def _followed(paths: _Paths, values: Array, sample: int | None) -> int:
    """The path whose slopes are listed: that of the largest product, among the sample's if it has any."""
    own = [i for i in range(len(values)) if "n" not in paths.over or paths.over["n"][i] == sample]
    return max(own or range(len(values)), key=lambda i: abs(values[i]))


def _place(paths: _Paths, i: int) -> str:
    """Which path it is: "n = 2, m = 1"."""
    return ", ".join(f"{letter} = {value[i]}" for letter, value in paths.over.items())


def _factors(families: list[_Paths], derivation: Derivation) -> Iterator[Factor]:
    for paths, values in _products(families):
        if not len(values):
            continue
        best = _followed(paths, values, derivation.sample)
        for slope in reversed(paths.slopes):
            value, key = slope.of(best)
            yield Factor(slope.symbol, value, slope.origin, derivation.number_of(key), key)
