"""compare_runs names the first difference and its cause, one program for each cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded import X, Y, adam, plain, program, sgd

import reference
import scratchnn as snn
from scratchnn import compare_runs
from scratchnn.recording.compare import _differences

ENGINES = ("numpy", "numba")
both = pytest.mark.parametrize("engine", ENGINES)


def recorded(engine: str, **options: Any) -> snn.Recording:
    recording = snn.Recording(every=options.pop("every", 1))
    program(engine, recording, **options)
    return recording


@both
def test_identical_runs(engine: str) -> None:
    report = compare_runs(recorded(engine, dropout=0.3), recorded(engine, dropout=0.3))
    assert report
    assert report.identical
    assert report.cause == ""
    assert report.parting is None
    assert str(report).startswith("identical     26 steps that both have, up to step 25")


@both
def test_one_that_goes_on_for_longer_is_identical_as_far_as_both_go(engine: str) -> None:
    report = compare_runs(recorded(engine, epochs=2), recorded(engine))
    assert report
    assert "One run goes on after step 10, to step 25." in str(report)


@both
def test_initial_weights(engine: str) -> None:
    a, b = recorded(engine), recorded(engine, seed=4)
    report = compare_runs(a, b)
    assert not report
    assert report.cause == "initial weights"
    assert "part: initial weights" in report._repr_html_()
    assert report.parting is not None
    assert report.parting.step == 0
    assert report.parting.tensor == "0.weight"
    index = report.parting.index
    assert report.parting.first == a.parameters(0)["0.weight"][index]
    assert report.parting.second == b.parameters(0)["0.weight"][index]
    assert any("batches are not the same" in text for text in report.also)


@both
def test_batches(engine: str) -> None:
    a, b = recorded(engine, own=1), recorded(engine, own=2)
    report = compare_runs(a, b)
    assert report.cause == "batches"
    assert report.parting is not None
    assert (report.parting.step, report.parting.tensor) == (1, "loss")
    assert f"rows [{', '.join(map(str, a.rows(1)[:4]))}, ...]" in report.why
    assert not report.also
    report = compare_runs(a, recorded(engine, own=1, batch_size=16))
    assert report.cause == "batches"
    assert "32 and 16 rows" in report.why


@both
def test_batches_that_part_late(engine: str) -> None:
    """A callback draws from the default generator after the second epoch."""

    def disturb(state: snn.FitState) -> None:
        if state.epoch == 2:
            snn.rand(1)

    report = compare_runs(recorded(engine), recorded(engine, callbacks=[disturb]))
    assert report.cause == "batches"
    assert report.parting is not None
    assert report.parting.step == 11


@both
@pytest.mark.parametrize("every", [1, 4])
def test_data(engine: str, every: int) -> None:
    changed = X.copy()
    a = recorded(engine, every=every)
    changed[a.rows(9)[5]] += 1
    step = next(k for k in range(1, 26) if a.rows(9)[5] in a.rows(k))
    report = compare_runs(a, recorded(engine, data=(changed, Y), every=every))
    assert report.cause == "data"
    assert report.parting is not None
    assert report.parting.step == step
    assert "130 rows in both" in report.why
    shorter = compare_runs(a, recorded(engine, data=(X[:100], Y[:100]), every=every))
    assert shorter.cause == "data"
    assert "130 and 100 rows" in shorter.why


@both
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": lambda p: snn.SGD(p, lr=0.2)}, "lr is 0.1 and 0.2 at step 1"),
        ({"optimizer": sgd}, "momentum is 0 and 0.9 at step 1"),
        ({"optimizer": adam}, "optimizer is SGD and Adam"),
        ({"loss_fn": snn.BCEWithLogitsLoss(pos_weight=2.0)}, "pos_weight=2"),
        ({"loss_fn": snn.MSELoss()}, "loss is BCEWithLogitsLoss(reduction=mean) and MSELoss(reduction=mean)"),
        ({"clip_grad_norm": 0.01}, "clip_grad_norm is inf and 0.01"),
        ({"dropout": 0.5}, "the model has (2): Dropout(p=0.0) and (2): Dropout(p=0.5)"),
    ],
    ids=["lr", "momentum", "optimizer", "loss", "another loss", "clipping", "model"],
)
def test_settings(engine: str, options: Any, said: str) -> None:
    report = compare_runs(recorded(engine), recorded(engine, **options))
    assert report.cause == "settings"
    assert said in report.why
    assert report.parting is not None
    assert report.parting.step == 1


@both
def test_a_schedule_shows_at_the_step_at_which_it_changes_the_rate(engine: str) -> None:
    report = compare_runs(recorded(engine), recorded(engine, scheduler=lambda o: snn.StepLR(o, 2, gamma=0.5)))
    assert report.cause == "settings"
    assert report.why == "The runs were told different things: lr is 0.1 and 0.05 at step 11."


@both
def test_schedules_of_runs_read_from_files(engine: str, tmp_path: Path) -> None:
    """Nobody can step a schedule that was read: what it was told is compared."""

    def read(name: str, gamma: float) -> snn.Recording:
        program(
            engine, snn.Recording(path=tmp_path / name), scheduler=lambda o: snn.StepLR(o, 2, gamma=gamma)
        )
        return snn.Recording.load(tmp_path / name)

    a, b = read("a.rec", 0.5), read("b.rec", 0.25)
    assert compare_runs(a, a)
    report = compare_runs(a, b)
    assert report.cause == "settings"
    assert "the schedules are StepLR and StepLR, with what each was told" in report.why
    assert report.parting is not None
    assert report.parting.step == 11


@both
def test_random_numbers(engine: str) -> None:
    """The same rows, from a loader's own generator; other masks, from the default one."""

    def disturb(state: snn.FitState) -> None:
        snn.rand(1)

    a, b = (recorded(engine, own=1, dropout=0.3, callbacks=c) for c in ([], [disturb]))
    report = compare_runs(a, b)
    assert report.cause == "random numbers"
    assert report.parting is not None
    assert report.parting.step == 6


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"optimizer": adam}, {"own": 5}])
def test_arithmetic_of_two_engines(options: Any) -> None:
    report = compare_runs(recorded("numpy", **options), recorded("numba", **options))
    assert report.cause == "arithmetic"
    assert "numpy and numba add and round in orders of their own" in report.why
    assert report.parting is not None
    assert report.parting.step <= 3
    assert report.parting.units < 8
    assert report.end is not None
    assert report.end.step == 25
    assert not report.also


