"""Source texts: run, they give the weights that the same calls gave here."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from file_cases import models
from hypothesis import HealthCheck, given, settings
from programs import Program, programs

import reference
import scratchnn as snn
from scratchnn.random import default_generator

ROOT = Path(__file__).parent.parent
WRITERS = {"scratchnn": snn.to_python, "torch": snn.to_torch}


def execute(text: str) -> dict[str, Any]:
    """The names that a program makes."""
    names: dict[str, Any] = {}
    exec(compile(text, "program", "exec"), names)
    return names


def weights(model: Any) -> dict[str, np.ndarray]:
    """Of either library."""
    state = model.state_dict()
    return {name: v if isinstance(v, np.ndarray) else v.detach().numpy() for name, v in state.items()}


def same_bits(a: Any, b: Any) -> bool:
    a, b = weights(a), weights(b)
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a
    )


# The model ----------------------------------------------------------------------------------------


@given(models(depth=3))
@settings(max_examples=30)
def test_any_model_is_built_with_its_weights(model: snn.Module) -> None:
    """`models` draws layers in the order of their places only within containers, so build anew first."""
    seed = default_generator.initial_seed()
    model = execute(snn.to_python(model, seed=seed))["model"]
    for write in WRITERS.values():
        text = write(model, seed=seed)
        built = execute(text)["model"]
        assert same_bits(built, model)
        assert "It starts from the weights that the model had" in text
    assert repr(built) == repr(reference.twin(model))


def test_the_seed_is_the_last_one_set() -> None:
    snn.manual_seed(-5)
    model = snn.Sequential(snn.Linear(2, 3), snn.Tanh(), snn.Linear(3, 1))
    state = default_generator.get_state()
    text = snn.to_python(model)
    assert np.array_equal(default_generator.get_state(), state)
    assert f"snn.manual_seed({2**64 - 5})" in text
    assert same_bits(execute(text)["model"], model)
    other = snn.to_python(model, seed=3)
    assert "The model had other weights when this was written" in other
    assert not same_bits(execute(other)["model"], model)


def test_the_text_reads_as_a_person_would_write_it() -> None:
    snn.manual_seed(7)
    model = snn.Sequential(snn.Linear(2, 10), snn.ReLU(), snn.Linear(10, 1), snn.Sigmoid())
    optimizer = snn.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = snn.DataLoader(snn.TensorDataset(np.zeros((8, 2)), np.zeros((8, 1))), batch_size=4, shuffle=True)
    assert snn.to_torch(model, snn.BCELoss(), optimizer, loader, 100, data_file="circles.npz") == (
        '"""A model and its training in PyTorch, written by scratchnn 0.1.0.\n'
        "\n"
        "It starts from the weights that the model had when this was written, bit for bit.\n"
        '"""\n'
        "\n"
        "import numpy as np\n"
        "import torch\n"
        "\n"
        "torch.manual_seed(7)\n"
        "model = torch.nn.Sequential(\n"
        "    torch.nn.Linear(2, 10),\n"
        "    torch.nn.ReLU(),\n"
        "    torch.nn.Linear(10, 1),\n"
        "    torch.nn.Sigmoid(),\n"
        ")\n"
        "loss_fn = torch.nn.BCELoss()\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n"
        "\n"
        'arrays = np.load("circles.npz")\n'
        'X = torch.from_numpy(arrays["X"].astype(np.float32))  # (8, 2)\n'
        'y = torch.from_numpy(arrays["y"].astype(np.float32))  # (8, 1)\n'
        "loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), "
        "batch_size=4, shuffle=True)\n"
        "for epoch in range(100):\n"
        "    for x, target in loader:\n"
        "        optimizer.zero_grad()\n"
        "        loss = loss_fn(model(x), target)\n"
        "        loss.backward()\n"
        "        optimizer.step()\n"
    )


# Whole programs -----------------------------------------------------------------------------------


RUN = "\nimport numpy, sys\nstate = {k: v if isinstance(v, numpy.ndarray) else v.detach().numpy()"
RUN += " for k, v in model.state_dict().items()}\nnumpy.savez(sys.argv[1], **state)\n"


def in_a_new_process(text: str, folder: Path) -> dict[str, np.ndarray]:
    (folder / "program.py").write_text(text + RUN)
    command = [sys.executable, "-W", "error", "program.py", "out.npz"]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with np.load(folder / "out.npz") as out:
        return dict(out)


