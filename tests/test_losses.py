"""The loss objects: against their torch namesakes over the whole argument space, and at the door.

Every input is read-only, so a loss that wrote into an argument would raise.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchnn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    L1Loss,
    Loss,
    MSELoss,
    NLLLoss,
)

DTYPES = (np.float32, np.float64)
REDUCTIONS = ("mean", "sum", "none")
PAIRED = (MSELoss, L1Loss, BCELoss, BCEWithLogitsLoss)
CLASSED = (NLLLoss, CrossEntropyLoss)

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(DTYPES)
reductions = st.sampled_from(REDUCTIONS)
shapes = st.lists(st.integers(1, 5), max_size=3).map(tuple)
row_shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)

paired = pytest.mark.parametrize("kind", PAIRED)
classed = pytest.mark.parametrize("kind", CLASSED)


def frozen(value: Any, dtype: Any = None) -> np.ndarray:
    array = np.array(value, dtype)
    array.flags.writeable = False
    return array


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def agree(
    loss_fn: Loss, judge: Any, prediction: np.ndarray, target: np.ndarray, seed: int, heaviest: float = 1.0
) -> None:
    """Loss, gradient, their dtypes and shapes, against torch, for a random dloss and for the default.

    A slope is a difference, p - t, of numbers up to 1, times a weight up to `heaviest`: its rounding is
    measured by those, not by what is left of it.
    """
    eps = np.finfo(prediction.dtype).eps
    leaf = tensor(prediction).requires_grad_()
    theirs = judge(leaf, tensor(target))
    loss = loss_fn(prediction, target)
    assert loss.dtype == prediction.dtype
    assert loss.shape == tuple(theirs.shape)
    scale = max(1.0, float(np.abs(prediction).max())) * prediction.size
    assert np.allclose(loss, theirs.detach().numpy(), rtol=64 * eps, atol=64 * eps * scale)
    dloss = frozen(np.random.default_rng(seed).normal(size=loss.shape), prediction.dtype)
    for upstream in (None, dloss):
        leaf.grad = None
        gradient = np.ones(loss.shape, loss.dtype) if upstream is None else upstream
        theirs.backward(tensor(gradient), retain_graph=True)
        ours = loss_fn.backward() if upstream is None else loss_fn.backward(upstream)
        assert ours.dtype == prediction.dtype
        assert ours.shape == prediction.shape
        expected = leaf.grad.numpy()
        terms = prediction.size if loss_fn.reduction == "mean" else 1
        size = max(np.abs(expected).max(), np.abs(gradient).max() * heaviest / terms)
        assert np.allclose(ours, expected, rtol=0, atol=16 * eps * size)


@paired
@settings(deadline=None, max_examples=60)
@given(data=st.tuples(seeds, shapes, dtypes, reductions, st.booleans(), st.booleans()))
def test_paired_losses_are_torchs(kind: type[Loss], data: tuple) -> None:
    seed, shape, dtype, reduction, weighted, pos_weighted = data
    rng = np.random.default_rng(seed)
    prediction = frozen(rng.uniform(0.01, 0.99, shape) if kind is BCELoss else rng.normal(size=shape), dtype)
    target = frozen(rng.uniform(size=shape), dtype)
    options: dict[str, Any] = {"reduction": reduction}
    if kind in (BCELoss, BCEWithLogitsLoss) and weighted:
        options["weight"] = frozen(rng.uniform(0.1, 2, shape[1:]), dtype)
    if kind is BCEWithLogitsLoss and pos_weighted:
        options["pos_weight"] = frozen(rng.uniform(0.1, 2, shape[-1:]), dtype)
    theirs = {name: tensor(v) if isinstance(v, np.ndarray) else v for name, v in options.items()}
    agree(kind(**options), getattr(torch.nn, kind.__name__)(**theirs), prediction, target, seed, 6)


@classed
@settings(deadline=None, max_examples=120)
@given(
    seed=seeds,
    rows=row_shapes,
    classes=st.integers(2, 5),
    dtype=dtypes,
    reduction=reductions,
    weighted=st.booleans(),
    ignore_index=st.sampled_from([-100, 0, 1, -1]),
    smoothing=st.sampled_from([0.0, 0.2, 1.0]),
    probabilities=st.booleans(),
)
def test_class_losses_are_torchs(
    kind: type[Loss],
    seed: int,
    rows: tuple[int, ...],
    classes: int,
    dtype: Any,
    reduction: str,
    weighted: bool,
    ignore_index: int,
    smoothing: float,
    probabilities: bool,
) -> None:
    rng = np.random.default_rng(seed)
    shape = (rows[0], classes, *rows[1:]) if rows else (classes,)
    logits = frozen(rng.normal(size=shape), dtype)
    options: dict[str, Any] = {"reduction": reduction, "ignore_index": ignore_index}
    target = rng.integers(0, classes, rows)
    target = np.where(rng.random(rows) < 0.2, ignore_index, target)
    if np.all(target == ignore_index):
        target = np.full(rows, classes - 1 if ignore_index != classes - 1 else 0)
    if weighted:
        options["weight"] = frozen(rng.uniform(0.1, 2, classes), dtype)
    if kind is CrossEntropyLoss:
        options["label_smoothing"] = smoothing
        if probabilities:
            options["ignore_index"] = -100
            target = rng.uniform(size=shape).astype(dtype)
    theirs = {name: tensor(v) if isinstance(v, np.ndarray) else v for name, v in options.items()}
    agree(kind(**options), getattr(torch.nn, kind.__name__)(**theirs), logits, frozen(target), seed, 2)


@pytest.mark.parametrize("kind", PAIRED + CLASSED)
def test_repr_and_defaults_are_torchs(kind: type[Loss]) -> None:
    theirs = getattr(torch.nn, kind.__name__)()
    ours = kind()
    assert repr(ours) == repr(theirs)
    for name in ("reduction", "weight", "pos_weight", "ignore_index", "label_smoothing"):
        assert hasattr(ours, name) == hasattr(theirs, name)
        assert getattr(ours, name, None) == getattr(theirs, name, None)


# ---- lists, numbers, memory order -------------------------------------------------------------


def test_lists_take_float32_or_the_predictions_dtype() -> None:
    loss = MSELoss()([[1, 2], [3, 4]], [[1, 2], [3, 6]])
    assert (loss, loss.dtype) == (1.0, np.float32)
    loss = BCEWithLogitsLoss(weight=[1, 2], pos_weight=[3.0, 1.0])(np.zeros((2, 2)), [[1, 0], [1, 1]])
    assert loss.dtype == np.float64
    assert np.isclose(loss, (3 + 2 + 3 + 2) * np.log(2) / 4)
    logits = np.array([[2.0, 1.0], [0.0, 3.0]])
    assert CrossEntropyLoss(weight=[1, 2])(logits, [0, 1]) == CrossEntropyLoss(weight=np.array([1.0, 2.0]))(
        logits, np.array([0, 1])
    )
    # A list of the logits' shape counts as probabilities, whatever its numbers.
    assert np.isclose(CrossEntropyLoss()(logits, [[1, 0], [0, 1]]), CrossEntropyLoss()(logits, [0, 1]))


def test_numbers_are_0d() -> None:
    loss_fn = MSELoss()
    assert loss_fn(3.0, 1.0) == 4
    assert loss_fn.backward() == 4
    assert CrossEntropyLoss()([0.0, 0.0], 1) == np.float32(np.log(2))


@pytest.mark.parametrize("kind", PAIRED + CLASSED)
def test_memory_order_does_not_matter(kind: type[Loss]) -> None:
    rng = np.random.default_rng(1)
    plain = rng.uniform(0.1, 0.9, (6, 4))
    target = rng.integers(0, 4, 6) if kind in CLASSED else rng.uniform(size=(6, 4))
    expected_fn = kind()
    expected = expected_fn(plain, target)
    strided = np.repeat(plain, 2, axis=1)[:, ::2]
    for prediction in (np.asfortranarray(plain), strided, plain[::-1][::-1]):
        loss_fn = kind()
        assert np.isclose(loss_fn(prediction, np.repeat(target, 2, axis=0)[::2]), expected, rtol=1e-15)
        assert np.allclose(loss_fn.backward(), expected_fn.backward(), rtol=1e-15)


def test_backward_scales_with_dloss_of_any_number_type() -> None:
    loss_fn = MSELoss()
    loss_fn(np.array([1.0, 2.0], np.float32), np.array([0.0, 0.0], np.float32))
    for three in (3, 3.0, np.float32(3), np.float64(3), np.int64(3), [3][0], np.array(3, np.float32)):
        gradient = loss_fn.backward(three)
        assert gradient.dtype == np.float32
        assert np.array_equal(gradient, [3, 6])


def test_backward_is_for_the_last_call() -> None:
    loss_fn = MSELoss(reduction="sum")
    loss_fn([1.0], [0.0])
    loss_fn([5.0, 5.0], [0.0, 1.0])
    assert np.array_equal(loss_fn.backward(), [10, 8])
    with pytest.raises(ValueError, match="shapes must be equal"):
        loss_fn([1.0], [1.0, 2.0])
    assert np.array_equal(loss_fn.backward(), [10, 8])


def test_complex_step_goes_through_the_objects() -> None:
    x, target = np.array([0.3, -1.2]), np.array([1.0, 0.0])
    for loss_fn in (MSELoss(), L1Loss(), BCEWithLogitsLoss(weight=np.array([1.0, 2.0]))):
        loss_fn(x, target)
        analytic = loss_fn.backward()
        for i in range(2):
            step = np.zeros(2)
            step[i] = 1e-20
            assert np.isclose(loss_fn(x + 1j * step, target).imag / 1e-20, analytic[i], rtol=1e-13)
    loss_fn = BCELoss()
    loss_fn(np.array([0.3]), np.array([1.0]))
    analytic = loss_fn.backward()
    assert np.isclose(
        loss_fn(np.array([0.3 + 1e-20j]), np.array([1.0])).imag / 1e-20, analytic[0], rtol=1e-13
    )


def test_a_loss_pickles() -> None:
    loss_fn = CrossEntropyLoss(weight=np.array([1.0, 2.0]), label_smoothing=0.1)
    expected = loss_fn(np.eye(2), [0, 1])
    assert pickle.loads(pickle.dumps(loss_fn))(np.eye(2), [0, 1]) == expected


# ---- convert_target ---------------------------------------------------------------------------


@paired
def test_convert_target_to_the_dtype(kind: type[Loss]) -> None:
    for target in (np.array([0, 1]), np.array([False, True]), [0.0, 1.0], np.array([0, 1], np.float16)):
        converted = kind().convert_target(target, np.float32)
        assert converted.dtype == np.float32
        assert np.array_equal(converted, [0, 1])
    already = np.array([0.5], np.float64)
    assert kind().convert_target(already, np.float64) is already


@classed
def test_convert_target_keeps_class_indices(kind: type[Loss]) -> None:
    for target in (np.array([0, 1], np.int32), np.array([0, 1], np.uint8), [0, 1], np.array([False, True])):
        converted = kind().convert_target(target, np.float32)
        assert converted.dtype == np.int64
        assert np.array_equal(converted, [0, 1])
    probabilities = kind().convert_target([[0.25, 0.75]], np.float32)
    assert probabilities.dtype == np.float32


@pytest.mark.parametrize("kind", PAIRED + CLASSED)
def test_convert_target_refuses_words(kind: type[Loss]) -> None:
    for words in (["cat", "dog"], np.array([None, 1]), np.array([1 + 2j])):
        with pytest.raises(TypeError, match=rf"{kind.__name__}\(\) got a target of dtype .* numbers"):
            kind().convert_target(words, np.float32)


# ---- the door ---------------------------------------------------------------------------------


@paired
def test_shapes_never_broadcast(kind: type[Loss]) -> None:
    loss_fn = kind()
    column, row = np.full((4, 1), 0.5), np.full(4, 0.5)
    message = (
        rf"{kind.__name__}\(\) got prediction of shape \(4, 1\) and target of shape \(4,\); "
        r"the shapes must be equal: reshape target to \(N, 1\)"
    )
    with pytest.raises(ValueError, match=message):
        loss_fn(column, row)
    with pytest.raises(ValueError, match=r"reshape target to \(N,\)"):
        loss_fn(row, column)
    with pytest.raises(ValueError, match=r"one target for each prediction"):
        loss_fn(row, row[:3])
    with pytest.raises(ValueError, match=r"reshape target to \(\)"):
        loss_fn(0.5, [0.5])


@paired
def test_dtypes_never_mix(kind: type[Loss]) -> None:
    single, double = np.full(3, 0.5, np.float32), np.full(3, 0.5)
    with pytest.raises(TypeError, match=r"got target of dtype float64; it needs float32"):
        kind()(single, double)
    with pytest.raises(TypeError, match=r"got target of dtype float32; it needs float64"):
        kind()(double, single)
    with pytest.raises(TypeError, match=r"got target of dtype int64"):
        kind()(double, np.zeros(3, int))
    with pytest.raises(TypeError, match=r"got target of dtype complex128"):
        kind()(double, double.astype(complex))


@pytest.mark.parametrize("kind", PAIRED + CLASSED)
@pytest.mark.parametrize("dtype", [np.int64, np.float16, object, "U1", bool])
def test_prediction_dtype(kind: type[Loss], dtype: Any) -> None:
    with pytest.raises(TypeError, match=rf"{kind.__name__}\(\) got prediction of dtype"):
        kind()(np.ones((2, 2)).astype(dtype), [0, 1])


@pytest.mark.parametrize("kind", PAIRED + CLASSED)
def test_ragged_lists(kind: type[Loss]) -> None:
    with pytest.raises(ValueError, match="prediction as a list whose rows differ in length"):
        kind()([[1.0], [1.0, 2.0]], [0, 1])
    with pytest.raises(ValueError, match="target as a list whose rows differ in length"):
        kind()(np.full((2, 2), 0.5), [[1.0], [1.0, 2.0]])


@pytest.mark.parametrize("kind", PAIRED + CLASSED)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 3, 0)])
def test_empty_batch(kind: type[Loss], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"got an empty prediction of shape .*at least one row"):
        kind()(np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize("kind", PAIRED + CLASSED)
def test_backward_before_forward(kind: type[Loss]) -> None:
    with pytest.raises(RuntimeError, match=rf"{kind.__name__}\(\) got backward before forward"):
        kind().backward()


@pytest.mark.parametrize("kind", PAIRED)
def test_dloss_is_checked(kind: type[Loss]) -> None:
    loss_fn = kind(reduction="none")
    loss_fn(np.full((2, 3), 0.5), np.full((2, 3), 0.5))
    with pytest.raises(
        ValueError, match=r"got dloss of shape \(3,\) in backward; the loss had shape \(2, 3\)"
    ):
        loss_fn.backward(np.ones(3))
    with pytest.raises(TypeError, match="got dloss of dtype float32; it needs float64"):
        loss_fn.backward(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match="complex"):
        loss_fn.backward(1j)
    assert loss_fn.backward(np.ones((2, 3))).shape == (2, 3)


@pytest.mark.parametrize("kind", PAIRED + CLASSED)
def test_reduction_is_checked(kind: type[Loss]) -> None:
    for wrong in ("average", None, "MEAN", ""):
        with pytest.raises(ValueError, match=rf'{kind.__name__} got reduction=.*"mean", "sum" or "none"'):
            kind(reduction=wrong)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.inf, -1e-30])
def test_bce_ranges(wrong: float) -> None:
    fine = np.array([0.0, 1.0, 0.5])
    bad = np.array([0.0, wrong, 0.5])
    with pytest.raises(
        ValueError, match=rf"got a prediction of {wrong}; .*\[0, 1\]: end the model in Sigmoid"
    ):
        BCELoss()(bad, fine)
    with pytest.raises(ValueError, match=rf"got a target of {wrong}; targets must lie in \[0, 1\]"):
        BCELoss()(fine, bad)


def test_bce_nan() -> None:
    fine, bad = np.array([0.25, 0.5]), np.array([np.nan, 0.5])
    with pytest.raises(ValueError, match="got a target of nan"):
        BCELoss()(fine, bad)
    assert np.isnan(BCELoss()(bad, fine))


@pytest.mark.parametrize("kind", [MSELoss, L1Loss, BCEWithLogitsLoss])
def test_nan_and_infinity_pass(kind: type[Loss]) -> None:
    loss_fn = kind()
    assert np.isnan(loss_fn(np.array([np.nan, 0.5]), np.array([1.0, 1.0])))
    loss_fn.backward()
    assert np.isinf(loss_fn(np.array([np.inf, 0.5]), np.array([0.5, 0.5])))
    loss_fn.backward()


@pytest.mark.parametrize("kind", [BCELoss, BCEWithLogitsLoss])
def test_element_weights_are_checked(kind: type[Loss]) -> None:
    column = np.full((3, 1), 0.5)
    with pytest.raises(ValueError, match=r"got weight of shape \(4,\) and prediction of shape \(3, 1\)"):
        kind(weight=np.ones(4))(column, column)
    with pytest.raises(TypeError, match="got weight of dtype float32; it needs float64"):
        kind(weight=np.ones(1, np.float32))(column, column)
    with pytest.raises(ValueError, match=r"got pos_weight of shape \(2,\) and prediction"):
        BCEWithLogitsLoss(pos_weight=[1.0, 2.0])(column, column)
    assert kind(weight=2.0)(column, column) == 2 * kind()(column, column)


@classed
def test_class_weights_are_checked(kind: type[Loss]) -> None:
    logits = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"got weight of shape \(2,\) for 3 classes; it must be \(3,\)"):
        kind(weight=[1.0, 2.0])(logits, [0, 1])
    with pytest.raises(TypeError, match="got weight of dtype float32; it needs float64"):
        kind(weight=np.ones(3, np.float32))(logits, [0, 1])
    for wrong in (1.0, [[1.0, 2.0]]):
        with pytest.raises(ValueError, match=rf"{kind.__name__} got weight of shape .*one weight a class"):
            kind(weight=wrong)


@classed
def test_ignore_index_is_an_int(kind: type[Loss]) -> None:
    for wrong in (1.0, True, None, "0"):
        with pytest.raises(TypeError, match=rf"{kind.__name__} got ignore_index=.*int"):
            kind(ignore_index=wrong)
    assert kind(ignore_index=np.int64(3)).ignore_index == 3


@classed
@pytest.mark.parametrize("wrong", [3, -1, 100, -99])
def test_class_index_out_of_range(kind: type[Loss], wrong: int) -> None:
    message = rf"{kind.__name__}\(\) got class index {wrong}; with 3 classes it must be 0 to 2"
    for dtype in (np.int64, np.int8):
        with pytest.raises(IndexError, match=message):
            kind()(np.zeros((2, 3)), np.array([0, wrong], dtype))
    with pytest.raises(IndexError, match=message):
        kind()(np.zeros(3), wrong)
    kind(ignore_index=wrong)(np.zeros((2, 3)), np.array([0, wrong]))
    kind()(np.zeros((3, 3)), np.array([0, 2, -100]))


@classed
def test_class_index_shapes(kind: type[Loss]) -> None:
    message = (
        rf"{kind.__name__}\(\) got prediction of shape \(4, 3\) and class indices of shape \(4, 1\); "
        r"they must have shape \(4,\): reshape target to \(N,\)"
    )
    with pytest.raises(ValueError, match=message):
        kind()(np.zeros((4, 3)), np.zeros((4, 1), int))
    with pytest.raises(ValueError, match=r"class indices of shape \(3,\); they must have shape \(4,\)$"):
        kind()(np.zeros((4, 3)), np.zeros(3, int))
    with pytest.raises(ValueError, match=r"they must have shape \(4,\): pass target.argmax\(1\)$"):
        kind()(np.zeros((4, 3)), np.zeros((4, 3), int))
    with pytest.raises(ValueError, match=r"they must have shape \(\): reshape target to \(\)"):
        kind()(np.zeros(3), np.zeros(1, int))
    with pytest.raises(ValueError, match="0-d prediction; it needs a class axis"):
        kind()(np.array(1.0), 0)


@classed
def test_class_index_dtypes(kind: type[Loss]) -> None:
    for dtype in (np.float64, bool, object):
        with pytest.raises(
            TypeError, match=r"class indices must be integers: pass target.astype\(np.int64\)"
        ):
            kind()(np.zeros((2, 3)), np.array([0, 1], dtype))
    with pytest.raises(TypeError, match="class indices must be integers"):
        kind()(np.zeros((2, 3)), ["a", "b"])


def test_class_probabilities_are_checked() -> None:
    logits = np.zeros((4, 3))
    with pytest.raises(ValueError, match=r"class probabilities of shape \(4, 2\); the shapes must be equal"):
        CrossEntropyLoss()(logits, np.zeros((4, 2)))
    with pytest.raises(TypeError, match="got target of dtype float32; it needs float64"):
        CrossEntropyLoss()(logits, np.zeros((4, 3), np.float32))
    for ignore_index in (0, 2):
        with pytest.raises(ValueError, match="only class indices can be ignored"):
            CrossEntropyLoss(ignore_index=ignore_index)(logits, np.zeros((4, 3)))
    with pytest.raises(TypeError, match="class indices must be integers"):
        NLLLoss()(logits, np.zeros((4, 3)))


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_label_smoothing_range(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"CrossEntropyLoss got label_smoothing=.*\[0, 1\]"):
        CrossEntropyLoss(label_smoothing=wrong)


def test_a_refused_call_changes_nothing() -> None:
    prediction, target = frozen(np.full((4, 1), 0.5)), frozen(np.full(4, 0.5))
    loss_fn = MSELoss()
    with pytest.raises(ValueError, match="shapes must be equal"):
        loss_fn(prediction, target)
    with pytest.raises(RuntimeError, match="backward before forward"):
        loss_fn.backward()


def test_a_loss_of_ones_own_says_what_it_lacks() -> None:
    class Mine(Loss):
        pass

    with pytest.raises(NotImplementedError, match=r"Mine must write _door\(prediction, target\)"):
        Mine()([1.0], [1.0])
