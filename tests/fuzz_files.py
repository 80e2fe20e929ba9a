"""Files that are damaged, spliced or forged: what reading them ends in. Not a test by itself.

    python tests/fuzz_files.py --files 4000

Models, checkpoints and recordings are changed (see `fuzz_changes`), and read by everything that reads them:
`snn.load`, with a model and without; `fit`, which goes on from a checkpoint, with a recording;
`Recording.load`, and what it is asked for then. Each must end in a result or in an error that says in words
what is wrong, which leaves model, optimizer, generators and the file as they were; within 2 seconds of
processor time, and 500 MB above what the process has. A number makes one file, always the same: `--only 17`
repeats it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_changes import DAMAGE, forged_frames, forged_tensors

import scratchnn as snn
from scratchnn.files import FileFormatError

MEGABYTES, SECONDS = 500, 2.0
HANG = 20.0  # processor seconds after which a reading is ended
PROCESSES_FILES = 250  # files that one process reads
KINDS = ("model", "checkpoint", "recording")
X = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32)
Y = (X[:, :1] > 0).astype(np.float32)


# ---- the files ------------------------------------------------------------------------------------


def program(folder: Path, variant: int, epochs: int, recorded: bool = True) -> tuple[Any, Any]:
    """A run of one of four kinds, which goes on where its files are."""
    snn.manual_seed(variant)
    layers = [snn.Linear(2, 3), snn.Tanh(), snn.Dropout(0.2 if variant % 2 else 0.0), snn.Linear(3, 1)]
    model = snn.Sequential(*layers)
    make: Any = snn.Adam if variant < 2 else snn.SGD
    optimizer = make(model.parameters(), lr=0.05, **({} if variant < 2 else {"momentum": 0.9}))
    schedules: Any = [snn.StepLR(optimizer, 2), snn.ReduceLROnPlateau(optimizer, patience=0)]
    if variant == 2:
        schedules = [
            snn.OneCycleLR(optimizer, max_lr=0.1, total_steps=60),
            snn.MultiStepLR(optimizer, [2, 2, 9]),
        ]
    generator = snn.Generator().manual_seed(5) if variant % 2 else None
    loader = snn.DataLoader(snn.TensorDataset(X, Y), batch_size=8, shuffle=True, generator=generator)
    callbacks: list[Any] = [snn.EarlyStopping(patience=50), snn.ModelCheckpoint(folder / "best")]
    if recorded:
        callbacks.append(snn.Recording(path=folder / "recording"))
    start = model, optimizer, generator, callbacks[0]
    before = state_of(*start)
    try:
        snn.fit(
            model, snn.BCEWithLogitsLoss(), optimizer, loader, epochs, engine="numpy", progress=False,
            metrics=["accuracy"], validation=(X[:5], Y[:5]), scheduler=schedules, callbacks=callbacks,
            checkpoint=snn.Checkpoint(folder / "checkpoint", every_epochs=1),
        )  # fmt: skip
    except snn.DivergenceError:
        raise
    except Exception as error:
        error.untouched = before == state_of(*start)  # type: ignore[attr-defined]
        raise
    return model, optimizer


def state_of(model: Any, optimizer: Any, generator: Any, stopping: Any) -> str:
    """All that a refusal must leave alone."""
    streams = [snn.default_generator, *([] if generator is None else [generator])]
    parts: list[Any] = [{k: v.tobytes() for k, v in model.state_dict().items()}, optimizer.state_dict()]
    return repr([*parts, *(s.get_state().tobytes() for s in streams), stopping.state_dict()])


def sources(folder: Path) -> dict[str, list[bytes]]:
    """{kind: the bytes of whole files}; every variant's are in a folder of its own."""
    found: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    for variant in range(4):
        place = folder / f"whole{variant}"
        place.mkdir()
        model, _ = program(place, variant, 3)
        snn.save(model, place / "model")
        for kind in KINDS:
            found[kind].append((place / kind).read_bytes())
    return found


# ---- changed ------------------------------------------------------------------------------------


def made(number: int, seed: int, whole: dict[str, list[bytes]]) -> tuple[str, int, bytes, str]:
    """(kind, variant, bytes, how) of one file."""
    rng = random.Random(f"{seed} {number}")
    kind = KINDS[number % 3]
    variant = rng.randrange(4)
    data, other = whole[kind][variant], whole[kind][rng.randrange(4)]
    if rng.random() < 0.5:
        forge = forged_frames if kind == "recording" else forged_tensors
        return kind, variant, forge(rng, data), forge.__name__
    ways = [rng.choice(DAMAGE) for _ in range(rng.choice([1, 1, 2, 3]))]
    for way in ways:
        data = way(rng, data, other) if data else data
    return kind, variant, data, " ".join(way.__name__ for way in ways)


# ---- reading --------------------------------------------------------------------------------------


def fresh() -> Any:
    return snn.Sequential(snn.Linear(2, 3), snn.Tanh(), snn.Dropout(0.2), snn.Linear(3, 1))


