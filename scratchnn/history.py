"""What a run leaves behind: losses of every step and epoch, metrics, seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .checks import Array, any_array

__all__ = ["History"]


@dataclass
class History:
    """The record of one `fit`.

    Attributes:
        train_loss: one float an epoch: the mean over its samples of the losses of its steps (their
            sum, for a loss with reduction="sum").
        val_loss: one float an epoch, or empty without validation.
        metrics: {name: one float an epoch}; "val_" before the name for validation data.
        seconds: wall time of the training, compilation left out. compile_seconds: that.
        engine: "numpy" or "numba", the reading that ran. reason: why that one.
        resumed: the epoch after which a checkpoint was gone on from; False where the run began anew.
        steps: number of optimizer steps.
    """

    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    compile_seconds: float = 0.0
    engine: str = "numpy"
    reason: str = ""
    resumed: int | bool = False
    _step_losses: list[Array] = field(default_factory=list, repr=False)
    # What callbacks know a run by; a copy is another's.
    _run: object = field(default_factory=object, init=False, repr=False, compare=False)

    @property
    def step_losses(self) -> Array:
        """(steps,) the loss of every step, before its update, in the model's dtype."""
        if len(self._step_losses) > 1:
            self._step_losses = [np.concatenate(self._step_losses)]
        return self._step_losses[0] if self._step_losses else np.empty(0, np.float32)

    @property
    def steps(self) -> int:
        return sum(len(part) for part in self._step_losses)

    @property
    def epochs(self) -> int:
        return len(self.train_loss)

    def add_steps(self, losses: Array) -> None:
        """Append the losses of further steps."""
        losses = any_array("History.add_steps", "losses", losses, "f")
        if losses.ndim != 1:
            raise ValueError(f"History.add_steps got losses of shape {losses.shape}; it needs one a step")
        self._step_losses.append(losses)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists, ready for JSON."""
        return {
            "engine": self.engine,
            "reason": self.reason,
            "resumed": self.resumed,
            "epochs": self.epochs,
            "steps": self.steps,
            "seconds": self.seconds,
            "compile_seconds": self.compile_seconds,
            "train_loss": list(self.train_loss),
            "val_loss": list(self.val_loss),
            "metrics": {name: list(values) for name, values in self.metrics.items()},
            "step_losses": [float(loss) for loss in self.step_losses],
        }

    def _repr_html_(self) -> str:
        from .show import history_html

        return history_html(self)

    def __repr__(self) -> str:
        parts = [f"{self.epochs} epochs", f"{self.steps} steps"]
        if self.train_loss:
            parts.append(f"train_loss={self.train_loss[-1]:.6g}")
        if self.val_loss:
            parts.append(f"val_loss={self.val_loss[-1]:.6g}")
        parts += [f"{name}={values[-1]:.4g}" for name, values in self.metrics.items() if values]
        return f"History({', '.join(parts)}, engine={self.engine!r}, {self.seconds:.3g} s)"
