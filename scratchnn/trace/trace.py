"""`trace`: one forward and one backward, everything kept."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array, any_array, as_path, as_text
from ..gradcheck.subject import short_repr
from ..layers import Module
from ..losses import Loss
from ..optim import Optimizer
from ..random import default_generator
from .health import LayerHealth, findings_of, health_of
from .run import Recorder, untouched
from .steps import Pair, Step
from .torch_side import is_torch, module_from_torch

if TYPE_CHECKING:
    from .sheet import Sheet

__all__ = ["Trace", "trace"]


@dataclass(eq=False, repr=False)
class Trace:
    """One step of backprop: every number, and how it came to be. Made by `trace`.

    Attributes:
        steps: in order, forward then backward.
        loss: what the step's backward differentiates: for reduction "none" the sum of the losses.
        prediction, x, target: arrays, as the loss and the model got them.
        parameters: {name: values}. gradients: {name: dL/d(parameter)}, of those that got one.
        updates: {name: what the optimizer's step would add}; empty without an optimizer.
        model, loss_fn: copies, as they were before the step.
        random_state: of the default generator when the step began: dropout masks are drawn from it.
        layers: the health of each layer. findings: sentences about what is wrong; empty if nothing is.
    """

    steps: list[Step]
    loss: float
    prediction: Array
    x: Array
    target: Array
    parameters: dict[str, Array]
    gradients: dict[str, Array]
    model: Module
    loss_fn: Any
    random_state: Array
    updates: dict[str, Array] = field(default_factory=dict)
    layers: list[LayerHealth] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """Where there are steps: "0", "1", ..., "loss"."""
        return list(dict.fromkeys(step.path for step in self.steps))

    @property
    def summary(self) -> str:
        """The step in one line."""
        samples = len(self.x) if self.x.ndim > 1 else 1
        return (
            f"one step of {type(self.model).__name__} with {type(self.loss_fn).__name__}, {samples:,} "
            f"{'sample' if samples == 1 else 'samples'}, loss {self.loss:.5g}"
        )

    def __getitem__(self, path: str) -> Pair:
        path = as_text("Trace", "path", path)
        forward = [s for s in self.steps if s.path == path and s.direction == "forward"]
        backward = [s for s in self.steps if s.path == path and s.direction == "backward"]
        if not forward:
            raise KeyError(
                f"this trace has no step at {path!r}; there are {', '.join(map(repr, self.paths))}"
            )
        return Pair(forward[0], backward[0] if backward else None)

    def explain(
        self,
        name: str,
        index: Any = None,
        *,
        sample: int | None = None,
        blanks: int | str | Sequence[str] = 0,
        seed: int = 0,
    ) -> Sheet:
        """How one number of the step came to be, from the loss down to it, every factor with its origin.

        The chain rule three times, in symbols, in numbers and as a value, and under it the same number by
        complex step and by PyTorch.

        Args:
            name: a parameter, "0.weight"; "x" for an entry of the input; "loss" for the loss itself.
            index: of the entry: (3, 1). None for a single number.
            sample: whose numbers are followed where samples are summed; None takes the one that counts most.
            blanks: leave so many intermediate values out, for an exercise; or those with these names, as
                the sheet writes them: "1.dx[2,3]". The answers are in `Sheet.answers`.
            seed: which ones, when a number of blanks is given.
        Raises:
            KeyError: there is no such name, or no such blank. IndexError: no such entry or sample.
            ValueError: a parameter that got no gradient; more blanks than there are values.
            TypeError: an index that is no tuple of integers.
        """
        from .explain import explain

        return explain(self, name, index, sample=sample, blanks=blanks, seed=seed)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, texts and numbers, as for JSON."""
        from .table import as_dict

        return as_dict(self)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """One line for each number: step, direction, path, module, op, role, name, index, value.

        Args:
            path: a file to write it to as well, whole or not at all; one that is there is replaced.
        Raises:
            OSError: from the disk; or what is at `path` is not a regular file.
        """
        from .table import as_csv

        file = None if path is None else as_path("Trace.to_csv", "path", path)
        text = as_csv(self)
        if file is not None:
            from ..files.atomic import write_atomically

            write_atomically(file, text.encode())
        return text

    def to_latex(self) -> str:
        """The whole step as a document that compiles under plain `article`."""
        from ..show import trace_latex

        return trace_latex(self)

    def save(
        self,
        path: str | os.PathLike[str],
        sheets: Sequence[Sheet] = (),
        *,
        sample: int | None = None,
        title: str = "",
    ) -> Path:
        """Write the step as one page that needs nothing else: no network, no script.

        Args:
            path: of the HTML file; one that is there is replaced.
            sheets: derivations to put on the page, made by `explain`. With an exercise among them, one that
                has blanks, diagram and passes stay away: they would show what is to be found.
            sample: whose numbers the diagram shows; None for the mean over the batch.
            title: what the step is of, in a few words.
        Raises:
            IndexError: a sample that the batch has not. OSError: from the disk.
        """
        from ..show import save_trace

        return save_trace(self, path, sheets, sample=sample, title=title)

    def _repr_html_(self) -> str:
        from ..show import trace_html

        return trace_html(self)

    def __str__(self) -> str:
        from .printing import as_printed

        return as_printed(self)

    def __repr__(self) -> str:
        return f"<Trace: {self.summary}>"


def trace(model: Any, loss_fn: Any, x: Any, target: Any, *, optimizer: Any = None) -> Trace:
    """Run one forward and one backward, and keep every number of them.

    It runs on a copy, exactly as `loss = loss_fn(model(x), target); model.backward(loss_fn.backward())`
    would run now: in the model's mode, with its forward hooks, and with the dropout masks that would be
    drawn. Parameters, gradients, saved state and generators stay as they are.

    Args:
        model: built of our layers, nested in any way; a Module of your own, seen through its submodules (what
            it computes itself is a step without a formula); or a torch.nn.Module that
            `reference.from_torch` takes.
        loss_fn: a loss such as BCELoss(), or anything with loss_fn(prediction, target) and backward().
        x, target: a batch, converted to the model's dtype as `fit` does (class indices stay integers).
        optimizer: over the model's parameters; the trace then has the update it would make.
    Raises:
        TypeError: no model, no loss, no optimizer. ValueError: a model without parameters, an optimizer over
            others. What model and loss raise: shapes that do not fit, classes that do not exist.
    """
    if is_torch(model):
        model = module_from_torch(model)
    _check(model, loss_fn, optimizer)
    label = f"trace of {short_repr(model)}"
    # What is not finite is a finding, not a warning.
    with untouched(), np.errstate(all="ignore"):
        random_state = default_generator.get_state()
        twin, loss_twin, mover = copy.deepcopy((model, loss_fn, optimizer))
        parameters = dict(twin.named_parameters())
        twin.zero_grad()
        loss_twin._warned = True  # of the layer before it; the findings say so
        values = {name: parameter.data.copy("K") for name, parameter in parameters.items()}
        x, target = _at_the_door(label, loss_twin, x, target, parameters)
        kept_x, kept_target = x.copy("K"), copy.copy(target)
        recorder = Recorder(twin)
        try:
            prediction = twin(x)
            loss = recorder.loss(loss_twin, prediction, target)
            twin.backward(recorder.loss_backward(loss_twin))
        finally:
            recorder.release()
        gradients = {name: p.grad.copy("K") for name, p in parameters.items() if p.grad is not None}
        updates = {} if mover is None else _updates(mover, parameters, values)
    twin.zero_grad()
    health = health_of(recorder.steps, values, gradients, updates)
    return Trace(
        steps=recorder.steps,
        loss=float(np.sum(loss)),
        prediction=np.array(prediction, order="K"),
        x=kept_x,
        target=np.asarray(kept_target),
        parameters=values,
        gradients=gradients,
        updates=updates,
        model=twin,
        loss_fn=loss_twin,
        random_state=random_state,
        layers=health,
        findings=findings_of(recorder.steps, health, loss_twin),
    )


def _check(model: Any, loss_fn: Any, optimizer: Any) -> None:
    if not isinstance(model, Module):
        raise TypeError(f"trace got {_what(model)} as model; it needs a scratchnn Module")
    is_loss = callable(loss_fn) and hasattr(loss_fn, "backward") and not isinstance(loss_fn, (type, Module))
    if not is_loss or is_torch(loss_fn):
        raise TypeError(
            f"trace got {_what(loss_fn)} as loss_fn; it needs a loss object such as scratchnn.BCELoss()"
        )
    own = {id(parameter) for parameter in model.parameters()}
    if not own:
        raise ValueError(
            f"trace got {short_repr(model)}, which has no parameters, so the loss has nothing to move; "
            "trace a model with a Linear in it"
        )
    if optimizer is None:
        return
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"trace got {_what(optimizer)} as optimizer; it needs one such as "
            "scratchnn.SGD(model.parameters(), lr=0.1)"
        )
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            "trace got an optimizer over other parameters than the model's; make it from "
            "model.parameters() (of a PyTorch module: from those of reference.from_torch(module))"
        )


