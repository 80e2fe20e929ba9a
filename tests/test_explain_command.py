"""`scratchnn explain`: one step of a study, or of a saved model, on a page."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import interrupted

import scratchnn as snn
from scratchnn import studies
from scratchnn.cli import main
from scratchnn.explain_command import ExplainError, explain_file, explain_study, write_page


def run(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["explain", *arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """A small model's file."""
    snn.manual_seed(0)
    path = tmp_path / "model.safetensors"
    snn.save(snn.Sequential(snn.Linear(2, 3), snn.ReLU(), snn.Linear(3, 1), snn.Sigmoid()), path)
    return str(path)


def by_hand(name: str, steps: int, hidden: int | None = None) -> tuple[Any, Any, Any, Any]:
    """The study's own training, `steps` steps of the textbook's loop: model, optimizer, next batch."""
    study = studies.load(name)
    settings = {key: p.default for key, p in inspect.signature(study.run).parameters.items()}
    options = {key: settings[key] for key in ("hidden", "lr", "batch_size", "seed", "dtype")}
    start = study.start(**options | ({} if hidden is None else {"hidden": hidden}))
    model, loss_fn, optimizer, data = start
    done = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        while True:
            for x, target in [data] if isinstance(data, tuple) else data:
                if done == steps:
                    return model, optimizer, x, target
                optimizer.zero_grad()
                loss_fn(model(x), target)
                model.backward(loss_fn.backward())
                optimizer.step()
                done += 1


def counted(step: Any, made: list[Any]) -> Any:
    def counting_step(self: Any) -> Any:
        made.append(self)
        return step(self)

    return counting_step


