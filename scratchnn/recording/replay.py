"""A run taken up again at a step: hyperparameters, schedules and generators brought there."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoint import generators_of
from ..history import History
from ..layers import Module
from ..lr_scheduler import ReduceLROnPlateau
from ..optim import Optimizer
from ..random import default_generator
from .layout import fill
from .leg import Leg, Live, Place, draw_orders, kept_stream

if TYPE_CHECKING:
    from .recording import Recording

__all__ = ["fork", "groups_at", "revived"]


def revived(recording: Recording, step: int, owner: str) -> Live:
    """The leg's objects once more, with the numbers of a step; hyperparameters as the next step has them."""
    tensors = recording._tensors(step)
    leg = _leg_after(recording, step)
    if leg.live is None:
        whence = "made by PyTorch" if leg.engine == "torch" else f"read from {recording.path}"
        raise ValueError(
            f"{owner} got a recording {whence}, which has no loss and no data; take the model of a step with "
            "recording.at(step), or record in the program that trains"
        )
    live = leg.live.again()
    fill(tensors, list(live.model.named_parameters()), live.optimizer)
    place, epoch, within = _position(leg, step)
    _bring(live, place, epoch, within, leg.steps_an_epoch())
    return live


def groups_at(leg: Leg, step: int) -> list[dict[str, Any]]:
    """The hyperparameters with which a step was made."""
    place = leg.place_before(step)
    if leg.live is None or not place.schedules:
        return copy.deepcopy(place.groups)
    live = leg.live.again()
    at, epoch, within = _position(leg, step - 1)
    _bring(live, at, epoch, within, leg.steps_an_epoch())
    return [{k: v for k, v in group.items() if k != "params"} for group in live.optimizer.param_groups]


def state_at(recording: Recording, step: int) -> bytes | None:
    """The default generator's state after a step; None where it is not known."""
    leg = _leg_after(recording, step)
    found = recording._store.find(step)
    if found is None or not any(place.step <= step for place in leg.places):
        return None
    place = _position(leg, step)[0]
    if not place.marks:
        return None
    with kept_stream(place.generators[0]):
        if step > place.step:
            block, i = found
            default_generator.skip(int(block.words[i]))
        return default_generator.get_state().tobytes()


def fork(recording: Recording, step: int, lr: float | None, optimizer: Any) -> Recording:
    """See `Recording.fork`."""
    from ..train.fit import FitState, _choose_engine, run_epochs
    from ..train.numpy_engine import Middle
    from .recording import Recording

    live = revived(recording, step, "fork")
    leg = _leg_after(recording, step)
    place, epoch, within = _position(leg, step)
    if place.epoch + epoch >= leg.epochs:
        raise ValueError(f"fork got step {step}, the end of the run; fork an earlier one, or go on with fit")
    changed = lr is not None or optimizer is not None
    if changed:
        live = _changed(live, lr, optimizer)
    elif within and any(
        isinstance(s, ReduceLROnPlateau) and s.monitor in live.metrics for s in live.regime.by_epoch
    ):
        raise ValueError(
            f"fork got step {step}, in the middle of an epoch, and a schedule that waits for that epoch's "
            "metric, of which the steps before are not kept; fork at the end of an epoch"
        )
    child = Recording(recording._asked, max_bytes=recording.max_bytes)
    child.every = recording.every
    child._losses = [(first, part[: step - first]) for first, part in recording._losses if first < step]
    state = FitState(live.model, live.loss_fn, live.optimizer, History(), leg.epochs)
    state.epoch = place.epoch + epoch
    live.model.train()
    states = place.generators
    with kept_stream(states[0]), np.errstate(all="ignore"):
        generators = generators_of(live.batches, live.held_out)
        for generator, state_then in zip(generators, states, strict=True):
            generator.set_state(state_then)
        drawn = default_generator.drawn
        if live.batches.loader is not None:
            draw_orders(live.batches.loader, epoch)
        block, i = recording._find(step)
        words = int(block.words[i]) - (default_generator.drawn - drawn)
        engine = "auto" if leg.engine == "numba" and optimizer is not None else leg.engine
        runner = _choose_engine(
            engine, live.model, live.loss_fn, live.optimizer, live.batches, live.metrics, lambda _: None,
            live.regime,
        )  # fmt: skip
        state.history.engine, state.history.reason = runner.name, runner.reason
        if within:
            runner.middle = Middle(recording.losses[step - within : step], words)
        forked = step, words if within else 0
        begin = child._begin(state, live.regime, live.batches, live.held_out, live.metrics, 0, forked)
        with begin() as recorder:
            runner.recorder = recorder
            run_epochs(runner, state, live.held_out, live.metrics, (), lambda: None, live.regime)
    return child


def _leg_after(recording: Recording, step: int) -> Leg:
    """The leg that goes on from a step: at a seam, the later one; at the end, the last."""
    found = [leg for leg in recording._legs if leg.first <= step]
    return found[-1]


def _position(leg: Leg, step: int) -> tuple[Place, int, int]:
    """(place, epochs since it, steps since that epoch began) after a step of the leg."""
    found = [place for place in leg.places if place.step <= step]
    if not found:
        raise ValueError(f"the run had not begun at step {step}")
    place, a_epoch = found[-1], leg.steps_an_epoch()
    if a_epoch is None:
        return place, 0, step - place.step
    return place, *divmod(step - place.step, a_epoch)


def _bring(live: Live, place: Place, epochs: int, within: int, a_epoch: int | None) -> None:
    """Hyperparameters and schedules to where they were so long after a place."""
    for group, noted in zip(live.optimizer.param_groups, place.groups, strict=True):
        group.update(copy.deepcopy(noted))
    for schedule, noted in zip(live.regime.schedules(), place.schedules, strict=True):
        schedule.load_state_dict(noted)
    made = epochs * (a_epoch or 0) + within
    for step in range(place.ahead + 1, made + 1):
        live.regime.after_batch()
        if step % (a_epoch or made + 1) == 0 and live.regime.foreseeable:
            live.regime.after_epoch()


def _changed(live: Live, lr: float | None, optimizer: Any) -> Live:
    """Another optimizer, or another rate; the schedules end."""
    if optimizer is not None:
        made = _made_by(optimizer, live.model, {} if lr is None else {"lr": lr})
    else:
        made = live.optimizer
        for group in made.param_groups:
            made._check_group({**group, "lr": lr})
            group["lr"] = lr
    regime = replace(live.regime, by_batch=[], by_epoch=[])
    return replace(live, optimizer=made, regime=regime)


def _made_by(optimizer: Any, model: Module, given: dict[str, float]) -> Optimizer:
    if not callable(optimizer) or isinstance(optimizer, (Module, Optimizer)):
        what = repr(optimizer) if isinstance(optimizer, str) else f"an object of {type(optimizer).__name__}"
        raise TypeError(
            f"fork got as optimizer {what}; it needs a class, such as Adam, or a function of the parameters: "
            "those of a fork are its own"
        )
    made = optimizer(model.parameters(), **given)
    if not isinstance(made, Optimizer):
        raise TypeError(f"fork got an optimizer= that makes a {type(made).__name__}; it needs an Optimizer")
    return made
