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

__all__ = ["Printer", "as_number", "text"]

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
LONGEST_WHOLE = 1e15  # beyond, float64 has not all whole numbers, and a power of ten is shorter


def as_number(value: float, digits: int = DIGITS) -> str:
    """A number in `digits` significant digits, whole ones as they are: 0.02134, 2, 1.2e-5."""
    if abs(value) < LONGEST_WHOLE and value == int(value):
        return str(int(value))
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def text(node: Expression) -> str:
    """The node as it would be typed, if keyboards had all signs."""
    return _Text().written(node)


class Printer:
    """What all ways to write a formula share: where brackets stand, and the signs of sums and products."""

    def written(self, node: Expression) -> str:
        """The node in this writing."""
        raise NotImplementedError

    def number(self, value: float) -> str:
        """A number in this writing."""
        raise NotImplementedError

    def brackets(self, inside: str) -> str:
        """Something written, between round brackets."""
        raise NotImplementedError

    def times(self, factors: tuple[Expression, ...]) -> str:
        """The sign between these factors."""
        raise NotImplementedError

    def is_closed(self, node: Expression) -> bool:
        """True for what needs no brackets as a factor, however weak: a fraction set with a bar."""
        return False

    def binding(self, node: Expression) -> int:
        """How strongly the node holds together, as it will be printed."""
        if isinstance(node, Number):
            shown = as_number(node.value)
            if shown.startswith("-"):
                return NEGATIVE
            return POWER if "e" in shown else ATOM  # a power of ten is a product to the eye
        return BINDING.get(type(node), ATOM)

    def within(self, node: Expression, least: int) -> str:
        """The node, in brackets if it holds together more weakly than `least`."""
        written = self.written(node)
        return written if self.binding(node) >= least else self.brackets(written)

    def subtracted(self, node: Expression) -> str:
        """The node, as it stands after a minus."""
        return self.written(node) if isinstance(node, Sum) else self.within(node, MULTIPLY)

    def sum(self, terms: tuple[Expression, ...]) -> str:
        """The terms, with a plus or a minus between them."""
        parts = []
        for i, term in enumerate(terms):
            if i == 0:
                parts.append(self.within(term, SUM))
            elif isinstance(term, Negative):
                parts.append(f"- {self.subtracted(term.inner)}")
            elif isinstance(term, Number) and self.binding(term) == NEGATIVE:
                parts.append(f"- {self.number(-term.value)}")
            elif isinstance(term, Multiply):
                parts.append(f"+ {self.product(term.factors, first=False)}")
            else:
                parts.append(f"+ {self.within(term, SUM)}")
        return " ".join(parts)

    def product(self, factors: tuple[Expression, ...], first: bool = True) -> str:
        """The factors; a sum at their end, and a number that is `first` of all, without brackets."""
        last = len(factors) - 1
        return self.times(factors).join(
            self.written(factor)
            if self.is_closed(factor)
            or (isinstance(factor, Sum) and i == last)
            or (isinstance(factor, Number) and i == 0 and first)
            else self.within(factor, DIVIDE)
            for i, factor in enumerate(factors)
        )


class _Text(Printer):
    def number(self, value: float) -> str:
        return as_number(value)

    def brackets(self, inside: str) -> str:
        return f"({inside})"

    def times(self, factors: tuple[Expression, ...]) -> str:
        return " · " if isinstance(factors[0], Derivative) else "·"

    def written(self, node: Expression) -> str:
        match node:
            case Number(value=value):
                return self.number(value)
            case Name(name=name, path=path):
                return f"{path}.{name}" if path else name
            case Indexed(name=name, indices=indices, path=path):
                entry = f"{name}[{','.join(map(self.written, indices))}]" if indices else name
                return f"{path}.{entry}" if path else entry
            case Sum(body=body, over=over):
                return f"Σ{SUBSCRIPTS.get(over, '_' + over)} {self.within(body, SUM)}"
            case Add(terms=terms):
                return self.sum(terms)
            case Multiply(factors=factors):
                return self.product(factors)
            case Divide(top=top, bottom=bottom):
                return f"{self.within(top, MULTIPLY)} / {self.within(bottom, DIVIDE)}"
            case Power(base=base, exponent=exponent):
                power = "²" if exponent == Number(2) else f"^{self.within(exponent, ATOM)}"
                return f"{self.within(base, ATOM)}{power}"
            case Negative(inner=inner):
                return f"-{self.subtracted(inner)}"
            case Call(word=word, arguments=arguments):
                return f"{WORDS.get(word, word)}({', '.join(map(self.written, arguments))})"
            case Compare(sign=sign, left=left, right=right):
                return f"{self.within(left, ADD)} {SIGNS.get(sign, sign)} {self.within(right, ADD)}"
            case Where(condition=condition, yes=yes, no=no):
                return f"{self.within(yes, ADD)} if {self.written(condition)} else {self.within(no, ADD)}"
            case Equation(left=left, right=right):
                return f"{self.written(left)} = {self.written(right)}"
            case Derivative(of=of, by=by):
                return f"∂{self.written(of)}/∂{self.written(by)}"
            case Rest(count=count, value=value):
                return f"[{count} more: {self.written(value)}]"
            case Blank(label=label):
                return f"__{label}__"
        raise TypeError(f"no text for {type(node).__name__}")
