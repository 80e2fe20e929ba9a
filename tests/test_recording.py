"""Recordings: what is kept is what the run held, and the run does not notice."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from recorded import KINDS, STEPS, X, Y, adam, assert_equal, held, plain, program, same_steps, sgd

import reference
import scratchnn as snn
from scratchnn.recording.layout import Layout
from scratchnn.studies import circles
from scratchnn.train.numba_engine import NumbaEngine

ENGINES = ("numpy", "numba")
both = pytest.mark.parametrize("engine", ENGINES)
kinds = pytest.mark.parametrize("kind", KINDS)


# ---- what is kept ---------------------------------------------------------------------------------


@both
@kinds
def test_the_run_does_not_notice(engine: str, kind: str) -> None:
    recording = snn.Recording()
    plain_run, recorded = program(engine, **KINDS[kind]), program(engine, recording, **KINDS[kind])
    for ours, theirs in zip(held(*plain_run[:2]), held(*recorded[:2]), strict=True):
        assert str(ours) == str(theirs)
    assert plain_run[2].step_losses.tobytes() == recorded[2].step_losses.tobytes()
    assert plain_run[2].val_loss == recorded[2].val_loss
    assert recorded[2].engine == engine
    assert recording.losses.tobytes() == recorded[2].step_losses.tobytes()
    np.testing.assert_array_equal(recording.steps, np.arange(recorded[2].steps + 1))


@both
@kinds
def test_each_epoch_is_what_a_run_of_so_many_epochs_holds(engine: str, kind: str) -> None:
    recording = snn.Recording()
    steps = program(engine, recording, **KINDS[kind])[2].steps // 5
    for epochs in (1, 2, 5):
        model, optimizer, _ = program(engine, epochs=epochs, **KINDS[kind])
        parameters, gradients, state = held(model, optimizer)
        assert_equal(recording.parameters(epochs * steps), parameters)
        assert_equal(recording.gradients(epochs * steps), gradients)
        moments = recording.moments(epochs * steps)
        assert moments.keys() == state.keys()
        for name, entries in state.items():
            assert_equal(moments[name], entries)


@pytest.mark.parametrize("optimizer", [plain, sgd, adam])
def test_each_step_is_what_the_textbooks_loop_holds(optimizer: Any) -> None:
    recording = snn.Recording()
    program("numpy", recording, epochs=2, optimizer=optimizer)
    snn.manual_seed(3)
    model = snn.Sequential(snn.Linear(3, 8), snn.Tanh(), snn.Dropout(0.0), snn.Linear(8, 1))
    made, loss_fn = optimizer(model.parameters()), snn.BCEWithLogitsLoss()
    loader = snn.DataLoader(snn.TensorDataset(X, Y), batch_size=32, shuffle=True)
    step = 0
    assert_equal(recording.parameters(0), held(model, made)[0])
    assert recording.gradients(0) == {}
    for _ in range(2):
        for x, target in loader:
            made.zero_grad()
            loss = loss_fn(model(x), target)
            model.backward(loss_fn.backward())
            made.step()
            step += 1
            parameters, gradients, state = held(model, made)
            assert_equal(recording.parameters(step), parameters)
            assert_equal(recording.gradients(step), gradients)
            assert recording.moments(step).keys() == state.keys()
            for name, entries in state.items():
                assert_equal(recording.moments(step)[name], entries)
            assert recording.losses[step - 1] == loss


@pytest.mark.parametrize("optimizer", [plain, sgd, adam])
@pytest.mark.parametrize("k", [1, 3, 5, 7, 9])
def test_each_step_is_what_the_compiled_engine_holds_after_so_many(optimizer: Any, k: int) -> None:
    recording = snn.Recording()
    program("numba", recording, epochs=2, optimizer=optimizer)
    snn.manual_seed(3)
    model = snn.Sequential(snn.Linear(3, 8), snn.Tanh(), snn.Dropout(0.0), snn.Linear(8, 1))
    made = optimizer(model.parameters())
    loader = snn.DataLoader(snn.TensorDataset(X, Y), batch_size=32, shuffle=True)
    engine = NumbaEngine(model, snn.BCEWithLogitsLoss(), made, loader, {})
    engine._load()
    order = engine._orders(2)
    engine.engine.advance(0, k, order, np.empty(0), np.zeros(2 * STEPS, np.float32), np.zeros((0, 2)))
    engine.exchange.store()
    parameters, gradients, state = held(model, made)
    assert_equal(recording.parameters(k), parameters)
    assert_equal(recording.gradients(k), gradients)
    assert recording.moments(k).keys() == state.keys()
    for name, entries in state.items():
        assert_equal(recording.moments(k)[name], entries)


@both
def test_every_so_many_and_the_end(engine: str) -> None:
    every_one, some = snn.Recording(), snn.Recording(every=7)
    program(engine, every_one)
    program(engine, some)
    assert some.steps.tolist() == [0, 7, 14, 21, 25]
    for step in some.steps:
        assert_equal(some.parameters(step), every_one.parameters(step))
        assert_equal(some.gradients(step), every_one.gradients(step))


def test_the_compiled_run_stays_in_one_piece() -> None:
    """A recording is no reason to stop after every epoch, or to leave the compiled engine."""
    recording = snn.Recording()
    history = program("auto", recording, epochs=40)[2]
    assert history.engine == "numba"
    assert len(recording._legs[0].places) == 1


def test_recording_every_step_of_the_circles_study_costs_less_than_3_times_the_plain_run() -> None:
    """Processor time of this thread, the best of eight runs each, in turns; the ends are equal."""
    points = circles.data()[::2]
    best, ends = {False: math.inf, True: math.inf}, set()
    for _ in range(8):
        for recorded in (False, True):
            start = circles.start(hidden=10, lr=0.1, batch_size=64, seed=0, dtype="float32", points=points)
            callbacks = [snn.Recording()] if recorded else []
            began = time.thread_time()
            snn.fit(*start, epochs=100, callbacks=callbacks, engine="numba", progress=False)
            best[recorded] = min(best[recorded], time.thread_time() - began)
            ends.add(b"".join(p.data.tobytes() for p in start[0].parameters()))
    assert len(ends) == 1
    assert best[True] < 3 * best[False]


def test_calls_are_cut_where_the_record_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = snn.Recording(), snn.Recording(every=2)
    program("numba", whole, optimizer=adam)
    monkeypatch.setattr("scratchnn.engine.record.BYTES", 3000)
    program("numba", cut, optimizer=adam)
    for step in cut.steps[1:]:
        assert_equal(cut.parameters(step), whole.parameters(step))
        assert_equal(cut.moments(step)["0.weight"], whole.moments(step)["0.weight"])


@both
def test_rows_of_batches_are_those_that_pytorch_draws(engine: str) -> None:
    """PyTorch notes the rows that its own loader asks for; here they are drawn once more."""
    for own in (None, 5):
        recording, theirs = snn.Recording(), snn.Recording()
        program(engine, recording, own=own, epochs=3)
        snn.manual_seed(3)
        model = snn.Sequential(snn.Linear(3, 8), snn.Tanh(), snn.Dropout(0.0), snn.Linear(8, 1))
        loader = snn.DataLoader(
            snn.TensorDataset(X, Y), batch_size=32, shuffle=True,
            generator=None if own is None else snn.Generator().manual_seed(own),
        )  # fmt: skip
        reference.fit(model, snn.BCEWithLogitsLoss(), plain(model.parameters()), loader, 3, recording=theirs)
        for step in range(1, 16):
            np.testing.assert_array_equal(recording.rows(step), theirs.rows(step))
            assert len(recording.rows(step)) == (2 if step % STEPS == 0 else 32)


@both
def test_at_gives_a_model_of_its_own(engine: str) -> None:
    recording = snn.Recording()
    model, _, _ = program(engine, recording, optimizer=adam)
    then = recording.at(7)
    assert_equal({n: p.data for n, p in then.named_parameters()}, recording.parameters(7))
    assert_equal({n: p.grad for n, p in then.named_parameters()}, recording.gradients(7))
    assert all(p.grad is None for p in recording.at(0).parameters())
    then[0].weight.data[...] = 0
    assert recording.parameters(7)["0.weight"].any()
    assert model[0].weight.data.any()
    steps, values = recording.over_time("0.weight")
    np.testing.assert_array_equal(steps, recording.steps)
    np.testing.assert_array_equal(values[7], recording.parameters(7)["0.weight"])
    steps, values = recording.over_time("0.weight", gradient=True)
    np.testing.assert_array_equal(steps, recording.steps[1:])
    np.testing.assert_array_equal(values[6], recording.gradients(7)["0.weight"])


@both
def test_trace_is_that_of_the_model_as_it_was(engine: str) -> None:
    recording = snn.Recording()
    program(engine, recording, optimizer=adam)
    trace = recording.trace(7, X[:4], Y[:4])
    assert_equal(trace.parameters, recording.parameters(7))
    model, loss_fn = recording.at(7), snn.BCEWithLogitsLoss()
    assert trace.loss == float(loss_fn(model(X[:4]), Y[:4]))


@both
def test_groups_and_parameters_that_stay(engine: str) -> None:
    def groups(parameters: Any) -> snn.Optimizer:
        weight, _, last, bias = parameters
        return snn.SGD(
            [{"params": [weight], "momentum": 0.9}, {"params": [last, bias], "weight_decay": 0.1}], 0.1
        )

    recording = snn.Recording()
    model, _, _ = program(engine, recording, optimizer=groups)
    assert set(recording.parameters(7)) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert set(recording.gradients(7)) == {"0.weight", "3.weight", "3.bias"}
    assert set(recording.moments(7)) == {"0.weight"}
    np.testing.assert_array_equal(recording.parameters(7)["0.bias"], model[0].bias.data)
    same_steps(recording, recording.fork(7), 7)


def test_a_module_of_ones_own_that_draws_and_skips_parameters() -> None:
    class Noisy(snn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.unused = snn.Linear(3, 1), snn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.inner(x + 0.1 * snn.rand(*x.shape))

        def backward(self, dy: Any) -> Any:
            return self.inner.backward(dy)

    def run(recording: snn.Recording) -> None:
        snn.manual_seed(1)
        model = Noisy()
        loader = snn.DataLoader(snn.TensorDataset(X, Y), batch_size=32, shuffle=True)
        optimizer = snn.Adam(model.parameters())
        history = snn.fit(model, snn.MSELoss(), optimizer, loader, 3, callbacks=[recording], progress=False)
        assert history.engine == "numpy"

    recording = snn.Recording()
    run(recording)
    assert set(recording.gradients(3)) == {"inner.weight", "inner.bias"}
    assert set(recording.moments(3)) == {"inner.weight", "inner.bias"}
    for step in (0, 2, 5, 8):
        same_steps(recording, recording.fork(step), step)


# ---- fit again, checkpoints, bounds ---------------------------------------------------------------


@both
def test_fit_again_goes_on_counting(engine: str) -> None:
    snn.manual_seed(0)
    model = snn.Sequential(snn.Linear(3, 4), snn.Sigmoid(), snn.Linear(4, 1))
    optimizer = snn.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = snn.DataLoader(snn.TensorDataset(X, Y), batch_size=32, shuffle=True)
    recording, losses = snn.Recording(), []
    for epochs, lr in ((2, 0.1), (1, 0.5)):
        optimizer.param_groups[0]["lr"] = lr
        history = snn.fit(
            model, snn.MSELoss(), optimizer, loader, epochs,
            engine=engine, callbacks=[recording], progress=False,
        )  # fmt: skip
        losses.append(history.step_losses)
    np.testing.assert_array_equal(recording.steps, np.arange(16))
    np.testing.assert_array_equal(recording.losses, np.concatenate(losses))
    assert recording.settings(10)["groups"][0]["lr"] == 0.1
    assert recording.settings(11)["groups"][0]["lr"] == 0.5
    same_steps(recording, recording.fork(12), 12)
    fork = recording.fork(7)
    assert fork.steps[-1] == 10
    assert_equal(fork.parameters(10), recording.parameters(10))
    with pytest.raises(ValueError, match="another model"):
        program(engine, recording)
    assert len(recording) == 16


@both
def test_fit_again_with_another_optimizer(engine: str) -> None:
    """At the seam the state is that of the optimizer which goes on; the gradients are the last step's."""
    recording, model = snn.Recording(), snn.Linear(3, 1)
    for optimizer in (sgd(model.parameters()), snn.SGD(model.parameters(), lr=0.1), adam(model.parameters())):
        snn.fit(
            model, snn.MSELoss(), optimizer, (X, Y), 3, engine=engine, callbacks=[recording], progress=False
        )
    assert set(recording.moments(2)["weight"]) == {"momentum_buffer"}
    assert recording.moments(3) == recording.moments(4) == recording.moments(6) == {}
    assert len(recording.gradients(3)) == len(recording.gradients(6)) == 2
    assert set(recording.moments(7)["weight"]) == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
    for first, last in ((1, 3), (3, 6), (4, 6), (6, 9), (8, 9)):
        fork = recording.fork(first)
        assert fork.steps.tolist() == list(range(first, last + 1))
        for step in range(first, last):
            assert_equal(fork.parameters(step), recording.parameters(step))
            assert str(fork.moments(step)) == str(recording.moments(step))


