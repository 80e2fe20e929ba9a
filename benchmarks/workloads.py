"""What is trained: the studies' networks at the studies' sizes, two large ones, and the data.

N is the number of rows, D of inputs, M of outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import scratchnn as snn

Array = Any

__all__ = ["CIRCLES", "LARGE", "RINGS", "SMALL", "Task", "Workload", "task"]

PIXELS, CLASSES = 784, 10
WEIGHTS_SEED, BATCHES_SEED = 0, 1


@dataclass(frozen=True)
class Workload:
    """One network and how it is trained.

    Attributes:
        widths: units from input to output. hidden, output: activations, "" for none.
        loss: "bce", "mse" or "cross_entropy". optimizer: "sgd" or "adam".
        batch: rows a step, shuffled every epoch; None takes all rows at once, as they lie.
        rows: N. epochs: the length of the study's own run. check_epochs: of the run that is checked.
        data: (rows) -> x (N, D) float32, y (N, M) float32 or (N,) int64.
    """

    name: str
    widths: tuple[int, ...]
    hidden: str
    output: str
    loss: str
    optimizer: str
    lr: float
    batch: int | None
    rows: int
    epochs: int
    check_epochs: int
    data: Callable[[int], tuple[Array, Array]]

    @property
    def steps(self) -> int:
        """In one epoch."""
        return 1 if self.batch is None else -(-self.rows // self.batch)

    @property
    def title(self) -> str:
        shape = "-".join(str(width) for width in self.widths)
        batch = f"full batch {self.rows}" if self.batch is None else f"batch {self.batch}"
        optimizer = {"sgd": "SGD", "adam": "Adam"}[self.optimizer]
        return f"{shape}, {batch}, {optimizer}"

    def model(self) -> snn.Sequential:
        """The network, its weights drawn from scratchnn's default generator."""
        layers: list[snn.Module] = []
        for place, (d, m) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            layers.append(snn.Linear(d, m))
            name = self.hidden if place < len(self.widths) - 2 else self.output
            if name:
                layers.append(ACTIVATIONS[name]())
        return snn.Sequential(*layers)

    def loss_fn(self) -> snn.Loss:
        return LOSSES[self.loss]()

    def optimiser(self, model: snn.Module) -> snn.Optimizer:
        return {"sgd": snn.SGD, "adam": snn.Adam}[self.optimizer](model.parameters(), lr=self.lr)


ACTIVATIONS: dict[str, Callable[[], snn.Module]] = {
    "relu": snn.ReLU,
    "sigmoid": snn.Sigmoid,
    "softmax": lambda: snn.Softmax(dim=1),
}
LOSSES: dict[str, Callable[[], snn.Loss]] = {
    "bce": snn.BCELoss,
    "mse": snn.MSELoss,
    "cross_entropy": snn.CrossEntropyLoss,
}


@dataclass(frozen=True)
class Task:
    """What a peer is handed: the workload, its data, and the parameters everybody starts from.

    Attributes:
        x, y: the data. start: weight (M, D) and bias (M,) of every layer, in order.
        seed: of the batches; `orders` says what PyTorch's DataLoader draws from it.
        threads: how many a peer may use.
    """

    workload: Workload
    x: Array
    y: Array
    start: list[Array]
    seed: int = BATCHES_SEED
    threads: int = 1

    def orders(self, epochs: int) -> Array:
        """(epochs, N) int64: the rows as torch.manual_seed(seed) and a shuffling DataLoader order them."""
        rows = self.workload.rows
        if self.workload.batch is None:
            return np.broadcast_to(np.arange(rows), (epochs, rows))
        snn.manual_seed(self.seed)
        loader = snn.DataLoader(snn.TensorDataset(self.x), batch_size=self.workload.batch, shuffle=True)
        return np.stack([loader.order() for _ in range(epochs)])

    def loss(self, parameters: list[Array]) -> float:
        """The loss of the whole data with these parameters."""
        model = self.workload.model()
        set_parameters(model, parameters)
        return float(self.workload.loss_fn()(model(self.x), self.y))


