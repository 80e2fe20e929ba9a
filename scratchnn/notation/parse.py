"""Read a formula from its text, with Python's own parser."""

from __future__ import annotations

import ast
import functools

from .expression import (
    Add,
    Call,
    Compare,
    Divide,
    Equation,
    Expression,
    Indexed,
    Multiply,
    Name,
    Negative,
    Number,
    Power,
    Sum,
    Where,
)

__all__ = ["WORDS", "parse", "product", "quotient"]

WORDS = ("exp", "log", "log1p", "sqrt", "tanh", "minimum", "maximum")
SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


@functools.cache
def parse(text: str) -> Expression:
    """The tree of a formula: an `Equation` for "y = ...", otherwise an expression.

    Raises:
        ValueError: the text is no formula of this notation; says which part.
    """
    try:
        (statement,) = ast.parse(text.strip()).body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{text!r} is no formula: {error}") from error
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return Equation(_read(statement.targets[0]), _read(statement.value))
    if isinstance(statement, ast.Expr):
        return _read(statement.value)
    raise ValueError(f"{text!r} is no formula: it needs an expression, or name = expression")


def _read(node: ast.AST) -> Expression:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value):
            return Number(value)
        case ast.Name(id=name):
            return Name(name)
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=parts)):
            return Indexed(name, tuple(_read(part) for part in parts))
        case ast.Subscript(value=ast.Name(id=name), slice=part):
            return Indexed(name, (_read(part),))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return Negative(_read(inner))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return Add((*_terms(_read(left)), _read(right)))
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return Add((*_terms(_read(left)), Negative(_read(right))))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return product(_read(left), _read(right))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return quotient(_read(left), _read(right))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return Power(_read(left), _read(right))
        case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in SIGNS:
            return Compare(SIGNS[type(sign)], _read(left), _read(right))
        case ast.Call(func=ast.Name(id="Sum"), args=[body, ast.Name(id=over)], keywords=[]):
            return Sum(_read(body), over)
        case ast.Call(func=ast.Name(id="where"), args=[condition, yes, no], keywords=[]):
            return Where(_read(condition), _read(yes), _read(no))
        case ast.Call(func=ast.Name(id=word), args=arguments, keywords=[]) if word in WORDS:
            return Call(word, tuple(_read(argument) for argument in arguments))
    raise ValueError(f"{ast.unparse(node)!r} does not belong to the notation of formulas")


def _terms(value: Expression) -> tuple[Expression, ...]:
    return value.terms if isinstance(value, Add) else (value,)


def _factors(value: Expression) -> tuple[Expression, ...]:
    if isinstance(value, Multiply):
        return value.factors
    return () if value == Number(1) else (value,)


def product(*parts: Expression) -> Expression:
    """The product as one fraction, its sign in front: -a / b * c is -(a c / b). A factor of plain 1 goes."""
    top: list[Expression] = []
    bottom: list[Expression] = []
    negative = False
    for part in parts:
        if isinstance(part, Negative):
            negative, part = not negative, part.inner
        top += _factors(part.top if isinstance(part, Divide) else part)
        bottom += _factors(part.bottom) if isinstance(part, Divide) else ()
    numerator = _multiply(top)
    value = Divide(numerator, _multiply(bottom)) if bottom else numerator
    return Negative(value) if negative else value


def quotient(top: Expression, bottom: Expression) -> Expression:
    """top / bottom as one fraction, its sign in front: -a / b / c is -(a / (b c))."""
    if isinstance(top, Negative):
        return Negative(quotient(top.inner, bottom))
    if isinstance(top, Divide):
        return Divide(top.top, product(top.bottom, bottom))
    return Divide(top, bottom)


def _multiply(factors: list[Expression]) -> Expression:
    if not factors:
        return Number(1)
    return factors[0] if len(factors) == 1 else Multiply(tuple(factors))
