"""Every formula once: `op` beside `op_vjp`, its derivative.

vjp is short for vector-Jacobian product: the upstream gradient dL/dy comes in first, the
downstream gradients come out in the order of the forward's arguments. Nothing here holds state or
writes into an argument. The formulas themselves check nothing; what is called by a name of this module
passes a check of its arguments first (`functional.arguments`).
"""

import inspect

from . import arguments, formulas
from .formulas import *  # noqa: F403

globals().update(
    {
        name: arguments.checked(formula)
        for name, formula in vars(formulas).items()
        if inspect.isfunction(formula)
    }
)