def test_what_is_computed_first_is_named_first() -> None:
    """Gradients come from the last layer back; what they move comes after them."""
    a, b = recorded("numpy", optimizer=sgd), recorded("numpy", optimizer=sgd, clip_grad_value=1e-3)
    tensors = [parting.tensor for parting in _differences(a, b, 1)]
    names = ["0.weight", "0.bias", "3.weight", "3.bias"]
    expected = [f"dL/d({name})" for name in reversed(names)]
    expected += [f"momentum_buffer of {name}" for name in names] + names
    assert tensors == [name for name in expected if name in tensors]
    assert tensors[0] == "dL/d(3.bias)"
    assert len(tensors) > 6


def test_arithmetic_of_two_dtypes() -> None:
    report = compare_runs(recorded("numpy"), recorded("numpy", dtype=np.float64))
    assert report.cause == "initial weights"
    assert "of other dtypes" in report.why


@both
def test_a_callback_that_changes_the_model_is_arithmetic_that_is_not_recorded(engine: str) -> None:
    def touch(state: snn.FitState) -> None:
        if state.epoch == 3:
            next(iter(state.model.parameters())).data[0, 0] += 1e-3

    report = compare_runs(recorded(engine), recorded(engine, callbacks=[touch]))
    assert report.cause == "arithmetic"
    assert "such as a callback that changes the model" in report.why
    assert report.parting is not None
    assert report.parting.step == 16


@both
def test_beside_pytorch(engine: str) -> None:
    ours, theirs = recorded(engine, optimizer=adam), snn.Recording()
    snn.manual_seed(3)
    model = snn.Sequential(snn.Linear(3, 8), snn.Tanh(), snn.Dropout(0.0), snn.Linear(8, 1))
    loader = snn.DataLoader(snn.TensorDataset(X, Y), batch_size=32, shuffle=True)
    optimizer = adam(model.parameters())
    run = reference.fit(model, snn.BCEWithLogitsLoss(), optimizer, loader, 5, recording=theirs)
    np.testing.assert_array_equal(theirs.losses, run.step_losses)
    for name, value in run.parameters[25].items():
        np.testing.assert_array_equal(theirs.parameters(25)[name], value)
        np.testing.assert_array_equal(theirs.at(25).state_dict()[name], value)
    assert set(theirs.moments(25)["0.weight"]) == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
    report = compare_runs(ours, theirs)
    assert report.cause == "arithmetic"
    assert f"{engine} and torch" in report.why
    assert not report.also
    with pytest.raises(ValueError, match="made by PyTorch"):
        theirs.fork(3)
    with pytest.raises(TypeError, match="got a list as recording"):
        reference.fit(model, snn.BCEWithLogitsLoss(), optimizer, loader, 5, recording=[theirs])  # type: ignore[arg-type]
    other = snn.Recording()
    snn.manual_seed(4)
    reference.fit(model, snn.BCEWithLogitsLoss(), optimizer, loader, 5, recording=other)
    assert compare_runs(theirs, other).cause == "batches"


@both
def test_a_fork_beside_its_run(engine: str) -> None:
    recording = recorded(engine, optimizer=sgd)
    assert compare_runs(recording, recording.fork(7))
    report = compare_runs(recording, recording.fork(7, lr=0.3))
    assert report.cause == "settings"
    assert report.parting is not None
    assert report.parting.step == 8
    assert report.why == "The runs were told different things: lr is 0.1 and 0.3 at step 8."
    report = compare_runs(recording, recording.fork(7, optimizer=snn.Adam))
    assert report.cause == "settings"
    assert "optimizer is SGD and Adam" in report.why
    assert str(report.parting) == "momentum_buffer of 0.weight at step 7, which only one run has"


def test_bad_input() -> None:
    a = recorded("numpy")
    with pytest.raises(TypeError, match="got a Sequential; it needs two recordings"):
        compare_runs(a, a.at(0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Recording is empty"):
        compare_runs(a, snn.Recording())
    model = snn.Linear(3, 1)
    other = snn.Recording()
    snn.fit(model, snn.MSELoss(), plain(model.parameters()), (X, Y), 3, callbacks=[other], progress=False)
    with pytest.raises(ValueError, match=r"different models: 0\.weight is .* in one, missing in the other"):
        compare_runs(a, other)
    late = recorded("numpy", every=4).fork(24)
    with pytest.raises(ValueError, match=r"without a step in common: one keeps 0 to 10"):
        compare_runs(recorded("numpy", epochs=2), late)
