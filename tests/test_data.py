"""Datasets, loaders and splits: torch's rows in torch's batches, and the same stream afterwards."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data as torch_data
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchnn as snn
from scratchnn.checks import Array
from scratchnn.data import DataLoader, Subset, TensorDataset, random_split


def loaders(n: int, seed: int, own_generator: bool, **kwargs: Any) -> tuple[DataLoader, Any]:
    """Ours and torch's over rows 0 ... n - 1, both worlds seeded alike."""
    snn.manual_seed(seed)
    torch.manual_seed(seed)
    rows = np.arange(n)
    g = snn.Generator().manual_seed(seed + 1) if own_generator else None
    t = torch.Generator().manual_seed(seed + 1) if own_generator else None
    ours = DataLoader(TensorDataset(rows, rows * 10), generator=g, **kwargs)
    columns = torch.from_numpy(rows), torch.from_numpy(rows * 10)
    theirs = torch_data.DataLoader(torch_data.TensorDataset(*columns), generator=t, **kwargs)
    return ours, theirs


def assert_same_streams(ours: DataLoader, theirs: Any) -> None:
    for g, t in ((snn.default_generator, torch.default_generator), (ours.generator, theirs.generator)):
        if g is not None:
            np.testing.assert_array_equal(g.get_state(), t.get_state().numpy())


def assert_same_batch(ours: tuple[Array, ...], theirs: list[torch.Tensor]) -> None:
    for array, tensor in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(array, tensor.numpy())


CONFIGURATIONS = list(itertools.product([False, True], [False, True], [False, True]))


@pytest.mark.parametrize(("shuffle", "drop_last", "own_generator"), CONFIGURATIONS)
@pytest.mark.parametrize(("n", "batch_size"), [(12, 4), (13, 4), (3, 4), (5, 1), (1, 1), (700, 64)])
def test_batches_in_torchs_order(
    n: int, batch_size: int, shuffle: bool, drop_last: bool, own_generator: bool
) -> None:
    for seed in range(6):
        kwargs = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
        ours, theirs = loaders(n, seed, own_generator, **kwargs)
        assert len(ours) == len(theirs)
        for _ in range(3):
            batches = list(theirs)
            ours_batches = list(ours)
            assert len(ours_batches) == len(batches)
            for batch, expected in zip(ours_batches, batches, strict=True):
                assert_same_batch(batch, expected)
            assert_same_streams(ours, theirs)


@pytest.mark.parametrize(("shuffle", "drop_last", "own_generator"), CONFIGURATIONS)
@pytest.mark.parametrize(("n", "batch_size"), [(12, 4), (13, 4)])
def test_the_streams_agree_after_every_batch_and_every_early_break(
    n: int, batch_size: int, shuffle: bool, drop_last: bool, own_generator: bool
) -> None:
    """When torch draws is part of the contract: the base seed at iter(), the discarded order at row n."""
    kwargs = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
    for stop in range(6):
        ours, theirs = loaders(n, 5, own_generator, **kwargs)
        a, b = iter(ours), iter(theirs)
        assert_same_streams(ours, theirs)
        for _ in range(stop):
            batch, expected = next(a, None), next(b, None)
            assert (batch is None) == (expected is None)
            if batch is not None and expected is not None:
                assert_same_batch(batch, expected)
            assert_same_streams(ours, theirs)
        for batch, expected in zip(ours, theirs, strict=True):  # the epoch after the break
            assert_same_batch(batch, expected)
        assert_same_streams(ours, theirs)


@settings(max_examples=60)
@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    own_generator=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_order_is_one_epoch(
    n: int, batch_size: int, shuffle: bool, drop_last: bool, own_generator: bool, seed: int
) -> None:
    kwargs = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
    ours, theirs = loaders(n, seed, own_generator, **kwargs)
    for _ in range(2):
        order = ours.order()
        batches = [batch[0].numpy() for batch in theirs]
        assert order.dtype == np.int64
        np.testing.assert_array_equal(order, np.concatenate(batches) if batches else [])
        assert_same_streams(ours, theirs)


