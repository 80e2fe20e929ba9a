"""The network of an estimator: its layers, their first weights, and what stands at its end."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Array
from ..functional import formulas as F
from ..layers import (
    Dropout,
    Identity,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Module,
    Parameter,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from ..losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, Loss, MSELoss, NLLLoss

__all__ = ["LINKS", "Head", "arrange", "class_head", "make_network", "per_layer", "through", "value_head"]

ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "identity": Identity,
    "logistic": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
}
# From the network's output to what `predict` speaks of.
LINKS: dict[str, Callable[[Array], Array]] = {
    "identity": F.identity,
    "logistic": F.sigmoid,
    "softmax": lambda logits: F.softmax(logits, -1),
    "exp": np.exp,
}
ROWS_AT_ONCE = 65536  # of a prediction: bounds the memory that its hidden layers take
XAVIER, XAVIER_LOGISTIC = 6.0, 2.0  # bound^2 (fan_in + fan_out) of the first weights, as in scikit-learn


@dataclass(frozen=True)
class Head:
    """The end of a network, and the loss that it meets there.

    Attributes:
        base: gives the loss of each term. scale: its factor; None: 1 / outputs, the mean over them.
        ends: modules after the last Linear. link: what `LINKS` does to the output of the network.
        out_activation: scikit-learn's word for both together.
        indices: targets are class indices.
    """

    base: Loss
    ends: tuple[Module, ...] = ()
    link: str = "identity"
    out_activation: str = "identity"
    indices: bool = False
    scale: float | None = 1.0


VALUE_LOSSES: dict[str, tuple[Callable[[], Loss], float]] = {
    # half of the squares, as in scikit-learn: their slope is the difference
    "squared_error": (MSELoss, 0.5),
    "huber": (HuberLoss, 1.0),
    "l1": (L1Loss, 1.0),
}


def value_head(owner: str, loss: Any) -> Head:
    """The head of a regressor."""
    if isinstance(loss, Loss):
        base = _checked(owner, loss)
        if isinstance(loss, (CrossEntropyLoss, NLLLoss)):
            raise ValueError(f"{owner} got loss={loss!r}, a loss over classes; use MLPClassifier")
        if isinstance(loss, BCEWithLogitsLoss):
            return Head(base, (), "logistic", "logistic", scale=None)
        if isinstance(loss, BCELoss):
            return Head(base, (Sigmoid(),), "identity", "logistic", scale=None)
        return Head(base, scale=None)
    if isinstance(loss, str) and loss == "bce":
        return Head(BCEWithLogitsLoss(), (), "logistic", "logistic")
    if isinstance(loss, str) and loss in VALUE_LOSSES:
        make, scale = VALUE_LOSSES[loss]
        return Head(make(), scale=scale)
    raise ValueError(_no_loss(owner, loss, (*VALUE_LOSSES, "bce")))


def class_head(owner: str, loss: Any, exclusive: bool) -> Head:
    """The head of a classifier.

    Args:
        exclusive: each row has one class of more than two; otherwise each output is a class or not.
    """
    word = "softmax" if exclusive else "logistic"
    if isinstance(loss, Loss):
        base = _checked(owner, loss)
        if isinstance(loss, (CrossEntropyLoss, NLLLoss)):
            if not exclusive:
                raise ValueError(
                    f"{owner} got loss={loss!r} for classes that are a yes or no each, whose network has one "
                    "output for each; use loss='log_loss', BCEWithLogitsLoss() or BCELoss()"
                )
            if isinstance(loss, NLLLoss):
                return Head(base, (LogSoftmax(-1),), "exp", word, True)
            return Head(base, (), "softmax", word, True)
        if isinstance(loss, BCEWithLogitsLoss):
            return Head(base, (), "logistic", "logistic", scale=None)
        if isinstance(loss, BCELoss):
            return Head(base, (Sigmoid(),), "identity", "logistic", scale=None)
        return Head(base, (Softmax(-1) if exclusive else Sigmoid(),), "identity", word, scale=None)
    if not isinstance(loss, str):
        raise ValueError(_no_loss(owner, loss, ("log_loss", "bce", *VALUE_LOSSES)))
    if loss == "bce" or (loss == "log_loss" and not exclusive):
        return Head(BCEWithLogitsLoss(), (), "logistic", "logistic")
    if loss == "log_loss":
        return Head(CrossEntropyLoss(), (), "softmax", word, True)
    if loss in VALUE_LOSSES:
        make, scale = VALUE_LOSSES[loss]
        return Head(make(), (Softmax(-1) if exclusive else Sigmoid(),), "identity", word, scale=scale)
    raise ValueError(_no_loss(owner, loss, ("log_loss", "bce", *VALUE_LOSSES)))


def _no_loss(owner: str, loss: Any, known: Iterable[str]) -> str:
    names = ", ".join(map(repr, known))
    return f"{owner} got loss={loss!r}; it must be one of {names}, or a loss object such as HuberLoss()"


def _checked(owner: str, loss: Loss) -> Loss:
    if loss.reduction != "mean":
        raise ValueError(f"{owner} got loss={loss!r} with reduction={loss.reduction!r}; it needs 'mean'")
    if getattr(loss, "weight", None) is not None or getattr(loss, "pos_weight", None) is not None:
        raise ValueError(f"{owner} got loss={loss!r} with weights of its own; pass them as class_weight")
    return copy.deepcopy(loss)


def per_layer(owner: str, name: str, value: Any, layers: int) -> list[Any]:
    """One entry for each hidden layer, from one for all or a list of them."""
    if isinstance(value, (list, tuple)):
        if len(value) != layers:
            raise ValueError(
                f"{owner} got {name}={value!r} for {layers} hidden layers; give each its own, or one for all"
            )
        return list(value)
    return [value] * layers


def make_network(
    owner: str,
    units: list[int],
    activation: Any,
    dropout: Any,
    ends: tuple[Module, ...],
    dtype: np.dtype[Any],
    random_state: np.random.RandomState,
) -> Sequential:
    """Linear, activation, dropout, ..., Linear, ends; the first weights are scikit-learn's of this seed.

    Args:
        units: features, widths of the hidden layers, outputs.
        activation: as the estimator has it; the first weights follow it even without hidden layers.
        dropout: as the estimator has it.
    """
    of_layers = per_layer(owner, "activation", activation, len(units) - 2)
    names = [name if isinstance(name, str) else "" for name in of_layers or [activation]]
    layers = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(units)):
        factor = XAVIER_LOGISTIC if names[min(i, len(names) - 1)] == "logistic" else XAVIER
        bound = np.sqrt(factor / (fan_in + fan_out))
        weight = random_state.uniform(-bound, bound, (fan_in, fan_out)).T
        bias = random_state.uniform(-bound, bound, fan_out)
        layers.append(_linear(np.ascontiguousarray(weight, dtype), bias.astype(dtype)))
    return arrange(owner, layers, activation, dropout, ends)


def arrange(
    owner: str, layers: list[Linear], activation: Any, dropout: Any, ends: tuple[Module, ...]
) -> Sequential:
    """These Linear layers with what stands between them: activation, dropout, and the ends after the last.

    Args:
        activation, dropout: as the estimator has them, one for all hidden layers or a list.
    """
    activations = per_layer(owner, "activation", activation, len(layers) - 1)
    shares = per_layer(owner, "dropout", dropout, len(layers) - 1)
    modules: list[Module] = []
    for layer, name, share in zip(layers, activations, shares, strict=False):
        modules += [layer, _activation(owner, name), *([Dropout(share)] if share else [])]
    return Sequential(*modules, layers[-1], *ends)


def _linear(weight: Array, bias: Array) -> Linear:
    """A Linear with these weights; its constructor would draw others from the default generator."""
    layer = Linear.__new__(Linear)
    layer.in_features, layer.out_features = weight.shape[1], weight.shape[0]
    layer.weight, layer.bias = Parameter(weight), Parameter(bias)
    return layer


def _activation(owner: str, value: Any) -> Module:
    if isinstance(value, str) and value in ACTIVATIONS:
        return ACTIVATIONS[value]()
    made = value() if callable(value) and not isinstance(value, Module) else None
    if not isinstance(made, Module):
        names = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(
            f"{owner} got activation={value!r}; it must be one of {names}, or a function that makes a "
            "module, such as scratchnn.LeakyReLU; a list gives each hidden layer its own"
        )
    return made


def through(modules: Iterable[Module], X: Array) -> Array:
    """(N, D) -> (N, M) in evaluation mode, some rows at a time; leaves nothing behind in the modules."""
    modules = list(modules)
    parts = []
    for start in range(0, len(X), ROWS_AT_ONCE):
        x = X[start : start + ROWS_AT_ONCE]
        for module in modules:
            x = module.forward(x)
            module._saved = None
        parts.append(x)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
