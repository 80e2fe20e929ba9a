"""scratchnn check FILE.py:NAME."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scratchnn.check_command import CheckError, check
from scratchnn.cli import main

FILE = """
import numpy as np
import scratchnn as snn
import helper


class Right(snn.Module):
    def __init__(self, features=3):
        self.weight = snn.Parameter(helper.START * np.ones((features, 2)))

    def forward(self, x):
        self.x = x
        self.y = np.tanh(x @ self.weight.data)
        return self.y

    def backward(self, dy):
        dz = dy * (1 - self.y**2)
        self.weight.accumulate(self.x.T @ dz)
        return dz @ self.weight.data.T


class Wrong(Right):
    def backward(self, dy):
        self.weight.accumulate(self.x.T @ dy)
        return dy @ self.weight.data.T


class Needs(Right):
    def __init__(self, features):
        super().__init__(features)


class Broken(Right):
    def backward(self, dy):
        raise RuntimeError("not yet")


class Sum(snn.MSELoss):
    def backward(self, dloss=1):
        return super().backward(dloss) * self._saved[0].size


def cube(x):
    return x**3


def cube_vjp(dy, x):
    return dy * 3 * x**2


def outer(a, b):
    return a * b


def outer_vjp(dy, a, b):
    return dy * b, -dy * a


class Plain:
    def __init__(self):
        self.W = np.ones((7, 2)) / 3
        self.b = np.zeros(2)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy):
        self.dW = self.x.T @ dy
        self.db = dy.sum(axis=1)
        return dy @ self.W.T


class Unchecked(Plain):
    def __init__(self):
        super().__init__()
        self.scale = np.ones(2)

    def forward(self, x):
        return super().forward(x) * self.scale

    def backward(self, dy):
        dx = super().backward(dy * self.scale)
        self.db = (dy * self.scale).sum(axis=0)
        return dx


class Columns:
    def __init__(self):
        self.params, self.grads = {"W": np.arange(6.0).reshape(2, 3)}, {}

    def forward(self, X):
        self.X = X
        return self.params["W"] @ X

    def backward(self, dY):
        self.grads["W"] = dY @ self.X.T
        return self.params["W"].T @ dY


class Zero(Columns):
    def backward(self, dY):
        self.grads["W"] = 0 * self.params["W"]
        return self.params["W"].T @ dY


class Embedding:
    def __init__(self):
        self.table = np.ones((4, 3)) / 3

    def forward(self, index):
        self.index = index
        return self.table[index]

    def backward(self, dy):
        self.dtable = np.zeros((4, 3))
        np.add.at(self.dtable, self.index, dy)


class Distance:
    def forward(self, p, t):
        self.difference = p - t
        return (self.difference**2).mean()

    def backward(self):
        return 2 * self.difference / self.difference.size


def unchecked():
    return Unchecked(), np.ones((4, 7)) / 3


def constant():
    return {"subject": Unchecked(), "inputs": np.ones((4, 7)) / 3, "constants": ["scale"]}


def lonely(x):
    return x


def case():
    return Right(4), np.ones((3, 4)) / 3


def with_loss():
    return {"subject": Right(4), "inputs": np.ones((6, 4)), "loss_fn": Sum(), "target": np.zeros((6, 2))}


def both():
    return cube, lambda dy, x: dy * 3 * x


def odd():
    return {"model": Right()}


right = Right(5)
pair = (cube, cube_vjp)
plain_loss = snn.CrossEntropyLoss()
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "helper.py").write_text("START = 0.5\n")
    return str(tmp_path / "mine.py")


def run(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["check", *arguments])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


