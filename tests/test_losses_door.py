"""The loss objects at the door: every bad input and its error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from loss_judge import frozen

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

# What is checked here is the target; the predictions are any numbers.
pytestmark = pytest.mark.filterwarnings("ignore:NLLLoss got predictions:UserWarning")


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
        with pytest.raises(ValueError, match=rf"{kind.__name__} got reduction=.*'mean', 'sum', 'none'"):
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


def test_bce_takes_exactly_0_and_1() -> None:
    exact = np.array([0.0, 1.0])
    assert BCELoss()(exact, exact) == 0
    assert BCELoss()(exact, exact[::-1]) == 100


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
    for dtype in (np.float64, bool):
        with pytest.raises(
            TypeError, match=r"class indices must be integers: pass target.astype\(np.int64\)"
        ):
            kind()(np.zeros((2, 3)), np.array([0, 1], dtype))
    for target in (["a", "b"], np.array([0, 1], object)):
        with pytest.raises(TypeError, match=r"got target of .*; it needs numbers"):
            kind()(np.zeros((2, 3)), target)


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
    with pytest.raises(TypeError, match="CrossEntropyLoss got label_smoothing='a'; it needs a number"):
        CrossEntropyLoss(label_smoothing="a")


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
