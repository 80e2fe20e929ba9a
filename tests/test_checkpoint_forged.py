"""A checkpoint or a recording that cannot be gone on with is refused as a whole: nothing has moved."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.checkpoint.keeper import KIND
from scratchnn.files import FileFormatError
from scratchnn.files.state_file import read_state, write_state

X = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32)
Y = (X[:, :1] > 0).astype(np.float32)


class Log:
    """A callback of one's own: what it takes it takes bit by bit."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.epochs = 0

    def __call__(self, state: snn.FitState) -> None:
        self.epochs += 1
        self.rows.append(float(self.epochs))

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows[:] = state["rows"]
        self.epochs = state["epochs"]


class Run:
    """A program with everything that a checkpoint holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        snn.manual_seed(0)
        self.model = snn.Sequential(snn.Linear(2, 3), snn.Tanh(), snn.Linear(3, 1))
        self.optimizer = snn.Adam(self.model.parameters(), lr=0.05)
        self.generator = snn.Generator().manual_seed(4)
        self.schedules = [snn.StepLR(self.optimizer, 2), snn.ReduceLROnPlateau(self.optimizer, patience=0)]
        self.stopping, self.log = snn.EarlyStopping(patience=50), Log()
        self.recording = snn.Recording(path=folder / "run.rec")

    def state(self) -> str:
        """All of it, bit for bit."""
        weights = {name: value.tobytes() for name, value in self.model.state_dict().items()}
        schedules = [schedule.state_dict() for schedule in self.schedules]
        streams = [g.get_state().tobytes() for g in (snn.default_generator, self.generator)]
        callbacks = [
            self.stopping.state_dict(),
            self.log.state_dict(),
            str(self.recording),
            self.recording._made,
        ]
        modes = [module.training for module in self.model.modules()]
        moments = self.optimizer.state_dict()
        groups = [sorted(group.items()) for group in moments["param_groups"]]
        return repr([weights, groups, moments["state"], schedules, streams, callbacks, modes])

    def fit(self, epochs: int) -> snn.History:
        loader = snn.DataLoader(snn.TensorDataset(X, Y), batch_size=8, shuffle=True, generator=self.generator)
        return snn.fit(
            self.model, snn.BCEWithLogitsLoss(), self.optimizer, loader, epochs, engine="numpy",
            progress=False, validation=(X[:5], Y[:5]), metrics=["accuracy"], scheduler=self.schedules,
            callbacks=[self.stopping, self.log, self.recording],
            checkpoint=snn.Checkpoint(self.folder / "run.ck", every_epochs=1),
        )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of three epochs."""
    folder: Path = tmp_path_factory.mktemp("whole")
    Run(folder).fit(3)
    return folder