@pytest.mark.parametrize("library", WRITERS)
def test_a_program_in_a_new_process(library: str, tmp_path: Path) -> None:
    """After 600 steps ours bit for bit, PyTorch's within the table of trajectories."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((48, 2))
    y = (np.hypot(*X.T) < 1).astype(np.float64)[:, None]
    np.savez(tmp_path / "data.npz", X=X, y=y)
    snn.manual_seed(11)
    model = snn.MLP(2, [10], 1, "tanh", "sigmoid", dtype=np.float64)
    loss_fn, optimizer = snn.BCELoss(), snn.SGD(model.parameters(), lr=0.1)
    loader = snn.DataLoader(snn.TensorDataset(X, y), batch_size=16, shuffle=True)
    text = WRITERS[library](model, loss_fn, optimizer, loader, 200)
    text = text.replace("epochs=200)", 'epochs=200, engine="numpy")')  # nothing to compile in a new process
    assert ("scratchnn" in text.partition('"""\n')[2]) == (library == "scratchnn")
    snn.fit(model, loss_fn, optimizer, loader, 200, engine="numpy", progress=False)
    trained = in_a_new_process(text, tmp_path)
    largest = max(1.0, *(np.abs(value).max() for value in weights(model).values()))
    for name, value in weights(model).items():
        difference = np.abs(trained[name] - value).max()
        assert difference <= (0.0 if library == "scratchnn" else 1e-12 * largest), name


