"""Where learning is lost: norms, dead and saturated units, how far a step moves; what is wrong, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import Array
from ..functional import formulas as F
from ..losses import BCELoss, Loss
from .steps import Step

__all__ = ["LayerHealth", "ParameterHealth", "findings_of", "health_of"]

# A unit is saturated where its slope is below this share of its steepest slope.
FLAT = 0.01
# From this many samples on, a unit that is zero for all of them is called dead: chance alone is 1 in 256.
ENOUGH_SAMPLES = 8
MOSTLY = 0.5
# Gradients that fall or grow by more than this from one layer to another vanish or explode.
FAR = 1000.0
# An update is usually a thousandth of its parameter. Beyond these it overwrites it, or does nothing.
LARGE_UPDATE, SMALL_UPDATE = 0.3, 1e-7

DYING = {"relu", "threshold"}
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0}


@dataclass(frozen=True)
class ParameterHealth:
    """One parameter: Euclidean norms of its values, its gradient and the step that an optimizer would make.

    Attributes:
        name: in the model: "0.weight".
        norm, gradient, update: gradient is None where none came, update without an optimizer.
        ratio: update / norm; None where either is missing or the norm is 0.
    """

    name: str
    norm: float
    gradient: float | None
    update: float | None
    ratio: float | None


@dataclass(frozen=True)
class LayerHealth:
    """One module of the step.

    Attributes:
        path, module: as of its steps.
        activation: Euclidean norm of y over the whole batch. gradient: of dL/dy; None where none came back.
        samples, units: the rows of y, and the numbers in each.
        dead: units of a ReLU (or Threshold) that are off for every sample, so that no gradient passes them;
            None for other modules.
        saturated: share of a Sigmoid's or Tanh's outputs where the slope is below a hundredth of the
            steepest; None for other modules.
        parameters: of the module itself.
    """

    path: str
    module: str
    activation: float
    gradient: float | None
    samples: int
    units: int
    dead: int | None = None
    saturated: float | None = None
    parameters: list[ParameterHealth] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Where and what: "1 (ReLU)"."""
        kind = self.module.partition("(")[0]
        return f"{self.path} ({kind})" if self.path else kind


def health_of(
    steps: Iterable[Step],
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    updates: Mapping[str, Array],
) -> list[LayerHealth]:
    """One entry for each step of the forward, the loss left out."""
    steps = list(steps)
    backwards = {step.path: step for step in steps if step.direction == "backward"}
    return [
        _layer(step, backwards.get(step.path), parameters, gradients, updates)
        for step in steps
        if step.direction == "forward" and step.path != "loss" and "y" in step.outputs
    ]


def _layer(
    step: Step,
    backward: Step | None,
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    updates: Mapping[str, Array],
) -> LayerHealth:
    y = step.outputs["y"]
    units = y.shape[-1] if y.ndim else 1
    dy = backward.inputs.get("dy") if backward is not None else None
    return LayerHealth(
        path=step.path,
        module=step.module,
        activation=_norm(y),
        gradient=None if dy is None else _norm(dy),
        samples=y.size // units if units else 0,
        units=units,
        dead=int(_off(step).sum()) if step.op in DYING else None,
        saturated=float(_flat(step).mean()) if step.op in STEEPEST and y.size else None,
        parameters=[_parameter(n, parameters, gradients, updates) for n in step.parameters.values()],
    )


def _parameter(
    name: str, parameters: Mapping[str, Array], gradients: Mapping[str, Array], updates: Mapping[str, Array]
) -> ParameterHealth:
    norm = _norm(parameters[name])
    update = _norm(updates[name]) if name in updates else None
    ratio = None if update is None or norm == 0 else update / norm
    return ParameterHealth(name, norm, _norm(gradients[name]) if name in gradients else None, update, ratio)


def _norm(array: Array) -> float:
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(np.asarray(array, np.float64)))


def _off(step: Step) -> Array:
    """(units,) True where a unit's x is below its threshold for every sample."""
    off = step.inputs["x"] <= step.inputs.get("limit", 0)
    return np.asarray(off.reshape(-1, off.shape[-1] if off.ndim else 1).all(axis=0))


def _flat(step: Step) -> Array:
    """True where the slope of a sigmoid or tanh is below a hundredth of its steepest."""
    y = step.outputs["y"].astype(np.float64)
    ones = np.ones_like(y)
    slope = F.sigmoid_vjp(ones, y) if step.op == "sigmoid" else F.tanh_vjp(ones, y)
    return np.asarray(slope < FLAT * STEEPEST[step.op])


# What is wrong, in words ---------------------------------------------------------------------------


def findings_of(steps: list[Step], health: list[LayerHealth], loss_fn: Any) -> list[str]:
    """Sentences about what is wrong with this step, the gravest first; empty if nothing is."""
    if lost := _not_finite(steps):
        return [lost]
    found = [*_advice_of_the_loss(steps, loss_fn), *_dead(health), *_saturated(steps, health, loss_fn)]
    return [*found, *_flow(steps), *_without_gradient(steps, health), *_updates(health)]


def _not_finite(steps: list[Step]) -> str:
    """Where NaN or infinity comes up for the first time."""
    for step in steps:
        for name, value in {**step.inputs, **step.outputs}.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
                count = int((~np.isfinite(value)).sum())
                came = "went into" if name in step.inputs else "came out of"
                return (
                    f"{step.label}: {count} of {value.size} entries of {name} are NaN or infinite; they "
                    f"{came} its {step.direction} first, and everything after it is worth nothing."
                )
    return ""