def set_parameters(model: snn.Module, values: list[Array]) -> None:
    """Copy `values` into the model's parameters."""
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.data[...] = value


def task(workload: Workload, threads: int = 1) -> Task:
    """The workload with its data and a start that is the same every time."""
    x, y = workload.data(workload.rows)
    snn.manual_seed(WEIGHTS_SEED)
    start = [parameter.data.copy() for parameter in workload.model().parameters()]
    return Task(workload, x, y, start, threads=threads)


# The data -------------------------------------------------------------------------------------------------


def column(y: Array) -> Array:
    """(N,) -> (N, 1) float32."""
    return np.ascontiguousarray(y[:, None], np.float32)


def circles(rows: int) -> tuple[Array, Array]:
    """Two noisy circles."""
    from sklearn.datasets import make_circles

    x, y = make_circles(n_samples=rows, noise=0.05, random_state=26)
    return x.astype(np.float32), column(y)


def moons(rows: int) -> tuple[Array, Array]:
    """Two moons, as classes 0 and 1."""
    from sklearn.datasets import make_moons

    x, y = make_moons(n_samples=rows, noise=0.2, random_state=0)
    return x.astype(np.float32), y.astype(np.int64)


def drawing(rows: int) -> tuple[Array, Array]:
    """Points of the unit square, inside a blob or not."""
    x = np.random.default_rng(0).random((rows, 2), np.float32)
    inside = (x[:, 0] - 0.5) ** 2 + (x[:, 1] - 0.45) ** 2 < 0.3**2
    return x, column(inside)


def rings(rows: int) -> tuple[Array, Array]:
    """A disc and the ring around it, drawn as the tutorial draws them."""
    random = np.random.RandomState(100)
    x = []
    for inner in (0, 3):
        r, theta = inner + random.rand(rows // 2), 2 * np.pi * random.rand(rows // 2)
        x.append(np.stack([r * np.cos(theta), r * np.sin(theta)], axis=1))
    return np.concatenate(x).astype(np.float32), column(np.arange(rows) >= rows // 2)


def sine(rows: int) -> tuple[Array, Array]:
    """sin(3x) exp(-x/8) from -10 to 10."""
    x = np.linspace(-10, 10, rows, endpoint=False)
    return column(x), column(np.sin(3 * x) * np.exp(-x / 8))


def pictures(rows: int) -> tuple[Array, Array]:
    """Noisy copies of ten prototypes of 784 pixels in [0, 1]: the sizes of handwritten digits."""
    random = np.random.default_rng(0)
    prototypes = random.random((CLASSES, PIXELS), np.float32)
    y = random.integers(0, CLASSES, rows)
    noise = random.random((rows, PIXELS), np.float32)
    return 0.3 * prototypes[y] + 0.7 * noise, y


# The workloads --------------------------------------------------------------------------------------------

CIRCLES = Workload("circles", (2, 10, 1), "relu", "sigmoid", "bce", "sgd", 0.1, 64, 6700, 100, 2, circles)
RINGS = Workload(
    "rings", (2, 3, 1), "sigmoid", "sigmoid", "bce", "adam", 1e-3, None, 2000, 10_000, 200, rings
)
SMALL = (
    CIRCLES,
    Workload(
        "moons", (2, 10, 2), "relu", "softmax", "cross_entropy", "sgd", 1.0, None, 500, 10_000, 200, moons
    ),
    Workload("drawing", (2, 4, 1), "sigmoid", "sigmoid", "bce", "adam", 0.01, 24, 5000, 100, 1, drawing),
    RINGS,
    Workload("sine", (1, 10, 1), "sigmoid", "", "mse", "adam", 0.01, None, 200, 20_000, 200, sine),
)
MIDDLE = Workload(
    "784-128-10", (784, 128, 10), "relu", "", "cross_entropy", "adam", 1e-3, 128, 12_800, 10, 1, pictures
)
BIG = replace(
    MIDDLE, name="784-1024-1024-10", widths=(784, 1024, 1024, 10), batch=256, rows=1_024, check_epochs=1
)
LARGE = (MIDDLE, BIG)
