"""The sine study: its data and network, what it finds inside, and the judge of a chaotic run."""

import json

import numpy as np
import pytest
import torch

import scratchnn as snn
from scratchnn.studies import StudyError, sine

PICTURES = ["loss", "fit", "thresholds", "staircase", "sides"]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Sixty steps, compared with PyTorch."""
    return sine.run(epochs=60, out=tmp_path_factory.mktemp("sine"), quiet=True)


def test_the_data_are_those_of_the_tutorial():
    x = np.arange(-10, 10, 0.1)
    found_x, found_y = sine.data(np.float64)
    np.testing.assert_array_equal(found_x[:, 0], x)
    np.testing.assert_allclose(found_y[:, 0], np.sin(3 * x) * np.exp(-x / 8), rtol=1e-14)
    assert found_x.shape == found_y.shape == (200, 1)
    assert {array.dtype for array in sine.data(np.float32)} == {np.dtype(np.float32)}


def test_the_run_is_the_program_in_torch(short):
    x, y = (torch.from_numpy(array) for array in sine.data(np.float32))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, 10), torch.nn.Sigmoid(), torch.nn.Linear(10, 1))
    loss_fn, optimizer = torch.nn.MSELoss(), torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(short.history.step_losses, losses, rtol=0, atol=1e-6)


def test_the_result_holds_everything(short):
    assert list(short.figures) == PICTURES == [picture.stem for picture in short.pictures]
    assert all(picture.stat().st_size > 5000 for picture in short.pictures)
    assert short.parity.passed
    numbers = short.numbers
    assert numbers["steps"] == 60
    assert numbers["train_accuracy"] is None
    assert numbers["results"]["losses"] == {"60": short.history.train_loss[-1]}
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_the_thresholds_are_where_the_units_are_at_one_half(short):
    results = short.numbers["results"]
    weight, bias = (short.model.state_dict()[key].astype(float) for key in ("0.weight", "0.bias"))
    places = np.array(results["thresholds"])
    np.testing.assert_allclose(weight[:, 0] * places + bias, 0, atol=1e-6)
    np.testing.assert_array_equal(results["directions"], np.sign(weight[:, 0]))
    np.testing.assert_array_equal(results["output_weights"], short.model.state_dict()["2.weight"][0])
    x, y = sine.data(np.float32)
    on = (x.astype(float) @ weight.T + bias > 0).astype(np.float32)
    binary = on @ short.model.state_dict()["2.weight"].T + short.model.state_dict()["2.bias"]
    assert results["binary_error"] == pytest.approx(np.mean((binary - y) ** 2), rel=1e-5)
    assert results["smooth_error"] == pytest.approx(np.mean((short.model(x) - y) ** 2), rel=1e-5)


def test_errors_are_relative_to_the_height_of_the_wave():
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    y, height = np.array([[4.0], [-4.0], [1.0], [-1.0]]), np.array([[4.0], [4.0], [1.0], [1.0]])
    assert sine.errors(lambda x: 0 * x, x, y, height) == (1, 1)
    assert sine.errors(lambda x: y + 2 * (x < 0), x, y, height) == (0.5, 0)


def test_divide_is_its_own_derivative():
    """The study's own layer, held to the complex step of its forward."""
    rng = np.random.default_rng(0)
    layer = sine.Divide(rng.uniform(0.1, 5, (7, 1)))
    x, dy = rng.normal(size=(2, 7, 1))
    np.testing.assert_allclose(layer.backward(dy), dy * layer(x + 1e-20j).imag / 1e-20, rtol=1e-15)


def test_the_relative_loss_is_the_error_over_the_height():
    x, y = sine.data(np.float64)
    model = sine.network(4, np.float64)
    height = sine.amplitude(x)
    loss = snn.MSELoss()(snn.Sequential(*model, sine.Divide(height))(x), y / height)
    assert float(loss) == pytest.approx(np.mean(((model(x) - y) / height) ** 2))


@pytest.fixture(scope="module")
def whole():
    return sine.run(reference=False, quiet=True)


def test_the_high_side_fits_and_turns_with_the_wave(whole):
    """So it went from every seed tried; how far the sides lie apart is another matter."""
    sides = whole.numbers["results"]["sides"]
    assert sides["squared error"]["left"] < sides["squared error"]["right"]
    assert sides["squared error, flipped"]["right"] < sides["squared error, flipped"]["left"]
    assert sides["relative error"]["right"] < sides["squared error"]["right"]
    assert whole.numbers["train_loss"] < 0.3
    assert list(whole.numbers["results"]["losses"]) == [str(n) for n in range(1000, 20001, 1000)]


def test_what_is_printed(capsys):
    result = sine.run(epochs=30, reference=False)
    out, err = capsys.readouterr()
    assert err == ""
    for words in (
        "10 hidden units (Sigmoid)",
        f"{result.numbers['train_loss']:.4f}",
        "switches at -b/w",
        "squared error, flipped",
        "--play trains 1 to 10 hidden units",
    ):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_chaotic_run_is_judged_against_torchs_own_spread():
    """2000 steps from seed 0 part further than the table allows; PyTorch from itself does, too."""
    numbers = sine.run(epochs=2000, dtype="float64", quiet=True).numbers
    parity = numbers["parity"]
    assert parity["passed"] is True
    assert parity["initial_weights_identical"] is True
    assert parity["chaotic"] is True
    assert parity["largest_parameter_difference"] > 1e-10


def test_play_trains_every_width(monkeypatch, tmp_path):
    monkeypatch.setattr(sine, "SEEDS", 3)
    monkeypatch.setattr(sine, "WIDTHS", range(1, 4))
    result = sine.run(epochs=50, hidden=5, reference=False, quiet=True, play=True, out=tmp_path)
    widths = result.numbers["results"]["widths"]
    assert list(widths["losses"]) == ["1", "2", "3"]
    assert all(len(losses) == 3 for losses in widths["losses"].values())
    snn.manual_seed(2)
    model = sine.network(3)
    alone = snn.fit(
        model, snn.MSELoss(), snn.Adam(model.parameters(), lr=0.01), sine.data(), 50, progress=False
    )
    assert widths["losses"]["3"][2] == alone.train_loss[-1]
    assert set(result.numbers["results"]["high_side_fits_better"]) == {"as it is", "flipped"}
    assert (tmp_path / "widths.png").exists()


def test_a_setting_that_cannot_work_is_refused():
    with pytest.raises(StudyError, match="sine got hidden=0"):
        sine.run(hidden=0)