def _advice_of_the_loss(steps: list[Step], loss_fn: Any) -> Iterator[str]:
    loss = next(i for i, step in enumerate(steps) if step.path == "loss")
    arguments = list(steps[loss].inputs.values())
    if loss and isinstance(loss_fn, Loss) and len(arguments) > 1:
        layer = steps[loss - 1].module.partition("(")[0]
        advice = loss_fn._advice(layer, arguments[0], arguments[1])
        if advice:
            yield advice


def _dead(health: list[LayerHealth]) -> Iterator[str]:
    for layer in health:
        if not layer.dead or not layer.units:
            continue
        samples = "the one sample" if layer.samples == 1 else f"all {layer.samples} samples"
        if layer.dead == layer.units:
            yield (
                f"{layer.label}: all {_units(layer.units)} are zero for {samples}; no gradient passes "
                "through it."
            )
        elif layer.samples >= ENOUGH_SAMPLES:
            are, they, receive = ("is", "it", "receives") if layer.dead == 1 else ("are", "they", "receive")
            yield (
                f"{layer.label}: {layer.dead} of {_units(layer.units)} {are} dead for {samples}; {they} "
                f"{receive} no gradient."
            )


def _saturated(steps: list[Step], health: list[LayerHealth], loss_fn: Any) -> Iterator[str]:
    forward = {step.path: step for step in steps if step.direction == "forward"}
    loss = forward["loss"]
    for layer in health:
        step = forward[layer.path]
        if layer.saturated is None:
            continue
        if isinstance(loss_fn, BCELoss) and _feeds(step, loss):
            # Probabilities near 0 and 1 are what training is for; only a wrong one is in trouble.
            p, t = loss.inputs["prediction"], loss.inputs["target"]
            stuck = int((((p == 0) | (p == 1)) & (abs(p - t) > 0.5)).sum())
            if stuck:
                yield (
                    f"{layer.label}: {stuck} of {p.size} probabilities {'is' if stuck == 1 else 'are'} "
                    "exactly 0 or 1 on the wrong side, where the gradient is exactly 0. Take "
                    "BCEWithLogitsLoss without the Sigmoid."
                )
        elif layer.saturated > MOSTLY:
            yield (
                f"{layer.label}: {100 * layer.saturated:.0f} % of its outputs are saturated: the slope "
                "there is below a hundredth of the steepest, so hardly any gradient passes."
            )


def _feeds(step: Step, loss: Step) -> bool:
    y, prediction = step.outputs["y"], loss.inputs["prediction"]
    return y.shape == prediction.shape and bool(np.array_equal(y, prediction))


def _flow(steps: list[Step]) -> Iterator[str]:
    """Gradients that vanish or explode between the layers with parameters, from the loss to the input."""
    sizes = []
    for step in steps:
        dweight = step.outputs.get("dweight") if step.direction == "backward" else None
        if dweight is not None and dweight.size:
            sizes.append((step, float(np.sqrt(np.mean(np.square(dweight, dtype=np.float64))))))
    if len(sizes) < 2:
        return
    (last, from_size), (first, to_size) = sizes[0], sizes[-1]
    if from_size == 0 or to_size == 0:
        return  # said already: everything dead, or the loss is at its end
    if to_size * FAR < from_size:
        yield (
            f"The gradient vanishes: an entry of dL/dweight is about {from_size:.1e} in {last.label} and "
            f"{to_size:.1e} in {first.label}, which learns {_times(from_size / to_size)} more slowly."
        )
    elif to_size > from_size * FAR:
        yield (
            f"The gradient explodes: an entry of dL/dweight is about {from_size:.1e} in {last.label} and "
            f"{to_size:.1e} in {first.label}, {_times(to_size / from_size)} as much."
        )


def _without_gradient(steps: list[Step], health: list[LayerHealth]) -> Iterator[str]:
    """Layers that learn nothing from this step, and why where it can be seen."""
    slope = next(s.outputs["dprediction"] for s in steps if s.path == "loss" and s.direction == "backward")
    if not slope.any():
        yield "dL/dprediction is exactly 0: the loss asks for no change, and nothing moves."
        return
    reported = set()
    for layer in health:
        parameters = [p for p in layer.parameters if p.name not in reported]
        reported |= {p.name for p in parameters}
        missing = [p.name for p in parameters if p.gradient is None]
        if missing:
            yield f"{layer.label}: no gradient reaches {' and '.join(missing)}; its backward gives none."
        elif parameters and not any(p.gradient for p in parameters):
            names = " and ".join(p.name for p in parameters)
            yield f"{layer.label}: the gradient of {names} is exactly 0; it learns nothing."


def _updates(health: list[LayerHealth]) -> Iterator[str]:
    weights = {p.name: p for layer in health for p in layer.parameters if p.name.endswith("weight")}
    for parameter in weights.values():
        if parameter.ratio is None or not parameter.gradient:
            continue
        if parameter.ratio > LARGE_UPDATE:
            yield (
                f"{parameter.name}: one step moves it by {100 * parameter.ratio:.0f} % of its own norm; "
                "the learning rate is too large for it."
            )
        elif parameter.ratio < SMALL_UPDATE:
            yield (
                f"{parameter.name}: one step moves it by {parameter.ratio:.0e} of its own norm, which "
                "rounding swallows; the learning rate is too small for it."
            )


def _times(factor: float) -> str:
    return f"{factor:,.0f} times" if factor < 1e6 else f"{factor:.0e} times"


def _units(count: int) -> str:
    return "1 unit" if count == 1 else f"{count} units"