def test_order_takes_another_way_to_permute() -> None:
    loader, _ = loaders(10, 0, True, shuffle=True)
    seen = []

    def reverse(words: Array) -> Array:
        seen.append(len(words))
        return np.arange(len(words), -1, -1)

    assert loader.order(reverse).tolist() == list(range(9, -1, -1))
    assert seen == [9]


def test_two_iterators_of_one_loader_keep_their_orders() -> None:
    ours, theirs = loaders(20, 3, False, batch_size=6, shuffle=True)
    pairs = zip(zip(ours, ours, strict=True), zip(theirs, theirs, strict=True), strict=True)
    for (a, b), (expected_a, expected_b) in pairs:
        assert_same_batch(a, expected_a)
        assert_same_batch(b, expected_b)


def test_no_rows_in_order_are_no_batches() -> None:
    ours, theirs = loaders(0, 0, False, batch_size=3)
    assert list(ours) == list(theirs) == []
    assert len(ours) == len(theirs) == 0
    assert ours.order().tolist() == []


def test_batches_are_copies() -> None:
    x = np.zeros((4, 2), np.float32)
    x.flags.writeable = False
    for (batch,) in DataLoader(TensorDataset(x), batch_size=2):
        batch += 1
    assert not x.any()


def test_any_dataset_that_takes_index_arrays() -> None:
    rows = np.arange(10)
    loader = DataLoader(rows, batch_size=5)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_tensor_dataset() -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 2])
    dataset = TensorDataset(x, y)
    assert len(dataset) == 3
    assert dataset.tensors[0] is x
    row, label = dataset[1]
    assert row.tolist() == [2.0, 3.0]
    assert label == 1
    for index in ([2, 0], np.array([2, 0]), np.array([True, False, True]), slice(None, None, -2)):
        for array, taken in zip((x, y), dataset[index], strict=True):
            np.testing.assert_array_equal(taken, array[index])


def test_lists_become_arrays_as_torch_makes_tensors_of_them() -> None:
    dataset = TensorDataset([[1.0, 2.0], [3.0, 4.0]], [0, 1], [True, False])
    expected = [torch.tensor(v).numpy().dtype for v in ([1.0], [0], [True])]
    assert [tensor.dtype for tensor in dataset.tensors] == expected


LENGTHS: list[Any] = [[37], [30, 7], [0, 37], [1, 2, 34], [0.5, 0.5], [0.3, 0.3, 0.4], [0.8, 0.1, 0.1], [1.0]]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("own_generator", [False, True])
def test_random_split(lengths: list[Any], own_generator: bool) -> None:
    x = np.arange(37)
    for seed in range(8):
        snn.manual_seed(seed)
        torch.manual_seed(seed)
        g = snn.Generator().manual_seed(seed) if own_generator else None
        t = torch.Generator().manual_seed(seed) if own_generator else torch.default_generator
        parts = random_split(TensorDataset(x), lengths, generator=g)
        expected = torch_data.random_split(
            torch_data.TensorDataset(torch.from_numpy(x)), lengths, generator=t
        )
        assert [part.indices.tolist() for part in parts] == [part.indices for part in expected]
        assert [len(part) for part in parts] == [len(part) for part in expected]
        assert_same = np.testing.assert_array_equal
        assert_same(snn.default_generator.get_state(), torch.default_generator.get_state().numpy())
        if g is not None:
            assert_same(g.get_state(), t.get_state().numpy())


