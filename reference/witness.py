"""A witness to a training run: notes the start, watches, has PyTorch repeat it, and says where they part."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from scratchnn.checks import Array
from scratchnn.data import DataLoader
from scratchnn.history import History
from scratchnn.layers import Module
from scratchnn.losses import Loss
from scratchnn.optim import Optimizer
from scratchnn.train import FitState
from scratchnn.train.source import at_the_door

from .report import ParityReport, Row, largest_difference
from .streams import Streams
from .tolerances import (
    MOVED_RUNS,
    NETWORK,
    SPREAD_FACTOR,
    UNIFORM,
    bitwise_platform,
    eps_of,
    largest,
    trajectory_tolerance,
)
from .training import Rehearsal, TorchRun, draws_masks, one_ulp_away, snapshot
from .twin import model_dtype, torch_device, twin

__all__ = ["Witness"]

Parameters = dict[str, Array]


class Witness:
    """Notes where a training run starts, so that PyTorch can repeat it from there.

        witness = Witness(model, loss_fn, optimizer, loader, epochs)
        history = scratchnn.fit(model, loss_fn, optimizer, loader, epochs, callbacks=witness.callbacks)
        print(witness.judge(history))

    Args: as for `compare_training`, which does just this.
    """

    def __init__(
        self,
        model: Module,
        loss_fn: Loss,
        optimizer: Optimizer,
        data: Any,
        epochs: int,
        device: str | torch.device = "cpu",
        *,
        torch_model: torch.nn.Module | None = None,
        checkpoints: Sequence[int] | None = None,
        validation: Any = None,
    ) -> None:
        self.model, self.loss_fn, self.optimizer, self.data = model, loss_fn, optimizer, data
        self.device = torch_device(device)
        self.dtype = model_dtype(model)
        self.validation = validation
        self.checkpoints = _round_numbers(epochs) if checkpoints is None else tuple(checkpoints)
        self.streams = Streams.of(data)
        self.drawn = torch_model is not None
        start = twin(model, self.device) if torch_model is None else torch_model.to(self.device)
        self.torch_start = copy.deepcopy(start)
        self.start = copy.deepcopy((model, loss_fn, optimizer))
        self.rehearsal = self._rehearsal(start)
        self.ours: dict[int, Parameters] = {0: parameters_of(model)}
        self.epoch_streams: list[Streams] = []

    @property
    def callbacks(self) -> list[Callable[[FitState], None]]:
        """What `scratchnn.fit` calls after each epoch; none where only the end is compared."""
        return [self.note] if self.checkpoints or draws_masks(self.model) else []

    def note(self, state: FitState) -> None:
        """Record the parameters, if this epoch is a checkpoint."""
        if state.epoch in self.checkpoints:
            self.ours[state.history.steps] = parameters_of(state.model)
        if draws_masks(state.model):  # masks draw between epochs: note where each one starts
            self.epoch_streams.append(Streams.of(self.data))

    def judge(self, history: History) -> ParityReport:
        """Let PyTorch repeat the run that left `history`, and compare. Call it right after the run."""
        self.ours[history.steps] = parameters_of(self.model)
        ours_end = Streams.of(self.data).states()
        run = self.rehearsal.run(history.epochs, self.checkpoints)
        rows = [self._initial_row(run), self._batches_row(run, history.epochs)]
        same_end = all(np.array_equal(a, b) for a, b in zip(ours_end, run.states, strict=True))
        rows.append(Row("random state", 0.0 if same_end else np.inf, 1.0, 0.0, 1.0, note="afterwards"))
        rows += self._trajectory_rows(history, run, [])
        moved: list[TorchRun] = []
        while not all(row.passed for row in rows[3:]) and len(moved) < MOVED_RUNS:
            nearby = one_ulp_away(self.torch_start, len(moved))
            moved.append(self._rehearsal(nearby).run(history.epochs, self.checkpoints))
            rows = rows[:3] + self._trajectory_rows(history, run, moved)
        report = ParityReport(
            title=f"{type(self.model).__name__}, {type(self.optimizer).__name__}, {history.epochs} epochs, "
            f"{history.steps} steps, engine {history.engine}",
            dtype=self.dtype.name,
            device=str(self.device),
            rows=rows,
            seconds={
                "scratchnn": history.seconds,
                "pytorch": run.seconds,
                "compile": history.compile_seconds,
            },
            history=history,
            run=run,
        )
        if not report.passed:
            report.parted = self._where(report, run, history)
        return report

    # Rows -----------------------------------------------------------------------------------------

    def _initial_row(self, run: TorchRun) -> Row:
        eps = eps_of(self.dtype)
        name, difference, index = worst_of(self.ours[0], run.parameters[0])
        scale = largest(*run.parameters[0].values())
        allowed = 0.0 if bitwise_platform() or not self.drawn else UNIFORM * eps * scale
        source = "drawn by PyTorch" if self.drawn else "copied"
        note = source if difference <= allowed else f"{source}; {name} differs"
        return Row("initial weights", difference, scale, allowed, eps, index, step=None, note=note)

    def _batches_row(self, run: TorchRun, epochs: int) -> Row:
        if run.batches is None:
            return Row("batches", 0.0, 1.0, 0.0, 1.0, note="ready-made")
        parted = first_other_batch(self._our_batches(epochs), run.batches)
        if parted is None:
            return Row("batches", 0.0, 1.0, 0.0, 1.0, note=f"{len(run.batches)} drawn by each")
        return Row("batches", np.inf, 1.0, 0.0, 1.0, note=f"step {parted} has other rows")

    def _our_batches(self, epochs: int) -> list[Array]:
        """The rows of every batch as our loader drew them, drawn once more from the same states."""
        loader: DataLoader = self.data
        batches = []
        with self.streams.replayed():
            for epoch in range(epochs):
                if epoch and self.epoch_streams:
                    self.epoch_streams[epoch - 1].restore()
                order = loader.order()
                batches += [order[i : i + loader.batch_size] for i in range(0, len(order), loader.batch_size)]
                if isinstance(self.validation, DataLoader) and self.validation.generator is None:
                    self.validation.order()
        return batches

    def _trajectory_rows(self, history: History, run: TorchRun, moved: list[TorchRun]) -> list[Row]:
        rows = [self._loss_row(history, run, moved)]
        for step in sorted(set(self.ours) & set(run.parameters) - {0}):
            theirs = run.parameters[step]
            spread = max((worst_of(theirs, other.parameters[step])[1] for other in moved), default=None)
            rows.append(self._parameter_row(step, self.ours[step], theirs, spread))
        return rows

    def _parameter_row(self, step: int, ours: Parameters, theirs: Parameters, spread: float | None) -> Row:
        name, difference, index = worst_of(ours, theirs)
        scale = largest(*theirs.values())
        allowed = trajectory_tolerance(step, self.dtype, self.device) * max(1.0, scale)
        row = Row("parameters", difference, scale, allowed, eps_of(self.dtype), index, step, note=name)
        return with_spread(row, spread)

    def _loss_row(self, history: History, run: TorchRun, moved: list[TorchRun]) -> Row:
        """The step whose losses differ most, in units of what that step allows."""
        ours, theirs = history.step_losses.astype(np.float64), run.step_losses.astype(np.float64)
        eps = eps_of(self.dtype)
        if ours.shape != theirs.shape:
            return Row("step losses", np.inf, 1.0, 0.0, eps, note=f"{ours.size} steps against {theirs.size}")
        scale = max(1.0, *(largest(p) for p in run.parameters[max(run.parameters)].values()))
        table = np.array([trajectory_tolerance(s, self.dtype, self.device) for s in range(1, ours.size + 1)])
        allowed = (table + NETWORK * eps) * np.maximum(scale, np.abs(theirs))
        wide = allowed
        for other in moved:
            spread = np.maximum.accumulate(np.abs(theirs - other.step_losses.astype(np.float64)))
            wide = np.fmax(wide, SPREAD_FACTOR * spread)
        difference = np.abs(ours - theirs)
        ratio = np.where(np.isfinite(difference), difference, np.inf) / wide
        worst = int(np.argmax(ratio)) if ratio.size else -1
        if worst < 0:
            return Row("step losses", 0.0, 1.0, 0.0, eps)
        chaotic = wide[worst] > allowed[worst] and difference[worst] > allowed[worst]
        return Row(
            "step losses",
            float(difference[worst]),
            float(max(scale, abs(theirs[worst]))),
            float(wide[worst]),
            eps,
            step=worst + 1,
            spread=float(wide[worst] / SPREAD_FACTOR) if chaotic else None,
        )

    # Where two runs part --------------------------------------------------------------------------

    def _where(self, report: ParityReport, run: TorchRun, history: History) -> str:
        failed = {row.name: row for row in reversed(report.failures)}
        if "initial weights" in failed:
            return f"The runs part before the first step: {failed['initial weights'].note}."
        if "batches" in failed:
            return f"The runs part at their batches: {failed['batches'].note}."
        late = [row for name, row in failed.items() if name in ("parameters", "step losses")]
        if not late:
            return "The runs agree, but the random numbers drawn in them do not: other draws happened."
        last = max(row.step or 0 for row in late)
        found = self._replay(last)
        if found:
            return found
        return (
            f"The runs part by step {last}, yet the same run step by step in NumPy agrees with PyTorch: "
            f"look at the engine ({history.engine}) or at what runs between epochs."
        )

    def _replay(self, last: int) -> str:
        """Both runs again in step, and PyTorch's moved by one ulp, until ours leaves what is allowed."""
        model, loss_fn, optimizer = copy.deepcopy(self.start)
        model.train()
        theirs = self._rehearsal(copy.deepcopy(self.torch_start))
        moved = self._rehearsal(one_ulp_away(self.torch_start))
        batches = at_the_door(self.data, loss_fn, self.dtype, "data")
        step = epoch = 0
        with self.streams.replayed(), theirs.at_start():
            moved.model.train()
            while step < last:
                epoch += 1
                first = step
                for (x, target), (tx, ttarget) in zip(batches, theirs.epoch(), strict=True):
                    step += 1
                    optimizer.zero_grad()
                    loss_fn(model(x), target)
                    model.backward(loss_fn.backward())
                    optimizer.step()
                    state = torch.get_rng_state()
                    theirs.step(tx, ttarget)
                    torch.set_rng_state(state)  # the same masks for the moved run
                    moved.step(tx, ttarget)
                    exact = snapshot(theirs.model)
                    spread = worst_of(exact, snapshot(moved.model))[1]
                    row = self._parameter_row(step, parameters_of(model), exact, spread)
                    if not row.passed:
                        return _parting(row, f"epoch {epoch}, batch {step - first}", model, theirs.model)
                if step == first:
                    return ""
                theirs.after_epoch()
                if isinstance(self.validation, DataLoader) and self.validation.generator is None:
                    self.validation.order()
        return ""

    def _rehearsal(self, torch_model: torch.nn.Module) -> Rehearsal:
        model, loss_fn, optimizer = self.start
        return Rehearsal(
            model, loss_fn, optimizer, self.data, self.streams, torch_model, self.device, self.validation
        )


