"""The circles study: its data and network, the numbers it reports, and the judge's verdict."""

import json

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from sklearn.datasets import make_circles
from sklearn.model_selection import train_test_split

import scratchnn as snn
from scratchnn import studies
from scratchnn.studies import StudyError, circles
from scratchnn.studies.lesson import jsonable

KEYS = {
    "study",
    "seed",
    "dtype",
    "engine",
    "epochs",
    "steps",
    "train_loss",
    "train_accuracy",
    "test_accuracy",
    "seconds",
    "parity",
    "pictures",
    "results",
}
PICTURES = ["data", "loss", "probability", "confusion"]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Two epochs, compared with PyTorch, and what they printed."""
    return circles.run(epochs=2, out=tmp_path_factory.mktemp("out") / "deep" / "er", quiet=True)


def test_the_data_are_those_of_the_tutorial():
    x, y = make_circles(n_samples=10000, noise=0.05, random_state=26)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.33, random_state=26)
    found = circles.data(np.float32)
    for array, expected in zip(found, (x_train, x_test, y_train[:, None], y_test[:, None]), strict=True):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected.astype(np.float32))


def test_the_run_is_what_the_same_program_in_torch_gives(short):
    """Written in torch alone, without any of `reference`: the same weights after two epochs."""
    x_train, x_test, y_train, y_test = (torch.from_numpy(array) for array in circles.data(np.float32))
    torch.manual_seed(0)
    hidden, output = torch.nn.Linear(2, 10), torch.nn.Linear(10, 1)
    torch.nn.init.kaiming_uniform_(hidden.weight, nonlinearity="relu")
    model = torch.nn.Sequential(hidden, torch.nn.ReLU(), output, torch.nn.Sigmoid())
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x_train, y_train), batch_size=64, shuffle=True
    )
    loss_fn, optimizer = torch.nn.BCELoss(), torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        for x, target in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    np.testing.assert_allclose(short.history.step_losses, losses, rtol=0, atol=1e-6)
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(short.model.state_dict()[key], value.numpy(), rtol=0, atol=1e-6)
    accuracy = ((model(x_test) > 0.5) == y_test).float().mean().item()
    assert short.numbers["test_accuracy"] == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_every_seed_comes_near_to_what_there_is(seed, dtype):
    """Within one point of a hundred of somebody who knows both circles; 98 % rounded, for every seed."""
    x_train, x_test, y_train, y_test = circles.data(dtype)
    snn.manual_seed(seed)
    model = circles.network(dtype=dtype)
    circles.initialise(model, snn.init)
    loader = snn.DataLoader(snn.TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
    snn.fit(model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.1), loader, 100)
    accuracy = np.mean((model(x_test) > 0.5) == y_test)
    assert accuracy > np.mean(circles.nearer_to_inner(x_test) == y_test) - 0.01
    assert round(100 * accuracy) >= 98


def test_the_result_holds_everything(short):
    assert short.study == "circles"
    assert list(short.figures) == PICTURES
    assert short.history.epochs == 2
    assert short.history.steps == 210
    assert not short.model.training
    assert short.parity.passed


def test_the_numbers_are_those_of_the_run(short):
    numbers = short.numbers
    assert set(numbers) == KEYS
    assert numbers["steps"] == 210
    assert numbers["engine"] == short.history.engine
    assert numbers["train_loss"] == short.history.train_loss[-1]
    _, x_test, _, y_test = circles.data(np.float32)
    assert numbers["test_accuracy"] == np.mean((short.model(x_test) > 0.5) == y_test)
    results = numbers["results"]
    assert results["classification_report"]["accuracy"] == pytest.approx(numbers["test_accuracy"])
    assert np.sum(results["confusion_matrix"]) == 3300
    assert np.trace(results["confusion_matrix"]) == round(3300 * numbers["test_accuracy"])
    assert set(numbers["seconds"]) == {"scratchnn", "pytorch", "compile"}
    assert numbers["seconds"]["scratchnn"] > 0
    assert numbers["seconds"]["pytorch"] > 0
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_parity_in_numbers(short):
    parity = short.numbers["parity"]
    assert parity["passed"] is True
    assert parity["initial_weights_identical"] is True
    assert parity["batches_identical"] is True
    assert 0 <= parity["largest_parameter_difference"] <= parity["allowed"] < 1e-3
    largest = max(np.abs(value).max() for value in short.parity.run.parameters[210].values())
    assert parity["in_eps"] == pytest.approx(
        parity["largest_parameter_difference"] / (np.finfo(np.float32).eps * largest)
    )


def test_pictures_are_written_whole(short):
    assert [picture.stem for picture in short.pictures] == PICTURES
    assert short.numbers["pictures"] == [str(picture) for picture in short.pictures]
    for picture in short.pictures:
        pixels = imread(picture)
        assert min(pixels.shape[:2]) > 500
        assert len(np.unique(pixels[::5, ::5].reshape(-1, 4), axis=0)) > 20


def test_a_wrong_backward_fails_the_comparison(monkeypatch, capsys):
    """The parity check can fail: a gradient that is 0.1 % too large is found and reported."""
    right = snn.BCELoss.backward
    monkeypatch.setattr(snn.BCELoss, "backward", lambda self, dloss=1: right(self, dloss) * np.float32(1.001))
    monkeypatch.setattr(snn, "fit", lambda *args, **options: numpy_fit(*args, **options, engine="numpy"))
    result = circles.run(epochs=1)
    assert not result.parity.passed
    assert result.numbers["parity"]["passed"] is False
    assert result.numbers["parity"]["initial_weights_identical"] is True
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if line.startswith("   parameters, step 105")]
    assert row.rstrip().endswith("FAIL")
    assert "  verdict              FAIL" in lines


numpy_fit = snn.fit


def test_other_weights_fail_the_comparison(monkeypatch):
    """The initial weights are compared, not copied: drawn differently, they differ."""
    right = snn.init.kaiming_uniform_
    monkeypatch.setattr(snn.init, "kaiming_uniform_", lambda weight, **_: right(weight, a=1.0))
    result = circles.run(epochs=1, quiet=True)
    assert not result.parity.passed
    assert result.numbers["parity"]["initial_weights_identical"] is False


def test_what_is_printed(capsys):
    result = circles.run(epochs=1)
    out, err = capsys.readouterr()
    assert err == ""  # no progress bar: this is no terminal
    for words in (
        "2 inputs, 10 hidden units (ReLU)",
        f"final training loss  {result.history.train_loss[-1]:.4f}",
        f"test accuracy        {100 * result.numbers['test_accuracy']:.2f} %",
        "precision    recall  f1-score   support",
        "initial weights",
        "batches",
        "parameters, step 105",
        "in eps*max|p|",
        "verdict              PASS",
        "times as long",
    ):
        assert words in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(5))
def test_it_learns_the_circles(seed, dtype):
    """98 % to the whole per cent, and within 0.7 % of who knows how the points were made."""
    numbers = circles.run(seed=seed, dtype=dtype, reference=False, quiet=True).numbers
    assert round(numbers["test_accuracy"], 2) >= 0.98
    assert numbers["test_accuracy"] > numbers["results"]["nearer_circle_accuracy"] - 0.007


def test_a_network_that_answers_nan_is_an_error(monkeypatch):
    """Finite losses and parameters may still overflow in the answer: no picture could show it."""

    def spoilt(model, *args, **options):
        history = numpy_fit(model, *args, **options)
        model[2].weight.data[...] = np.finfo(np.float32).max
        model[2].weight.data[:, ::2] *= -1
        model[0].weight.data[...] = np.finfo(np.float32).max
        return history

    monkeypatch.setattr(snn, "fit", spoilt)
    with pytest.raises(FloatingPointError, match="try a smaller lr"):
        circles.run(epochs=1, reference=False, quiet=True)


def test_settings_reach_the_run():
    result = circles.run(epochs=1, hidden=3, batch_size=1000, lr=0.5, dtype="float64", seed=-1, quiet=True)
    assert result.model[0].weight.shape == (3, 2)
    assert result.model[0].weight.dtype == np.float64
    assert result.history.steps == 7
    assert result.parity.passed
    assert result.pictures == []
    assert {"hidden": 3, "lr": 0.5, "batch_size": 1000}.items() <= result.numbers["results"].items()


def test_the_same_seed_gives_the_same_run(short):
    again = circles.run(epochs=2, reference=False, quiet=True)
    np.testing.assert_array_equal(again.history.step_losses, short.history.step_losses)
    other = circles.run(epochs=2, reference=False, seed=1, quiet=True)
    assert not np.array_equal(other.history.step_losses, short.history.step_losses)


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 1.5},
        {"epochs": True},
        {"epochs": 0},
        {"hidden": 0},
        {"batch_size": "64"},
        {"lr": float("nan")},
        {"lr": "fast"},
        {"seed": 2**64},
        {"seed": 0.5},
        {"dtype": "int32"},
        {"device": "gpu"},
    ],
)
def test_a_setting_that_cannot_work_is_refused(setting):
    (name,) = setting
    with pytest.raises(StudyError, match=f"circles got {name}="):
        circles.run(**setting, quiet=True)


def test_studies_are_found_by_name():
    assert snn.studies.circles is circles
    assert studies.load("circles") is circles
    with pytest.raises(StudyError, match="did you mean 'circles'"):
        studies.load("circels")
    with pytest.raises(AttributeError, match="squares"):
        _ = studies.squares


def test_jsonable():
    value = {"a": np.float32(0.5), "b": (np.arange(2), float("nan")), 3: np.inf, "n": None, "t": True}
    assert jsonable(value) == {"a": 0.5, "b": [[0, 1], None], "3": None, "n": None, "t": True}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pytorch_on_cuda_agrees():
    result = circles.run(epochs=5, device="cuda", quiet=True)
    assert result.parity.passed
    assert result.numbers["parity"]["device"].startswith("cuda")


def test_play_measures_the_ball_of_noise(monkeypatch, tmp_path):
    """Every pair is the run that `fit` gives alone; the loss is that of all the data, after each epoch."""
    monkeypatch.setattr(circles, "RATES", (0.01, 1.0, 1e38))
    monkeypatch.setattr(circles, "BATCHES", (200, 1000))
    result = circles.run(epochs=3, reference=False, quiet=True, play=True, out=tmp_path)
    ball = result.numbers["results"]["noise_ball"]
    assert np.shape(ball["loss"]) == np.shape(ball["jump"]) == (3, 2)
    assert ball["loss"][2] == ball["jump"][2] == [None, None]  # diverged
    x, _, y, _ = circles.data(np.float32)
    snn.manual_seed(0)
    model = circles.network()
    circles.initialise(model, snn.init)
    loader = snn.DataLoader(snn.TensorDataset(x, y), batch_size=1000, shuffle=True)
    losses = []
    for _ in range(3):
        snn.fit(model, snn.BCELoss(), snn.SGD(model.parameters(), lr=1.0), loader, 1, progress=False)
        losses.append(float(snn.BCELoss()(model(x), y)))
    assert ball["loss"][1][1] == pytest.approx(np.median(losses), rel=1e-5)
    assert ball["jump"][1][1] == pytest.approx(np.sqrt(np.mean(np.diff(losses) ** 2)), rel=1e-3)
    assert (tmp_path / "noise-ball.png").exists()
