"""One step of backprop, every number of it: what went forward, what came back, by which formula."""

from .steps import Pair, Step
from .trace import Trace, trace

__all__ = ["Pair", "Step", "Trace", "trace"]