@settings(max_examples=60)
@given(rows=st.integers(1, 50), weights=st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_random_split_by_any_fractions(rows: int, weights: list[int]) -> None:
    fractions = [weight / sum(weights) for weight in weights]
    x = np.arange(rows)
    theirs: Any = torch_data.TensorDataset(torch.from_numpy(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty part warns, here as there
        try:
            expected = [len(part) for part in torch_data.random_split(theirs, fractions)]
        except ValueError:
            expected = []  # rounding took the sum above 1
        if not expected:
            with pytest.raises(ValueError, match="must sum to"):
                random_split(TensorDataset(x), fractions)
            return
        parts = random_split(TensorDataset(x), fractions)
    assert [len(part) for part in parts] == expected
    assert sorted(np.concatenate([part.indices for part in parts]).tolist()) == list(range(rows))


def test_an_empty_part_warns() -> None:
    with pytest.warns(UserWarning, match="part 1 is empty"):
        random_split(TensorDataset([1.0, 2.0]), [0.5, 0.0, 0.5])


def test_a_subset_gives_whole_batches() -> None:
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    part = Subset(TensorDataset(x, y), [7, 3, 5])
    assert len(part) == 3
    np.testing.assert_array_equal(part[np.array([2, 0])][1], [5, 7])
    np.testing.assert_array_equal(part[:][0], x[[7, 3, 5]])
    assert part[1][1] == 3
    nested = Subset(part, [2])
    assert nested[:][1].tolist() == [5]
    assert len(Subset(part, [])[:][0]) == 0


def test_a_loader_over_a_split() -> None:
    for seed in range(5):
        snn.manual_seed(seed)
        torch.manual_seed(seed)
        x = np.arange(30)
        part, _ = random_split(TensorDataset(x), [20, 10])
        expected, _ = torch_data.random_split(torch_data.TensorDataset(torch.from_numpy(x)), [20, 10])
        loader = DataLoader(part, batch_size=7, shuffle=True)
        torch_loader = torch_data.DataLoader(expected, batch_size=7, shuffle=True)
        for batch, torch_batch in zip(loader, torch_loader, strict=True):
            assert_same_batch(batch, torch_batch)


def a_dataset() -> TensorDataset:
    return TensorDataset(np.zeros((4, 2)), np.zeros(4))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"\[4, 3\] rows", lambda: TensorDataset(np.zeros((4, 2)), np.zeros(3))),
        (ValueError, "at least one", lambda: TensorDataset()),
        (ValueError, "single number", lambda: TensorDataset(np.zeros(3), 1.0)),
        (TypeError, "needs numbers", lambda: TensorDataset(["a", "b"])),
        (TypeError, "needs numbers", lambda: TensorDataset(np.array([None, 1]))),
        (ValueError, "at least 1", lambda: DataLoader(a_dataset(), batch_size=0)),
        (ValueError, "at least 1", lambda: DataLoader(a_dataset(), batch_size=-1)),
        (TypeError, "needs an int", lambda: DataLoader(a_dataset(), batch_size=2.5)),  # type: ignore[arg-type]
        (TypeError, "needs an int", lambda: DataLoader(a_dataset(), batch_size=True)),
        (TypeError, "True or False", lambda: DataLoader(a_dataset(), shuffle="yes")),  # type: ignore[arg-type]
        (TypeError, "True or False", lambda: DataLoader(a_dataset(), drop_last=1)),  # type: ignore[arg-type]
        (TypeError, "TensorDataset", lambda: DataLoader([1, 2, 3])),
        (TypeError, "TensorDataset", lambda: DataLoader((np.zeros(3), np.zeros(3)))),
        (TypeError, "TensorDataset", lambda: DataLoader(iter([1]))),
        (TypeError, "scratchnn Generator", lambda: DataLoader(a_dataset(), generator=torch.Generator())),  # type: ignore[arg-type]
        (ValueError, "no rows", lambda: DataLoader(TensorDataset(np.zeros((0, 2))), shuffle=True)),
        (ValueError, "must sum to 4", lambda: random_split(a_dataset(), [1, 2])),
        (ValueError, "must sum to 4", lambda: random_split(a_dataset(), [-1, 5])),
        (ValueError, "must sum to 4", lambda: random_split(a_dataset(), [0.5, 0.4])),
        (ValueError, r"within \[0, 1\]", lambda: random_split(a_dataset(), [1.5, -0.5])),
        (TypeError, "needs ints", lambda: random_split(a_dataset(), [1.5, 2.5])),
        (TypeError, r"lengths\[1\]='b'; it needs a number", lambda: random_split(a_dataset(), [4, "b"])),
        (TypeError, "lengths=None; it needs a list", lambda: random_split(a_dataset(), None)),
        (TypeError, "it needs ints", lambda: Subset(a_dataset(), [0.5])),
        (TypeError, "list of ints", lambda: Subset(a_dataset(), [[1], [2]])),
    ],
)
def test_bad_input(error: type[Exception], message: str, call: Any) -> None:
    before = snn.default_generator.get_state()
    with pytest.raises(error, match=message):
        call()
    np.testing.assert_array_equal(snn.default_generator.get_state(), before)
