"""Whole programs that Hypothesis draws: a network, a loss, an optimizer, data.

A program is its own text. The tests run the text, and a failure prints it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

HIDDEN = [
    "ReLU()",
    "LeakyReLU(0.1)",
    "Sigmoid()",
    "Tanh()",
    "Identity()",
    "Threshold(0.1, -0.2)",
    "Softmax(-1)",
    "LogSoftmax(-1)",
    "Dropout(0.3)",
]
# Adam's eps is large here: it divides by sqrt(v) + eps, and with the default 1e-8 the rounding noise of
# a gradient that cancels to 1e-8 would become a step of full size. The default is tested where gradients
# are given (test_optim, test_functional_updates).
OPTIMIZERS = [
    "SGD(model.parameters(), lr=0.05)",
    "SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)",
    "SGD(model.parameters(), lr=0.02, momentum=0.8, dampening=0.1, weight_decay=0.01)",
    "Adam(model.parameters(), lr=0.003, eps=1e-3)",
    "Adam(model.parameters(), lr=0.003, eps=1e-3, weight_decay=0.01, amsgrad=True)",
    "AdamW(model.parameters(), lr=0.003, eps=1e-3, weight_decay=0.1)",
]
STEPS = 50


@dataclass(frozen=True)
class Loss:
    """A loss, what must stand before it, and the code of its targets."""

    code: str
    before: str
    target: str


def losses(outputs: int, reduction: str) -> list[Loss]:
    """Every loss that a network of so many outputs can end in."""
    normal, bits = f"rng.standard_normal((N, {outputs}))", f"(rng.random((N, {outputs})) < 0.5) * 1.0"
    indices = f"rng.integers(0, {outputs}, N)"
    r = f"reduction={reduction!r}"
    return [
        Loss(f"MSELoss({r})", "", normal),
        Loss(f"L1Loss({r})", "", normal),
        Loss(f"HuberLoss({r}, delta=0.5)", "", normal),
        Loss(f"BCELoss({r})", "Sigmoid()", bits),
        Loss(f"BCEWithLogitsLoss({r})", "", f"rng.random((N, {outputs}))"),
        Loss(f"BCEWithLogitsLoss({r}, pos_weight={[0.5 + i for i in range(outputs)]})", "", bits),
        Loss(f"NLLLoss({r})", "LogSoftmax(-1)", indices),
        Loss(f"CrossEntropyLoss({r}, label_smoothing=0.1)", "", indices),
        Loss(f"CrossEntropyLoss({r})", "", indices),
    ]


@dataclass(frozen=True)
class Program:
    """A training program of 50 steps.

    Attributes:
        text: of the program: it makes model, loss_fn, optimizer, X, y, loader. epochs: to train.
    """

    text: str
    epochs: int

    def run(self) -> dict[str, Any]:
        """The names that the program makes."""
        names: dict[str, Any] = {}
        exec(self.text, names)
        return names

    def __repr__(self) -> str:
        return f"\n{self.text}# for {self.epochs} epochs\n"


class Choices:
    """Where a program's choices come from: Hypothesis, or a random generator."""

    def __init__(self, draw: Any = None, rng: np.random.Generator | None = None) -> None:
        self.draw, self.rng = draw, rng

    def one_of(self, options: list[Any]) -> Any:
        if self.rng is not None:
            return options[int(self.rng.integers(len(options)))]
        return self.draw(st.sampled_from(options))

    def integer(self, low: int, high: int) -> int:
        if self.rng is not None:
            return int(self.rng.integers(low, high + 1))
        return self.draw(st.integers(low, high))


def build(choices: Choices, dtype: str, hidden: list[str]) -> Program:
    """Depth 0 to 6, widths 1 to 64, any activations of `hidden`, any loss, any optimizer."""
    depth = choices.integer(0, 6)
    # Small ones shrink and print well, so half of them are.
    sizes = [choices.integer(1, choices.one_of([8, 64])) for _ in range(depth + 2)]
    reduction = choices.one_of(["mean", "mean", "sum"])
    loss = choices.one_of(losses(sizes[-1], reduction))
    lines = []
    for d, m in itertools.pairwise(sizes[:-1]):
        lines += [f"Linear({d}, {m}, dtype={dtype})", choices.one_of(hidden)]
    bias = choices.one_of(["", ", bias=False"])
    lines.append(f"Linear({sizes[-2]}, {sizes[-1]}{bias}, dtype={dtype})")
    lines += [loss.before] if loss.before else []
    batch, batches = choices.one_of([1, 2, 7, 32]), choices.one_of([1, 2, 5])
    short = choices.integer(0, batch - 1)
    optimizer = choices.one_of(OPTIMIZERS)
    if reduction == "sum":
        optimizer = optimizer.replace("lr=0.0", "lr=0.000")
    text = "\n".join(
        [
            "import numpy as np",
            "import scratchnn as snn",
            f"rng = np.random.default_rng({choices.integer(0, 2**32 - 1)})",
            f"snn.manual_seed({choices.integer(0, 2**32 - 1)})",
            "model = snn.Sequential(",
            *[f"    snn.{line}," for line in lines],
            ")",
            f"loss_fn = snn.{loss.code}",
            f"optimizer = snn.{optimizer}",
            f"N = {batch * batches - short}",
            f"X = (rng.standard_normal((N, {sizes[0]})) / np.sqrt({sizes[0]})).astype({dtype})",
            f"y = loss_fn.convert_target({loss.target}, {dtype})",
            "data = snn.TensorDataset(X, y)",
            f"loader = snn.DataLoader(data, batch_size={batch}, shuffle={choices.one_of([False, True])})",
            "",
        ]
    )
    return Program(text, int(np.ceil(STEPS / batches)))


@st.composite
def programs(draw: Any) -> Program:
    """Programs in both dtypes, for Hypothesis."""
    return build(Choices(draw), draw(st.sampled_from(["np.float32", "np.float64"])), HIDDEN)


def random_program(seed: int) -> Program:
    """A float32 program without Dropout, for statistics over many."""
    return build(Choices(rng=np.random.default_rng(seed)), "np.float32", HIDDEN[:-1])