def test_what_tells_of_a_run_stays_small(tmp_path: Any) -> None:
    """Where the epochs of a run begin is kept beside its steps: it must not outgrow them."""
    path = tmp_path / "run.rec"
    kept = snn.Recording(every=50, path=path)
    program("numpy", kept, epochs=100, dropout=0.3, own=5)
    leg = kept._legs[0]
    assert len(leg.places) == 100
    assert len(leg.bases) == 2
    assert path.stat().st_size < 150_000
    still = snn.Recording(every=50, path=path)
    program("numpy", still, epochs=100, batch_size=None)
    assert len(still._legs[0].places) == 1
    same_steps(still, still.fork(50), 50)
    assert path.stat().st_size < 50_000


@both
def test_with_a_checkpoint_the_recording_begins_where_the_run_goes_on(engine: str, tmp_path: Any) -> None:
    path = tmp_path / "run.safetensors"
    whole, late = snn.Recording(), snn.Recording()
    program(engine, whole, dropout=0.3)
    program(engine, epochs=2, dropout=0.3, checkpoint=path)
    program(engine, late, dropout=0.3, checkpoint=path)
    np.testing.assert_array_equal(late.steps, np.arange(2 * STEPS, 5 * STEPS + 1))
    for step in range(2 * STEPS + 1, 5 * STEPS + 1):
        assert_equal(late.parameters(step), whole.parameters(step))
        assert_equal(late.gradients(step), whole.gradients(step))
    assert np.isnan(late.losses[: 2 * STEPS]).all()
    np.testing.assert_array_equal(late.losses[2 * STEPS :], whole.losses[2 * STEPS :])
    same_steps(late, late.fork(13), 13)


