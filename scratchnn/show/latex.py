"""A whole step as LaTeX: an `article` with amsmath, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..checks import Array
from ..notation import Equation
from ..notation.latex import escaped
from .account import Fact, Origins, account, axes_of, step_name
from .formulas import equations_of
from .numbers import SUPERSCRIPTS, cells, number
from .tables import as_rows, row_name, size_of

__all__ = ["trace_latex"]

WIDTH = 70  # characters of a formula, after which it goes on in the next line
MOST_ROWS, MOST_COLUMNS = 12, 6  # of a table on paper; of larger arrays, the corners
PREAMBLE = r"""\documentclass{article}
\usepackage{amsmath}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt plus 2pt}
\setcounter{secnumdepth}{0}
\begin{document}
"""
NORMAL = {raised: chr(digit) for digit, raised in SUPERSCRIPTS.items()}  # digits out of superscripts
END = "\\end{tabular}}"
# Letters of ours that need a command; what else is not Latin is given by its number.
LETTERS = {
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "∞": r"$\infty$",
    "·": r"$\cdot$",
    "⋯": r"$\cdots$",
}


def trace_latex(trace: Any) -> str:
    """The document: what was run, where learning is lost, every step with its formulas and numbers."""
    origins = Origins()
    origins.add(trace.x, "the input", "")
    count = sum(array.size for array in trace.parameters.values())
    loss = words(type(trace.loss_fn).__name__)
    parts = [
        PREAMBLE,
        r"\section*{One step of backprop}",
        f"{words(type(trace.model).__name__)}, {count} parameters, {words(str(trace.prediction.dtype))}. "
        f"The loss, {loss}, is ${figure(trace.loss)}$. Indices count from 0; "
        r"$\mathrm{d}x$ is the gradient of the loss for $x$.",
        *_health(trace),
    ]
    for direction, title in (("forward", "Forward"), ("backward", "Backward")):
        parts.append(rf"\section{{{title}}}")
        if direction == "forward":
            parts.append(_array("the input x", trace.x, axes_of(None, "x", trace.x)))
        for step in trace.steps:
            if step.direction == direction:
                parts += _step(step, origins)
    parts.append("\\end{document}\n")
    return "\n\n".join(parts)


def _step(step: Any, origins: Origins) -> Iterable[str]:
    facts, arrays = account(step, origins)
    yield rf"\subsection{{{words(step_name(step))}}}"
    yield " ".join(_sentence(fact) for fact in facts)
    if equations := equations_of(step):
        rows = [row for equation in equations for row in _formula(equation)]
        yield "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"
    for shown in arrays:
        yield _array(shown.title, shown.array, shown.axes)


def _formula(equation: Equation) -> list[str]:
    """A formula, on as many lines as the page needs."""
    from ..trace.sheet_latex import broken

    first, *rest = broken(equation.right, WIDTH)
    return [rf"{equation.left.latex()} &= {first}", *[rf"&\qquad {row}" for row in rest]]


def _sentence(fact: Fact) -> str:
    name = rf"\textit{{{words(fact.name)}}}" if fact.name else ""
    end = words(fact.words)
    if fact.code:
        end = rf"\texttt{{{end}}}"
    return f"{words(fact.before)}{name}{words(fact.after)}{end}{'.' if end else ''}"


def _health(trace: Any) -> Iterable[str]:
    yield r"\section{Where learning is lost}"
    if trace.findings:
        yield (
            "\\begin{itemize}\n"
            + "\n".join(rf"\item {words(f)}" for f in trace.findings)
            + "\n\\end{itemize}"
        )
    else:
        yield "Nothing stands out: gradients reach every layer."
    if trace.layers:
        rows = [
            [words(layer.label), _figure(layer.activation), _figure(layer.gradient)] for layer in trace.layers
        ]
        yield _tabular("l|rr", ["layer", "norm of $y$", r"norm of $\mathrm{d}y$"], rows)


def _figure(value: float | None) -> str:
    return "--" if value is None else f"${figure(value)}$"


def _array(name: str, array: Any, letters: str) -> str:
    """The name, the size, and a table of the entries."""
    array = np.asarray(array)
    head = rf"\textbf{{{words(name)}}}"
    if array.ndim == 0:
        return f"{head}: ${figure(array[()])}$"
    if array.size == 0:
        return f"{head}: empty"
    grid = as_rows(array)
    rows, columns = _kept(len(grid), MOST_ROWS), _kept(grid.shape[1], MOST_COLUMNS)
    part = grid[np.ix_([r for r in rows if r >= 0], [c for c in columns if c >= 0])]
    lines = iter(_mathematics(part))
    corner = rf"${letters[0]}\backslash {letters[-1]}$" if len(letters) == 2 else ""
    heads = [corner, *[str(c) if c >= 0 else r"$\cdots$" for c in columns]]
    body = []
    for r in rows:
        texts = iter(next(lines) if r >= 0 else [])
        label = row_name(r, array) if r >= 0 else r"$\vdots$"
        body.append([label, *[next(texts) if r >= 0 and c >= 0 else "" for c in columns]])
    table = _tabular("r|" + "r" * len(columns), heads, body)
    # The star keeps the name and its table on one page.
    return f"{head} ({words(size_of(array, letters))}) \\\\*[2pt]\n{table}"


def _mathematics(part: Array) -> list[list[str]]:
    return [[f"${_power(cell)}$" for cell in row] for row in cells(part)]


def _kept(length: int, most: int) -> Sequence[int]:
    """Which indices are written; -1 stands for those between."""
    if length <= most:
        return range(length)
    return [*range(most // 2), -1, *range(length - most // 2 + 1, length)]


def _tabular(columns: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = " \\\\\n".join(" & ".join(row) for row in rows)
    return f"{{\\small\\begin{{tabular}}{{{columns}}}\n{' & '.join(heads)} \\\\ \\hline\n{body}\n" + END


def figure(value: Any) -> str:
    """A number for LaTeX's mathematics."""
    return _power(number(value))


def _power(text: str) -> str:
    """3.1×10⁻⁵ as LaTeX writes it."""
    mantissa, times, power = text.partition("×10")
    mantissa = mantissa.replace("−", "-").replace("∞", r"\infty").replace("NaN", r"\mathrm{NaN}")
    return rf"{mantissa} \cdot 10^{{{power.translate(NORMAL)}}}" if times else mantissa


def words(text: str) -> str:
    """Anybody's text for LaTeX's text mode: a name like a_b or <b> stays a name."""
    return "".join(
        LETTERS.get(c) or (escaped(c) if c.isascii() and c.isprintable() else _letter(c)) for c in text
    )


def _letter(c: str) -> str:
    if c in "\n\t":
        return " "
    return c if "À" <= c <= "ÿ" and c not in "×÷" else rf"[U+{ord(c):04X}]"
