"""Expressions as Unicode text, for terminals."""

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

__all__ = ["EQUATION", "as_number", "binding", "text"]

# How strongly a node holds its parts together; weaker ones need brackets inside stronger ones.
EQUATION, WHERE, COMPARE, ADD, SUM, NEGATIVE, MULTIPLY, DIVIDE, POWER, ATOM = range(10)
BINDING: dict[type, int] = {
    Equation: EQUATION,
    Where: WHERE,
    Compare: COMPARE,
    Add: ADD,
    Sum: SUM,
    Negative: NEGATIVE,
    Multiply: MULTIPLY,
    Divide: MULTIPLY,
    Power: POWER,
}
SIGNS = {"<=": "≤", ">=": "≥", "==": "=", "!=": "≠"}
WORDS = {"minimum": "min", "maximum": "max"}
SUBSCRIPTS = dict(zip("aehijklmnoprstuvx", "ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))
DIGITS = 4


def binding(node: Expression) -> int:
    """How strongly the node holds together, as it will be printed."""
    if isinstance(node, Number) and as_number(node.value).startswith("-"):
        return NEGATIVE
    return BINDING.get(type(node), ATOM)


def as_number(value: float, digits: int = DIGITS) -> str:
    """A number in `digits` significant digits, whole ones as they are: 0.02134, 2, 1.2e-5."""
    if value == int(value) if abs(value) < 1e15 else False:
        return str(int(value))
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def text(node: Expression) -> str:
    """The node as it would be typed, if keyboards had all signs."""
    match node:
        case Number(value=value):
            return as_number(value)
        case Name(name=name, path=path):
            return f"{path}.{name}" if path else name
        case Indexed(name=name, indices=indices, path=path):
            entry = f"{name}[{','.join(map(text, indices))}]" if indices else name
            return f"{path}.{entry}" if path else entry
        case Sum(body=body, over=over):
            return f"Σ{SUBSCRIPTS.get(over, '_' + over)} {_within(body, SUM)}"
        case Add(terms=terms):
            return _sum(terms)
        case Multiply(factors=factors):
            return _product(factors)
        case Divide(top=top, bottom=bottom):
            return f"{_within(top, MULTIPLY)} / {_within(bottom, DIVIDE)}"
        case Power(base=base, exponent=exponent):
            power = "²" if exponent == Number(2) else f"^{_within(exponent, ATOM)}"
            return f"{_within(base, ATOM)}{power}"
        case Negative(inner=inner):
            return f"-{_subtracted(inner)}"
        case Call(word=word, arguments=arguments):
            return f"{WORDS.get(word, word)}({', '.join(map(text, arguments))})"
        case Compare(sign=sign, left=left, right=right):
            return f"{_within(left, ADD)} {SIGNS.get(sign, sign)} {_within(right, ADD)}"
        case Where(condition=condition, yes=yes, no=no):
            return f"{_within(yes, ADD)} if {text(condition)} else {_within(no, ADD)}"
        case Equation(left=left, right=right):
            return f"{text(left)} = {text(right)}"
        case Derivative(of=of, by=by):
            return f"∂{text(of)}/∂{text(by)}"
        case Rest(count=count, value=value):
            return f"[{count} more: {text(value)}]"
        case Blank(label=label):
            return f"__{label}__"
    raise TypeError(f"no text for {type(node).__name__}")


def _within(node: Expression, least: int) -> str:
    return text(node) if binding(node) >= least else f"({text(node)})"


def _subtracted(node: Expression) -> str:
    return text(node) if isinstance(node, Sum) else _within(node, MULTIPLY)


def _sum(terms: tuple[Expression, ...]) -> str:
    parts = []
    for i, term in enumerate(terms):
        if i == 0:
            parts.append(_within(term, SUM))
        elif isinstance(term, Negative):
            parts.append(f"- {_subtracted(term.inner)}")
        elif isinstance(term, Number) and binding(term) == NEGATIVE:
            parts.append(f"- {as_number(-term.value)}")
        elif isinstance(term, Multiply):
            parts.append(f"+ {_product(term.factors, first=False)}")
        else:
            parts.append(f"+ {_within(term, SUM)}")
    return " ".join(parts)


def _product(factors: tuple[Expression, ...], first: bool = True) -> str:
    """A sum inside a product needs no brackets at its end; a negative number none at the beginning of all."""
    last = len(factors) - 1
    sign = " · " if isinstance(factors[0], Derivative) else "·"
    return sign.join(
        text(factor)
        if (isinstance(factor, Sum) and i == last) or (isinstance(factor, Number) and i == 0 and first)
        else _within(factor, DIVIDE)
        for i, factor in enumerate(factors)
    )
