"""The plan: a model, its loss and its optimizer as a table, without any of their objects.

The engine receives a plan and knows no layer; `scratchnn.lowering` makes plans. Nothing here imports Numba.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from ..functional.vocabulary import Array

__all__ = ["Group", "Layer", "LossKind", "LossPlan", "LoweringError", "Op", "Plan", "Rule"]


class LoweringError(ValueError):
    """A model, loss, optimizer or data set that the compiled engine cannot express."""


class Op(IntEnum):
    """What a layer does."""

    LINEAR = 0
    RELU = 1
    LEAKY_RELU = 2
    SIGMOID = 3
    TANH = 4
    THRESHOLD = 5
    DROPOUT = 6
    SOFTMAX = 7
    LOG_SOFTMAX = 8


class LossKind(IntEnum):
    MSE = 0
    L1 = 1
    BCE = 2
    BCE_WITH_LOGITS = 3
    HUBER = 4
    NLL = 5
    CROSS_ENTROPY = 6
    CROSS_ENTROPY_PROBABILITIES = 7


class Rule(IntEnum):
    """How parameters move."""

    SGD = 0
    ADAM = 1
    ADAMW = 2


@dataclass(frozen=True)
class Layer:
    """One step of the chain.

    Attributes:
        inputs, outputs: features.
        weight, bias: positions among the plan's parameters; -1 for none.
        a, b: LEAKY_RELU: negative_slope. THRESHOLD: threshold, value. DROPOUT: the probability of keeping
            an element (-1: drop all, draw nothing) and the factor of what is kept.
    """

    op: Op
    inputs: int
    outputs: int
    weight: int = -1
    bias: int = -1
    a: float = 0.0
    b: float = 0.0


@dataclass(frozen=True)
class LossPlan:
    """Attributes:
    mean: divide by the number of elements, or by the rows' weights; otherwise sum.
    weight: (M,) of each output or class. pos_weight: (M,); delta, for HUBER.
    cut: what counts as a decision for 1 in the accuracy; None: the largest output decides.
    over_rows: an Objective: terms times `scale` as a mean over rows, and `alpha` times half the squares
        of the parameters `penalised` (positions) shared out over them.
    weighted: an Objective whose targets end in a column of rows' weights.
    """

    kind: LossKind
    mean: bool
    weight: Array
    pos_weight: Array
    ignore_index: int = -100
    label_smoothing: float = 0.0
    cut: float | None = 0.5
    over_rows: bool = False
    weighted: bool = False
    scale: float = 1.0
    alpha: float = 0.0
    penalised: tuple[int, ...] = ()

    @property
    def over_classes(self) -> bool:
        return self.kind >= LossKind.NLL

    @property
    def by_index(self) -> bool:
        """Targets are class indices."""
        return self.kind in (LossKind.NLL, LossKind.CROSS_ENTROPY)

    @property
    def may_refuse(self) -> bool:
        """There are predictions or targets that are none."""
        return self.by_index or self.kind == LossKind.BCE


@dataclass
class Group:
    """Hyperparameters of some of the parameters.

    Attributes:
        parameters: their positions among the plan's parameters.
        numbers: SGD: lr, momentum, dampening, weight_decay, nesterov, maximize.
            ADAM and ADAMW: lr, beta1, beta2, eps, weight_decay, amsgrad, maximize.
    """

    parameters: list[int]
    numbers: list[float] = field(default_factory=list)


@dataclass
class Plan:
    """Attributes:
    shapes: of the parameters, in the order in which the layers use them.
    max_norm: what the gradients of a step are scaled down to. max_value: what their elements are cut at.
    """

    dtype: np.dtype[np.floating]
    layers: list[Layer]
    loss: LossPlan
    rule: Rule
    groups: list[Group]
    shapes: list[tuple[int, ...]]
    max_norm: float = math.inf
    max_value: float = math.inf

    def key(self) -> tuple[object, ...]:
        """What a run is laid out for: plans with equal keys differ in the optimizer's groups at most."""
        loss = [v.tobytes() if isinstance(v, np.ndarray) else v for v in vars(self.loss).values()]
        return self.dtype, self.layers, loss, self.rule, self.shapes, self.max_norm, self.max_value

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        return self.layers[-1].outputs

    @property
    def state_slots(self) -> int:
        """State vectors that the rule keeps for each parameter."""
        return 1 if self.rule == Rule.SGD else 3
