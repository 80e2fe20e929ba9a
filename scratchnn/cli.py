"""The `scratchnn` command.

Heavy imports wait until a command needs them, so that `--help` answers at once. Whatever goes wrong
is said in one line on stderr: exit code 2 for a wrong value, 130 for Ctrl-C, 1 for anything else.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

# What typer raises for a wrong command line, whether click comes with it or beside it.
UsageError: Any = typer.BadParameter.__bases__[0]


class StudyGroup(TyperGroup):
    """The studies by name; a name that does not exist gets the nearest one that does."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            from scratchnn.studies import unknown

            raise UsageError(unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="scratchnn",
    help="Neural networks you can see through: written by hand, compiled, judged by PyTorch.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
study = typer.Typer(cls=StudyGroup, help="Train a worked study, from data to pictures.")
app.add_typer(study, name="study")


@app.callback()
def scratchnn() -> None:
    """Keep `study` a word of its own, also while it is the only command."""


Epochs = Annotated[int, typer.Option(help="Passes over the training data.")]
LearningRate = Annotated[float, typer.Option("--lr", help="Learning rate.")]
BatchSize = Annotated[int, typer.Option(help="Points in a step.")]
Hidden = Annotated[int, typer.Option(help="Units in the hidden layer.")]
FullBatch = Annotated[
    int | None, typer.Option("--batch-size", help="Points in a step; without it, all of them.")
]
Play = Annotated[bool, typer.Option("--play", help="Play with the settings too: many more runs.")]
Seed = Annotated[int, typer.Option(help="Seeds all that is random: weights and batches.")]
DType = Annotated[str, typer.Option(help="float32 or float64.")]
Reference = Annotated[
    bool, typer.Option(" /--no-reference", help="Do not train by PyTorch beside it.", show_default=False)
]
Device = Annotated[str, typer.Option(help="Where PyTorch trains: cpu, cuda or cuda:0.")]
Out = Annotated[Path, typer.Option(help="Folder for the pictures.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print only the numbers, as JSON.")]


@study.command()
def moons(
    ctx: typer.Context,
    epochs: Epochs = 10_000,
    lr: LearningRate = 1.0,
    batch_size: FullBatch = None,
    hidden: Hidden = 10,
    seed: Seed = 0,
    dtype: DType = "float32",
    reference: Reference = True,
    device: Device = "cpu",
    out: Out = Path("studies-out/moons"),
    play: Play = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Tell two crescents apart: 2-10-2, ReLU, Softmax, CrossEntropyLoss, SGD."""
    run_study("moons", ctx.params)


@study.command()
def circles(
    ctx: typer.Context,
    epochs: Epochs = 100,
    lr: LearningRate = 0.1,
    batch_size: BatchSize = 64,
    hidden: Hidden = 10,
    seed: Seed = 0,
    dtype: DType = "float32",
    reference: Reference = True,
    device: Device = "cpu",
    out: Out = Path("studies-out/circles"),
    play: Play = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Tell a circle from the one around it: 2-10-1, ReLU, Sigmoid, BCELoss, SGD."""
    run_study("circles", ctx.params)


@study.command()
def drawing(
    ctx: typer.Context,
    image: Annotated[
        Path | None, typer.Option(help="Learn this picture: what is opaque in it, or else what is dark.")
    ] = None,
    drawing: Annotated[
        str | None,
        typer.Option(help="Learn this one: blob, ring, spiral, islands or letter.  [default: blob]"),
    ] = None,
    epochs: Epochs = 100,
    lr: LearningRate = 0.01,
    batch_size: BatchSize = 24,
    hidden: Hidden = 4,
    seed: Annotated[int, typer.Option(help="Seeds all that is random: points, weights and batches.")] = 0,
    dtype: DType = "float32",
    reference: Reference = True,
    device: Device = "cpu",
    out: Out = Path("studies-out/drawing"),
    play: Play = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Learn the outline of a picture from points of it: 2-4-1, Sigmoid, BCELoss, Adam."""
    run_study("drawing", ctx.params)


@study.command()
def rings(
    ctx: typer.Context,
    epochs: Epochs = 10_000,
    lr: LearningRate = 1e-3,
    batch_size: FullBatch = None,
    hidden: Annotated[int, typer.Option(help="Units in the network that PyTorch trains too.")] = 3,
    seed: Seed = 0,
    dtype: DType = "float32",
    reference: Reference = True,
    device: Device = "cpu",
    out: Out = Path("studies-out/rings"),
    play: Play = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Close a ring around a disc: 2-H-1 for H = 1, 2, 3, 5, Sigmoid, BCELoss, Adam, full batch."""
    run_study("rings", ctx.params)


@study.command()
def sine(
    ctx: typer.Context,
    epochs: Epochs = 20_000,
    lr: LearningRate = 0.01,
    batch_size: FullBatch = None,
    hidden: Hidden = 10,
    seed: Seed = 0,
    dtype: DType = "float32",
    reference: Reference = True,
    device: Device = "cpu",
    out: Out = Path("studies-out/sine"),
    play: Play = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fit a fading wave: 1-10-1, Sigmoid, MSELoss, Adam."""
    run_study("sine", ctx.params)


@app.command()
def check(
    place: Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="A layer, a loss, or a function op.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", metavar="SHAPE", help="Of an input, as 5x3; once for each.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="Put this loss after it: MSELoss, or one in FILE.")] = None,
    method: Annotated[str, typer.Option(help="auto, complex, central or directional.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seeds inputs and upstream gradient.")] = 0,
) -> None:
    """Check a hand-written backward pass, and name the mistake if it is wrong.

    NAME is a Module, a class of one, a loss, a function with NAME_vjp beside it, or a function without
    arguments that returns (subject, *inputs). Exit code 0 if the gradient is right, 1 if it is wrong,
    3 if some of it was not checked.
    """
    from scratchnn.check_command import CheckError
    from scratchnn.check_command import check as run_check

    try:
        diagnosis = run_check(place, inputs or (), loss, method, seed)
    except CheckError as error:
        fail(str(error), 2)
    except Exception as error:  # a stranger's code may raise anything
        fail(f"{place} could not be checked: {type(error).__name__}: {error}", 1)
    print(diagnosis)
    if diagnosis.passed:
        raise typer.Exit(0)
    checked = diagnosis.report is None or diagnosis.report.verdict == "FAIL"
    raise typer.Exit(1 if checked else 3)


@app.command()
def explain(
    what: Annotated[
        str, typer.Argument(metavar="STUDY|FILE", help="A study, or a model's .safetensors file.")
    ],
    step: Annotated[
        int | None, typer.Option(help="Steps of the study before this one.  [default: 0]")
    ] = None,
    hidden: Annotated[int | None, typer.Option(help="Units in the study's hidden layer.")] = None,
    x: Annotated[
        str | None, typer.Option("--x", help='For a FILE: a sample, "0.5,1.2"; more after ";".')
    ] = None,
    target: Annotated[str | None, typer.Option(help="For a FILE: what it should have answered.")] = None,
    loss: Annotated[
        str | None, typer.Option(help="For a FILE: BCELoss, MSELoss, ...; by default what its end asks for.")
    ] = None,
    entry: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[INDEX]", help='Derive this number: "0.weight[3,1]", "x[0,1]", loss.'),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(help="Whose numbers to follow; without it, the one that counts most.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("step.html"),
) -> None:
    """Write one step of backprop on a page: every number, and how it came to be.

    Of a study, after training it for --step steps; or of a saved model, on --x and --target.
    """
    from scratchnn.explain_command import ExplainError
    from scratchnn.explain_command import explain as run_explain

    study = {"--step": step, "--hidden": hidden}
    file = {"--x": x, "--target": target, "--loss": loss}
    try:
        run_explain(what, study, file, entry or [], sample, out)
    except ExplainError as error:
        fail(str(error), 2)
    except (FloatingPointError, ImportError) as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        stop(f"stopped; {out} is as it was")
    except BrokenPipeError:
        leave_broken_pipe()
    except MemoryError:
        fail("not enough memory for this network; try fewer --hidden units", 1)
    except OSError as error:
        fail(f"{error.filename or out}: {error.strerror or error}", 1)


def run_study(name: str, options: dict[str, Any]) -> None:
    """Run a study with the options of its command, and end as this module's docstring says."""
    settings = dict(options)
    as_json, quiet = settings.pop("json"), settings.pop("quiet")
    try:
        from scratchnn import studies

        try:
            result = studies.load(name).run(**settings, quiet=quiet or as_json)
        except studies.StudyError as error:
            fail(str(error), 2)
        except FloatingPointError as error:
            fail(str(error), 1)
        if as_json:
            import json

            print(json.dumps(result.numbers, indent=2, allow_nan=False), flush=True)
    except KeyboardInterrupt:
        stop(f"stopped; the pictures made so far stay in {settings['out']}")
    except BrokenPipeError:
        leave_broken_pipe()
    except MemoryError:
        fail("not enough memory for this network; try fewer --hidden units or a smaller --batch-size", 1)
    except OSError as error:
        fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)


def fail(message: str, code: int) -> NoReturn:
    """Say what went wrong, in one line, and end with `code`."""
    print(f"scratchnn: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(code)


def stop(message: str) -> NoReturn:
    """Say what Ctrl-C leaves, and end now: the interpreter would need seconds to take PyTorch apart."""
    print(f"scratchnn: {message}", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(130)


def leave_broken_pipe() -> NoReturn:
    """End quietly: nobody reads our output any more."""
    discard_output()
    raise typer.Exit(1)


def discard_output() -> None:
    """Send what is left of our output nowhere: flushing it again must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def flushed(code: int) -> int:
    """The exit code, once our output is out: 1 where it cannot be written, as on a full disk."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        discard_output()
        if code == 0 and not isinstance(error, BrokenPipeError):
            print(f"scratchnn: standard output: {error.strerror}", file=sys.stderr)
        return code or 1
    return code


def main(arguments: list[str] | None = None) -> NoReturn:
    """The `scratchnn` command: run it with `arguments` (those of the process by default) and exit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        try:
            code = app(arguments or ["--help"], prog_name="scratchnn", standalone_mode=False)
        except UsageError as error:
            where = error.ctx.command_path if error.ctx else "scratchnn"
            fail(f"{error.format_message()} (see {where} --help)", 2)
        except BrokenPipeError:
            leave_broken_pipe()
    except typer.Exit as stop:
        code = stop.exit_code
    sys.exit(flushed(code or 0))


if __name__ == "__main__":
    main()
