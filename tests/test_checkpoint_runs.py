"""One path, another program: refused by what differs; and what a run that goes on says of itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kept import PLANE, Counting, Scaled, batches, small

import scratchnn as snn

# What another program says, and the words for it.
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "rate": (
        {"optimizer": lambda p: snn.SGD(p, lr=0.5)},
        r"lr is 0\.5, was 0\.1\. Give another path, or delete",
    ),
    "momentum": ({"optimizer": lambda p: snn.SGD(p, lr=0.1, momentum=0.9)}, r"momentum is 0\.9, was 0"),
    "optimizer": ({"optimizer": lambda p: snn.Adam(p, lr=0.1)}, "optimizer is Adam, was SGD"),
    "seed": ({"seed": 7}, "initial weights differ; state of the default generator differs"),
    "weights": (
        {"prepare": lambda model, _: model[0].weight.data.__iadd__(1)},
        r"another run: initial weights differ\. Give",
    ),
    "architecture": (
        {"model": lambda: snn.Sequential(snn.Linear(2, 4), snn.Tanh(), snn.Linear(4, 1))},
        "layer 0's out_features is 4, was 3; layer 1 is Tanh, was LeakyReLU; .* and 2 more",
    ),
    "slope": (
        {"model": lambda: snn.Sequential(snn.Linear(2, 3), snn.LeakyReLU(0.3), snn.Linear(3, 1))},
        r"layer 1's negative_slope is 0\.3, was 0\.1",
    ),
    "precision": (
        {
            "model": lambda: snn.Sequential(snn.Linear(2, 3), snn.LeakyReLU(0.1), snn.Linear(3, 1)).astype(
                "f8"
            )
        },
        r"parameter 0\.weight is float64 \(3, 2\), was float32 \(3, 2\)",
    ),
    "loss": ({"loss": snn.L1Loss}, "loss is L1Loss, was MSELoss"),
    "reduction": ({"loss": lambda: snn.MSELoss(reduction="sum")}, "loss's reduction is sum, was mean"),
    "data": ({"data": -PLANE}, "data's numbers differ"),
    "rows": ({"data": PLANE[:4]}, r"data's rows is 4, was 6"),
    "batch": ({"loader": batches(3)}, "data's batch_size is 3, was 2"),
    "order": ({"loader": batches(2, shuffle=False)}, "data's shuffle is False, was True"),
    "generator": ({"loader": batches(2, generator=snn.Generator())}, "data's generator is own, was none"),
    "validation": ({"validation": (PLANE, PLANE[:, :1])}, "validation's source is pair, was none"),
    "metrics": (
        {"metrics": [lambda prediction, target: 1.0]},
        r"metrics is \['<lambda>'\], was \[\]",
    ),
    "clipping": ({"clip_grad_norm": 1.0}, r"clip_grad_norm is 1\.0, was inf"),
    "schedule": (
        {"schedule": lambda o: snn.StepLR(o, 2)},
        r"schedules is \['StepLR every epoch'\], was \[\]",
    ),
    "callback": ({"callbacks": lambda: [Counting()]}, "callback 0 is Counting, was none"),
    "engine": ({"engine": "numba"}, "engine is numba, was numpy"),
    "fewer epochs": ({"epochs": 2}, "fit got epochs=2 and the checkpoint .*which has trained 3 already"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_run_is_refused_by_what_differs(what: str, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = small(path)
    whole = path.read_bytes()
    changed, words = OTHERS[what]
    with pytest.raises(ValueError, match=words):
        small(path, **changed)
    assert path.read_bytes() == whole
    assert [*tmp_path.iterdir()] == [path]
    assert small(path).train_loss == first.train_loss


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (
            {"schedule": lambda o: snn.StepLR(o, 2)},
            {"schedule": lambda o: snn.StepLR(o, 2, gamma=0.5)},
            r"StepLR's gamma is 0\.5, was 0\.1",
        ),
        (
            {"callbacks": lambda: [snn.EarlyStopping(patience=5)]},
            {"callbacks": lambda: [snn.EarlyStopping(patience=9)]},
            "callback 0's patience is 9, was 5",
        ),
        ({"model": Scaled}, {"model": lambda: Scaled(2.0)}, r"model's factor is 2\.0, was 1\.0"),
        (
            {"validation": (PLANE, PLANE[:, :1])},
            {"validation": (PLANE, PLANE[:, 1:])},
            "validation's numbers differ",
        ),
        (
            {"loss": lambda: snn.BCEWithLogitsLoss(pos_weight=2.0), "data": (PLANE > 0).astype("f4")},
            {"loss": lambda: snn.BCEWithLogitsLoss(pos_weight=3.0), "data": (PLANE > 0).astype("f4")},
            r"loss's pos_weight is 3\.0, was 2\.0",
        ),
        (
            {"loader": lambda rows: [rows[:3], rows[3:]]},
            {"loader": lambda rows: [rows[:3], rows[2:]]},
            "data's numbers differ",
        ),
    ],
)  # fmt: skip
def test_settings_of_what_a_run_has_are_part_of_it(
    ours: Any, theirs: Any, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    first = small(path, **ours)
    assert small(path, **ours).train_loss == first.train_loss
    with pytest.raises(ValueError, match=words):
        small(path, **theirs)


def test_resuming_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sys.modules[snn.fit.__module__], "notice", lambda wanted: said.append)
    path = tmp_path / "run.safetensors"
    assert small(path).resumed is False
    assert said == []
    assert small(path, epochs=5).resumed == 3
    finished = small(path, epochs=5)
    assert (finished.resumed, finished.epochs) == (5, 5)
    assert finished.as_dict()["resumed"] == 5
    assert said == [f"going on after epoch 3 of {path}", f"{path} holds this run, finished"]


class Notebook:
    """A model, trained by one cell again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        snn.manual_seed(0)
        self.model = snn.Sequential(snn.Linear(2, 3), snn.LeakyReLU(0.1), snn.Linear(3, 1))
        self.optimizer = snn.SGD(self.model.parameters(), lr=0.1)
        self.loader = batches(2)(snn.TensorDataset(PLANE, PLANE[:, :1]))

    def fit(self, epochs: int, *callbacks: Any) -> snn.History:
        return snn.fit(
            self.model, snn.MSELoss(), self.optimizer, self.loader, epochs, engine="numpy", progress=False,
            checkpoint=snn.Checkpoint(self.path, every_epochs=2), callbacks=callbacks,
        )  # fmt: skip


