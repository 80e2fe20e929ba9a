"""The drawing study: built-in drawings, image files good and bad, the run, and what is tried after it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from processes import interrupted
from scipy.ndimage import label

import scratchnn as snn
from scratchnn import cli
from scratchnn.studies import StudyError, drawing, drawing_play, regions

PICTURES = ["drawing", "history", "predicted", "network", "responses"]
PLAYED = ["linear", "widths", "others", "rates", "longer", "start-over"]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Two epochs, compared with PyTorch."""
    return drawing.run(epochs=2, out=tmp_path_factory.mktemp("drawing"), quiet=True)


# ---------------------------------------------------------------- drawings and points


@pytest.mark.parametrize(
    ("name", "parts", "holes"),
    [("blob", 1, 0), ("ring", 1, 1), ("spiral", 1, 0), ("islands", 2, 0), ("letter", 1, 1)],
)
def test_built_in_drawings_have_their_shape(name, parts, holes):
    inside = regions.drawing(name)
    assert inside.shape == (256, 256)
    assert inside.dtype == bool
    assert 0.1 < inside.mean() < 0.5
    assert label(inside)[1] == parts
    assert label(~inside)[1] == 1 + holes
    assert not any(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
    if name == "letter":  # the A stands on its feet
        assert inside[30, 128]
        assert not inside[215, 128]


def test_points_are_pixels_from_0_to_1_with_up_as_up():
    inside = np.zeros((256, 256), bool)
    inside[:64, :128] = True  # the top left
    x, y = regions.sample(inside, 5000, snn.Generator().manual_seed(1))
    assert (x.shape, y.shape) == ((5000, 2), (5000, 1))
    assert x.dtype == y.dtype == np.float32
    assert (x.min(axis=0) < 0.01).all()
    assert (x.max(axis=0) > 0.99).all()
    assert x.min() >= 0
    assert x.max() <= 1
    np.testing.assert_array_equal(y[:, 0] == 1, (x[:, 0] < 0.5) & (x[:, 1] > 0.75))
    np.testing.assert_allclose(x * 255, np.round(x * 255), atol=1e-4)
    pixels = regions.every_pixel()
    inside_there = {tuple(place) for place, ink in zip(pixels, inside.ravel(), strict=True) if ink}
    assert all((tuple(place) in inside_there) == ink for place, (ink,) in zip(x[:200], y[:200], strict=True))
    again = regions.sample(inside, 5000, snn.Generator().manual_seed(1))
    np.testing.assert_array_equal(x, again[0])


# ---------------------------------------------------------------- images


def write(path, pixels, **options):
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path, **options)
    return path


TOP_LEFT = np.zeros((256, 256), bool)
TOP_LEFT[:64, :128] = True


@pytest.mark.parametrize("size", [(256, 256), (64, 100), (1000, 512)])
def test_dark_pixels_are_the_region_at_any_size(size, tmp_path):
    height, width = size
    pixels = np.full((height, width, 3), 255)
    pixels[: height // 4, : width // 2] = (60, 0, 90)
    np.testing.assert_array_equal(regions.read_image(write(tmp_path / "a.png", pixels)), TOP_LEFT)


def test_opaque_pixels_are_the_region_where_there_are_transparent_ones(tmp_path):
    pixels = np.full((256, 256, 4), 255)
    pixels[~TOP_LEFT] = (0, 0, 0, 0)  # white on transparent black
    np.testing.assert_array_equal(regions.read_image(write(tmp_path / "a.png", pixels)), TOP_LEFT)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16", "CMYK"])
def test_images_of_every_kind_are_read(mode, tmp_path):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        Image.fromarray(np.where(TOP_LEFT, 100, 60_000).astype(np.uint16)).save(path)
    else:
        Image.fromarray(np.where(TOP_LEFT, 0, 255).astype(np.uint8)).convert(mode).save(path)
    np.testing.assert_array_equal(regions.read_image(path), TOP_LEFT)


def truncated(path):
    write(path, np.random.default_rng(0).integers(0, 255, (200, 200, 3)))
    path.write_bytes(path.read_bytes()[:20_000])


BAD = {
    "missing": (lambda path: None, "there is no such file"),
    "empty": (lambda path: path.touch(), "the file is empty"),
    "text": (lambda path: path.write_text("no picture"), "that is no image"),
    "folder": (lambda path: path.mkdir(), "cannot be read: Is a folder"),
    "truncated": (truncated, "cannot be read"),
    "white": (lambda path: write(path, np.full((9, 9), 255)), "every pixel is light"),
    "black": (lambda path: write(path, np.zeros((9, 9))), "every pixel is dark"),
    "clear": (lambda path: write(path, np.zeros((9, 9, 4))), "every pixel is transparent"),
    "large": (lambda path: Image.new("1", (10_000, 6000)).save(path), "more than 50,000,000 pixels"),
    "huge": (lambda path: Image.new("1", (20_000, 10_000)).save(path), "more than 100,000,000 pixels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_gets_one_line_and_exit_code_2(kind, tmp_path, capsys):
    make, words = BAD[kind]
    path = tmp_path / "a.png"
    make(path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["study", "drawing", "--image", str(path), "--out", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"scratchnn: drawing got image='{path}'; ")
    assert words in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"drawing": "spirla"}, "did you mean 'spiral'"),
        ({"drawing": "blob", "image": "a.png"}, "give one of them"),
        ({"drawing": ""}, "there is no drawing ''"),
    ],
)
def test_a_wrong_subject_is_refused(settings, words):
    with pytest.raises(StudyError, match=words):
        drawing.run(**settings, quiet=True)


