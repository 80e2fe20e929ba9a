"""The formulas by their names, as the rest of the package calls them: nothing is checked on the way."""

from .activations import *  # noqa: F403
from .class_losses import *  # noqa: F403
from .clipping import *  # noqa: F403
from .linear import *  # noqa: F403
from .losses import *  # noqa: F403
from .metrics import *  # noqa: F403
from .objective import *  # noqa: F403
from .updates import *  # noqa: F403
