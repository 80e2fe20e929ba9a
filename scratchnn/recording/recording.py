"""Recording: the steps of a run, kept; the model as it was at any of them, and the run gone on with."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array, as_flag, as_text
from ..files.atomic import open_regular
from ..files.errors import FileFormatError, short
from ..layers import Module
from .contents import Contents
from .layout import Key, fill
from .tape import MAX_BYTES, Tape

if TYPE_CHECKING:
    from ..trace import Trace

__all__ = ["Recording"]

MOST_LACKING = 2**25  # losses that are not known, and stand as NaN


class Recording(Tape):
    """Parameters, gradients and the optimizer's state at the steps of a run, on either engine.

        recording = snn.Recording(every=10)
        snn.fit(model, loss_fn, optimizer, loader, epochs=100, callbacks=[recording])
        recording.at(500)            # the model as it was after 500 steps
        recording.fork(500, lr=0.5)  # the run from there on, with another learning rate

    Step 0 is the start. A step's gradients are those that it moved the parameters by, after clipping. The end
    of a run is always kept. Given to `fit` once more, with the same model, a recording goes on counting.

    Args:
        every: keep each step whose number is a multiple of this.
        path: of a file that grows as the run goes; what is in it stays readable whatever becomes of the
            process. A file that is there is replaced, except by a run that goes on from its checkpoint. A
            relative path means the folder the program is in now. None keeps everything in memory.
        max_bytes: of what is kept of the steps. When it is full, every second step is dropped and `every`
            doubled; a warning at the end of the run says so.
    Attributes:
        every: as it is now.
    Raises:
        TypeError, ValueError: numbers that are not positive.
    Warns:
        RuntimeWarning: it was full; the file could not be written (a full disk): the training goes on.

    While a run goes, its file is locked; `fit` raises RuntimeError where another run writes to it.
    """

    def __init__(
        self, every: int = 1, path: str | os.PathLike[str] | None = None, max_bytes: int = MAX_BYTES
    ) -> None:
        super().__init__(every, path, max_bytes)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Module | None = None) -> Recording:
        """Read the file of a recording, to the last frame that is whole.

        Everything works on it but `fork` and `trace`, which need the program's data and loss.

        Args:
            model: takes the numbers in `at`, for a Module of one's own class; the file describes others.
        Raises:
            FileFormatError: a damaged file, or no recording. OSError: no such file.
        """
        recording = cls(path=path)
        assert recording.path is not None
        with open_regular(recording.path) as file:
            found = Contents.read(recording.path, file)
        recording._take_over(found)
        recording._asked = recording.every
        recording._model = _model_of(found) if model is None else model
        return recording

    # ---- what is in it ----------------------------------------------------------------------------

    @property
    def losses(self) -> Array:
        """(steps made,) the loss of every step, kept or not: that of step k, before its update, at k - 1.

        Before a fork they are those of its run. NaN stands for the steps before the recording began (a run
        that went on from its checkpoint).
        """
        end = max((first + len(part) for first, part in self._losses), default=0)
        lacking = end - sum(len(part) for _, part in self._losses)
        if lacking > MOST_LACKING:
            raise ValueError(
                f"Recording of {self.path or 'a run'} lacks the losses of {lacking:,} steps before it began; "
                f"it fills in at most {MOST_LACKING:,}"
            )
        found = np.full(end, np.nan, self._losses[0][1].dtype if self._losses else np.float32)
        for first, part in self._losses:
            found[first : first + len(part)] = part
        return found

    @property
    def engine(self) -> str:
        """That made the last part: "numpy", "numba", or "torch"."""
        self._check_not_empty()
        return self._legs[-1].engine

    def parameters(self, step: int) -> dict[str, Array]:
        """The parameters after a step, by name. Raises IndexError where it was not kept."""
        return self._kind("parameter", step)

    def gradients(self, step: int) -> dict[str, Array]:
        """The gradients of a step, by name; none at the start."""
        return self._kind("gradient", step)

    def moments(self, step: int) -> dict[str, dict[str, Array]]:
        """The optimizer's state after a step: {parameter: {"exp_avg": ..., "step": ...}}."""
        found: dict[str, dict[str, Array]] = {}
        for (kind, name, entry), value in self._tensors(step).items():
            if kind == "state":
                found.setdefault(name, {})[entry] = value
        return found

    def over_time(self, name: str, gradient: bool = False) -> tuple[Array, Array]:
        """One parameter, or its gradient, at all steps kept.

        Returns:
            (n,) steps that have it, (n, *shape) values.
        Raises:
            KeyError: no such parameter. ValueError: an empty recording.
        """
        self._check_not_empty()
        name, gradient = as_text("Recording", "name", name), as_flag("Recording", "gradient", gradient)
        key: Key = ("gradient" if gradient else "parameter", name, "")
        steps, values = [], []
        for block in self._store.blocks:
            if key in block.layout.keys:
                shape = block.layout.shapes[block.layout.keys.index(key)]
                rows = self._store.rows_of(block)[:, block.layout.column(key)]
                steps.append(block.steps[: block.n])
                values.append(rows.reshape(-1, *shape))
        if not values:
            names = ", ".join(self._shapes())
            raise KeyError(f"Recording has no {key[0]} of {name!r}; it has {names}")
        return np.concatenate(steps), np.concatenate(values)

    def rows(self, step: int) -> Array:
        """The rows of the data that made up the batch of a step, in their order; any step of the run.

        Raises:
            IndexError: no step of the run. ValueError: batches that came ready-made.
        """
        leg = self._leg_of(self._number(step))
        found = leg.rows_of(int(step))
        if found is None:
            raise ValueError("Recording got batches ready-made; it knows no rows of them")
        return found

    def settings(self, step: int) -> dict[str, Any]:
        """What the run was told: loss, data, bounds, and the hyperparameters with which a step was made."""
        from .replay import groups_at

        leg = self._leg_of(self._number(step))
        return {**leg.settings, "engine": leg.engine, "groups": groups_at(leg, int(step))}

    def __repr__(self) -> str:
        size = f"{self._store.nbytes / 2**20:.3g} MiB"
        where = "in memory" if self.path is None else f"in {self.path}"
        steps = self.steps
        which = f"{len(steps)} steps, {steps[0]} to {steps[-1]}" if len(steps) else "empty"
        return f"Recording({which}, every={self.every}, {size} {where})"

    # ---- going back -------------------------------------------------------------------------------

    def at(self, step: int) -> Module:
        """A model of its own, as it was after a step: in training mode, with the gradients of that step.

        Raises:
            IndexError: a step that was not kept, with the nearest that were. ValueError: an empty recording,
                a file of a Module of one's own class that was loaded without `model`.
        """
        tensors = self._tensors(step)
        if self._model is None:
            raise ValueError(
                f"Recording {self.path} is of a Module of a class of its own; "
                "load it with Recording.load(path, model=...)"
            )
        model = copy.deepcopy(self._model)
        named = list(model.named_parameters())
        _check_names(tensors, named)
        fill(tensors, named, None)
        return model

    def fork(self, step: int, *, lr: float | None = None, optimizer: Any = None) -> Recording:
        """Go on from a step to the end of the run, with something changed; nothing here changes.

        Batches, masks of dropout, schedules and validation are those that the run had, or would have had:
        with nothing changed the fork is the run, bit for bit. Callbacks are not called.

        Args:
            lr: another learning rate. optimizer: what makes another optimizer of the parameters, such as
                `snn.Adam`; it begins with an empty state, and with `lr` where that is given. With either, the
                learning rate stays as it is given: the run's schedules end.
        Returns:
            The recording of the fork, whose first step is `step`.
        Raises:
            IndexError: a step that was not kept. DivergenceError: as `fit`.
            TypeError: an optimizer that is made already.
            ValueError: the end of a run; a run read from a file, or made by PyTorch.
        """
        from .replay import fork

        return fork(self, self._number(step), lr, optimizer)

    def trace(self, step: int, x: Any, target: Any) -> Trace:
        """`snn.trace` of the model as it was after a step, with the run's loss and optimizer.

        Raises:
            IndexError: a step that was not kept. ValueError: a run read from a file; and as `snn.trace`.
        """
        from ..trace import trace
        from .replay import revived

        live = revived(self, self._number(step), "trace")
        return trace(live.model, live.loss_fn, x, target, optimizer=live.optimizer)


def _check_names(tensors: dict[Key, Array], named: list[tuple[str, Any]]) -> None:
    recorded = {name: value.shape for (kind, name, _), value in tensors.items() if kind == "parameter"}
    given = {name: p.shape for name, p in named}
    if recorded != given:
        raise ValueError(f"Recording is of a model with {recorded}; the model it got has {given}")


def _model_of(found: Contents) -> Module | None:
    """What the file describes, where its rows are of such a model; None for a class of one's own.

    Raises:
        FileFormatError: a description that cannot be built, or is not of the rows.
    """
    from ..files.architecture import build, from_json, specs

    if found.architecture is None or not found.blocks:
        return None
    try:
        node = from_json(found.architecture)
        described = {name: spec.shape for name, spec in specs(node).items() if spec.source == name}
        if described != found.blocks[0].layout.parameters():
            raise ValueError("the model it describes has other parameters than its steps")
        return build(node)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise FileFormatError(
            f"{found.path} describes no model that can be built: {short(str(error))}"
        ) from error
