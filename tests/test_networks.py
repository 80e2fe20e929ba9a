"""Whole networks, drawn by Hypothesis: the loss, every gradient and 50 steps of training are PyTorch's.

The tolerances are the project's table (reference/tolerances.py). A run that leaves it is judged against
PyTorch's own spread, when every initial weight moves by one unit of rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, reject, settings
from hypothesis import strategies as st
from programs import Program, programs

import reference
import scratchnn as snn
from scratchnn.train import DivergenceError

ENGINES = ["numpy", "numba"]

# Drawn networks end in any layer before any loss, and may have one class.
pytestmark = pytest.mark.filterwarnings("ignore:(BCEWithLogits|CrossEntropy)Loss got:UserWarning")


def refused(error: Exception) -> bool:
    return type(error).__name__ == "LoweringError"


@settings(max_examples=50)
@given(program=programs())
def test_loss_and_every_gradient_are_torchs(program: Program) -> None:
    made = program.run()
    report = reference.compare(made["model"], made["loss_fn"], made["X"], made["y"])
    assert report, f"{report}\n{program!r}"


@settings(max_examples=25)
@given(program=programs())
def test_every_gradient_is_the_derivative(program: Program) -> None:
    """No PyTorch here: the complex step of our own forward, in random directions."""
    made = program.run()
    report = snn.gradcheck(
        made["model"], made["X"], loss_fn=made["loss_fn"], target=made["y"], method="directional"
    )
    assert report, f"{report}\n{program!r}"


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=35)
@given(program=programs())
def test_fifty_steps_are_torchs(engine: str, program: Program) -> None:
    made = program.run()
    try:
        report = reference.compare_training(
            made["model"],
            made["loss_fn"],
            made["optimizer"],
            made["loader"],
            program.epochs,
            engine=engine,
            progress=False,
            checkpoints=(),
        )
    except DivergenceError:
        reject()
    except ValueError as error:
        if engine == "numba" and refused(error):
            event("not compiled")
            reject()
        raise
    if not report and exploded(report.run.step_losses):
        event("exploded in PyTorch too")
        reject()
    assert report, f"{report}\n{program!r}"


def exploded(losses: Any) -> bool:
    """PyTorch's own loss grew tenfold: each step multiplies the rounding of the one before."""
    return bool(losses.max() > 10 * max(1.0, losses[0]))


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=15)
@given(program=programs(), data=st.data())
def test_a_run_in_two_parts_is_the_run(engine: str, program: Program, data: Any) -> None:
    """Stopping between epochs and going on gives the same bits."""
    whole, parts = program.run(), program.run()
    first = data.draw(st.integers(0, program.epochs))
    try:
        for made, spans in ((whole, [program.epochs]), (parts, [first, program.epochs - first])):
            snn.manual_seed(1)
            for epochs in spans:
                snn.fit(
                    made["model"],
                    made["loss_fn"],
                    made["optimizer"],
                    made["loader"],
                    epochs,
                    engine=engine,
                    progress=False,
                )
    except DivergenceError:
        reject()
    except ValueError as error:
        if engine == "numba" and refused(error):
            reject()
        raise
    for p, q in zip(whole["model"].parameters(), parts["model"].parameters(), strict=True):
        assert np.array_equal(p.data, q.data), repr(program)
