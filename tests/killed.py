"""A run that is killed at random moments and started again, until it is through. Not a test by itself.

    python tests/killed.py ENGINE FOLDER KILLS

Every life is a process of its own, forked from one in which the engine is loaded already: so fifty of them
take seconds. The runs are recorded as well. Prints how many lives ended in the middle of writing a file.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn.files.state_file import read_state

EPOCHS = 24
EVERY = 7  # step is recorded
LIFE_SECONDS = 0.3  # the longest; a whole run takes longer


def program(
    engine: str, checkpoint: Any = None, epochs: int = EPOCHS, recording: Any = None
) -> tuple[Any, snn.History]:
    """All that a checkpoint must hold: dropout, a loader's own generator, schedules, stopping, validation."""
    snn.manual_seed(3)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 4)).astype(np.float32)
    y = (X[:, :1] * X[:, 1:2] > 0).astype(np.float32)
    model = snn.Sequential(
        snn.Linear(4, 16), snn.Tanh(), snn.Dropout(0.2), snn.Linear(16, 1)
    )  # fmt: skip
    optimizer = snn.Adam(model.parameters(), lr=0.05, amsgrad=True)
    warm_up = snn.LinearLR(optimizer, 0.1, total_iters=30)
    warm_up.every = "batch"
    plateau = snn.ReduceLROnPlateau(optimizer, patience=1, factor=0.7)
    loader = snn.DataLoader(
        snn.TensorDataset(X[:70], y[:70]),
        batch_size=16,
        shuffle=True,
        generator=snn.Generator().manual_seed(8),
    )
    history = snn.fit(
        model,
        snn.BCEWithLogitsLoss(),
        optimizer,
        loader,
        epochs,
        validation=(X[70:], y[70:]),
        metrics=["accuracy"],
        engine=engine,
        progress=False,
        scheduler=[warm_up, plateau],
        clip_grad_norm=1.0,
        callbacks=[snn.EarlyStopping(patience=40), *([] if recording is None else [recording])],
        checkpoint=checkpoint,
    )
    return model, history


def figures(model: Any, history: snn.History) -> dict[str, Any]:
    """Everything that must be equal."""
    found: dict[str, Any] = dict(model.state_dict())
    found["step_losses"] = history.step_losses
    for name, values in {
        "train_loss": history.train_loss,
        "val_loss": history.val_loss,
        **history.metrics,
    }.items():
        found[f"history {name}"] = np.array(values)
    return found


def live(engine: str, path: Path, result: Path) -> int:
    """Start a process that trains, or goes on training, and writes what came out."""
    child = os.fork()
    if child:
        return child
    try:
        recording = snn.Recording(EVERY, path=path.with_suffix(".rec"))
        found = figures(*program(engine, snn.Checkpoint(path, every_epochs=1), recording=recording))
        with result.open("wb") as file:
            np.savez(file, **found)
    except BaseException as error:
        print("a life ended in", repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def check_whole(path: Path) -> None:
    """What is at `path` is a checkpoint, or nothing yet; what is recorded beside it can be read."""
    if path.exists() and read_state("checkpoint", path)["epoch"]:
        assert len(snn.Recording.load(path.with_suffix(".rec")))


def main(engine: str, folder: Path, kills: int) -> None:
    whole = snn.Recording(EVERY)
    expected = figures(*program(engine, recording=whole))
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    rng = np.random.default_rng(seed)
    done, run, in_writing = 0, 0, 0
    while done < kills:
        run += 1
        path, result = folder / f"{run}.safetensors", folder / f"{run}.npz"
        while True:
            child = live(engine, path, result)
            if done < kills:
                time.sleep(rng.uniform(0, LIFE_SECONDS))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                done += 1
                in_writing += bool(list(folder.glob(".*.tmp")))
                check_whole(path)
                continue
            assert os.WEXITSTATUS(status) == 0
            break
        with np.load(result) as found:
            assert sorted(found) == sorted(expected)
            for name, value in expected.items():
                assert found[name].dtype == value.dtype, name
                assert found[name].tobytes() == value.tobytes(), f"{name} differs in run {run}"
        recorded = snn.Recording.load(path.with_suffix(".rec"))
        assert recorded.steps.tolist() == whole.steps.tolist(), f"other steps are recorded in run {run}"
        assert snn.compare_runs(whole, recorded), f"the recording differs in run {run}"
        assert not list(folder.glob(".*.tmp")), "a leftover"
    print(f"{done} kills, {run} runs, {in_writing} in the middle of writing")
    assert in_writing


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
