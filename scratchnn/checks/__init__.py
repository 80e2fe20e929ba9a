"""Checks of arguments, done once, where an argument comes in; nothing behind them checks again.

Every helper takes the owner and the argument's name first, so that each refusal says who got what, and what
it needs: `Dropout got p=1.5; it must be at most 1`.
"""

from .arrays import (
    FLOAT_DTYPES,
    REAL_DTYPES,
    Array,
    Instrumented,
    any_array,
    as_array,
    as_dtype,
    unmasked,
)
from .attributes import Check, CheckedAttributes
from .numbers import as_flag, as_int, as_number, as_seed, as_shape, positive_int
from .origin import note_output, output_of
from .things import as_choice, as_function, as_kind, as_list, as_mapping, as_path, as_text, shown

__all__ = [
    "FLOAT_DTYPES",
    "REAL_DTYPES",
    "Array",
    "Check",
    "CheckedAttributes",
    "Instrumented",
    "any_array",
    "as_array",
    "as_choice",
    "as_dtype",
    "as_flag",
    "as_function",
    "as_int",
    "as_kind",
    "as_list",
    "as_mapping",
    "as_number",
    "as_path",
    "as_seed",
    "as_shape",
    "as_text",
    "note_output",
    "output_of",
    "positive_int",
    "shown",
    "unmasked",
]
