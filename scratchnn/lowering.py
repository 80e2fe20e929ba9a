"""From a model, its loss and its optimizer to the engine's plan, or a refusal that says why not."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .checks import Array
from .data import DataLoader
from .engine.plan import Group, Layer, LossKind, LossPlan, LoweringError, Op, Plan, Rule
from .functional import formulas as F
from .layers import (
    MLP,
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
    Threshold,
)
from .losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    Loss,
    MSELoss,
    NLLLoss,
)
from .objective import Objective
from .optim import SGD, Adam, AdamW, Optimizer

__all__ = ["Lowered", "lower", "overridden", "read_groups", "read_numbers"]

ELEMENTWISE: dict[type[Module], Op] = {ReLU: Op.RELU, Sigmoid: Op.SIGMOID, Tanh: Op.TANH}
PAIRWISE: dict[type[Loss], LossKind] = {
    MSELoss: LossKind.MSE,
    L1Loss: LossKind.L1,
    HuberLoss: LossKind.HUBER,
    BCELoss: LossKind.BCE,
    BCEWithLogitsLoss: LossKind.BCE_WITH_LOGITS,
}


# What a step calls, of the classes that the engine knows: as they were when this module was imported.
STEP = (
    "__call__", "__iter__", "_batches", "_door", "_draw_base_seed", "_draw_order", "_op", "_op_vjp",
    "_update", "accumulate", "backward", "draw_factor", "forward", "order", "step", "zero_grad",
)  # fmt: skip
KNOWN = (
    *ELEMENTWISE, *PAIRWISE, LeakyReLU, Threshold, Dropout, Softmax, LogSoftmax, Identity, Linear, Sequential,
    MLP, Parameter, NLLLoss, CrossEntropyLoss, Objective, SGD, Adam, AdamW, DataLoader,
)  # fmt: skip
ORIGINALS = {
    (kind, name): getattr(kind, name)
    for kind in KNOWN
    for name in STEP
    if any(name in vars(base) for base in kind.__mro__)
}


@dataclass
class Lowered:
    """A plan, and the parameters it speaks of by position."""

    plan: Plan
    parameters: list[Parameter]


def lower(model: Module, loss_fn: Loss, optimizer: Optimizer, X: Array, y: Array) -> Lowered:
    """The plan of a training.

    Args:
        X, y: its data, as `fit` has converted them.
    Raises:
        LoweringError: something that the engine has no words for, by name.
    """
    if X.ndim != 2:
        raise LoweringError(f"inputs of shape {X.shape}: the engine takes (N, D)")
    for (kind, name), function in ORIGINALS.items():
        if getattr(kind, name, None) is not function:
            raise LoweringError(f"{kind.__name__}.{name}, which was replaced by a function of its own")
    for one in (loss_fn, optimizer, *([loss_fn.base] if isinstance(loss_fn, Objective) else [])):
        _refuse_overrides(one)
    parameters: list[Parameter] = []
    layers = _chain(model, X.shape[1], parameters)
    _check_parameters(model, parameters, (X, y))
    dtypes = {p.dtype for p in parameters}
    if not parameters or dtypes - {np.dtype(np.float32), np.dtype(np.float64)} or len(dtypes) > 1:
        raise LoweringError("parameters of more than one dtype, or neither float32 nor float64")
    dtype = parameters[0].dtype
    if X.dtype != dtype:
        raise LoweringError(f"inputs of {X.dtype} for a model of {dtype}")
    outputs = layers[-1].outputs
    if isinstance(loss_fn, Objective):
        loss = _objective_plan(loss_fn, outputs, dtype, y, parameters)
    else:
        loss = _loss_plan(loss_fn, outputs, dtype, y)
    wanted = (len(X),) if loss.by_index else (len(X), outputs)
    if loss.weighted:
        wanted = (len(X), 2 if loss.by_index else outputs + 1)
    if y.shape != wanted:
        raise LoweringError(f"targets of shape {y.shape} where the engine takes {wanted}")
    rule, groups = read_groups(optimizer, parameters)
    return Lowered(Plan(dtype, layers, loss, rule, groups, [p.shape for p in parameters]), parameters)


def overridden(one: Any) -> str | None:
    """The first attribute of an object that stands before a function of its class."""
    kind = type(one)
    return next((name for name in vars(one) if callable(getattr(kind, name, None))), None)


def _refuse_overrides(one: Any) -> None:
    name = overridden(one)
    if name is not None:
        raise LoweringError(f"a {type(one).__name__} whose {name} was replaced by a function of its own")


def _check_parameters(model: Module, parameters: list[Parameter], data: tuple[Array, ...]) -> None:
    """Every parameter of the model is one of the plan's, and none shares memory with another or the data."""
    if {*map(id, model.parameters())} != {*map(id, parameters)}:
        raise LoweringError("a model with parameters outside of its layers")
    for parameter in parameters:
        _refuse_overrides(parameter)
        if type(parameter) is not Parameter or type(parameter.data) is not np.ndarray:
            raise LoweringError(f"a parameter that is a {type(parameter).__name__} of its own")
    bounds = sorted(np.lib.array_utils.byte_bounds(p.data) for p in parameters)
    held = [np.lib.array_utils.byte_bounds(array) for array in data]
    if any(before[1] > after[0] for before, after in itertools.pairwise(bounds)) or any(
        start < end and begin < stop for start, stop in held for begin, end in bounds if start < end
    ):
        raise LoweringError("parameters that share memory with each other or with the data")