def _what(thing: Any) -> str:
    """`thing` in an error: a class as such, an object by its class and where that is from."""
    kind = thing if isinstance(thing, type) else type(thing)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"the class {name}" if thing is kind else f"a {name}"


def _at_the_door(
    label: str, loss_fn: Any, x: Any, target: Any, parameters: dict[str, Any]
) -> tuple[Array, Any]:
    """x and target in the model's dtype, x a copy."""
    dtypes = {parameter.dtype for parameter in parameters.values()}
    array = np.array(any_array(label, "x", x, "biuf"), order="K")
    if array.size == 0:
        raise ValueError(f"{label} got x of shape {array.shape}, which has no numbers; it needs a sample")
    # A model of several dtypes says itself which of them it wants where.
    dtype = dtypes.pop() if len(dtypes) == 1 else array.dtype
    if isinstance(loss_fn, Loss):
        target = loss_fn.convert_target(target, dtype)
    return array.astype(dtype, copy=False), copy.copy(target)


def _updates(optimizer: Any, parameters: dict[str, Any], before: dict[str, Array]) -> dict[str, Array]:
    """What the optimizer's next step would add to each parameter; the copies are put back."""
    optimizer.step()
    updates = {name: parameter.data - before[name] for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        parameter.data[...] = before[name]
    return updates