@pytest.mark.parametrize("setting", [{"seeds": 0}, {"epochs": 0}, {"batch_size": 0}, {"lr": -1.0}])
def test_a_setting_that_cannot_work_is_refused(setting):
    (name,) = setting
    with pytest.raises(StudyError, match=f"drawing got {name}="):
        drawing.run(**setting, quiet=True)


# ---------------------------------------------------------------- the run


def test_the_run_is_this_program_in_torch(short):
    """Written in torch alone: the same weights, losses and validation after two epochs."""
    stream = snn.Generator().manual_seed(0)
    sets = [regions.sample(regions.drawing("blob"), count, stream) for count in (5000, 1000, 10_000)]
    (x, y), (x_val, y_val), (x_test, y_test) = [tuple(map(torch.from_numpy, each)) for each in sets]
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1), torch.nn.Sigmoid()
    )
    dataset = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(dataset, batch_size=24, shuffle=True)
    loss_fn, optimizer = torch.nn.BCELoss(), torch.optim.Adam(model.parameters(), lr=0.01)
    losses, val_losses, val_right = [], [], []
    for _ in range(2):
        for batch, target in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(batch), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            val_losses.append(loss_fn(model(x_val), y_val).item())
            val_right.append(((model(x_val) > 0.5) == y_val).float().mean().item())
    np.testing.assert_allclose(short.history.step_losses, losses, rtol=0, atol=1e-6)
    np.testing.assert_allclose(short.history.val_loss, val_losses, rtol=0, atol=1e-6)
    np.testing.assert_allclose(short.history.metrics["val_accuracy"], val_right, rtol=0, atol=1e-6)
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(short.model.state_dict()[key], value.numpy(), rtol=0, atol=2e-6)
    right = ((model(x_test) > 0.5) == y_test).float().mean().item()
    assert short.numbers["test_accuracy"] == pytest.approx(right, abs=1e-6)
    assert short.parity.passed


def test_the_result_holds_everything(short):
    assert list(short.figures) == PICTURES
    assert [picture.stem for picture in short.pictures] == PICTURES
    numbers = short.numbers
    assert (numbers["epochs"], numbers["steps"]) == (2, 2 * 209)
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    results = numbers["results"]
    assert results["ink"] == regions.drawing("blob").mean()
    assert set(results["history"]) == {"train_loss", "val_loss", "accuracy", "val_accuracy"}
    assert all(len(values) == 2 for values in results["history"].values())
    for name, parameter in short.model.named_parameters():
        np.testing.assert_array_equal(np.float32(results["parameters"][name]), parameter.data)


def test_weights_biases_and_accuracy_are_printed(capsys):
    result = drawing.run(epochs=2, reference=False)
    out, err = capsys.readouterr()
    assert err == ""
    numbers = [number for p in result.model.parameters() for number in p.data.ravel()]
    assert len(numbers) == 17
    for number in numbers:
        assert f"{number:.3f}" in out
    assert f"test accuracy        {100 * result.numbers['test_accuracy']:.2f} %" in out
    assert max(map(len, out.splitlines())) <= 80


