"""A ratchet on errors: of the refused hostile calls at most 2 % may be refused raw, and none may crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sweep
import sweep_subjects

MOST_RAW = 0.02
SAMPLE = 1000  # calls; `python tests/sweep.py` makes them all


@pytest.fixture(scope="module")
def found() -> list[sweep.Call]:
    calls = sweep.sweep(sample=SAMPLE)
    assert len(calls) == SAMPLE
    return calls


def test_refusals_are_in_words(found: list[sweep.Call]) -> None:
    refused = [call for call in found if call.outcome != "accepted"]
    raw = [call for call in refused if call.outcome == "raw"]
    assert len(refused) > SAMPLE / 2
    assert len(raw) <= MOST_RAW * len(refused), sweep.report(found)


def test_nothing_crashes_or_runs_without_an_end(found: list[sweep.Call]) -> None:
    worst = [call for call in found if "took more than" in call.error or "interpreter ended" in call.error]
    assert not worst


def test_what_is_accepted_has_a_reason(found: list[sweep.Call]) -> None:
    assert [(c.subject, c.argument, c.value) for c in sweep.unjustified(found)] == []


@pytest.mark.filterwarnings("ignore")
def test_every_public_name_has_valid_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The calls whose values are spoilt one at a time must pass as they are; pictures and compiling are slow.
    monkeypatch.chdir(tmp_path)
    slow = ("plots.", "fit_", "diagnose", "gradcheck", "Recording", "Trace", "trace")
    for subject in sweep_subjects.subjects():
        assert all(isinstance(name, str) for name in subject.arguments)
        if not subject.name.startswith(slow):
            subject.call()


def judged(call: Any, *names: str) -> str:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any error is judged
        call()
    return sweep._judge(caught.value, names)[0]


def test_the_sweep_tells_raw_from_worded() -> None:
    import scratchnn as snn

    assert judged(lambda: snn.Dropout("x"), "Dropout", "p") == "refused"
    # NumPy's words, Python's words, and words that name neither the object nor the argument.
    assert judged(lambda: np.ones(2) @ np.ones(3), "linear", "x") == "raw"
    assert judged(lambda: [][1], "Subset", "index") == "raw"
    assert judged(lambda: snn.Dropout("x"), "Linear", "bias") == "raw"


def test_a_crash_is_counted_and_the_sweep_goes_on(tmp_path: Path) -> None:
    program = (
        "import os, sweep, sweep_subjects\n"
        "from sweep_subjects import Subject\n"
        "def die(x): os._exit(3) if isinstance(x, int) and x == -1 else x\n"
        "sweep_subjects.subjects = lambda: [Subject('die', ('die',), die, None)]\n"
        "sweep_subjects.GIVEN['.x'] = lambda: 1\n"
        "sweep.main()\n"
    )
    script = tmp_path / "sweep_that_dies.py"
    script.write_text(program.replace("sweep.main()", "sweep.__file__ = __file__\nsweep.main()"))
    path = os.pathsep.join([str(sweep.ROOT / "tests"), str(sweep.ROOT)])
    ran = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 of them raw" in ran.stdout, ran.stdout + ran.stderr
    assert "the interpreter ended" in ran.stdout