def _parting(row: Row, place: str, model: Module, torch_model: torch.nn.Module) -> str:
    ours = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    theirs = {name: p.grad.cpu().numpy() for name, p in torch_model.named_parameters() if p.grad is not None}
    text = f"The runs part at step {row.step} ({place}), most in {row.note}{list(row.index)}: "
    text += f"{row.difference:.2g} apart, {row.tolerance:.2g} allowed. "
    if ours.keys() != theirs.keys():
        return text + f"Gradients exist for {sorted(ours)} here and for {sorted(theirs)} in PyTorch."
    name, difference, _ = worst_of(ours, theirs)
    scale = largest(*theirs.values())
    # The parameters before this step may differ by what the trajectory allows; a fault is far larger.
    if difference <= max(1e3 * row.eps * scale, row.tolerance):
        return text + "The gradients of that step agree, so the update differs: look at the optimizer."
    return (
        text
        + f"The gradients of that step already differ, most in {name} ({difference:.2g} of {scale:.2g}): "
        "look at forward and backward (`compare` on that batch)."
    )


def parameters_of(model: Module) -> Parameters:
    """The parameters by name, as copies."""
    return {name: parameter.data.copy() for name, parameter in model.named_parameters()}


def worst_of(ours: Parameters, theirs: Parameters) -> tuple[str, float, tuple[int, ...]]:
    """Name, largest difference and its index, of the tensor that differs most. ValueError for other names."""
    if ours.keys() != theirs.keys():
        raise ValueError(
            f"the parameters have other names: {', '.join(ours)} here, {', '.join(theirs)} there"
        )
    found = [(name, *largest_difference(ours[name], theirs[name])) for name in ours]
    return max(found, key=lambda entry: np.inf if np.isnan(entry[1]) else entry[1])


def with_spread(row: Row, spread: float | None) -> Row:
    """The row; where it exceeds its tolerance, judged against PyTorch's own spread, if that is wider."""
    if row.passed or spread is None or not SPREAD_FACTOR * spread > row.tolerance:
        return row
    return Row(
        row.name,
        row.difference,
        row.scale,
        SPREAD_FACTOR * spread,
        row.eps,
        row.index,
        row.step,
        spread,
        row.note,
    )


def first_other_batch(ours: list[Array], theirs: list[Array]) -> int | None:
    """The first step, counted from 1, whose batches have other rows or another order; None if none has."""
    for step, (a, b) in enumerate(zip(ours, theirs, strict=False), start=1):
        if not np.array_equal(a, b):
            return step
    return None if len(ours) == len(theirs) else min(len(ours), len(theirs)) + 1


def _round_numbers(epochs: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... up to `epochs`."""
    numbers = (m * 10**k for k in range(len(str(epochs))) for m in (1, 2, 5))
    return tuple(number for number in numbers if number <= epochs)
