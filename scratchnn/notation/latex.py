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
from .text import ADD, ATOM, DIGITS, SUM, Printer, as_number

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
    return _Latex().written(node)


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


class _Latex(Printer):
    def number(self, value: float) -> str:
        return latex_number(value)

    def brackets(self, inside: str) -> str:
        return rf"\left({inside}\right)"

    def times(self, factors: tuple[Expression, ...]) -> str:
        return r" \cdot "

    def is_closed(self, node: Expression) -> bool:
        return isinstance(node, Divide)

    def written(self, node: Expression) -> str:
        match node:
            case Number(value=value):
                return self.number(value)
            case Name(name=name, path=path):
                return _word(name) + _above(path)
            case Indexed(name=name, indices=indices, path=path):
                below = f"_{{{','.join(map(self.written, indices))}}}" if indices else ""
                return _word(name) + _above(path) + below
            case Sum(body=body, over=over):
                return rf"\sum_{{{over}}} {self.within(body, SUM)}"
            case Add(terms=terms):
                return self.sum(terms)
            case Multiply(factors=factors):
                return self.product(factors)
            case Divide(top=top, bottom=bottom):
                return rf"\frac{{{self.written(top)}}}{{{self.written(bottom)}}}"
            case Power(base=base, exponent=exponent):
                return f"{self.within(base, ATOM)}^{{{self.written(exponent)}}}"
            case Negative(inner=inner):
                return f"-{self.subtracted(inner)}"
            case Call(word="sqrt", arguments=(inner,)):
                return rf"\sqrt{{{self.written(inner)}}}"
            case Call(word="log1p", arguments=(inner,)):
                return rf"\log{self.brackets(self.written(Add((Number(1), inner))))}"
            case Call(word=word, arguments=arguments):
                return WORDS.get(word, rf"\{word}") + self.brackets(", ".join(map(self.written, arguments)))
            case Compare(sign=sign, left=left, right=right):
                return f"{self.within(left, ADD)} {SIGNS.get(sign, sign)} {self.within(right, ADD)}"
            case Where(condition=condition, yes=yes, no=no):
                return (
                    rf"\begin{{cases}} {self.written(yes)} & \text{{if }} {self.written(condition)} \\ "
                    rf"{self.written(no)} & \text{{otherwise}} \end{{cases}}"
                )
            case Equation(left=left, right=right):
                return f"{self.written(left)} = {self.written(right)}"
            case Derivative(of=of, by=by):
                return rf"\frac{{\partial {self.written(of)}}}{{\partial {self.written(by)}}}"
            case Rest(count=count, value=value):
                return rf"\underbrace{{{self.written(value)}}}_{{{count}\text{{ more}}}}"
            case Blank(label=label):
                return rf"\underline{{\quad {label} \quad}}"
        raise TypeError(f"no LaTeX for {type(node).__name__}")
