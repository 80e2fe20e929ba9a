"""The verdict: right only where something was checked and nothing was left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.cli import main
from scratchnn.gradcheck import GradcheckError, GradcheckReport, TensorCheck
from scratchnn.gradcheck.report import UNCHECKED

RIGHT = TensorCheck("x", (5, 3), "pass", 15, 15)
KINK = TensorCheck("b", (3,), "kink", 3, 3, kinks=1)
WRONG = TensorCheck("W", (3, 2), "FAIL", 6, 6)
LEFT = TensorCheck("V", (2, 2), UNCHECKED, 0, 4, note="no gradient found")


def report(*rows: TensorCheck, **more: list[str]) -> GradcheckReport:
    return GradcheckReport("Net", "complex", "", list(rows), 1e-13, **more)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ((RIGHT, KINK), "PASS"),
        ((RIGHT, LEFT), "not checked"),
        ((RIGHT, LEFT, WRONG), "FAIL"),
        ((LEFT,), "not checked"),
        ((), "nothing to check"),
        ((TensorCheck("x", (0, 3), "pass", 0, 0),), "nothing to check"),
    ],
)
def test_only_pass_is_true(rows: tuple[TensorCheck, ...], verdict: str) -> None:
    found = report(*rows)
    assert found.verdict == verdict
    assert bool(found) is found.passed is (verdict == "PASS")
    assert str(found).splitlines()[0].startswith(f"gradcheck of Net: {verdict.upper()}, ")
    assert f"{verdict.upper()}:" in found._repr_html_()


def test_what_was_not_checked_is_named() -> None:
    found = report(RIGHT, LEFT)
    text = str(found)
    assert "1 of 2 tensors right, 1 not checked" in text
    assert "Not checked: V. The verdict says nothing about these gradients." in text
    assert "Not checked: V." in found._repr_html_()
    assert "no gradient found" in text
    assert found["V"].status == "not checked"


def test_constants_are_listed_and_the_verdict_is_right() -> None:
    found = report(RIGHT, constants=["mean", "std"])
    assert found
    assert "Taken as constants: mean, std." in str(found)
    assert "Taken as constants: mean, std." in found._repr_html_()


@pytest.mark.parametrize("method", ["auto", "complex", "central", "directional"])
def test_no_rows_are_nothing_to_check(method: str) -> None:
    found = snn.gradcheck(snn.Linear(3, 2), np.zeros((0, 3)), method=method)
    assert not found
    assert found.verdict == "nothing to check"
    assert "Nothing to check" in str(found)
    assert not snn.diagnose(snn.Linear(3, 2), np.zeros((0, 3)))
    with pytest.raises(GradcheckError, match="NOTHING TO CHECK"):
        snn.gradcheck(snn.Linear(3, 2), np.zeros((0, 3)), method=method, raise_on_fail=True)


def test_a_diagnosis_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("def op(x):\n    return 2 * x\ndef op_vjp(dy):\n    return 2 * dy\n")
    with pytest.raises(SystemExit) as stop:
        main(["check", f"{tmp_path / 'mine.py'}:op", "--input", "0x3"])
    assert stop.value.code == 3
    assert "Diagnosis: nothing to check." in capsys.readouterr().out