@pytest.mark.parametrize(
    "name",
    [
        "Right",
        "right",
        "cube",
        "cube_vjp",
        "pair",
        "case",
        "plain_loss",
        "Columns",
        "Embedding",
        "Distance",
        "constant",
    ],
)
def test_right_ones_end_with_0(file: str, capsys: Any, name: str) -> None:
    code, out, err = run(capsys, f"{file}:{name}")
    assert code == 0, out + err
    assert "Diagnosis: the gradient is right." in out
    assert "PASS" in out
    assert not err


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["Wrong"], "derivative-forgotten"),
        (["Plain"], "bias-wrong-axis"),
        (["outer"], "sign-flipped"),
        (["outer", "--input", "2x3", "--input", "2x3"], "sign-flipped"),
        (["Sum"], "sum-for-mean"),
        (["with_loss"], "sum-for-mean"),
        (["Right", "--loss", "Sum"], "sum-for-mean"),
        (["Wrong", "--loss", "MSELoss", "--method", "central"], "derivative-forgotten"),
        (["Broken"], "no mistake of the catalogue fits.\n  the backward stopped with RuntimeError: not yet"),
        (["Zero"], "no-gradient"),
        (["both"], "no mistake of the catalogue fits"),
    ],
)
def test_wrong_ones_end_with_1_and_a_name(file: str, capsys: Any, arguments: list[str], mistake: str) -> None:
    code, out, err = run(capsys, f"{file}:{arguments[0]}", *arguments[1:])
    assert code == 1, out + err
    assert f"Diagnosis: {mistake}" in out
    assert not err


@pytest.mark.parametrize("name", ["Unchecked", "unchecked"])
def test_what_was_not_checked_ends_with_3(file: str, capsys: Any, name: str) -> None:
    code, out, err = run(capsys, f"{file}:{name}")
    assert code == 3, out + err
    assert "NOT CHECKED" in out
    assert "Not checked: scale." in out
    assert "Diagnosis: not checked." in out
    assert not err


@pytest.mark.parametrize("loss", ["MSELoss", "L1Loss", "BCEWithLogitsLoss", "CrossEntropyLoss"])
def test_targets_suit_the_loss(file: str, loss: str) -> None:
    assert check(f"{file}:right", loss=loss).passed


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.py:Right"], 2, "there is no file nowhere.py"),
        (["Right"], 2, "write FILE.py:NAME"),
        (["{file}:Nothing"], 2, "it has Right, Wrong"),
        (["{file}:Needs"], 2, "write a function without arguments that returns (Needs(...), x)"),
        (["{file}:lonely"], 2, "there is no lonely_vjp"),
        (["{file}:odd"], 2, 'it needs "subject"'),
        (["{file}:Right", "--input", "5,3"], 2, "write a shape such as 5x3"),
        (["{file}:Right", "--input", "5x9"], 1, "could not be checked: ValueError"),
        (["{file}:Right", "--loss", "NoSuchLoss"], 2, "there is no loss 'NoSuchLoss'"),
        (["{file}:Right", "--method", "magic"], 2, "must be one of auto"),
    ],
)
def test_what_cannot_be_checked_is_said_in_one_line(
    file: str, capsys: Any, arguments: list[str], code: int, words: str
) -> None:
    found, out, err = run(capsys, *[a.replace("{file}", file) for a in arguments])
    assert found == code
    assert words in err
    assert len(err.splitlines()) == 1
    assert not out


def test_a_file_that_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import nothing_of_the_kind\n")
    with pytest.raises(CheckError, match="cannot be imported: ModuleNotFoundError"):
        check(f"{path}:x")


TORCH = """
import torch


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * 2 * x


class Half(Square):
    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * x


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(6, 2)

    def forward(self, x):
        return torch.relu(self.inner(x))
"""


@pytest.mark.parametrize(("name", "right"), [("Square", True), ("Half", False), ("Layer", True)])
def test_pytorchs_functions_and_modules(tmp_path: Path, name: str, right: bool) -> None:
    path = tmp_path / "theirs.py"
    path.write_text(TORCH)
    diagnosis = check(f"{path}:{name}")
    assert diagnosis.passed is right
    if not right:
        assert diagnosis.mistake == "factor-2-dropped"