def _modules(module: Module) -> list[Module]:
    if module._hooks:
        raise LoweringError(f"a forward hook on {type(module).__name__}")
    _refuse_overrides(module)
    if type(module) in (Sequential, MLP):
        return [inner for child in module for inner in _modules(child)]  # type: ignore[attr-defined]
    return [module]


def _chain(model: Module, features: int, parameters: list[Parameter]) -> list[Layer]:
    """The model as layers; `parameters` is filled in the order of their use."""
    layers: list[Layer] = []

    def position(parameter: Parameter | None) -> int:
        if parameter is None:
            return -1
        for i, known in enumerate(parameters):
            if known is parameter:
                return i
        parameters.append(parameter)
        return len(parameters) - 1

    for module in _modules(model):
        if type(module) is Linear:
            if module.in_features != features:
                raise LoweringError(f"{module} after {features} features")
            known = len(parameters)
            weight, bias = position(module.weight), position(module.bias)
            if bias >= 0 and (weight < known) != (bias < known):
                raise LoweringError(f"{module} that shares its weight or its bias, but not both")
            if module.weight.shape != (module.out_features, features):
                raise LoweringError(f"{module} with a weight of shape {module.weight.shape}")
            if module.bias is not None and module.bias.shape != (module.out_features,):
                raise LoweringError(f"{module} with a bias of shape {module.bias.shape}")
            layers.append(Layer(Op.LINEAR, features, module.out_features, weight, bias))
            features = module.out_features
        elif type(module) in ELEMENTWISE:
            layers.append(Layer(ELEMENTWISE[type(module)], features, features))
        elif type(module) is LeakyReLU:
            slope = _number(module, "negative_slope")
            layers.append(Layer(Op.LEAKY_RELU, features, features, a=slope))
        elif type(module) is Threshold:
            threshold, value = _number(module, "threshold"), _number(module, "value")
            layers.append(Layer(Op.THRESHOLD, features, features, a=threshold, b=value))
        elif type(module) is Dropout:
            p = _number(module, "p")
            if not 0 <= p <= 1:
                raise LoweringError(f"Dropout with p={p}")
            if module.training and p > 0:
                layers.append(_dropout(p, features))
        elif type(module) in (Softmax, LogSoftmax):
            if module.dim not in (-1, 1):  # type: ignore[attr-defined]
                raise LoweringError(f"{module}: the engine takes it over the features, dim=1")
            op = Op.SOFTMAX if type(module) is Softmax else Op.LOG_SOFTMAX
            layers.append(Layer(op, features, features))
        elif type(module) is not Identity:
            raise LoweringError(f"{type(module).__name__}, a module that the engine does not know")
    if not any(layer.op == Op.LINEAR for layer in layers):
        raise LoweringError("a model without a Linear layer")
    return layers


def _number(owner: Any, name: str) -> float:
    """An attribute that a plan holds as a number."""
    value = getattr(owner, name)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise LoweringError(f"{type(owner).__name__} with {name}={value!r}")
    return float(value)


def _dropout(p: float, features: int) -> Layer:
    if p == 1:
        return Layer(Op.DROPOUT, features, features, a=-1.0)
    return Layer(Op.DROPOUT, features, features, a=1 - p, b=float(F.dropout_factor(np.ones(()), p)))