def test_more_epochs_with_what_was_trained_in_this_process(tmp_path: Path) -> None:
    """Model, optimizer and generator are where the file is, not where the run began."""
    path, whole = tmp_path / "run.safetensors", small(epochs=8)
    book = Notebook(path)
    book.fit(3)
    history = book.fit(6)
    assert (history.resumed, history.train_loss) == (3, whole.train_loss[:6])
    assert small(path, epochs=8).train_loss == whole.train_loss  # the program itself, from the start
    book.model[0].weight.data += 1  # type: ignore[index]
    with pytest.raises(ValueError, match="initial weights differ"):
        book.fit(9)


def test_an_interrupted_cell_goes_on_when_it_is_run_again(tmp_path: Path) -> None:
    """Its model is where the interrupt has left it, which is not where the file is."""
    path, whole = tmp_path / "run.safetensors", small(epochs=6)
    book = Notebook(path)

    def interrupt(state: snn.FitState) -> None:
        if state.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        book.fit(6, interrupt)
    history = book.fit(6)
    assert (history.resumed, history.train_loss) == (2, whole.train_loss)
    # weights that somebody has changed since are not those of the run
    path.unlink()
    book = Notebook(path)
    with pytest.raises(KeyboardInterrupt):
        book.fit(6, interrupt)
    book.model[0].weight.data += 1  # type: ignore[index]
    with pytest.raises(ValueError, match="initial weights differ"):
        book.fit(6)


def test_the_best_weights_put_back_are_those_of_the_run(tmp_path: Path) -> None:
    book, stopping = (
        Notebook(tmp_path / "run.safetensors"),
        lambda: snn.EarlyStopping(patience=1, min_delta=9),
    )
    assert book.fit(6, stopping()).epochs == 2
    assert book.fit(9, stopping()).resumed == 2
    # another run's file at the same path is not gone on with, though nothing has changed here
    draws = snn.default_generator.get_state()
    small(tmp_path / "other", seed=1, callbacks=lambda: [stopping()])
    (tmp_path / "other").replace(book.path)
    snn.default_generator.set_state(draws)
    with pytest.raises(ValueError, match="initial weights differ"):
        book.fit(9, stopping())


def test_the_generator_of_a_loader_of_rows_is_kept(tmp_path: Path) -> None:
    """A dataset that is asked row by row, in an order drawn by the loader's own generator."""

    class Squares:
        def __len__(self) -> int:
            return 40

        def __getitem__(self, i: int) -> Any:
            return np.array([i / 40, 1.0], np.float32), np.array([(i / 40) ** 2], np.float32)

    def run(epochs: int, **options: Any) -> Any:
        snn.manual_seed(0)
        model = snn.MLP(2, 3, 1, "tanh")
        generator = snn.Generator().manual_seed(5)
        loader = snn.DataLoader(Squares(), 8, True, generator=generator)
        optimizer = snn.SGD(model.parameters(), lr=0.1)
        return snn.fit(model, snn.MSELoss(), optimizer, loader, epochs, progress=False, **options)

    path = tmp_path / "run.ck"
    run(3, checkpoint=path)
    resumed, whole = run(6, checkpoint=path), run(6)
    assert resumed.train_loss == whole.train_loss