def test_it_learns_the_blob():
    numbers = drawing.run(reference=False, quiet=True).numbers
    assert numbers["test_accuracy"] > 0.97
    assert abs(numbers["results"]["validation_loss"] - numbers["train_loss"]) < 0.02


def test_settings_reach_the_run(tmp_path):
    write(tmp_path / "a.png", np.where(TOP_LEFT, 0, 255))
    settings = {"hidden": 20, "batch_size": 500, "dtype": "float64", "lr": 0.1, "seed": -5}
    result = drawing.run(epochs=1, image=tmp_path / "a.png", **settings, reference=False, quiet=True)
    assert result.history.steps == 10
    assert result.model[0].weight.shape == (20, 2)
    assert result.model[0].weight.dtype == np.float64
    assert result.numbers["results"]["ink"] == TOP_LEFT.mean()
    assert "network" not in result.figures  # more units than a diagram holds
    other = drawing.run(
        epochs=1, image=tmp_path / "a.png", **{**settings, "seed": 6}, reference=False, quiet=True
    )
    assert other.numbers["train_loss"] != result.numbers["train_loss"]


def test_playing_tries_what_the_tutorial_says(monkeypatch):
    monkeypatch.setattr(drawing_play, "WIDTHS", (1, 4, 5))
    monkeypatch.setattr(drawing_play, "RATES", (0.003, 0.1))
    monkeypatch.setattr(drawing_play, "BATCHES", (100, 1000))
    monkeypatch.setattr(drawing_play, "OTHERS", ((4, 1), (6, 2)))
    result = drawing.run(epochs=3, play=True, seeds=2, reference=False, quiet=True)
    assert list(result.figures) == PICTURES + PLAYED
    play = result.numbers["results"]["play"]
    assert list(play["widths"]) == ["1", "4", "5"]
    assert all(len(each["runs"]) == 2 for each in play["widths"].values())
    assert np.shape(play["rates"]["mean_test_accuracy"]) == (2, 2)
    assert play["longer"]["identical"] is True
    assert list(play["longer"]["test_accuracy"]) == ["stopped after 3", "3 more", "better of 2 x 3"]
    assert list(play["others"]) == ["blob", "ring", "spiral", "islands", "letter"]
    assert list(play["others"]["ring"]) == ["4 units", "6 units, 6 epochs"]
    linear = play["linear"]
    x, y = _test_points()
    line = x @ np.array(linear["weight"]) + linear["bias"]
    assert np.mean((line > 0) == (y[:, 0] == 1)) == pytest.approx(linear["test_accuracy"], abs=2e-4)
    assert linear["commoner_answer"] == pytest.approx(max(y.mean(), 1 - y.mean()), abs=1e-6)


def _test_points():
    stream, inside = snn.Generator().manual_seed(0), regions.drawing("blob")
    return [regions.sample(inside, count, stream, np.float64) for count in (5000, 1000, 10_000)][-1]


def test_going_on_from_another_place_is_not_the_same_run(monkeypatch):
    """The claim "bit for bit" is measured: with another stream of batches it is not made."""
    monkeypatch.setattr(drawing_play, "WIDTHS", (1, 4, 64))
    monkeypatch.setattr(drawing_play, "RATES", (0.1,))
    monkeypatch.setattr(drawing_play, "BATCHES", (1000,))
    monkeypatch.setattr(drawing_play, "OTHERS", ((4, 1), (5, 1)))
    right = drawing_play.longer
    monkeypatch.setattr(
        drawing_play,
        "longer",
        lambda lesson, data, stopped, *rest: right(
            lesson, data, (*stopped[:2], snn.Generator().manual_seed(9).get_state()), *rest
        ),
    )
    result = drawing.run(epochs=1, play=True, seeds=1, reference=False, quiet=True)
    assert result.numbers["results"]["play"]["longer"]["identical"] is False


def test_ctrl_c_stops_within_a_second_and_keeps_the_pictures(
    short, tmp_path
):  # `short`: kernels are compiled
    arguments = ["study", "drawing", "--epochs", "1000000", "--no-reference", "--out", str(tmp_path)]
    code, err, seconds = interrupted(arguments, tmp_path / "drawing.png", later=1.0)
    assert seconds < 1
    assert code == 130
    assert err == f"scratchnn: stopped; the pictures made so far stay in {tmp_path}\n"
    assert [picture.name for picture in tmp_path.iterdir()] == ["drawing.png"]