def _loss_plan(loss_fn: Loss, outputs: int, dtype: np.dtype[Any], y: Array) -> LossPlan:
    kind = type(loss_fn)
    name = kind.__name__
    mean = loss_fn.reduction == "mean"
    ones = np.ones(outputs, dtype)
    if not mean and loss_fn.reduction != "sum":
        raise LoweringError(f"{name} with reduction={loss_fn.reduction!r}")
    if kind in PAIRWISE:
        weight = _each_output(name, "weight", getattr(loss_fn, "weight", None), ones)
        pos_weight = _each_output(name, "pos_weight", getattr(loss_fn, "pos_weight", None), ones)
        if isinstance(loss_fn, HuberLoss):
            pos_weight = _number(loss_fn, "delta") * ones
        return LossPlan(PAIRWISE[kind], mean, weight, pos_weight)
    if not isinstance(loss_fn, (NLLLoss, CrossEntropyLoss)) or kind not in (NLLLoss, CrossEntropyLoss):
        raise LoweringError(f"{name}, a loss that the engine does not know")
    if loss_fn.weight is not None and np.shape(loss_fn.weight) != ones.shape:
        raise LoweringError(f"{name} with a weight of shape {np.shape(loss_fn.weight)} for {outputs} classes")
    weight = _each_output(name, "weight", loss_fn.weight, ones)
    ignored, smoothing = loss_fn.ignore_index, 0.0
    if type(ignored) is not int or not -(2**63) <= ignored < 2**63:
        raise LoweringError(f"{name} with ignore_index={ignored!r}")
    code = LossKind.NLL
    if isinstance(loss_fn, CrossEntropyLoss):
        smoothing = _number(loss_fn, "label_smoothing")
        code = LossKind.CROSS_ENTROPY_PROBABILITIES if y.dtype.kind == "f" else LossKind.CROSS_ENTROPY
    return LossPlan(code, mean, weight, ones, ignored, smoothing)


def _objective_plan(
    objective: Objective, outputs: int, dtype: np.dtype[Any], y: Array, parameters: list[Parameter]
) -> LossPlan:
    """The plan of its base, with what it adds."""
    base = copy.copy(objective.base)
    base.reduction = "mean"
    plan = _loss_plan(base, outputs, dtype, y[:, 0].astype(np.int64) if objective.has_indices(y) else y)
    if objective.weighted and plan.kind == LossKind.NLL and not (plan.weight == 1).all():
        raise LoweringError("NLLLoss with weights of classes and of rows")
    positions = {id(p): i for i, p in enumerate(parameters)}
    return replace(
        plan,
        over_rows=True,
        weighted=objective.weighted,
        scale=objective.scale,
        alpha=objective.alpha,
        penalised=tuple(positions[id(weight)] for weight in objective.weights),
    )


def _each_output(loss: str, name: str, value: Any, ones: Array) -> Array:
    """A weight as one number for each output."""
    if value is None:
        return ones
    if isinstance(value, np.ma.MaskedArray) or getattr(value, "dtype", ones.dtype) != ones.dtype:
        raise LoweringError(f"{loss} with a {name} of {type(value).__name__}, {value.dtype}")
    try:
        array = np.asarray(value, ones.dtype)
    except (TypeError, ValueError):
        raise LoweringError(f"{loss} with {name}={value!r}") from None
    try:
        return np.broadcast_to(array.reshape(array.shape[-1:]), ones.shape).copy()
    except ValueError:
        raise LoweringError(
            f"{loss} with a {name} of shape {array.shape}, which differs from row to row"
        ) from None


def read_groups(optimizer: Optimizer, parameters: list[Parameter]) -> tuple[Rule, list[Group]]:
    """The optimizer's rule and hyperparameters as they stand."""
    kind = type(optimizer)
    if kind not in (SGD, Adam, AdamW):
        raise LoweringError(f"{kind.__name__}, an optimizer that the engine does not know")
    positions = {id(p): i for i, p in enumerate(parameters)}
    if not optimizer.param_groups:
        raise LoweringError(f"{kind.__name__} without parameter groups")
    try:
        optimizer.check_groups()
    except (TypeError, ValueError) as error:
        raise LoweringError(f"an optimizer whose groups no step can take: {error}") from error
    moved = [id(p) for group in optimizer.param_groups for p in group["params"]]
    if len(set(moved)) < len(moved):
        raise LoweringError(f"{kind.__name__} that moves a parameter twice")
    decoupled = {bool(g.get("decoupled_weight_decay", False)) for g in optimizer.param_groups}
    if len(decoupled) > 1:
        raise LoweringError(f"{kind.__name__} with decoupled_weight_decay in some groups only")
    rule = Rule.SGD if kind is SGD else Rule.ADAMW if decoupled.pop() else Rule.ADAM
    groups = []
    for group in optimizer.param_groups:
        known = [positions[id(p)] for p in group["params"] if id(p) in positions]
        groups.append(Group(known, read_numbers(rule, group)))
    return rule, groups


def read_numbers(rule: Rule, group: dict[str, Any]) -> list[float]:
    """A group's hyperparameters, in the order of `Group.numbers`.

    Raises:
        LoweringError: one that is missing, or not a number.
    """
    try:
        if rule == Rule.SGD:
            return [
                float(group["lr"]), float(group["momentum"]), float(group["dampening"]),
                float(group["weight_decay"]), float(group["nesterov"]), float(group["maximize"]),
            ]  # fmt: skip
        beta1, beta2 = group["betas"]
        return [
            float(group["lr"]), float(beta1), float(beta2), float(group["eps"]),
            float(group["weight_decay"]), float(group["amsgrad"]), float(group["maximize"]),
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise LoweringError(f"hyperparameters that are not all numbers ({error})") from error
