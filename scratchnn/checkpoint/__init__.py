"""Runs that survive: what `fit` keeps on disk, so that a killed run goes on where it was.

    history = snn.fit(model, loss_fn, optimizer, loader, 10_000, checkpoint="run.safetensors")

The same program, started again, finds the file and goes on; it ends with the parameters and the history
of a run that was never killed. One file holds parameters, the optimizer's state, schedules, callbacks that
remember something, random generators, the history, the position, and what tells this run from another.
"""

from .identity import generators_of, refuse_strangers, settings_of
from .where import Checkpoint

__all__ = ["Checkpoint", "generators_of", "refuse_strangers", "settings_of"]
