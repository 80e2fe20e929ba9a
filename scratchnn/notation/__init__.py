"""Formulas as trees: read from their text, printed as text, LaTeX and MathML, evaluated on arrays."""

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
from .parse import parse

__all__ = [
    "Add",
    "Blank",
    "Call",
    "Compare",
    "Derivative",
    "Divide",
    "Equation",
    "Expression",
    "Indexed",
    "Multiply",
    "Name",
    "Negative",
    "Number",
    "Power",
    "Rest",
    "Sum",
    "Where",
    "parse",
]
