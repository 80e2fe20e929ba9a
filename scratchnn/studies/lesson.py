"""What every study does alike, so that a study's own file holds only its lesson.

A `Lesson` checks the settings, prints, keeps and writes the pictures, trains, lets PyTorch do the same,
and gathers the numbers into a `StudyResult`.
"""

from __future__ import annotations

import math
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import scratchnn as snn
from scratchnn import plots
from scratchnn.checks import Array

from .words import jsonable, parity_numbers, parity_table, ratio, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reference import ParityReport, Witness

__all__ = ["Lesson", "Start", "StudyError", "StudyResult"]

WIDTH = 80  # columns
DTYPES = ("float32", "float64")
SEEDS = (-(2**63), 2**64 - 1)
HOW_TO_COMPARE = 'to train beside PyTorch and compare every number: pip install "scratchnn[reference]"'


class StudyError(ValueError):
    """A setting with which a study cannot run."""


class Start(NamedTuple):
    """A study before its first step: what `fit` takes."""

    model: snn.Module
    loss_fn: snn.Loss
    optimizer: snn.Optimizer
    batches: Any


@dataclass
class StudyResult:
    """What a study leaves behind.

    Attributes:
        study: its name.
        model: the trained network, in evaluation mode.
        history: the `History` of its training.
        figures: {name: matplotlib Figure}, the pictures in the order they were made.
        pictures: where they were written; empty without an `out` folder.
        parity: the comparison with PyTorch, or None.
        numbers: all figures, JSON-ready: what `scratchnn study NAME --json` prints.
        record: what was said and shown, in order: (kind, what a method of `Lesson` of that name was
            given), from which `python -m scratchnn.studies.pages` writes a page.
    """

    study: str
    model: snn.Module
    history: snn.History
    figures: dict[str, Figure] = field(repr=False)
    pictures: list[Path] = field(repr=False)
    parity: ParityReport | None = field(repr=False)
    numbers: dict[str, Any] = field(repr=False)
    record: list[tuple[Any, ...]] = field(repr=False, default_factory=list)


