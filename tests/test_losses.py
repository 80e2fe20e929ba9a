"""The loss objects: against their torch namesakes over the whole argument space.

Their inputs are read-only, so a loss that wrote into an argument would raise.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_judge import dtypes, frozen, reductions, row_shapes, seeds, shapes, tensor

from scratchnn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    Loss,
    MSELoss,
    NLLLoss,
)

PAIRED = (MSELoss, L1Loss, HuberLoss, BCELoss, BCEWithLogitsLoss)
CLASSED = (NLLLoss, CrossEntropyLoss)

paired = pytest.mark.parametrize("kind", PAIRED)
classed = pytest.mark.parametrize("kind", CLASSED)

# The losses are compared at any numbers, log-probabilities or not.
pytestmark = pytest.mark.filterwarnings("ignore:NLLLoss got predictions:UserWarning")


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
        with pytest.raises(TypeError, match=rf"{kind.__name__}\(\) got target of .* numbers"):
            kind().convert_target(words, np.float32)
