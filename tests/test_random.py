"""Random numbers, held to torch's bit for bit: streams, distributions, seeds, states, a whole program."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchnn as snn
from scratchnn import init
from scratchnn import random as snn_random
from scratchnn.checks import Array
from scratchnn.data import DataLoader, TensorDataset
from scratchnn.normal import log_f32, sincos_f32
from scratchnn.random import Generator

SEEDS = [*range(24), 2**31, 2**32 - 1, 2**32, 123456789012345, 2**63, 2**64 - 1, -1, -3, -(2**63)]
DTYPES = [(np.float32, torch.float32), (np.float64, torch.float64)]
# Below AVX2 torch rounds otherwise: then 4 eps of the larger bound are allowed.
EXACT = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")

seeds = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(-1e6, 1e6, width=32)


def pair(seed: int) -> tuple[Generator, torch.Generator]:
    return Generator().manual_seed(seed), torch.Generator().manual_seed(seed)


def assert_same(ours: Array, theirs: torch.Tensor, scale: float = 1.0) -> None:
    expected = theirs.numpy()
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    if EXACT or ours.dtype.kind != "f":
        np.testing.assert_array_equal(ours, expected)
    else:
        np.testing.assert_allclose(ours, expected, rtol=0, atol=4 * np.finfo(ours.dtype).eps * scale)


def assert_same_state(ours: Generator, theirs: torch.Generator) -> None:
    np.testing.assert_array_equal(ours.get_state(), theirs.get_state().numpy())


# --- the stream ---


@pytest.mark.parametrize("seed", SEEDS)
def test_every_distribution_in_one_stream(seed: int) -> None:
    g, t = pair(seed)
    assert g.initial_seed() == t.initial_seed()
    assert_same_state(g, t)
    for n in (1, 7, 16, 33, 700):
        for dtype, torch_dtype in DTYPES:
            assert_same(snn.rand(n, dtype=dtype, generator=g), torch.rand(n, dtype=torch_dtype, generator=t))
            assert_same(
                snn.randn(n, dtype=dtype, generator=g), torch.randn(n, dtype=torch_dtype, generator=t), 16
            )
        assert_same(snn.randperm(n, generator=g), torch.randperm(n, generator=t))
        assert_same(snn.randint(-5, n, (n, 2), generator=g), torch.randint(-5, n, (n, 2), generator=t))
        assert_same_state(g, t)


def test_words_are_the_raw_stream() -> None:
    g, t = pair(5)
    expected = [torch.randint(0, 2**28 - 1, (1,), generator=t).item() for _ in range(2000)]
    assert (g.words(2000) % np.uint64(2**28 - 1)).tolist() == expected
    assert g.words(0).tolist() == []
    assert_same_state(g, t)


def test_a_wide_word_has_its_high_half_first() -> None:
    g, again = Generator().manual_seed(9), Generator().manual_seed(9)
    high, low = (int(word) for word in again.words(2))
    assert int(g.words64(1)[0]) == high * 2**32 + low


@pytest.mark.parametrize("n", [0, 1, 622, 623, 624, 625, 1248, 1249])
def test_state_moves_both_ways_at_every_position(n: int) -> None:
    g, t = pair(11)
    snn.rand(n, generator=g)
    torch.rand(n, generator=t)
    assert_same_state(g, t)
    from_torch = Generator().set_state(t.get_state().numpy())
    to_torch = torch.Generator()
    to_torch.set_state(torch.from_numpy(g.get_state()))
    assert_same(snn.rand(1300, generator=from_torch), torch.rand(1300, generator=to_torch))
    assert_same_state(from_torch, to_torch)
    assert from_torch.initial_seed() == 11


def test_state_carries_the_cached_normal() -> None:
    g, t = pair(2)
    snn.randn(3, generator=g)
    torch.randn(3, generator=t)
    assert_same_state(g, t)
    moved = Generator().set_state(g.get_state())
    expected = torch.randn(2, generator=t)
    assert_same(snn.randn(2, generator=moved), expected, 16)
    assert_same(snn.randn(2, generator=copy.deepcopy(g)), expected, 16)
    moved.manual_seed(2)
    assert_same(snn.randn(1, generator=moved), torch.randn(1, generator=t.manual_seed(2)), 16)


def test_a_copy_is_independent() -> None:
    g = Generator().manual_seed(1)
    twin = copy.deepcopy(g)
    first = snn.rand(5, generator=g)
    np.testing.assert_array_equal(snn.rand(5, generator=twin), first)


def test_the_state_returned_is_a_copy() -> None:
    g = Generator()
    g.get_state()[:] = 0
    assert_same_state(g, torch.Generator())


def test_new_generators_and_seed() -> None:
    g = Generator()
    assert g.initial_seed() == torch.Generator().initial_seed() == 67280421310721
    chosen = g.seed()
    assert g.initial_seed() == chosen
    assert_same(snn.rand(3, generator=g), torch.rand(3, generator=torch.Generator().manual_seed(chosen)))
    assert g.seed() != chosen


def test_the_default_generator() -> None:
    assert snn.manual_seed(7) is snn.default_generator
    torch.manual_seed(7)
    assert_same(snn.rand(2, 3), torch.rand(2, 3))
    assert_same(snn.randn(4), torch.randn(4), 16)
    assert_same(snn.randint(10, (4,)), torch.randint(10, (4,)))
    assert_same(snn.randperm(9), torch.randperm(9))
    assert_same_state(snn.default_generator, torch.default_generator)


# --- the distributions ---


@settings(max_examples=150)
@given(seed=seeds, bounds=st.tuples(floats, floats), n=st.integers(0, 40), double=st.booleans())
def test_uniform_over_any_range(seed: int, bounds: tuple[float, float], n: int, double: bool) -> None:
    dtype, torch_dtype = DTYPES[double]
    low, high = sorted(bounds)
    g, t = pair(seed)
    ours = snn_random.uniform_(np.empty(n, dtype), low, high, generator=g)
    theirs = torch.empty(n, dtype=torch_dtype).uniform_(low, high, generator=t)
    assert_same(ours, theirs, max(abs(low), abs(high)))
    assert_same_state(g, t)


@pytest.mark.parametrize(("dtype", "torch_dtype"), DTYPES)
@pytest.mark.parametrize(
    ("low", "high"),
    [(-1 / 3, 1 / 3), (0.1, 0.3), (1.0, np.nextafter(1.0, 2.0)), (1e5, 1e5 + 1), (-1e-30, 1e-30), (2.5, 2.5)],
)
def test_uniform_over_odd_ranges(dtype: Any, torch_dtype: torch.dtype, low: float, high: float) -> None:
    g, t = pair(3)
    ours = snn_random.uniform_(np.empty(20000, dtype), low, high, generator=g)
    theirs = torch.empty(20000, dtype=torch_dtype).uniform_(low, high, generator=t)
    assert_same(ours, theirs, max(abs(low), abs(high)))


@pytest.mark.parametrize(("low", "high"), [(-1e300, 1e300), (-1e-290, 1e-290), (1e-200, 1e200)])
def test_uniform_at_the_ends_of_the_doubles(low: float, high: float) -> None:
    g, t = pair(3)
    ours = snn_random.uniform_(np.empty(2000), low, high, generator=g)
    theirs = torch.empty(2000, dtype=torch.float64).uniform_(low, high, generator=t)
    assert_same(ours, theirs, max(abs(low), abs(high)))


@settings(max_examples=100)
@given(
    seed=seeds,
    mean=st.floats(-1e3, 1e3),
    std=st.floats(0, 1e3),
    n=st.integers(0, 70),
    double=st.booleans(),
)
def test_normal(seed: int, mean: float, std: float, n: int, double: bool) -> None:
    dtype, torch_dtype = DTYPES[double]
    g, t = pair(seed)
    for length in (n, 3, 20):  # the odd one leaves a cached value, which large draws pass over
        ours = snn_random.normal_(np.empty(length, dtype), mean, std, generator=g)
        theirs = torch.empty(length, dtype=torch_dtype).normal_(mean, std, generator=t)
        assert_same(ours, theirs, 16 * (abs(mean) + std))
    if EXACT:
        assert_same_state(g, t)


@pytest.mark.parametrize(("dtype", "torch_dtype"), DTYPES)
def test_a_hundred_thousand_normals(dtype: Any, torch_dtype: torch.dtype) -> None:
    g, t = pair(0)
    assert_same(
        snn.randn(100003, dtype=dtype, generator=g), torch.randn(100003, dtype=torch_dtype, generator=t), 16
    )


def test_the_polynomials_are_a_logarithm_a_sine_and_a_cosine() -> None:
    x = (1 - snn.rand(5000)).astype(np.float32)
    np.testing.assert_allclose(log_f32(x), np.log(x.astype(np.float64)), rtol=2e-7, atol=1e-7)
    angle = np.linspace(0, 2 * math.pi, 5001, dtype=np.float32)
    sin, cos = sincos_f32(angle)
    np.testing.assert_allclose(sin, np.sin(angle.astype(np.float64)), rtol=0, atol=2e-7)
    np.testing.assert_allclose(cos, np.cos(angle.astype(np.float64)), rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", ["uniform_", "normal_"])
def test_arrays_that_are_not_contiguous_are_filled_in_the_order_of_their_memory(name: str) -> None:
    views: list[Any] = [
        lambda a: a[::2, :, 1:],
        lambda a: a.transpose(2, 0, 1) if isinstance(a, np.ndarray) else a.permute(2, 0, 1),
        lambda a: a[:, 0].T,
    ]
    for view in views:
        array, tensor = np.zeros((6, 5, 8), np.float32), torch.zeros(6, 5, 8)
        g, t = pair(4)
        getattr(snn_random, name)(view(array), generator=g)
        getattr(view(tensor), name)(generator=t)
        assert_same(array, tensor, 16)


@settings(max_examples=100)
@given(seed=seeds, ends=st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 2), n=st.integers(0, 9))
def test_randint_over_any_range(seed: int, ends: tuple[int, int], n: int) -> None:
    low, high = min(ends), max(ends)
    if low == high:
        high = low + 1 if low < 2**63 - 1 else low
        low = high - 1
    g, t = pair(seed)
    assert_same(snn.randint(low, high, (n,), generator=g), torch.randint(low, high, (n,), generator=t))
    assert_same_state(g, t)


@pytest.mark.parametrize("span", [1, 2, 2**28 - 1, 2**28, 2**28 + 1, 2**32, 2**32 + 1])
def test_randint_about_the_range_where_two_words_begin(span: int) -> None:
    g, t = pair(8)
    assert_same(snn.randint(span, (50,), generator=g), torch.randint(span, (50,), generator=t))
    assert_same(snn.randint(-3, span - 3, 50, generator=g), torch.randint(-3, span - 3, (50,), generator=t))
    assert_same_state(g, t)


@pytest.mark.parametrize(("dtype", "torch_dtype"), [(np.int32, torch.int32), (np.int64, torch.int64)])
def test_random_(dtype: Any, torch_dtype: torch.dtype) -> None:
    g, t = pair(8)
    ours = snn_random.random_(np.empty((3, 4), dtype), generator=g)
    assert_same(ours, torch.empty(3, 4, dtype=torch_dtype).random_(generator=t))
    assert_same_state(g, t)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 624, 6700])
def test_randperm(n: int) -> None:
    for seed in range(5):
        g, t = pair(seed)
        assert_same(snn.randperm(n, generator=g), torch.randperm(n, generator=t))
        assert_same_state(g, t)


@given(words=st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_any_words_give_a_permutation(words: list[int]) -> None:
    before = np.array(words, np.uint64)
    before.flags.writeable = False
    order = snn_random.permutation_from_words(before)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(len(words) + 1))


def torch_draws_masks_from_the_generator() -> bool:
    """Not on Intel's CPUs: there torch takes a seed from the generator and the mask from MKL's own stream."""
    g, t = pair(0)
    torch.empty(50).bernoulli_(0.5, generator=t)
    g.words(100)
    return bool((g.get_state() == t.get_state().numpy()).all())


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.2, 0.5, 1 - 0.1, 1.0])
def test_bernoulli(p: float) -> None:
    for seed in range(10):
        g, t = pair(seed)
        mask = snn_random.bernoulli(p, (7, 30), generator=g)
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, torch.rand(7, 30, dtype=torch.float64, generator=t).numpy() < p)
        assert_same_state(g, t)


def test_bernoulli_at_the_very_number_drawn() -> None:
    g, t = pair(1)
    drawn = torch.rand(1, dtype=torch.float64, generator=t).item()
    assert not snn_random.bernoulli(drawn, 1, generator=g).any()
    assert snn_random.bernoulli(np.nextafter(drawn, 1), 1, generator=g.manual_seed(1)).all()


def test_dropout_masks() -> None:
    for seed in range(30):
        for p in (0.1, 0.3, 0.5, 0.77):
            torch.manual_seed(seed)
            dropped = torch.nn.functional.dropout(torch.ones(5, 41), p)
            snn.manual_seed(seed)
            mask = snn_random.bernoulli(1 - p, (5, 41))
            if torch_draws_masks_from_the_generator():
                np.testing.assert_array_equal(mask, dropped.numpy() != 0)
                assert_same_state(snn.default_generator, torch.default_generator)
            else:
                assert not np.array_equal(mask, dropped.numpy() != 0)


# --- a whole program: initial weights, batches, and the numbers drawn after them ---


@pytest.mark.parametrize(("dtype", "torch_dtype"), DTYPES)
def test_weights_batches_and_what_is_drawn_next(dtype: Any, torch_dtype: torch.dtype) -> None:
    x = np.arange(74, dtype=dtype).reshape(37, 2)
    for seed in range(103):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(2, 10, dtype=torch_dtype),
            torch.nn.ReLU(),
            torch.nn.Linear(10, 1, dtype=torch_dtype),
        )
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.from_numpy(x)), batch_size=8, shuffle=True
        )
        batches = [batch[0] for _ in range(3) for batch in loader]
        after = torch.rand(3)

        snn.manual_seed(seed)
        ours = []
        for shape in ((10, 2), (1, 10)):
            weight, bias = np.empty(shape, dtype), np.empty(shape[0], dtype)
            init.linear_default_(weight, bias)
            ours += [weight, bias]
        our_loader = DataLoader(TensorDataset(x), batch_size=8, shuffle=True)
        our_batches = [batch[0] for _ in range(3) for batch in our_loader]

        for array, parameter in zip(ours, network.parameters(), strict=True):
            assert_same(array, parameter.detach())
        for array, batch in zip(our_batches, batches, strict=True):
            assert_same(array, batch)
        assert_same(snn.rand(3), after)
        assert_same_state(snn.default_generator, torch.default_generator)


# --- shapes, and what is refused ---


def test_sizes_as_ints_tuples_and_nothing() -> None:
    assert snn.rand(2, 3).shape == snn.rand((2, 3)).shape == snn.rand([2, 3]).shape == (2, 3)
    assert snn.rand().shape == snn.randn(()).shape == ()
    assert snn.rand(2, 0).shape == (2, 0)
    assert snn.rand(3).dtype == snn.randn(3).dtype == np.float32
    assert snn.randint(5, (2, 2)).dtype == np.int64
    assert snn.randint(high=5, size=(2, 2)).shape == snn.randint(5, size=[2, 2]).shape == (2, 2)


def read_only() -> Array:
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"within \[-2\*\*63, 2\*\*64 - 1\]", lambda: snn.manual_seed(2**64)),
        (ValueError, r"within \[-2\*\*63, 2\*\*64 - 1\]", lambda: snn.manual_seed(-(2**63) - 1)),
        (TypeError, "needs an int", lambda: snn.manual_seed(1.5)),  # type: ignore[arg-type]
        (TypeError, "uint8", lambda: Generator().set_state(np.zeros(5056))),
        (ValueError, "5056", lambda: Generator().set_state(np.zeros(5, np.uint8))),
        (ValueError, "MT19937", lambda: Generator().set_state(np.zeros(5056, np.uint8))),
        (ValueError, "negative", lambda: snn.rand(-1)),
        (TypeError, "needs ints", lambda: snn.rand(1.5, 2)),
        (TypeError, "float32 or float64", lambda: snn.rand(2, dtype=np.int64)),
        (TypeError, "float32 or float64", lambda: snn.randn(2, dtype=np.complex128)),
        (TypeError, "scratchnn Generator", lambda: snn.rand(2, generator=torch.Generator())),  # type: ignore[arg-type]
        (ValueError, "above low", lambda: snn.randint(3, 3, (2,))),
        (ValueError, "int64", lambda: snn.randint(0, 2**63, (2,))),
        (TypeError, "needs a size", lambda: snn.randint(3)),
        (TypeError, "randint got high=2.5; it needs an int", lambda: snn.randint(0, 2.5, (2,))),  # type: ignore[arg-type]
        (TypeError, "randperm got n=2.5; it needs an int", lambda: snn.randperm(2.5)),  # type: ignore[arg-type]
        (ValueError, "below 214748364", lambda: snn.randperm(214748364)),
        (ValueError, "at least 0", lambda: snn.randperm(-1)),
        (ValueError, r"within \[0, 1\]", lambda: snn_random.bernoulli(1.01, 3)),
        (ValueError, r"within \[0, 1\]", lambda: snn_random.bernoulli(math.nan, 3)),
        (ValueError, "swap them", lambda: snn_random.uniform_(np.empty(3), 1, 0)),
        (ValueError, "finite", lambda: snn_random.uniform_(np.empty(3), 0, math.nan)),
        (ValueError, "finite", lambda: snn_random.uniform_(np.empty(3, np.float32), 0, 1e39)),
        (ValueError, "read-only", lambda: snn_random.uniform_(read_only())),
        (ValueError, "read-only", lambda: snn_random.normal_(read_only())),
        (TypeError, "float32 or float64", lambda: snn_random.uniform_(np.empty(3, int))),
        (TypeError, "float32 or float64", lambda: snn_random.uniform_([1.0, 2.0])),  # type: ignore[arg-type]
        (ValueError, "std", lambda: snn_random.normal_(np.empty(3), 0, -1)),
        (ValueError, "std", lambda: snn_random.normal_(np.empty(3), 0, math.nan)),
        (TypeError, "int32 or int64", lambda: snn_random.random_(np.empty(3))),
    ],
)
def test_bad_input_is_refused_and_draws_nothing(error: type[Exception], message: str, call: Any) -> None:
    before = snn.default_generator.get_state()
    with pytest.raises(error, match=message):
        call()
    np.testing.assert_array_equal(snn.default_generator.get_state(), before)
