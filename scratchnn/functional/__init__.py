"""Every formula once: `op` beside `op_vjp`, its derivative.

vjp is short for vector-Jacobian product: the upstream gradient dL/dy comes in first, the
downstream gradients come out in the order of the forward's arguments. Nothing here holds state or
writes into an argument; shapes and dtypes are checked at the door, by the layers, not here.
"""

from .activations import *  # noqa: F403
from .class_losses import *  # noqa: F403
from .clipping import *  # noqa: F403
from .linear import *  # noqa: F403
from .losses import *  # noqa: F403
from .metrics import *  # noqa: F403
from .objective import *  # noqa: F403
from .updates import *  # noqa: F403