@both
def test_when_it_is_full_it_thins_evenly_and_says_so(engine: str) -> None:
    whole, small = snn.Recording(), snn.Recording(max_bytes=4000)
    program(engine, whole, epochs=20)
    with pytest.warns(RuntimeWarning, match="one step in 16 now"):
        program(engine, small, epochs=20)
    assert small.every == 16
    assert small.steps.tolist() == [0, 16, 32, 48, 64, 80, 96, 100]
    assert small._store.nbytes <= 4000
    for step in small.steps:
        assert_equal(small.parameters(step), whole.parameters(step))
        assert_equal(small.gradients(step), whole.gradients(step))
    same_steps(small, small.fork(32), 32)
    assert small.losses.tobytes() == whole.losses.tobytes()
    whole.max_bytes = 4000
    with pytest.warns(RuntimeWarning, match="Recording was full"):
        late = whole.fork(33)
    assert late.every > 1
    assert late.steps[0] == 33
    assert late.steps[-1] == 100
    assert not (late.steps[1:-1] % late.every).any()


# ---- bad input ------------------------------------------------------------------------------------


def test_bad_input() -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="every"):
            snn.Recording(every=wrong)
    with pytest.raises(TypeError, match="every"):
        snn.Recording(every=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_bytes"):
        snn.Recording(max_bytes=0)
    with pytest.raises(ValueError, match="give at least"):
        program("numpy", snn.Recording(max_bytes=100))
    with pytest.raises(ValueError, match="2 recordings"):
        program("numpy", snn.Recording(), callbacks=[snn.Recording()])
    with pytest.raises(TypeError, match=r"the class Recording.*Recording\(\)"):
        program("numpy", snn.Recording)
    model, data = snn.Linear(3, 1), [(X, Y)]
    with pytest.raises(TypeError, match="a Recording may be among them"):
        snn.fit(model, snn.MSELoss(), plain(model.parameters()), data, 1, callbacks=snn.Recording())  # type: ignore[arg-type]
    empty = snn.Recording()
    for ask in (empty.at, empty.fork, empty.parameters, empty.rows, empty.settings):
        with pytest.raises(ValueError, match="Recording is empty; give it to fit"):
            ask(3)
    with pytest.raises(ValueError, match="empty"):
        empty.over_time("0.weight")
    recording = snn.Recording(every=10)
    program("numpy", recording)
    with pytest.raises(IndexError, match=r"no step 13; nearest are 10 and 20 \(every=10, 0 to 25\)"):
        recording.at(13)
    with pytest.raises(IndexError, match="nearest are 25"):
        recording.fork(26)
    with pytest.raises(IndexError, match="nearest are 0"):
        recording.parameters(-1)
    with pytest.raises(TypeError, match="step"):
        recording.at("10")  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="no step 26 of the run; it made 1 to 25"):
        recording.rows(26)
    with pytest.raises(ValueError, match="the end of the run"):
        recording.fork(25)
    with pytest.raises(ValueError, match="learning rate"):
        recording.fork(10, lr=-1.0)
    for made in (adam(recording.at(10).parameters()), "adam", lambda parameters: None):
        with pytest.raises(TypeError, match=r"fork got .*optimizer.*(Adam|'adam'|NoneType); it needs"):
            recording.fork(10, optimizer=made)
    with pytest.raises(KeyError, match=r"it has 0\.weight"):
        recording.over_time("weight")


def test_an_optimizer_whose_state_is_no_numbers() -> None:
    class Odd(snn.SGD):
        def _update(self, parameter: Any, group: Any) -> Any:
            self.state[parameter]["note"] = "a text"
            return super()._update(parameter, group)

    with pytest.raises(TypeError, match="Odd, which keeps 'note' of type str"):
        program("numpy", snn.Recording(), optimizer=lambda p: Odd(p, lr=0.1))


def test_layout_gives_back_what_it_got() -> None:
    tensors = {
        ("parameter", "a", ""): np.arange(12.0).reshape(2, 2, 3),
        ("state", "a", "step"): np.arange(2.0),
    }
    layout = Layout.of(tensors)
    rows = np.empty((2, layout.width))
    layout.pack(tensors, rows)
    assert Layout.from_plain(layout.as_plain()) == layout
    for i in range(2):
        assert_equal(
            {"/".join(k): v for k, v in layout.unpack(rows[i]).items()},
            {"/".join(k): v[i] for k, v in tensors.items()},
        )
    assert math.prod(rows.shape) == 14
