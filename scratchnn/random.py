"""Random numbers: PyTorch's Mersenne Twister and its distributions, bit for bit.

A `Generator` is a stream of 32-bit words; every distribution below says how many words an element takes.
The same seed gives the numbers that `torch` gives on a CPU with AVX2 or better.
Source: torch 2.13, `aten/src/ATen/core/{MT19937RNGEngine,DistributionsHelper}.h` and
`aten/src/ATen/native/cpu/DistributionTemplates.h`; Matsumoto and Nishimura 1998 (MT19937).
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np

from .checks import (
    REAL_DTYPES,
    Array,
    as_dtype,
    as_int,
    as_kind,
    as_number,
    as_seed,
    as_shape,
    positive_int,
    shown,
)
from .fma import multiply_add
from .forks import free_at_forks
from .normal import BLOCK, box_muller_blocks, box_muller_pair

__all__ = [
    "Generator",
    "bernoulli",
    "default_generator",
    "manual_seed",
    "normal_",
    "permutation_from_words",
    "permutation_words",
    "rand",
    "randint",
    "randn",
    "random_",
    "randperm",
    "resolve",
    "uniform_",
]

Size = SupportsIndex | Sequence[SupportsIndex]

DEFAULT_SEED = 67280421310721  # torch's default_rng_seed_val
STATE_WORDS = 624  # MT19937 makes 624 words at a time
WIDE_RANGE = 2**28  # from here on torch takes 64 bits for an integer
RANDPERM_LIMIT = (2**32 - 1) // 20  # from here on torch permutes by another algorithm

# The bytes of torch.Generator.get_state(): CPUGeneratorImplState.
STATE = np.dtype(
    [
        ("seed", "<u8"),
        ("left", "<i4"),
        ("seeded", "<i4"),
        ("next", "<u8"),
        ("words", "<u8", STATE_WORDS),
        ("normal_x", "<f8"),
        ("normal_y", "<f8"),
        ("normal_rho", "<f8"),
        ("normal_is_valid", "<i4"),
        ("rest", "V12"),
    ]
)


class Generator:
    """A stream of random words with `torch.Generator`'s names, seeds and state.

    A new one has the seed 67280421310721, as in torch. Source: https://docs.pytorch.org/docs/stable/generated/torch.Generator.html

    Attributes:
        drawn: words drawn since it was made, whatever its seeds; what lies between two moments of a stream.
    """

    drawn = 0

    def __init__(self) -> None:
        self._engine = np.random.MT19937(0)
        self.manual_seed(DEFAULT_SEED)

    def manual_seed(self, seed: SupportsIndex) -> Generator:
        """Start the stream of `seed`, in [-2**63, 2**64 - 1], and return the generator.

        A negative seed s means s + 2**64. Only the low 32 bits choose the stream.

        Raises:
            TypeError: `seed` is not a whole number. ValueError: it is out of range.
        """
        value = as_seed("Generator.manual_seed", "seed", seed)
        self._seed = value % 2**64
        np.random.RandomState(self._engine).seed(self._seed & 0xFFFFFFFF)  # in place
        self._unused = True
        self._cached_normal: float | None = None
        return self

    def seed(self) -> int:
        """Seed with 64 bits from the operating system and return them."""
        self.manual_seed(secrets.randbits(64))
        return self._seed

    def initial_seed(self) -> int:
        """The seed of this stream, all 64 bits of it."""
        return self._seed

    def words(self, n: int) -> Array:
        """(n,) uint64: the next `n` raw 32-bit words of the stream."""
        n = positive_int("Generator.words", "n", n, minimum=0)
        if n:
            self._unused = False
        self.drawn += n
        return np.asarray(self._engine.random_raw(n))

    def skip(self, n: int) -> None:
        """Draw `n` words for nobody."""
        n = positive_int("Generator.skip", "n", n, minimum=0)
        if n:
            self._unused = False
        self.drawn += n
        self._engine.random_raw(n, output=False)

    def words64(self, n: int) -> Array:
        """(n,) uint64: the next `n` 64-bit draws, two words each, the high half first."""
        pairs = self.words(2 * positive_int("Generator.words64", "n", n, minimum=0))
        return (pairs[0::2] << np.uint64(32)) | pairs[1::2]

    def get_state(self) -> Array:
        """(5056,) uint8: seed, position, words and cached normal, byte for byte what torch returns."""
        inner: Any = self._engine.state["state"]
        state = np.zeros((), STATE)
        position = 0 if self._unused else inner["pos"]
        state["seed"], state["seeded"] = self._seed, 1
        state["left"], state["next"] = (1, 0) if self._unused else (STATE_WORDS + 1 - position, position)
        state["words"] = inner["key"]
        if self._cached_normal is not None:
            state["normal_y"], state["normal_is_valid"] = self._cached_normal, 1
        return np.frombuffer(state.tobytes(), np.uint8).copy()

    def set_state(self, new_state: Array) -> Generator:
        """Continue from a state that `get_state`, here or in torch (`.numpy()`), returned.

        Raises:
            TypeError: not a uint8 array. ValueError: not (5056,), or not a Mersenne Twister's state.
        """
        if not isinstance(new_state, np.ndarray) or new_state.dtype != np.uint8:
            raise TypeError(
                f"Generator.set_state got new_state={shown(new_state)}; "
                "it needs the uint8 array that get_state returned"
            )
        if new_state.shape != (STATE.itemsize,):
            raise ValueError(
                f"Generator.set_state got shape {new_state.shape}; get_state returns ({STATE.itemsize},)"
            )
        state = np.frombuffer(new_state.tobytes(), STATE)[0]
        left, position = int(state["left"]), int(state["next"])
        unused = (left, position) == (1, 0)
        if state["seeded"] != 1 or not (unused or (left >= 1 and left + position == STATE_WORDS + 1)):
            raise ValueError(
                "Generator.set_state got bytes that are no MT19937 state; pass what get_state returned"
            )
        key = state["words"].astype(np.uint32)
        inner: Any = {"key": key, "pos": STATE_WORDS if unused else position}
        self._engine.state = {"bit_generator": "MT19937", "state": inner}
        self._seed, self._unused = int(state["seed"]), unused
        self._cached_normal = float(state["normal_y"]) if state["normal_is_valid"] else None
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.get_state(), "drawn": self.drawn}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._engine = np.random.MT19937(0)
        self.set_state(state["state"])
        self.drawn = state["drawn"]

    def next_normal(self) -> float:
        """One standard normal double: four words make two, the second is kept for the next call."""
        if self._cached_normal is not None:
            value, self._cached_normal = self._cached_normal, None
            return value
        u1, u2 = _unit(self, 2, np.dtype(np.float64)).tolist()
        value, self._cached_normal = box_muller_pair(u1, u2)
        return value


default_generator = Generator()
free_at_forks(default_generator._engine.lock)  # NumPy's, held while words are drawn


def manual_seed(seed: SupportsIndex) -> Generator:
    """Seed the default generator, as `torch.manual_seed`, and return it."""
    return default_generator.manual_seed(seed)


def rand(*size: Any, dtype: Any = np.float32, generator: Generator | None = None) -> Array:
    """Uniform numbers in [0, 1): one word an element in float32, two in float64.

    Args:
        size: ints, or one tuple of ints.
        dtype: float32 or float64.
    """
    return uniform_(_empty("rand", size, dtype), generator=generator)


def randn(*size: Any, dtype: Any = np.float32, generator: Generator | None = None) -> Array:
    """Standard normal numbers; see `normal_` for the words they take."""
    return normal_(_empty("randn", size, dtype), generator=generator)


def randint(
    low: int = 0,
    high: Size | None = None,
    size: Size | None = None,
    *,
    generator: Generator | None = None,
) -> Array:
    """int64 from {low, ..., high - 1}: `randint(high, size)` or `randint(low, high, size)`, as in torch.

    One word an element, two where high - low is 2**28 or more. Being a remainder, it favours small values by
    less than one part in 16.

    Raises:
        TypeError: no size, a bound that is no int. ValueError: high is not above low, or either is no int64.
    """
    if size is None:
        high, size = None, high
    if size is None:
        raise TypeError("randint needs a size: randint(high, size) or randint(low, high, size)")
    bounds: Any = (0, low) if high is None else (low, high)
    low, stop = (as_int("randint", name, bound) for name, bound in zip(("low", "high"), bounds, strict=True))
    if not low < stop:
        raise ValueError(f"randint got low={low} and high={stop}; high must be above low")
    shape = as_shape("randint", "size", size)
    draws = _integers(resolve("randint", generator), math.prod(shape), stop - low)
    return (draws + np.uint64(low % 2**64)).view(np.int64).reshape(shape)


def randperm(n: int, *, generator: Generator | None = None) -> Array:
    """(n,) int64: a random order of 0 ... n - 1, by Fisher and Yates's shuffle; n - 1 words.

    Raises:
        TypeError: n is no int.
        ValueError: n is negative, or 214748364 and more (where torch takes another algorithm).
    """
    words = permutation_words(n, resolve("randperm", generator))
    return permutation_from_words(words)[:n]


def permutation_words(n: int, generator: Generator) -> Array:
    """The words that `randperm(n)` takes: (n - 1,) uint64, none for n = 0."""
    n = as_int("randperm", "n", n)
    if not 0 <= n < RANDPERM_LIMIT:
        raise ValueError(f"randperm got n={n}; it must be at least 0 and below {RANDPERM_LIMIT}")
    return generator.words(max(n - 1, 0))


def permutation_from_words(words: Array) -> Array:
    """The order of n = len(words) + 1 rows that these raw words give; pure.

    for i in 0 ... n - 2: swap row i with row i + words[i] % (n - i).
    """
    n = len(words) + 1
    steps = np.arange(n - 1)
    partners = (steps + (words % (n - steps).astype(np.uint64)).astype(np.int64)).tolist()
    order = list(range(n))
    for i, j in enumerate(partners):
        order[i], order[j] = order[j], order[i]
    return np.array(order, dtype=np.int64)


def bernoulli(p: float, size: Any, *, generator: Generator | None = None) -> Array:
    """A bool array, True with probability `p`; two words an element, whatever becomes of the mask.

    Raises:
        ValueError: p is outside [0, 1].
    """
    p = as_number("bernoulli", "p", p, least=0, most=1)
    shape = as_shape("bernoulli", "size", size)
    unit = _unit(resolve("bernoulli", generator), math.prod(shape), np.dtype(np.float64))
    return (unit < p).reshape(shape)


def uniform_(
    array: Array, low: float = 0.0, high: float = 1.0, *, generator: Generator | None = None
) -> Array:
    """Fill `array` with uniform numbers in [low, high), in place, and return it.

    Args:
        array: float32 (one word an element) or float64 (two), filled in the order of its memory.
    Raises:
        TypeError: another dtype.
        ValueError: low > high, bounds that the dtype cannot hold, or a read-only array.
    """
    generator = resolve("uniform_", generator)
    dtype = _writable("uniform_", array)
    low, high = as_number("uniform_", "low", low), as_number("uniform_", "high", high)
    with np.errstate(over="ignore"):
        start, stop = dtype.type(low), dtype.type(high)
        span = stop - start
    if not np.isfinite(span):
        raise ValueError(
            f"uniform_ got low={low} and high={high}; their difference must be finite in {dtype}"
        )
    if not start <= stop:
        raise ValueError(f"uniform_ got low={low} above high={high}; swap them")
    unit = _unit(generator, array.size, dtype)
    if start != 0 and dtype == np.float64:  # scaled, so that no product leaves the range of doubles
        exponent = math.frexp(max(abs(start), span))[1]
        unit = np.ldexp(multiply_add(unit, np.ldexp(span, -exponent), np.ldexp(start, -exponent)), exponent)
    else:
        unit = multiply_add(unit, span, start)
    unit[unit == stop] = start
    _fill(array, unit)
    return array


def normal_(
    array: Array, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Array:
    """Fill `array` with normal numbers, in place, and return it.

    Fewer than 16 elements, or memory with gaps or in another order than C's: one double at a time, four
    words for two, the second kept by the generator. Otherwise blocks of 16, one word an element (two in
    float64), and 16 more draws for the last block when it is not full.

    Raises:
        TypeError: not float32 or float64. ValueError: std is negative, or the array is read-only.
    """
    generator = resolve("normal_", generator)
    dtype = _writable("normal_", array)
    mean = as_number("normal_", "mean", mean, finite=True)
    std = as_number("normal_", "std", std, least=0, finite=True)
    if array.size < BLOCK or not array.flags.c_contiguous:
        values = np.array([generator.next_normal() for _ in range(array.size)], dtype=np.float64)
        _fill(array, multiply_add(values, np.float64(std), np.float64(mean)).astype(dtype))
        return array
    uniforms = _unit(generator, array.size, dtype)
    full = array.size - array.size % BLOCK
    values = np.empty(array.size, dtype)
    values[:full] = box_muller_blocks(uniforms[:full].reshape(-1, BLOCK)).ravel()
    if full < array.size:
        values[-BLOCK:] = box_muller_blocks(_unit(generator, BLOCK, dtype).reshape(1, BLOCK)).ravel()
    array[...] = multiply_add(values, dtype.type(std), dtype.type(mean)).reshape(array.shape)
    return array


def random_(array: Array, *, generator: Generator | None = None) -> Array:
    """Fill an int32 array (one word an element) or int64 (two) with integers in [0, maximum], in place."""
    generator = resolve("random_", generator)
    _writable("random_", array, (np.dtype(np.int32), np.dtype(np.int64)))
    draws = generator.words(array.size) if array.dtype == np.int32 else generator.words64(array.size)
    _fill(array, (draws & np.uint64(np.iinfo(array.dtype).max)).astype(array.dtype))
    return array


def _unit(generator: Generator, n: int, dtype: np.dtype[Any]) -> Array:
    """(n,) uniform in [0, 1): the low 24 or 53 bits of each draw, as a fraction."""
    bits = 24 if dtype == np.float32 else 53
    draws = generator.words(n) if dtype == np.float32 else generator.words64(n)
    return np.asarray((draws & np.uint64(2**bits - 1)).astype(dtype) * dtype.type(2.0**-bits))


def _integers(generator: Generator, n: int, span: int) -> Array:
    """(n,) uint64 in [0, span)."""
    draws = generator.words64(n) if span >= WIDE_RANGE else generator.words(n)
    return np.asarray(draws % np.uint64(span))


def resolve(owner: str, generator: Generator | None) -> Generator:
    """`generator`, or the default one for None; a TypeError for anything else, torch's included."""
    if generator is None:
        return default_generator
    return as_kind(owner, "generator", generator, Generator, "a scratchnn Generator, or None")


def _empty(owner: str, size: tuple[Any, ...], dtype: Any) -> Array:
    kind = as_dtype(owner, dtype, REAL_DTYPES)
    return np.empty(as_shape(owner, "size", size[0] if len(size) == 1 else size), kind)


def _writable(owner: str, array: Array, dtypes: tuple[np.dtype[Any], ...] = REAL_DTYPES) -> np.dtype[Any]:
    """The array's dtype, once it is known that the array can be filled; nothing is drawn otherwise."""
    masked = isinstance(array, np.ma.MaskedArray)
    if masked or not isinstance(array, np.ndarray) or array.dtype not in dtypes:
        raise TypeError(f"{owner} got array={shown(array)}; it fills {dtypes[0]} or {dtypes[1]} arrays")
    if not array.flags.writeable:
        raise ValueError(f"{owner} got a read-only array; pass a copy of it")
    return array.dtype


def _fill(array: Array, values: Array) -> None:
    """Assign a flat vector to an array in the order of its memory, as torch fills a transposed tensor."""
    axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    view = array.transpose(axes)
    view[...] = values.reshape(view.shape)
