"""Ours beside PyTorch's, number by number: one forward and backward, or a whole training run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import scratchnn as snn
from scratchnn.checks import Array
from scratchnn.history import History
from scratchnn.layers import Module
from scratchnn.losses import Loss
from scratchnn.optim import Optimizer
from scratchnn.random import default_generator

from .report import ParityReport, Row, largest_difference
from .streams import scratchnn_stream, torch_stream
from .tolerances import NETWORK, SUMS, device_factor, eps_of, largest
from .training import draws_masks, exact_arithmetic, one_ulp_away
from .twin import model_dtype, to_tensor, torch_device, twin, twin_loss
from .witness import Witness, with_spread

__all__ = ["compare", "compare_training"]


def compare(
    model: Module,
    loss_fn: Loss,
    x: Any,
    y: Any,
    device: str | torch.device = "cpu",
    *,
    torch_model: torch.nn.Module | None = None,
) -> ParityReport:
    """Forward, loss and every gradient of one batch, beside PyTorch's.

    Prediction and gradients come from each side's own chain. The loss and its own gradient are taken at
    our prediction on both sides, so that a fault is laid where it is. Neither model, gradients nor
    generators change; Dropout draws the same masks on both sides.

    Args:
        x, y: a batch, converted to the model's dtype as `fit` does (class indices stay integers).
        device: where PyTorch computes.
        torch_model: judge by this PyTorch model instead of the twin: for a Module of one's own. Its
            parameters need the same names; the weights are copied in.
    Returns:
        A `ParityReport` with the rows "prediction", "loss", "dL/dprediction", "dL/dx" and "dL/d(name)" for
        every parameter. Gradients are measured against the largest gradient of the whole network; what
        exceeds that is measured against PyTorch's own change when weights and input move by one ulp,
        and dL/dprediction by one of a probability's.
    Raises:
        TypeError, ValueError: what model and loss raise; no twin; no such device; Dropout at work on CUDA.
    """
    place = torch_device(device)
    dtype = model_dtype(model, np.asarray(x).dtype if np.asarray(x).dtype == np.float64 else np.float32)
    if place.type != "cpu" and model.training and draws_masks(model):
        raise ValueError(f"a model with Dropout at work cannot be compared on {place}; use model.eval()")
    x = np.asarray(x, dtype)
    y = loss_fn.convert_target(y, dtype)
    ours = _ours(model, loss_fn, x, y)
    theirs_model = _judge(model, place, torch_model)
    torch_loss = twin_loss(loss_fn, place, dtype)
    with torch_stream(), exact_arithmetic(place):
        theirs, scale = _theirs(theirs_model, torch_loss, x, y, ours, place)
        rows = _rows(ours, theirs, scale, _share(ours, loss_fn), dtype, device_factor(place))
        if not all(row.passed for row in rows):
            nearby = np.nextafter(x, np.asarray(np.inf, dtype))
            nudge = eps_of(dtype) * _share(ours, loss_fn)
            moved = _theirs(one_ulp_away(theirs_model), torch_loss, nearby, y, ours, place, nudge)[0]
            rows = [_with_spread(row, theirs, moved) for row in rows]
    title = f"{type(model).__name__} and {type(loss_fn).__name__}, {len(x) if x.ndim else 1} rows"
    report = ParityReport(title, dtype.name, str(place), rows)
    if not report.passed:
        report.parted = _where(report)
    return report


def compare_training(
    model: Module,
    loss_fn: Loss,
    optimizer: Optimizer,
    loader: Any,
    epochs: int,
    device: str | torch.device = "cpu",
    *,
    torch_model: torch.nn.Module | None = None,
    checkpoints: Sequence[int] | None = None,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> ParityReport:
    """Train `model` by `scratchnn.fit`, then the same run by PyTorch, and compare.

    To look at our run before PyTorch starts, make a `Witness`, call `scratchnn.fit`, then `judge`.

    Args:
        model, loss_fn, optimizer, loader, epochs: as for `scratchnn.fit`; model and optimizer end trained.
        device: where PyTorch trains.
        torch_model: PyTorch's start, for instance `seeded_twin(model, seed)`, whose weights PyTorch drew;
            None takes a twin, whose weights are copies.
        checkpoints: epochs after which parameters are compared, besides the last one. None takes 1, 2, 5,
            10, 20, 50, ...; with () a compiled run is not interrupted at all.
        callbacks, options: for `scratchnn.fit`: engine, validation, metrics, progress.
    Returns:
        A `ParityReport` with the rows "initial weights", "batches", "random state", "step losses" and
        "parameters" (one for each checkpoint), our `history` and PyTorch's `run`.
    Raises:
        What `scratchnn.fit` and `reference.fit` raise.
    """
    witness = Witness(
        model,
        loss_fn,
        optimizer,
        loader,
        epochs,
        device,
        torch_model=torch_model,
        checkpoints=checkpoints,
        validation=options.get("validation"),
    )
    history: History = snn.fit(
        model, loss_fn, optimizer, loader, epochs, callbacks=[*callbacks, *witness.callbacks], **options
    )
    return witness.judge(history)


# One batch ----------------------------------------------------------------------------------------

Figures = dict[str, Array]


def _ours(model: Module, loss_fn: Loss, x: Array, y: Array) -> Figures:
    model, loss_fn = copy.deepcopy((model, loss_fn))
    model.zero_grad()
    with scratchnn_stream():
        prediction = model(x)
    loss = np.asarray(loss_fn(prediction, y))
    dloss = _cotangent(loss)
    dprediction = loss_fn.backward(dloss)
    figures = {"prediction": prediction, "loss": loss, "dL/dprediction": dprediction}
    figures["dL/dx"] = model.backward(dprediction)
    for name, parameter in model.named_parameters():
        # A parameter that no gradient reached shows as NaN, unless PyTorch agrees.
        figures[f"dL/d({name})"] = _no_gradient(parameter.data) if parameter.grad is None else parameter.grad
    return figures


def _theirs(
    torch_model: torch.nn.Module,
    torch_loss: torch.nn.Module,
    x: Array,
    y: Array,
    ours: Figures,
    place: torch.device,
    nudge: float = 0.0,
) -> tuple[Figures, float]:
    """PyTorch's figures, and the largest number that passed through the network.

    `nudge` is added to dL/dprediction on its way into the network.
    """
    scales = [largest(x)]
    hooks = [
        module.register_forward_hook(lambda _m, _x, out: scales.append(largest(out.detach().cpu().numpy())))
        for module in torch_model.modules()
    ]
    torch_model.zero_grad()
    torch.set_rng_state(torch.from_numpy(default_generator.get_state()))
    inputs = to_tensor(x, place).requires_grad_()
    target = to_tensor(y, place)
    dloss = to_tensor(_cotangent(ours["loss"]), place)
    prediction = torch_model(inputs)
    for hook in hooks:
        hook.remove()
    prediction.register_hook(lambda dprediction: dprediction + nudge)
    torch_loss(prediction, target).backward(dloss)
    same_prediction = to_tensor(ours["prediction"], place).requires_grad_()
    loss = torch_loss(same_prediction, target)
    loss.backward(dloss)
    tensors = {"prediction": prediction, "loss": loss, "dL/dprediction": same_prediction.grad}
    tensors["dL/dx"] = inputs.grad
    figures = {name: t.detach().cpu().numpy() for name, t in tensors.items() if t is not None}
    for name, parameter in torch_model.named_parameters():
        key = f"dL/d({name})"
        gradient = parameter.grad
        figures[key] = _no_gradient(ours[key]) if gradient is None else gradient.detach().cpu().numpy()
    return figures, max(scales)


def _judge(model: Module, place: torch.device, torch_model: torch.nn.Module | None) -> torch.nn.Module:
    if torch_model is None:
        return twin(model, place)
    judge = copy.deepcopy(torch_model)
    judge.load_state_dict({key: to_tensor(value) for key, value in model.state_dict().items()})
    return judge.to(place)


def _cotangent(loss: Array) -> Array:
    """1 for a scalar loss; for reduction "none" random numbers, which an all-ones mistake cannot survive."""
    if loss.ndim == 0:
        return np.ones((), loss.dtype)
    drawn = np.random.RandomState(0).uniform(0.5, 1.5, loss.shape)
    return np.asarray(drawn, loss.dtype)


def _no_gradient(like: Array) -> Array:
    return np.full_like(like, np.nan)


def _share(ours: Figures, loss_fn: Loss) -> float:
    """dL/dprediction where a probability is wrong by 1: what is left of p - t rounds in eps of this."""
    rows = len(ours["prediction"]) if ours["prediction"].ndim else 1
    return 1.0 / rows if loss_fn.reduction == "mean" else 1.0


def _rows(
    ours: Figures, theirs: Figures, scale: float, share: float, dtype: np.dtype[Any], factor: float
) -> list[Row]:
    eps = eps_of(dtype)
    gradients = largest(*(value for name, value in theirs.items() if name.startswith("dL/d(")))
    loss_scale = max(1.0, largest(ours["prediction"]), largest(theirs["loss"]))
    scales = {
        "prediction": (scale, NETWORK),
        "loss": (loss_scale, SUMS),
        "dL/dprediction": (max(share, largest(theirs["dL/dprediction"])), SUMS),
        "dL/dx": (max(gradients, largest(theirs["dL/dx"])), NETWORK),
    }
    rows = []
    for name, value in ours.items():
        difference, index = largest_difference(value, theirs[name])
        measure, eps_allowed = scales.get(name, (gradients, NETWORK))
        rows.append(Row(name, difference, measure, factor * eps_allowed * eps * measure, eps, index))
    return rows


def _with_spread(row: Row, theirs: Figures, moved: Figures) -> Row:
    """The row, where it failed, against PyTorch's own change under a move of one ulp."""
    if row.name in ("loss", "dL/dprediction"):  # these two had the same input on both sides
        return row
    return with_spread(row, largest_difference(theirs[row.name], moved[row.name])[0])


def _where(report: ParityReport) -> str:
    names = [row.name for row in report.failures]
    if "prediction" in names:
        return "The predictions already differ: look at the forward pass."
    if "loss" in names:
        return "The predictions agree, the losses of the same prediction differ: look at the loss's forward."
    if "dL/dprediction" in names:
        return "Forward and loss agree, dL/dprediction does not: look at the loss's backward."
    wrong = [name for name in names if name.startswith("dL/d(")]
    if not wrong:
        return "Every parameter's gradient agrees, dL/dx does not: look at the first layer's backward."
    nearest = wrong[-1]
    return f"Going backward, {nearest} is the first that differs: look at the backward there or just after."
