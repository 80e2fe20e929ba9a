"""The same training run, by PyTorch: its own DataLoader, losses and optimizers, on any device."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from scratchnn.checks import Array
from scratchnn.data import DataLoader
from scratchnn.layers import Dropout, Module
from scratchnn.losses import Loss
from scratchnn.optim import Optimizer
from scratchnn.recording import Recording
from scratchnn.train.source import at_the_door

from .recorded import TorchRecorder
from .streams import Streams, torch_stream
from .twin import model_dtype, to_tensor, torch_device, twin, twin_loss, twin_optimizer

__all__ = ["TorchRun", "exact_arithmetic", "fit"]


@dataclass
class TorchRun:
    """A training run by PyTorch.

    Attributes:
        model, optimizer: PyTorch's, trained.
        device: where it ran.
        step_losses: (steps,) the loss of every step, in the model's dtype.
        batches: the row indices of every batch, as PyTorch's DataLoader drew them; None where the data
            came as ready-made batches.
        parameters: {step: {name: array}} after the steps asked for, step 0 (the start) and the last.
        seconds: wall-clock time of the training loop alone.
        states: the generators' states afterwards: the default one and, if there is one, the loader's.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    device: str
    step_losses: Array
    batches: list[Array] | None
    parameters: dict[int, dict[str, Array]] = field(repr=False)
    seconds: float
    states: list[Array] = field(repr=False)


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Full float32 products (no TF32, no bfloat16) and, on CUDA, deterministic algorithms inside."""
    precision = torch.get_float32_matmul_precision()
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_float32_matmul_precision("highest")
    if device.type == "cuda":
        # cuBLAS reads this when its workspace is made, at the first product.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)


def fit(
    model: Module,
    loss_fn: Loss,
    optimizer: Optimizer,
    loader: Any,
    epochs: int,
    device: str | torch.device = "cpu",
    *,
    torch_model: torch.nn.Module | None = None,
    validation: Any = None,
    checkpoints: Sequence[int] = (),
    recording: Recording | None = None,
) -> TorchRun:
    """Train by PyTorch what `scratchnn.fit` would train, from the same state of everything.

    The network, the loss and the optimizer are the twins of ours; ours stay as they are. PyTorch's
    generator starts in the state of ours, and PyTorch's own DataLoader draws the batches (and Dropout
    its masks) from there; afterwards both generators are as they were before.

    Args:
        loader: a scratchnn DataLoader, a pair (X, y) taken as one batch an epoch, or a list of batches.
        epochs: how many.
        device: "cpu", "cuda" or "cuda:0".
        torch_model: starts from this PyTorch model instead of the twin, and trains it in place.
        validation: as given to `scratchnn.fit`; nothing is evaluated, but a DataLoader here draws from the
            default generator at every epoch, on both sides.
        checkpoints: epochs after which the parameters are recorded (the last one always is).
        recording: keeps the steps of PyTorch's run, for `snn.compare_runs`.
    Raises:
        TypeError, ValueError: as `twin`, `twin_loss`, `twin_optimizer`; a device that is not there;
            Dropout on CUDA, whose masks are another stream's.
    """
    if recording is not None and not isinstance(recording, Recording):
        raise TypeError(f"reference.fit got a {type(recording).__name__} as recording; it needs a Recording")
    place = torch_device(device)
    torch_model = twin(model, place) if torch_model is None else torch_model.to(place)
    rehearsal = Rehearsal(
        model, loss_fn, optimizer, loader, Streams.of(loader), torch_model, place, validation
    )
    if recording is None:
        return rehearsal.run(epochs, checkpoints)
    with TorchRecorder(recording, rehearsal, (model, loss_fn, optimizer, loader), epochs) as recorder:
        run = rehearsal.run(epochs, checkpoints, recorder.after_step)
        recorder.end(run.batches)
        return run


class Rehearsal:
    """The pieces of a run on PyTorch's side, ready to go: what `fit` and `compare_training` share."""

    def __init__(
        self,
        model: Module,
        loss_fn: Loss,
        optimizer: Optimizer,
        data: Any,
        streams: Streams,
        torch_model: torch.nn.Module,
        device: torch.device,
        validation: Any = None,
    ) -> None:
        if device.type != "cpu" and draws_masks(model):
            raise ValueError(
                f"a model with Dropout cannot be compared on {device}: CUDA draws other masks than the CPU; "
                "use device='cpu'"
            )
        self.model, self.device, self.streams = torch_model, device, streams
        self.dtype = model_dtype(model)
        self.loss_fn = twin_loss(loss_fn, device, self.dtype)
        self.optimizer = twin_optimizer(optimizer, model, torch_model)
        self.batches, self.recorder = torch_batches(data, loss_fn, self.dtype, streams)
        self.validation: Iterable[Any] = ()
        if isinstance(validation, DataLoader) and validation.generator is None:
            self.validation = torch_batches(validation, loss_fn, self.dtype, Streams.of(validation))[0]

    def step(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """One optimisation step; returns the loss before it."""
        self.optimizer.zero_grad()
        loss: torch.Tensor = self.loss_fn(self.model(x), target)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def epoch(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of one epoch, on the device."""
        for x, target in self.batches:
            yield x.to(self.device), target.to(self.device)

    def after_epoch(self) -> None:
        """Draw what iterating over the validation data draws."""
        for _ in self.validation:
            pass

    def run(
        self,
        epochs: int,
        checkpoints: Sequence[int] = (),
        after_step: Callable[[torch.Tensor], None] = lambda loss: None,
    ) -> TorchRun:
        """All epochs; the clock stands still while the parameters of an epoch are recorded."""
        losses: list[torch.Tensor] = []
        parameters = {0: snapshot(self.model)}
        seconds = 0.0
        with self.at_start():
            for epoch in range(1, epochs + 1):
                start = time.perf_counter()
                for x, target in self.epoch():
                    losses.append(self.step(x, target))
                    after_step(losses[-1])
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                seconds += time.perf_counter() - start
                self.after_epoch()
                if epoch in checkpoints or epoch == epochs:
                    parameters[len(losses)] = snapshot(self.model)
            states = self.streams.torch_states()
        return TorchRun(
            model=self.model,
            optimizer=self.optimizer,
            device=str(self.device),
            step_losses=torch.stack(losses).cpu().numpy() if losses else np.zeros(0, self.dtype),
            batches=None if self.recorder is None else self.recorder.batches(self.batches),
            parameters=parameters,
            seconds=seconds,
            states=states,
        )

    @contextmanager
    def at_start(self) -> Iterator[None]:
        """Exact arithmetic, with PyTorch's generators where scratchnn's stood when the run began."""
        modes = [(module, module.training) for module in self.model.modules()]
        with torch_stream(), exact_arithmetic(self.device):
            self.streams.bring_torch()
            self.model.train()
            try:
                yield
            finally:
                for module, training in modes:
                    module.training = training


def draws_masks(model: Module) -> bool:
    """Some Dropout of the model draws while training."""
    return any(isinstance(m, Dropout) and 0 < m.p < 1 for m in model.modules())


def one_ulp_away(torch_model: torch.nn.Module, run: int = 0) -> torch.nn.Module:
    """A copy with every weight moved by one unit in the last place.

    Args:
        run: 0 moves all of them up; any other number picks up or down for each weight by itself.
    """
    moved = copy.deepcopy(torch_model)
    signs = torch.Generator().manual_seed(run)
    with torch.no_grad():
        for parameter in moved.parameters():
            down = (torch.rand(parameter.shape, generator=signs) < 0.5).to(parameter.device) & (run > 0)
            towards = torch.where(down, -torch.inf, torch.inf).to(parameter.dtype)
            parameter.copy_(torch.nextafter(parameter, towards))
    return moved


def snapshot(torch_model: torch.nn.Module) -> dict[str, Array]:
    """The parameters by name, as arrays of their own."""
    return {name: p.detach().cpu().numpy().copy() for name, p in torch_model.named_parameters()}


class RecordingDataset(torch.utils.data.TensorDataset):
    """PyTorch's TensorDataset, which notes the rows it is asked for."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        super().__init__(*tensors)
        self.asked: list[int] = []

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        self.asked.append(index)
        return tuple(tensor[index] for tensor in self.tensors)

    def batches(self, loader: Any) -> list[Array]:
        """The rows asked for so far, cut where `loader` cuts an epoch into batches."""
        rows = np.asarray(self.asked, dtype=np.int64)
        size, kept = loader.batch_size, len(self)
        if loader.drop_last:
            kept -= kept % size
        return [
            epoch[i : i + size]
            for epoch in (rows.reshape(-1, kept) if kept else [])
            for i in range(0, kept, size)
        ]


def torch_batches(
    data: Any, loss_fn: Loss, dtype: np.dtype[Any], streams: Streams
) -> tuple[Iterable[tuple[torch.Tensor, torch.Tensor]], RecordingDataset | None]:
    """What PyTorch iterates over each epoch: its own DataLoader over the same rows, or the same batches."""

    if isinstance(data, DataLoader):
        x, target = data.dataset[np.arange(len(data.dataset))]
        dataset = RecordingDataset(
            to_tensor(np.asarray(x, dtype)), to_tensor(loss_fn.convert_target(target, dtype))
        )
        loader: Any = torch.utils.data.DataLoader(
            dataset,
            batch_size=data.batch_size,
            shuffle=data.shuffle,
            drop_last=data.drop_last,
            generator=streams.torch_generator,
        )
        return loader, dataset
    ready = at_the_door(data, loss_fn, dtype, "data")
    return [(to_tensor(x), to_tensor(target)) for x, target in ready], None