def look_at(path: Path) -> None:
    """Everything that a recording from a file can be asked for."""
    recording = snn.Recording.load(path)
    repr(recording)
    asks: list[Callable[[], Any]] = [lambda: recording.losses, lambda: recording.engine]
    for step in {int(step) for step in recording.steps[[0, -1]]} if len(recording) else ():
        asks += [
            lambda step=step: recording.parameters(step),
            lambda step=step: recording.gradients(step),
            lambda step=step: recording.moments(step),
            lambda step=step: recording.rows(step),
            lambda step=step: recording.settings(step),
            lambda step=step: recording.at(step),
        ]  # type: ignore[misc]
    asks += [lambda: recording.over_time("0.weight"), lambda: snn.compare_runs(recording, recording)]
    for ask in asks:
        try:
            ask()
        except (ValueError, IndexError, KeyError) as error:
            if "Recording" not in str(error) and str(path) not in str(error):
                raise


def readings(kind: str, path: Path, variant: int, whole: Path) -> list[Callable[[], Any]]:
    """All that reads such a file."""
    load: list[Callable[[], Any]] = [lambda: snn.load(path), lambda: snn.load(path, model=fresh())]
    folder = path.parent
    if kind == "model":
        return load
    if kind == "checkpoint":
        return [
            *load,
            lambda: program(folder, variant, 3, recorded=False),
            lambda: program(folder, variant, 4, False),
        ]

    def resumed() -> None:
        shutil.copy(whole / "checkpoint", folder / "checkpoint")
        program(folder, variant, 4)

    return [lambda: look_at(path), resumed]


def raw(error: BaseException, path: Path) -> str:
    """What is wrong with an error; nothing where it says in words what the file has."""
    if getattr(error, "untouched", True) is False:
        return "something was changed"
    if isinstance(error, (FileFormatError, snn.DivergenceError)):
        return (
            ""
            if str(path) in str(error) or isinstance(error, snn.DivergenceError)
            else "the file is not named"
        )
    if isinstance(error, RuntimeError) and str(error).startswith("load_state_dict into"):
        return ""
    return "" if isinstance(error, ValueError) and str(path) in str(error) else "raw"


def read(number: int, seed: int, whole: dict[str, list[bytes]], folder: Path) -> dict[str, Any]:
    """What became of one file."""
    kind, variant, data, how = made(number, seed, whole)
    place = folder / f"f{number}"
    place.mkdir()
    path = place / kind
    report: dict[str, Any] = {
        "number": number,
        "kind": kind,
        "how": how,
        "end": "read",
        "fault": "",
        "seconds": 0.0,
    }
    for reading in readings(kind, path, variant, folder / f"whole{variant}"):
        path.write_bytes(data)
        started = time.process_time()
        try:
            reading()
        except BaseException as error:
            report["end"] = type(error).__name__
            fault = raw(error, path)
            if path.read_bytes() != data and not isinstance(error, snn.DivergenceError):
                fault = "the file was changed"
            if fault:
                trace = "".join(traceback.format_exception(error)[-6:])
                report["fault"] = f"{fault}: {type(error).__name__}: {str(error)[:200]}\n{trace}"
        report["seconds"] = max(report["seconds"], time.process_time() - started)
        if report["fault"]:
            break
    shutil.rmtree(place)
    if report["seconds"] > SECONDS and not report["fault"]:
        report["fault"] = f"{report['seconds']:.1f} seconds"
    return report


def bounded() -> None:
    """From here on this process may have 500 MB more than it has now, and no reading may go on for ever."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEGABYTES * 10**6,) * 2)


def read_all(
    numbers: list[int], seed: int, whole: dict[str, list[bytes]], folder: Path, result: Path
) -> None:
    """In a process of its own: write what became of each file."""

    def hangs(*_: Any) -> None:
        raise TimeoutError(f"over {HANG} seconds")

    signal.signal(signal.SIGPROF, hangs)
    warnings.simplefilter("ignore")
    os.fsync = lambda _: None  # the disk may lose all of it
    bounded()
    with result.open("w") as file:
        for number in numbers:
            signal.setitimer(signal.ITIMER_PROF, HANG)
            json.dump(read(number, seed, whole, folder), file)
            file.write("\n")
            file.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*")
    chosen = parser.parse_args()
    numbers = chosen.only or list(range(chosen.files))
    reports: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = sources(folder)
        for kind in KINDS:  # the files themselves are read, and whatever is imported late is imported now
            place = folder / f"try {kind}"
            place.mkdir()
            for reading in readings(kind, place / kind, 0, folder / "whole0"):
                (place / kind).write_bytes(whole[kind][0])
                reading()
        for start in range(0, len(numbers), PROCESSES_FILES):
            part, result = numbers[start : start + PROCESSES_FILES], folder / f"{start}.json"
            child = os.fork()
            if not child:
                try:
                    read_all(part, chosen.seed, whole, folder, result)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            ends = [json.loads(line) for line in result.read_text().splitlines()]
            reports += ends
            if len(ends) < len(part):
                reports.append(
                    {"number": part[len(ends)], "kind": "", "how": "", "end": "died", "seconds": 0.0}
                )
                reports[-1]["fault"] = "the process died"
    faults = [report for report in reports if report["fault"]]
    for kind in KINDS:
        ends = Counter(report["end"] for report in reports if report["kind"] == kind)
        listed = ", ".join(f"{n} {end}" for end, n in ends.most_common())
        print(f"{kind:10} {sum(ends.values()):5} files: {listed}")
    for report in faults[:40]:
        print(f"\n{report['number']} {report['kind']} ({report['how']}): {report['fault']}")
    seconds, number = max((report["seconds"], report["number"]) for report in reports)
    print(f"{len(reports)} files, {len(faults)} faults; the slowest took {seconds:.2f} s ({number})")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
