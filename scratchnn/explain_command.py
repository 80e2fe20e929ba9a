"""`scratchnn explain`: one step of a study, or of a saved model, on a page."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import losses
from .checks import Array
from .layers import LogSoftmax, Module, Sequential, Sigmoid, Softmax
from .losses import BCELoss, CrossEntropyLoss, Loss, MSELoss, NLLLoss
from .trace import Trace, trace

__all__ = ["ExplainError", "explain", "explain_file", "explain_study", "write_page"]

ENTRY = re.compile(r"(?P<name>[^\[\]]+?)\s*(\[(?P<index>[^\[\]]*)\])?")
LARGEST_CLASS = 2**53  # up to which float64 has every whole number
MOST_HIDDEN = 4096  # units of a study that can be asked for
TOLD_EVERY = 1000  # steps
LOSS_AFTER: dict[type, type[Loss]] = {Sigmoid: BCELoss, Softmax: CrossEntropyLoss, LogSoftmax: NLLLoss}


class ExplainError(ValueError):
    """The command line names something that is not there; says what is."""


def explain(
    what: str,
    study: Mapping[str, Any],
    file: Mapping[str, Any],
    entries: Sequence[str],
    sample: int | None,
    out: Path,
) -> None:
    """Write the page of a step, and say what is on it.

    Args:
        what: name of a study, or a file. study, file: the options that belong to each; None if not given.
        entries, sample, out: as of `write_page`.
    Raises:
        ExplainError: for a wrong value. FloatingPointError: a run that diverged. OSError: from the disk.
    """
    from .studies import NAMES, unknown

    is_file = what not in NAMES and (Path(what).exists() or Path(what).suffix != "" or "/" in what)
    if not is_file and what not in NAMES:
        raise ExplainError(f"{unknown(what)}; or name a model's file, such as model.safetensors")
    for option, value in (study if is_file else file).items():
        if value is not None:
            kinds = ("a saved model", "a study") if is_file else ("a study", "a saved model")
            raise ExplainError(
                f"got {option} for {what}, which is {kinds[0]}; {option} belongs to {kinds[1]}"
            )
    # A page takes the place of what is there: never of a folder, or of a device such as /dev/null.
    if (out.exists() and not out.is_file()) or not out.parent.is_dir():
        raise ExplainError(f"got --out {out}; it needs the name of a file in a folder that is there")
    if is_file:
        step = explain_file(Path(what), file["--x"], file["--target"], file["--loss"])
    else:
        step = explain_study(what, study["--step"] or 0, study["--hidden"])
    title = what if is_file else f"{what} after {study['--step'] or 0:,} steps"
    sheets = write_page(step, entries, sample, out, title)
    lines = [f"{title}: {step.summary}", *(f"! {finding}" for finding in step.findings)]
    if entries:
        lines += [f"\n{sheet}\n" for sheet in sheets]
    lines.append(f"The step with all its numbers: {out}")
    _say("\n".join(lines))


def _say(text: str) -> None:
    """Print it; a terminal without the signs of mathematics gets question marks, not an error."""
    if sys.stdout is None:  # closed: nobody listens
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError as error:
        error.filename = "standard output"  # the page is written
        raise


# What to trace -----------------------------------------------------------------------------------------


def explain_study(name: str, step: int = 0, hidden: int | None = None) -> Trace:
    """Train a study for exactly `step` optimizer steps, as the textbook's loop, and trace the next one.

    Raises:
        ExplainError: a study that does not exist, a step below 0, no hidden units.
        FloatingPointError: a loss that is not finite before that.
    """
    from . import studies

    if step < 0:
        raise ExplainError(f"got --step {step}; it must be 0, for the first step, or more")
    if hidden is not None and hidden < 1:
        raise ExplainError(f"got --hidden {hidden}; a layer has at least 1 unit")
    if hidden is not None and hidden > MOST_HIDDEN:
        raise ExplainError(f"got --hidden {hidden}; a page has room for {MOST_HIDDEN:,} units")
    try:
        study = studies.load(name)
    except studies.StudyError as error:
        raise ExplainError(str(error)) from None
    defaults = {key: value.default for key, value in inspect.signature(study.run).parameters.items()}
    settings = {key: defaults[key] for key in ("hidden", "lr", "batch_size", "seed", "dtype")}
    if hidden is not None:
        settings["hidden"] = hidden
    with _progress(name, step) as tell, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of Softmax twice: the trace's findings say so
        model, loss_fn, optimizer, batches = study.start(**settings)
        for done, (x, target) in enumerate(_for_ever(batches)):
            tell(done)
            if done == step:
                return trace(model, loss_fn, x, target, optimizer=optimizer)
            optimizer.zero_grad()
            loss = loss_fn(model(x), target)
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"{name}: the loss of step {done} is {loss}; choose an earlier --step"
                )
            model.backward(loss_fn.backward())
            optimizer.step()
    raise AssertionError("batches for ever came to an end")


@contextmanager
def _progress(name: str, steps: int) -> Iterator[Callable[[int], None]]:
    """Tells how far the training is, where there is a terminal to see it."""
    if steps < TOLD_EVERY or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as line:

        def tell(done: int) -> None:
            if done % TOLD_EVERY == 0:
                line.update(f"training {name}: step {done:,} of {steps:,}")

        yield tell


def _for_ever(batches: Any) -> Iterator[tuple[Array, Array]]:
    """The batches of epoch after epoch; a pair (x, y) is the one batch of each."""
    while True:
        yield from [batches] if isinstance(batches, tuple) else batches


def explain_file(path: Path, x: str | None, target: str | None, loss: str | None = None) -> Trace:
    """Trace a model that `scratchnn.save` wrote, on numbers from the command line.

    Args:
        x, target: "0.5,1.2", numbers of a sample; samples are set apart by ";".
        loss: name of a loss; None takes the one that fits the network's last layer.
    Raises:
        ExplainError: no such file, no model in it, numbers that are none or that model and loss do not
            take, a loss that does not exist.
        ImportError: the extra `export` is not installed.
    """
    from .files import load

    if not path.is_file():
        raise ExplainError(f"there is no file {path}")
    if x is None or target is None:
        raise ExplainError(f'a step of {path} needs --x and --target, such as --x "0.5,1.2" --target 1')
    try:
        model = load(path)
        loss_fn = _loss(loss) if loss is not None else _fitting_loss(model)
        return trace(model, loss_fn, _numbers("--x", x), _target(loss_fn, target))
    except (TypeError, ValueError, IndexError) as error:
        raise ExplainError(str(error)) from error


def _numbers(option: str, text: str) -> Array:
    """ "1,2;3,4" as an array of two samples."""
    rows = [[part.strip() for part in row.split(",")] for row in text.strip("; ").split(";")]
    try:
        numbers = [[float(part) for part in row] for row in rows]
    except ValueError:
        wrong = next(part for row in rows for part in row if not _is_number(part))
        raise ExplainError(
            f"got {option} {text!r}, where {wrong!r} is no number; write numbers with commas between them "
            'and ";" between samples: "0.5,1.2"'
        ) from None
    if len({len(row) for row in numbers}) > 1:
        raise ExplainError(f"got {option} {text!r}, whose samples differ in length; make them equal")
    return np.array(numbers)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _target(loss_fn: Loss, text: str) -> Array:
    target = _numbers("--target", text)
    if isinstance(loss_fn, (CrossEntropyLoss, NLLLoss)) and target.shape[1] == 1:
        if (target != np.round(target)).any() or (np.abs(target) > LARGEST_CLASS).any():
            raise ExplainError(f"got --target {text!r}; {loss_fn!r} needs a class, a whole number from 0")
        return target[:, 0].astype(np.int64)
    return target


def _loss(name: str) -> Loss:
    known = [n for n in losses.__all__ if n != "Loss"]
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ExplainError(
            f"got --loss {name!r}; did you mean {nearest!r}? There are: {', '.join(sorted(known))}"
        )
    made: Loss = getattr(losses, name)()
    return made


def _fitting_loss(model: Module) -> Loss:
    """The loss that the last layer is made for; MSELoss after a layer that could have any."""
    last = model
    while isinstance(last, Sequential) and len(last):
        last = last[-1]
    return LOSS_AFTER.get(type(last), MSELoss)()


# The page ----------------------------------------------------------------------------------------------


def write_page(
    step: Trace, entries: Sequence[str], sample: int | None, out: Path, title: str = ""
) -> list[Any]:
    """Write the page with a derivation of each entry, and return those.

    Args:
        entries: "0.weight[3,1]", "x[0,1]" or "loss"; with none, the weight that has the largest gradient.
        sample: whose numbers the diagram shows, None for the mean over the batch; and whose a derivation
            follows, None for the one that counts most.
        title: what the step is of.
    Raises:
        ExplainError: an entry or a sample that does not exist. OSError: from the disk.
    """
    samples = len(step.x) if step.x.ndim > 1 else 1
    if sample is not None and not 0 <= sample < samples:
        raise ExplainError(f"got --sample {sample}; the batch has {samples:,} samples: 0 to {samples - 1}")
    places = [_entry(entry) for entry in entries] or [_steepest(step)]
    try:
        sheets = [step.explain(name, index, sample=sample) for name, index in places]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ExplainError(str(error.args[0] if error.args else error)) from error
    try:
        step.save(out, sheets=sheets, sample=sample, title=title)
    except OSError as error:
        error.filename = str(out)  # not that of the new file which would have taken its place
        raise
    return sheets


def _entry(text: str) -> tuple[str, tuple[int, ...] | None]:
    """ "0.weight[3,1]" as its name and its index."""
    match = ENTRY.fullmatch(text.strip())
    if match is None:
        raise ExplainError(f'got --entry {text!r}; write NAME[INDEX], such as "0.weight[3,1]", or loss')
    if match["index"] is None:
        return match["name"], None
    try:
        return match["name"], tuple(int(part) for part in match["index"].split(","))
    except ValueError:
        raise ExplainError(
            f"got --entry {text!r}; an index is made of whole numbers with commas between them: [3,1]"
        ) from None


def _steepest(step: Trace) -> tuple[str, tuple[int, ...]]:
    """The entry with the largest gradient in the parameter that lies first."""
    name = next(iter(step.gradients))
    gradient = np.abs(np.nan_to_num(step.gradients[name]))
    return name, tuple(int(i) for i in np.unravel_index(gradient.argmax(), gradient.shape))