class Lesson:
    """The desk on which a study works.

    Args:
        study: its name.
        epochs, lr, batch_size, hidden, seed, dtype, reference, device, out, quiet: as every study's `run`
            takes them; `batch_size` None is a full batch.
        play: run with other settings too, many of them. seeds: of each setting.
    Raises:
        StudyError: for a value with which no study can run.
    """

    def __init__(
        self,
        study: str,
        *,
        epochs: int,
        lr: float,
        batch_size: int | None,
        hidden: int,
        seed: int,
        dtype: str,
        reference: bool,
        device: str,
        out: str | PathLike[str] | None,
        quiet: bool,
        play: bool = False,
        seeds: int = 1,
    ) -> None:
        self.study = study
        self._check_whole("epochs", epochs)
        self._check_whole("hidden", hidden)
        self._check_whole("seeds", seeds)
        if batch_size is not None:
            self._check_whole("batch_size", batch_size)
        if not (isinstance(lr, (int, float)) and math.isfinite(lr) and lr > 0):
            self._refuse("lr", lr, "it must be a positive, finite number")
        if not (_is_int(seed) and SEEDS[0] <= seed <= SEEDS[1]):
            self._refuse("seed", seed, "it must be a whole number from -2^63 to 2^64 - 1")
        if dtype not in DTYPES:
            self._refuse("dtype", dtype, f"it must be {' or '.join(DTYPES)}")
        self._check_device(device, reference)
        self.epochs, self.seed, self.dtype = int(epochs), int(seed), np.dtype(dtype)
        self.reference, self.device = reference, device
        self.out = None if out is None else self._open_folder(Path(out))
        self.quiet, self.play = quiet, play
        self.record: list[tuple[Any, ...]] = []
        self.console = Console(quiet=quiet, highlight=False, soft_wrap=True, force_jupyter=False)
        self.figures: dict[str, Figure] = {}
        self.pictures: list[Path] = []
        self.parity: ParityReport | None = None
        self.history = snn.History()
        self.witness: Witness | None = None

    # ---------------------------------------------------------------- the settings

    def _refuse(self, name: str, value: Any, needs: str) -> None:
        raise StudyError(f"{self.study} got {name}={value!r}; {needs}")

    def _check_whole(self, name: str, value: Any) -> None:
        if not _is_int(value) or value < 1:
            self._refuse(name, value, "it must be a whole number of at least 1")

    def _check_device(self, device: str, reference: bool) -> None:
        kind, _, index = device.partition(":")
        if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
            self._refuse("device", device, "it must be cpu, cuda or cuda:0")
        if kind == "cpu" or not reference:
            return
        try:
            from reference.twin import torch_device
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            self._refuse("device", device, f"there is no PyTorch here; {HOW_TO_COMPARE}")
        try:
            torch_device(device)
        except ValueError as error:
            raise StudyError(f"{self.study} got {error}") from None

    def _open_folder(self, folder: Path) -> Path:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise StudyError(
                f"{self.study} cannot write pictures to {folder}: {reason}; choose another --out"
            ) from None
        return folder

    # ---------------------------------------------------------------- what is said

    def title(self, text: str) -> None:
        self.record.append(("title", text))
        self.console.print(f"\n{text}\n", style="bold", markup=False)

    def question(self, text: str) -> None:
        """What is asked next."""
        self.record.append(("question", text))
        self.console.print(f"\n{textwrap.fill(text, WIDTH)}\n", style="bold", markup=False)

    def answer(self, text: str) -> None:
        """A paragraph, of any length: what was found."""
        self.record.append(("answer", text))
        self.console.print(f"{textwrap.fill(' '.join(text.split()), WIDTH)}\n", markup=False)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Figures in columns."""
        self.record.append(("table", tuple(headings), [[str(cell) for cell in row] for row in rows]))
        table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
        for index, heading in enumerate(headings):
            table.add_column(heading, justify="right" if index else "left")
        for row in rows:
            table.add_row(*map(str, row))
        self.console.print(table)

    def say(self, text: str = "") -> None:
        self.record.append(("say", text))
        self.console.print(text, markup=False)

    def fact(self, name: str, value: str) -> None:
        """One line of two columns."""
        self.record.append(("fact", name, value))
        self.console.print(f"  {name:<20} {value}", markup=False)

    # ---------------------------------------------------------------- pictures

    def picture(self, name: str, drawing: Figure | Axes, caption: str = "") -> None:
        """Keep a picture, and write it at once: what comes later may be interrupted."""
        figure: Any = drawing.figure  # a Figure is its own
        self.record.append(("picture", name, caption))
        self.figures[name] = figure
        if self.out is not None:
            self.pictures.append(plots.save(figure, self.out / f"{name}.png"))

    def where_the_pictures_are(self) -> None:
        if self.pictures:
            self.console.print("Pictures", markup=False)
            for picture in self.pictures:
                self.console.print(f"  {picture}", markup=False)

    # ---------------------------------------------------------------- training

    @staticmethod
    def batches(x: Any, y: Any, batch_size: int | None) -> Any:
        """Shuffled batches of `batch_size` points; or, with None, all points at once, every epoch."""
        if batch_size is None:
            return x, y
        return snn.DataLoader(snn.TensorDataset(x, y), batch_size=batch_size, shuffle=True)

    def train(
        self,
        model: snn.Module,
        loss_fn: snn.Loss,
        optimizer: snn.Optimizer,
        loader: Any,
        initialise: Callable[[Any, Any], object] | None = None,
        *,
        validation: Any = None,
        metrics: Sequence[Any] = (),
    ) -> snn.History:
        """Train by `scratchnn.fit`, with a witness who can let PyTorch do the same afterwards.

        Args:
            validation, metrics: as `fit` takes them.
            initialise: what was called as `initialise(model, scratchnn.init)` after building the model;
                PyTorch calls it too, on a network of its own, so that no weight is ever copied.
        """
        self.model = model
        if self.reference and _torch_is_here():
            from reference import Witness, seeded_twin

            theirs = seeded_twin(model, self.seed, initialise, self.device)
            self.witness = Witness(
                model,
                loss_fn,
                optimizer,
                loader,
                self.epochs,
                self.device,
                torch_model=theirs,
                checkpoints=(),
                validation=validation,
            )
        callbacks = () if self.witness is None else self.witness.callbacks
        self.history = snn.fit(
            model,
            loss_fn,
            optimizer,
            loader,
            self.epochs,
            validation=validation,
            metrics=metrics,
            callbacks=callbacks,
            progress=not self.quiet,
        )
        self.say()
        self.fact("trained by scratchnn", f"{seconds(self.history.seconds)}, engine {self.history.engine}")
        if self.history.compile_seconds:
            self.fact("", f"and {seconds(self.history.compile_seconds)} to compile it, once")
        return self.history

    def predict(self, x: Array) -> Array:
        """What the trained network answers, in evaluation mode.

        Raises:
            FloatingPointError: if that is not a finite number everywhere.
        """
        self.model.eval()
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = self.model(x)
        if not np.isfinite(outputs).all():
            raise FloatingPointError(
                f"the trained network of {self.study} answers with NaN or infinities; try a smaller lr"
            )
        return outputs

    def judge(self) -> None:
        """Let PyTorch do the same from the same seed, and print how far apart the two runs are."""
        if not self.reference:
            return
        self.say()
        if self.witness is None:
            self.say(f"PyTorch is not installed; {HOW_TO_COMPARE}")
            return
        with self.console.status("PyTorch trains the same network ...", refresh_per_second=4):
            self.parity = self.witness.judge(self.history)
        report = self.parity
        text = f"The same program by PyTorch, from the same seed ({report.device}, {report.dtype})"
        self.record.append(("judge", text))
        self.console.print(text, markup=False)
        self.console.print(parity_table(report))
        if report.parted:
            self.say(f"  {report.parted}")
        verdict = "PASS" if report.passed else "FAIL"
        if report.chaotic:
            verdict += " (chaotic: judged against PyTorch's own spread)"
        self.fact("verdict", verdict)
        ours, theirs = report.seconds["scratchnn"], report.seconds["pytorch"]
        self.fact("time", f"scratchnn {seconds(ours)}, PyTorch {seconds(theirs)}, {ratio(theirs / ours)}")
        if self.history.compile_seconds:
            self.fact("", f"compiling, once, took another {seconds(self.history.compile_seconds)}")

    # ---------------------------------------------------------------- the result

    def result(
        self, *, train_accuracy: float | None, test_accuracy: float | None, results: Mapping[str, Any]
    ) -> StudyResult:
        """Everything gathered. `results` holds what is particular to the study."""
        history = self.history
        numbers = {
            "study": self.study,
            "seed": self.seed,
            "dtype": str(self.dtype),
            "engine": history.engine,
            "epochs": self.epochs,
            "steps": history.steps,
            "train_loss": history.train_loss[-1],
            "train_accuracy": train_accuracy,
            "test_accuracy": test_accuracy,
            "seconds": {
                "scratchnn": history.seconds,
                "pytorch": None if self.parity is None else self.parity.seconds["pytorch"],
                "compile": history.compile_seconds,
            },
            "parity": None if self.parity is None else parity_numbers(self.parity),
            "pictures": [str(picture) for picture in self.pictures],
            "results": dict(results),
        }
        return StudyResult(
            self.study,
            self.model,
            history,
            self.figures,
            self.pictures,
            self.parity,
            jsonable(numbers),
            self.record,
        )


def _torch_is_here() -> bool:
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return False
    return True


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
