"""Expressions as LaTeX, for mathematics mode; needs amsmath."""

from __future__ import annotations

from .expression import (
    Add,
    Blank,
    Call,
    Compare,
    Derivative,
    Divide,
    Equation,
    Expression,
    Indexed,
    Multiply,
    Name,
    Negative,
    Number,
    Power,
    Rest,
    Sum,
    Where,
)
from .text import ADD, ATOM, DIGITS, DIVIDE, MULTIPLY, NEGATIVE, SUM, as_number, binding

__all__ = ["escaped", "latex", "latex_number"]

LAST_LATIN = 0x17F
SIGNS = {"<=": r"\le", ">=": r"\ge", "==": "=", "!=": r"\ne"}
WORDS = {"minimum": r"\min", "maximum": r"\max"}


def escaped(words: str) -> str:
    """Plain text for LaTeX's text mode."""
    return "".join(map(_escaped_sign, words))


def _escaped_sign(sign: str) -> str:
    if sign in "{}$&#%_":
        return f"\\{sign}"
    if ord(sign) > LAST_LATIN:  # pdfLaTeX has no letter for it
        return rf"\texttt{{U+{ord(sign):04X}}}"
    return {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"}.get(sign, sign)


def latex(node: Expression) -> str:
    """The node, without dollars around it."""
    match node:
        case Number(value=value):
            return latex_number(value)
        case Name(name=name, path=path):
            return _word(name) + _above(path)
        case Indexed(name=name, indices=indices, path=path):
            below = f"_{{{','.join(map(latex, indices))}}}" if indices else ""
            return _word(name) + _above(path) + below
        case Sum(body=body, over=over):
            return rf"\sum_{{{over}}} {_within(body, SUM)}"
        case Add(terms=terms):
            return _sum(terms)
        case Multiply(factors=factors):
            return _product(factors)
        case Divide(top=top, bottom=bottom):
            return rf"\frac{{{latex(top)}}}{{{latex(bottom)}}}"
        case Power(base=base, exponent=exponent):
            return f"{_within(base, ATOM)}^{{{latex(exponent)}}}"
        case Negative(inner=inner):
            return f"-{_subtracted(inner)}"
        case Call(word="sqrt", arguments=(inner,)):
            return rf"\sqrt{{{latex(inner)}}}"
        case Call(word="log1p", arguments=(inner,)):
            return rf"\log{_brackets(Add((Number(1), inner)))}"
        case Call(word=word, arguments=arguments):
            inside = ", ".join(map(latex, arguments))
            return rf"{WORDS.get(word, chr(92) + word)}\left({inside}\right)"
        case Compare(sign=sign, left=left, right=right):
            return f"{_within(left, ADD)} {SIGNS.get(sign, sign)} {_within(right, ADD)}"
        case Where(condition=condition, yes=yes, no=no):
            return (
                rf"\begin{{cases}} {latex(yes)} & \text{{if }} {latex(condition)} \\ "
                rf"{latex(no)} & \text{{otherwise}} \end{{cases}}"
            )
        case Equation(left=left, right=right):
            return f"{latex(left)} = {latex(right)}"
        case Derivative(of=of, by=by):
            return rf"\frac{{\partial {latex(of)}}}{{\partial {latex(by)}}}"
        case Rest(count=count, value=value):
            return rf"\underbrace{{{latex(value)}}}_{{{count}\text{{ more}}}}"
        case Blank(label=label):
            return rf"\underline{{\quad {label} \quad}}"
    raise TypeError(f"no LaTeX for {type(node).__name__}")


def latex_number(value: float, digits: int = DIGITS) -> str:
    """A number in `digits` significant digits, with a power of ten where it is very small or large."""
    mantissa, _, exponent = as_number(value, digits).partition("e")
    if mantissa.lstrip("-") in ("inf", "nan"):
        return mantissa.replace("inf", r"\infty").replace("nan", r"\mathrm{NaN}")
    power = f"10^{{{exponent}}}"
    if exponent and mantissa in ("1", "-1"):
        return mantissa.replace("1", power)
    return rf"{mantissa} \cdot {power}" if exponent else mantissa


def _word(name: str) -> str:
    """One letter in italics, dx with an upright d, p_next with its subscript, a longer name as a word."""
    if len(name) == 1:
        return name
    if len(name) == 2 and name[0] == "d":
        return rf"\mathrm{{d}}{name[1]}"
    if name.endswith("_next"):
        return rf"{_word(name.removesuffix('_next'))}_{{\text{{next}}}}"
    return rf"\text{{{escaped(name)}}}"


def _above(path: str) -> str:
    if not path:
        return ""
    return f"^{{({path})}}" if path.isdigit() else rf"^{{(\text{{{escaped(path)}}})}}"


def _brackets(node: Expression) -> str:
    return rf"\left({latex(node)}\right)"


def _within(node: Expression, least: int) -> str:
    # A power of ten is a product to the eye.
    product = isinstance(node, Number) and "e" in as_number(node.value) and least >= ATOM
    fenced = isinstance(node, Where) or binding(node) < least or product
    return _brackets(node) if fenced else latex(node)


def _subtracted(node: Expression) -> str:
    return latex(node) if isinstance(node, Sum) else _within(node, MULTIPLY)


def _sum(terms: tuple[Expression, ...]) -> str:
    parts = []
    for i, term in enumerate(terms):
        if i == 0:
            parts.append(_within(term, SUM))
        elif isinstance(term, Negative):
            parts.append(f"- {_subtracted(term.inner)}")
        elif isinstance(term, Number) and binding(term) == NEGATIVE:
            parts.append(f"- {latex_number(-term.value)}")
        elif isinstance(term, Multiply):
            parts.append(f"+ {_product(term.factors, first=False)}")
        else:
            parts.append(f"+ {_within(term, SUM)}")
    return " ".join(parts)


def _product(factors: tuple[Expression, ...], first: bool = True) -> str:
    last = len(factors) - 1
    return r" \cdot ".join(
        latex(factor)
        if isinstance(factor, Divide)
        or (isinstance(factor, Sum) and i == last)
        or (isinstance(factor, Number) and i == 0 and first)
        else _within(factor, DIVIDE)
        for i, factor in enumerate(factors)
    )