@pytest.mark.parametrize("name", studies.NAMES)
@pytest.mark.parametrize("steps", [0, 3])
def test_it_makes_exactly_the_steps_asked_for(name: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    for kind in (snn.SGD, snn.Adam):
        monkeypatch.setattr(kind, "step", counted(kind.step, made))
    trace = explain_study(name, steps)
    # One more, on a copy, is the update that the trace shows.
    assert len(made) == steps + 1
    assert len({id(optimizer) for optimizer in made[:-1]}) == min(steps, 1)
    model, _, x, target = by_hand(name, steps)
    for key, parameter in model.named_parameters():
        assert trace.parameters[key].tobytes() == parameter.data.tobytes()
    assert trace.x.tobytes() == np.asarray(x).tobytes()
    assert trace.target.tobytes() == np.asarray(target).tobytes()
    assert trace.updates


def test_steps_go_on_into_the_next_epoch() -> None:
    steps = 105 + 2  # an epoch of circles has 105
    trace = explain_study("circles", steps)
    model, _, x, _ = by_hand("circles", steps)
    assert trace.parameters["0.weight"].tobytes() == model[0].weight.data.tobytes()
    assert trace.x.tobytes() == x.tobytes()


@pytest.mark.parametrize("name", studies.NAMES)
def test_a_study_starts_as_its_run_does(name: str) -> None:
    study = studies.load(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = study.run(epochs=1, reference=False, quiet=True)
        settings = {key: p.default for key, p in inspect.signature(study.run).parameters.items()}
        model, loss_fn, optimizer, data = study.start(
            **{key: settings[key] for key in ("hidden", "lr", "batch_size", "seed", "dtype")}
        )
        snn.fit(model, loss_fn, optimizer, data, 1, engine=result.history.engine, progress=False)
    ours, theirs = dict(model.named_parameters()), dict(result.model.named_parameters())
    assert all(ours[key].data.tobytes() == theirs[key].data.tobytes() for key in ours)


def test_the_page_of_a_study(capsys: Any, tmp_path: Path) -> None:
    out = tmp_path / "step.html"
    code, text, err = run(
        capsys, "rings", "--hidden", "2", "--step", "5", "--sample", "7",
        "--entry", "0.weight[1,0]", "--entry", "x[7,1]", "--out", str(out),
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert text.startswith("rings after 5 steps: one step of Sequential with BCELoss, 2,000 samples, loss ")
    assert text.count("dL/d(0.weight[1,0])") >= 1
    assert text.rstrip().endswith(f"The step with all its numbers: {out}")
    page = out.read_text(encoding="utf-8")
    assert "sample 7" in page
    assert "0.weight[1,0]" in page
    assert "x[7,1]" in page


def test_without_an_entry_the_largest_gradient_is_explained(tmp_path: Path) -> None:
    trace = explain_study("sine", 2, hidden=3)
    (sheet,) = write_page(trace, [], None, tmp_path / "step.html")
    gradient = np.abs(trace.gradients["0.weight"])
    assert gradient.shape == (3, 1)
    row, column = np.unravel_index(gradient.argmax(), gradient.shape)
    assert f"0.weight[{row},{column}]" in sheet.title


def test_the_page_of_a_saved_model(capsys: Any, tmp_path: Path, saved: str) -> None:
    out = tmp_path / "page.html"
    arguments = [saved, "--x", "0.5,1.2", "--target", "1", "--out", str(out)]
    code, text, err = run(capsys, *arguments, "--entry", "loss")
    assert (code, err) == (0, "")
    assert "one step of Sequential with BCELoss, 1 sample" in text
    assert out.is_file()
    code, text, err = run(capsys, *arguments, "--loss", "MSELoss")
    assert (code, err) == (0, "")
    assert "with MSELoss" in text


@pytest.mark.parametrize(
    ("end", "target", "loss", "dtype"),
    [
        ([snn.Sigmoid()], "1,0", snn.BCELoss, np.float32),
        ([snn.LogSoftmax(-1)], "1", snn.NLLLoss, np.int64),
        ([snn.Softmax(-1)], "1", snn.CrossEntropyLoss, np.int64),
        ([snn.Softmax(-1)], "0.2,0.8", snn.CrossEntropyLoss, np.float32),
        ([], "-1,2.5", snn.MSELoss, np.float32),
    ],
)
def test_the_loss_follows_from_the_end(end: Any, target: str, loss: Any, dtype: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    snn.save(snn.Sequential(snn.Linear(3, 2), *end), path)
    trace = explain_file(path, "1,2,3;4,5,6", f"{target};{target}")
    assert type(trace.loss_fn) is loss
    assert trace.x.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert trace.target.dtype == dtype
    assert len(trace.target) == 2


WRONG = [
    (["circle"], ["no study 'circle'", "did you mean 'circles'", "safetensors"]),
    (["nowhere.safetensors", "--x", "1", "--target", "1"], ["there is no file nowhere.safetensors"]),
    (["circles", "--step", "-1"], ["--step -1", "0"]),
    (["circles", "--step", "1.5"], ["--step"]),
    (["circles", "--hidden", "0"], ["--hidden 0", "at least 1"]),
    (["circles", "--hidden", "1000000"], ["--hidden 1000000", "4,096"]),
    (["circles", "--sample", "64"], ["--sample 64", "0 to 63"]),
    (["circles", "--sample", "-1"], ["--sample -1", "0 to 63"]),
    (["circles", "--x", "1,2"], ["--x", "circles", "a saved model"]),
    (["circles", "--target", "1"], ["--target", "a saved model"]),
    (["circles", "--loss", "MSELoss"], ["--loss", "a saved model"]),
    (["circles", "--entry", "0.weights[1,1]"], ["0.weights", "0.weight"]),
    (["circles", "--entry", "0.weight[10,0]"], ["0.weight", "(10, 2)"]),
    (["circles", "--entry", "0.weight[a]"], ["'0.weight[a]'", "[3,1]"]),
    (["circles", "--entry", "0.weight["], ["'0.weight['", "0.weight[3,1]"]),
    (["circles", "--entry", ""], ["''", "0.weight[3,1]"]),
    (["circles", "--out", "no/such/place.html"], ["no/such/place.html", "folder"]),
    (["circles", "--out", "."], ["--out .", "file"]),
    ([], ["STUDY|FILE"]),
    (["circles", "--nonsense"], ["--nonsense"]),
    (["circles", "rings"], ["rings"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: " ".join(value))
def test_a_wrong_value_gets_one_line_and_exit_code_2(
    arguments: list[str], words: list[str], capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("scratchnn: ")
    assert all(word in err for word in words), err
    assert not (tmp_path / "step.html").exists()


OF_A_FILE = [
    ([], ["--x and --target"]),
    (["--x", "1,2"], ["--x and --target"]),
    (["--x", "1,a", "--target", "1"], ["--x '1,a'", "'a' is no number"]),
    (["--x", "", "--target", "1"], ["--x ''", "no number"]),
    (["--x", "1,2;3", "--target", "1"], ["differ in length"]),
    (["--x", "1,2,3", "--target", "1"], ["x of shape (1, 3)", "the last axis must be 2"]),
    (["--x", "1,2", "--target", "1,0"], ["(1, 1)", "(1, 2)"]),
    (["--x", "1,2", "--target", "7"], ["target of 7", "[0, 1]"]),
    (["--x", "1,2", "--target", "1", "--loss", "BCE"], ["--loss 'BCE'", "'BCELoss'"]),
    (["--x", "1,2", "--target", "0.5", "--loss", "NLLLoss"], ["--target '0.5'", "whole number"]),
    (["--x", "1,2", "--target", "3", "--loss", "NLLLoss"], ["class index 3"]),
    (["--x", "1,2", "--target", "1e300", "--loss", "NLLLoss"], ["--target '1e300'", "whole number"]),
    (["--x", "1,2", "--target", "1", "--step", "3"], ["--step", "a study"]),
    (["--x", "1,2", "--target", "1", "--hidden", "3"], ["--hidden", "a study"]),
    (["--x", "1,2", "--target", "1", "--sample", "1"], ["--sample 1"]),
]


@pytest.mark.parametrize(("arguments", "words"), OF_A_FILE, ids=lambda value: " ".join(value))
def test_a_wrong_value_for_a_file(
    arguments: list[str],
    words: list[str],
    capsys: Any,
    saved: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, saved, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
    assert not (tmp_path / "step.html").exists()


def test_a_file_that_is_no_model(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a model at all")
    code, _, err = run(capsys, str(path), "--x", "1", "--target", "1")
    assert code == 2
    assert err.count("\n") == 1
    snn.save(snn.Sequential(snn.ReLU()), path)
    code, _, err = run(capsys, str(path), "--x", "1", "--target", "1")
    assert code == 2
    assert "no parameters" in err


def test_a_page_that_cannot_be_written(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device", str(tmp_path / ".step-1234.html"))

    monkeypatch.setattr(snn.Trace, "save", full)
    code, _, err = run(capsys, "sine", "--hidden", "2", "--out", str(tmp_path / "step.html"))
    assert code == 1
    assert err == f"scratchnn: {tmp_path / 'step.html'}: No space left on device\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_the_output_is_one_line(saved: str, tmp_path: Path, unbuffered: str) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("this system has no /dev/full")
    arguments = [saved, "--x", "1,2", "--target", "1", "--out", str(tmp_path / "step.html")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scratchnn.cli", "explain", *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "scratchnn: standard output: No space left on device\n"
    assert (tmp_path / "step.html").is_file()


def test_a_page_does_not_take_the_place_of_a_device(capsys: Any, saved: str, tmp_path: Path) -> None:
    device = tmp_path / "device"
    os.mkfifo(device)
    code, _, err = run(capsys, saved, "--x", "1,2", "--target", "1", "--out", str(device))
    assert code == 2
    assert "the name of a file" in err
    assert device.is_fifo()


def test_without_an_output_the_page_is_written(
    saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as `>&-` leaves it
    out = tmp_path / "step.html"
    with pytest.raises(SystemExit) as stop:
        main(["explain", saved, "--x", "1,2", "--target", "1", "--out", str(out)])
    assert stop.value.code == 0
    assert out.is_file()


def test_the_last_layer_is_the_one_that_runs_last(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    same = snn.Sigmoid()
    snn.save(snn.Sequential(snn.Linear(2, 2), same, snn.Sequential(snn.Linear(2, 1), same)), path)
    assert type(explain_file(path, "1,2", "1").loss_fn) is snn.BCELoss


def test_ctrl_c_ends_a_long_training_and_leaves_the_page_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "step.html"
    out.write_text("before")
    code, err, seconds = interrupted(
        ["explain", "sine", "--step", "1000000000", "--out", str(out)], once=tmp_path, later=6
    )
    assert (code, err) == (130, f"scratchnn: stopped; {out} is as it was\n")
    assert seconds < 2
    assert out.read_text() == "before"


def test_a_terminal_without_the_signs_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scratchnn.cli", "explain", "sine", "--hidden", "2",
         "--entry", "0.weight[1,0]", "--out", str(tmp_path / "step.html")],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "dL/d(0.weight[1,0])" in done.stdout


def test_a_run_that_diverges_says_where(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = studies.load("sine")
    original = study.start

    def wild(**settings: Any) -> Any:
        return original(**settings | {"lr": 1e30})

    monkeypatch.setattr(study, "start", wild)
    code, out, err = run(capsys, "sine", "--step", "50", "--out", str(tmp_path / "step.html"))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "sine: the loss of step" in err


def test_a_wrong_name_is_an_error_to_a_program_too() -> None:
    with pytest.raises(ExplainError, match="did you mean 'circles'"):
        explain_study("circels")