def refused(folder: Path, words: str) -> None:
    """Going on is refused in these words, and has changed nothing."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    run = Run(folder)
    before = run.state()
    with pytest.raises((FileFormatError, OSError), match=words):
        run.fit(5)
    assert run.state() == before
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def set_in(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(kept: dict[str, Any]) -> None:
        for name in path[:-1]:
            kept = kept[name]
        kept[path[-1]] = to(kept[path[-1]]) if callable(to) else to

    return change


def without(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(kept: dict[str, Any]) -> None:
        for name in path[:-1]:
            kept = kept[name]
        del kept[path[-1]]

    return change


def schedule(i: int, entries: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return set_in("schedules", i, to=lambda saved: (saved[0], {**saved[1], **entries}))


def spoilt(value: Any) -> Any:
    value = value.copy()
    value.flat[0] = np.nan
    return value


ADAM = ("optimizer", "state", 0)
FORGED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no weights": (without("model"), "its model is of type NoneType"),
    "a weight less": (without("model", "0.weight"), "its model's names"),
    "a weight more": (set_in("model", to=lambda m: {**m, "3.weight": m["0.weight"]}), "its model's names"),
    "a weight's shape": (set_in("model", "0.weight", to=lambda w: w.T.copy()), r"its model's 0\.weight"),
    "a weight's dtype": (set_in("model", "0.weight", to=lambda w: w.astype("f8")), r"its model's 0\.weight"),
    "a weight NaN": (set_in("model", "0.bias", to=spoilt), r"its model's 0\.bias"),
    "a weight as a number": (set_in("model", "0.bias", to=1.0), "its model"),
    "a moment's shape": (set_in(*ADAM, "exp_avg", to=lambda v: v[:1].copy()), "exp_avg of shape"),
    "a moment's dtype": (set_in(*ADAM, "exp_avg", to=lambda v: v.astype("i8")), "exp_avg of parameter 0"),
    "no moment": (without(*ADAM, "exp_avg_sq"), "exp_avg_sq"),
    "step NaN": (set_in(*ADAM, "step", to=np.array(math.nan, np.float32)), "step of parameter 0"),
    "half a step": (set_in(*ADAM, "step", to=np.array(1.5, np.float32)), "step of parameter 0"),
    "step below 0": (set_in(*ADAM, "step", to=np.array(-1, np.float32)), "step of parameter 0"),
    "step infinite": (set_in(*ADAM, "step", to=np.array(math.inf, np.float32)), "step of parameter 0"),
    "step of text": (set_in(*ADAM, "step", to="9"), "step of parameter 0"),
    "a parameter that is none": (set_in("optimizer", "state", to=lambda s: {**s, 9: s[0]}), "parameter 9"),
    "rate NaN": (set_in("optimizer", "param_groups", 0, "lr", to=math.nan), "its optimizer's lr"),
    "rate of text": (set_in("optimizer", "param_groups", 0, "lr", to="0.1"), "its optimizer's lr"),
    "rate below 0": (set_in("optimizer", "param_groups", 0, "lr", to=-1.0), "Invalid learning rate"),
    "no rate": (without("optimizer", "param_groups", 0, "lr"), "its optimizer's lr"),
    "no group": (set_in("optimizer", "param_groups", to=[]), "optimizer's groups"),
    "other parameters": (set_in("optimizer", "param_groups", 0, "params", to=[0]), "optimizer's groups"),
    "schedule's size 0": (schedule(0, {"step_size": 0}), "ZeroDivision"),
    "schedule's count": (schedule(0, {"last_epoch": "2"}), "last_epoch"),
    "schedule before 0": (schedule(0, {"last_epoch": -9}), "last_epoch"),
    "schedule's names": (set_in("schedules", 0, to=lambda s: (s[0], {})), "its StepLR"),
    "a schedule less": (set_in("schedules", to=lambda s: s[:1]), "its schedules"),
    "plateau NaN": (schedule(1, {"best": math.nan}), "best"),
    "no callbacks": (set_in("callbacks", to=[]), "its callbacks"),
    "best weights": (
        set_in("callbacks", 0, "state", "best_state", "0.weight", to=np.ones(3, np.float32)),
        r"EarlyStopping's best_state's 0\.weight",
    ),
    "best epoch": (set_in("callbacks", 0, "state", "best_epoch", to="1"), "EarlyStopping's best_epoch"),
    "no generators": (set_in("generators", to=[]), "its generators"),
    "generator cut": (set_in("generators", 0, to=lambda g: g[:9].copy()), r"got shape \(9,\)"),
    "generator of zeros": (set_in("generators", 1, to=np.zeros_like), "no MT19937 state"),
    "epoch of text": (set_in("epoch", to="3"), "its epoch is of type str"),
    "epoch below 0": (set_in("epoch", to=-1), "its epoch"),
    "an epoch less": (set_in("epoch", to=2), "history's"),
    "stop of text": (set_in("stop", to="no"), "its stop is of type str"),
    "losses of ints": (set_in("history", "train_loss", to=lambda v: v.astype("i8")), "train_loss"),
    "losses of steps": (set_in("history", "step_losses", to=lambda v: v.astype("f8")), "step_losses"),
    "a metric more": (set_in("history", "metrics", to=lambda m: {**m, "f1": m["accuracy"]}), "metrics"),
    "seconds NaN": (set_in("history", "seconds", to=math.nan), "seconds"),
    "history without": (without("history", "val_loss"), "its history"),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_checkpoint_changes_nothing(what: str, whole: Path, tmp_path: Path) -> None:
    change, words = FORGED[what]
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    kept = read_state(KIND, tmp_path / "run.ck")
    change(kept)
    write_state("test", KIND, tmp_path / "run.ck", kept)
    refused(tmp_path, words)


def test_what_is_not_forged_goes_on(whole: Path, tmp_path: Path) -> None:
    """Written again as it was read: the forgeries above are refused for what is forged."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    write_state("test", KIND, tmp_path / "run.ck", read_state(KIND, tmp_path / "run.ck"))
    run = Run(tmp_path)
    assert run.fit(5).resumed == 3
    ended = run.state().replace(str(tmp_path), "")
    (tmp_path / "anew").mkdir()
    never_stopped = Run(tmp_path / "anew")
    never_stopped.fit(5)
    assert ended == never_stopped.state().replace(str(tmp_path / "anew"), "")


@pytest.mark.parametrize(
    "what", ["emptied", "cut in its first frame", "a bit flipped", "a frame less", "a model"]
)
def test_a_damaged_recording_beside_a_good_checkpoint_changes_nothing(
    what: str, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "run.rec"
    data = path.read_bytes()
    second, third = (data.index(data[:4], n) for n in (4, data.index(data[:4], 4) + 4))
    flipped = bytearray(data)
    flipped[second + 90] ^= 8
    path.write_bytes(
        {
            "emptied": b"",
            "cut in its first frame": data[: second - 5],
            "a bit flipped": bytes(flipped),
            "a frame less": data[:second] + data[third:],
            "a model": (whole / "run.ck").read_bytes(),
        }[what]
    )
    refused(tmp_path, r"run\.rec is (no recording|damaged at byte)")


def test_a_callback_that_refuses_its_state_changes_nothing(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    kept = read_state(KIND, tmp_path / "run.ck")
    del kept["callbacks"][1]["state"]["epochs"]
    write_state("test", KIND, tmp_path / "run.ck", kept)
    run = Run(tmp_path)
    before = run.state()
    with pytest.raises(KeyError, match="epochs") as refusal:
        run.fit(5)
    assert "The state of the callback Log is from the checkpoint" in refusal.value.__notes__[0]
    assert run.state() == before


def test_a_checkpoint_of_an_older_version_is_refused_in_words(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    kept = read_state(KIND, tmp_path / "run.ck")
    del kept["layout"], kept["start"]
    write_state("test", KIND, tmp_path / "run.ck", kept)
    with pytest.raises(ValueError, match=r"of another version of scratchnn.*snn\.load\(path, model=model\)"):
        Run(tmp_path).fit(5)
    run = Run(tmp_path)
    assert snn.load(tmp_path / "run.ck", model=run.model) is run.model
    assert run.model[0].weight.data.tobytes() == kept["model"]["0.weight"].tobytes()
