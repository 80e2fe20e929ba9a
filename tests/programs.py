"""Whole programs that Hypothesis draws: a network, a loss, an optimizer, data.

A program is its own text. The tests run the text, and a failure prints it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from strategies import seeds

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


widths = st.integers(1, 8) | st.integers(1, 64)


@st.composite
def programs(draw: Any) -> Program:
    """Depth 0 to 6, widths 1 to 64, any activations, any loss, any optimizer, both dtypes."""
    dtype = draw(st.sampled_from(["np.float32", "np.float64"]))
    sizes = draw(st.lists(widths, min_size=2, max_size=8))
    reduction = draw(st.sampled_from(["mean", "mean", "sum"]))
    loss = draw(st.sampled_from(losses(sizes[-1], reduction)))
    lines = []
    for d, m in itertools.pairwise(sizes[:-1]):
        lines += [f"Linear({d}, {m}, dtype={dtype})", draw(st.sampled_from(HIDDEN))]
    bias = draw(st.booleans())
    lines.append(f"Linear({sizes[-2]}, {sizes[-1]}{'' if bias else ', bias=False'}, dtype={dtype})")
    lines += [loss.before] if loss.before else []
    batch, batches = draw(st.sampled_from([1, 2, 7, 32])), draw(st.sampled_from([1, 2, 5]))
    short = draw(st.integers(0, batch - 1))
    optimizer = draw(st.sampled_from(OPTIMIZERS))
    if reduction == "sum":
        optimizer = optimizer.replace("lr=0.0", "lr=0.000")
    text = "\n".join(
        [
            "import numpy as np",
            "import scratchnn as snn",
            f"rng = np.random.default_rng({draw(seeds)})",
            f"snn.manual_seed({draw(seeds)})",
            "model = snn.Sequential(",
            *[f"    snn.{line}," for line in lines],
            ")",
            f"loss_fn = snn.{loss.code}",
            f"optimizer = snn.{optimizer}",
            f"N = {batch * batches - short}",
            f"X = (rng.standard_normal((N, {sizes[0]})) / np.sqrt({sizes[0]})).astype({dtype})",
            f"y = loss_fn.convert_target({loss.target}, {dtype})",
            "data = snn.TensorDataset(X, y)",
            f"loader = snn.DataLoader(data, batch_size={batch}, shuffle={draw(st.booleans())})",
            "",
        ]
    )
    return Program(text, int(np.ceil(STEPS / batches)))
