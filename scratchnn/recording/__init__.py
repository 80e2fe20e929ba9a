"""The time machine: many steps of a run kept, any of them looked at or gone on from, two runs compared."""

from .compare import Comparison, compare_runs
from .recording import Recording

__all__ = ["Comparison", "Recording", "compare_runs"]