@pytest.fixture
def plain_engine() -> Iterator[None]:
    """`fit`, in the texts too, does not compile what it trains for a few steps only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snn, "fit", functools.partial(snn.fit, engine="numpy", progress=False))
        yield


@pytest.mark.usefixtures("plain_engine")
@given(programs())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_training_gives_the_same_weights(program: Program) -> None:
    """Ours as `fit`'s, PyTorch's as that of `reference.fit`, which copied its start: every bit."""
    names = program.run()
    model, loss_fn, optimizer, loader = (names[k] for k in ("model", "loss_fn", "optimizer", "loader"))
    epochs = min(program.epochs, 5)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "data.npz")
        np.savez(file, X=names["X"], y=names["y"])
        call = (model, loss_fn, optimizer, loader, epochs)
        texts = [write(*call, data_file=file) for write in WRITERS.values()]
        theirs = reference.fit(*call).model
        assert "It starts from the weights that the model had" in texts[0]
        try:
            snn.fit(*call)
        except snn.DivergenceError:
            with pytest.raises(snn.DivergenceError):
                execute(texts[0])
        else:
            assert same_bits(execute(texts[0])["model"], model)
        assert same_bits(execute(texts[1])["model"], theirs)


def trained_here_and_there(
    make: Any, data: Any, arrays: tuple[Any, Any], epochs: int, tmp_path: Path
) -> tuple[snn.Module, str]:
    """Train a program of ours, and both texts of it; all must agree."""
    np.savez(tmp_path / "data.npz", X=arrays[0], y=arrays[1])
    snn.manual_seed(4)
    model, loss_fn, optimizer = make()
    call = (model, loss_fn, optimizer, data, epochs)
    texts = [write(*call, data_file=str(tmp_path / "data.npz")) for write in WRITERS.values()]
    theirs = reference.fit(*call).model
    snn.fit(*call)
    assert same_bits(execute(texts[0])["model"], model)
    assert same_bits(execute(texts[1])["model"], theirs)
    return model, texts[1]


X = np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32)
CLASSES = np.arange(20) % 3


def in_groups() -> tuple[Any, ...]:
    model = snn.Sequential(snn.Linear(3, 4), snn.Dropout(0.5), snn.Linear(4, 3))
    groups = [{"params": list(model[2].parameters()), "lr": 0.05}, {"params": [model[0].weight]}]
    loss_fn = snn.CrossEntropyLoss(weight=[1.0, 0.1, 2.0], label_smoothing=0.1, ignore_index=1)
    return model, loss_fn, snn.AdamW(groups, lr=0.01, betas=(0.8, 0.9), amsgrad=True)


@pytest.mark.usefixtures("plain_engine")
def test_groups_weights_masks_and_a_pair(tmp_path: Path) -> None:
    _, text = trained_here_and_there(in_groups, (X, CLASSES), (X, CLASSES), 4, tmp_path)
    assert 'dict(params=[parameters["0.weight"]], lr=0.01, betas=(0.8, 0.9), amsgrad=True)' in text
    assert "for x, target in [(X, y)]:" in text


def simple() -> tuple[Any, ...]:
    model = snn.Sequential(snn.Linear(3, 3))
    return model, snn.MSELoss("sum"), snn.SGD(model.parameters(), lr=0.001)


@pytest.mark.usefixtures("plain_engine")
@pytest.mark.parametrize("own", [True, False])
def test_a_loader_with_a_generator(own: bool, tmp_path: Path) -> None:
    generator = snn.Generator().manual_seed(9) if own else default_generator
    data = snn.DataLoader(
        snn.TensorDataset(X, X), batch_size=6, shuffle=True, drop_last=True, generator=generator
    )
    _, text = trained_here_and_there(simple, data, (X, X), 3, tmp_path)
    source = "torch.Generator().manual_seed(9)" if own else "torch.default_generator"
    assert f"batch_size=6, shuffle=True, drop_last=True, generator={source})" in text


@pytest.mark.usefixtures("plain_engine")
def test_rows_of_a_subset(tmp_path: Path) -> None:
    data = snn.DataLoader(snn.Subset(snn.TensorDataset(X, X), [3, 1, 2]), batch_size=2)
    trained_here_and_there(simple, data, (X[[3, 1, 2]], X[[3, 1, 2]]), 3, tmp_path)


def test_losses_keep_their_arguments() -> None:
    model = snn.Linear(2, 2, dtype=np.float64)
    for loss_fn in (
        snn.BCEWithLogitsLoss(weight=np.array([[0.1], [2.0]]), pos_weight=[3.0, np.inf]),
        snn.BCELoss(reduction="sum"),
        snn.NLLLoss([0.25, 1.0], ignore_index=0),
        snn.CrossEntropyLoss(label_smoothing=0.5),
    ):
        ours = execute(snn.to_python(model, loss_fn))["loss_fn"]
        theirs = execute(snn.to_torch(model, loss_fn))["loss_fn"]
        for name in ("weight", "pos_weight", "ignore_index", "label_smoothing", "reduction"):
            wanted = getattr(loss_fn, name, None)
            for got in (getattr(ours, name, None), getattr(theirs, name, None)):
                np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


class Own(snn.Linear):
    pass


class OwnLoss(snn.MSELoss):
    pass


class OwnSGD(snn.SGD):
    pass


def test_what_has_no_text_is_refused() -> None:
    model = snn.Sequential(snn.Linear(2, 1))
    loss_fn, optimizer, pair = (
        snn.MSELoss(),
        snn.SGD(model.parameters()),
        (np.zeros((4, 2)), np.zeros((4, 1))),
    )
    scheduled = snn.SGD(model.parameters())
    scheduled.param_groups[0]["initial_lr"] = 0.1
    refused: list[tuple[tuple[Any, ...], type[Exception], str]] = [
        ((snn.Sequential(Own(2, 2)),), TypeError, "test_source.Own at '0'"),
        ((model, OwnLoss()), TypeError, "no text for OwnLoss"),
        ((model, loss_fn, OwnSGD(model.parameters())), TypeError, "no text for OwnSGD"),
        ((model, loss_fn, scheduled), ValueError, "learning-rate schedule"),
        ((snn.Linear(2, 1), loss_fn, optimizer), ValueError, "not the model's"),
        ((model, loss_fn, optimizer, pair), TypeError, "needs loss_fn, optimizer and epochs"),
        ((model, loss_fn, optimizer, [pair, pair, pair], 1), TypeError, "got a list as data"),
        ((model, loss_fn, optimizer, (pair, pair), 1), TypeError, "got a tuple as data"),
        ((model, loss_fn, optimizer, snn.DataLoader(pair[0]), 1), TypeError, "not two arrays"),
        ((model, snn.MSELoss("none"), optimizer, pair, 1), ValueError, "no single number"),
    ]
    for library, write in (("to_python", snn.to_python), ("to_torch", snn.to_torch)):
        for arguments, error, message in refused:
            with pytest.raises(error, match=message) as caught:
                write(*arguments)
            assert re.match(rf"{library} |fit ", str(caught.value))


def test_names_cannot_break_out_of_the_text() -> None:
    model = snn.Sequential({'"), print("out': snn.ReLU(), "é\n'\\": snn.Linear(1, 1), "\u202e": snn.Tanh()})
    for write in WRITERS.values():
        built = execute(write(model, data_file='"\n'))["model"]
        assert [name for name, _ in built.named_children()] == [name for name, _ in model.named_children()]
    assert isinstance(built, torch.nn.Sequential)
