"""Datasets and their batches, in torch's order: the same seed gives the same rows in the same batches.

A dataset is anything with a length that gives a row for an index. From arrays, and from datasets made of
arrays, a batch is taken in one indexing operation; any other dataset is asked for one row after the other, as
torch asks it, and the rows are stacked.
Source: torch 2.13, `torch/utils/data/{dataset,sampler,dataloader}.py`.
"""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .checks import (
    Array,
    Check,
    CheckedAttributes,
    any_array,
    as_flag,
    as_function,
    as_list,
    as_number,
    positive_int,
    shown,
)
from .random import Generator, default_generator, permutation_from_words, permutation_words, randperm, resolve

__all__ = ["DataLoader", "Subset", "TensorDataset", "is_made_of_arrays", "random_split"]


def _tensors(owner: str, name: str, value: Any) -> tuple[Array, ...]:
    """Arrays of equal length, at least one."""
    tensors = tuple(
        _column(position, tensor) for position, tensor in enumerate(as_list(owner, name, value, "arrays"))
    )
    if not tensors:
        raise ValueError("TensorDataset got no arrays; it needs at least one")
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) > 1:
        raise ValueError(f"TensorDataset got arrays of {lengths} rows; all must have the same number")
    return tensors


class TensorDataset(CheckedAttributes):
    """Arrays of N rows each; `dataset[i]` is the tuple of their rows i.

    Args:
        tensors: arrays of equal length along the first axis, kept as they are; lists of numbers become
            arrays, of float32 if they hold floats.
    Raises:
        TypeError: no numbers. ValueError: no array, one without rows' axis, or unequal lengths.
    """

    _checks: ClassVar[Mapping[str, Check]] = {"tensors": _tensors}

    def __init__(self, *tensors: Any) -> None:
        self.tensors: tuple[Array, ...] = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Array, ...]:
        index = _index("TensorDataset", index, len(self))
        return tuple(tensor[index] for tensor in self.tensors)


def _indices(owner: str, name: str, value: Any) -> Array:
    indices = any_array(owner, name, value, "iu")
    if indices.size == 0:
        indices = indices.astype(np.int64)
    if indices.ndim != 1:
        raise TypeError(f"{owner} got {name} of shape {indices.shape}; it needs a list of ints")
    return indices


class Subset(CheckedAttributes):
    """The rows `indices` of a dataset, in that order.

    Args:
        dataset: any dataset. indices: (n,) ints.
    """

    _checks: ClassVar[Mapping[str, Check]] = {
        "dataset": lambda owner, name, value: _check_dataset(owner, value),
        "indices": _indices,
    }

    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset = dataset
        self.indices: Array = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        chosen = self.indices[_index("Subset", index, len(self))]
        try:
            return self.dataset[int(chosen)] if chosen.ndim == 0 else rows_of(self.dataset, chosen)
        except IndexError as error:
            kind = type(self.dataset).__name__
            raise IndexError(f"Subset asks for a row that its {kind} does not have: {error}") from error


def is_made_of_arrays(dataset: Any) -> bool:
    """True where an array of indices takes the rows that the indices take one by one."""
    if isinstance(dataset, Subset):
        return type(dataset).__getitem__ is Subset.__getitem__ and is_made_of_arrays(dataset.dataset)
    if isinstance(dataset, TensorDataset):
        return type(dataset).__getitem__ is TensorDataset.__getitem__
    return isinstance(dataset, np.ndarray)


def rows_of(dataset: Any, indices: Array) -> Any:
    """The rows `indices` as one batch.

    Args:
        dataset: made of arrays; or with `__getitems__`, which takes a list of ints and returns a list of
            rows; or with `__getitem__` for one int.
    Raises:
        TypeError, ValueError: rows that do not make a batch.
    """
    if is_made_of_arrays(dataset):
        return dataset[indices]
    if hasattr(dataset, "__getitems__"):
        rows = list(dataset.__getitems__(indices.tolist()))
        if len(rows) != len(indices):
            raise ValueError(
                f"{type(dataset).__name__}.__getitems__ returned {len(rows)} rows for {len(indices)} "
                "indices; it must return one for each"
            )
    else:
        rows = [dataset[index] for index in indices.tolist()]
    return _stacked(type(dataset).__name__, rows)


def _stacked(owner: str, rows: list[Any]) -> Any:
    """One batch of rows: arrays and numbers stacked; tuples, lists, dicts entry by entry; texts in a list."""
    first = rows[0]
    if isinstance(first, Mapping):
        if any(not isinstance(row, Mapping) or row.keys() != first.keys() for row in rows):
            raise ValueError(f"{owner} gave rows with different keys; every row needs {list(first)}")
        return {key: _stacked(owner, [row[key] for row in rows]) for key in first}
    if isinstance(first, (tuple, list)):
        if any(not isinstance(row, (tuple, list)) or len(row) != len(first) for row in rows):
            raise ValueError(f"{owner} gave rows of different lengths; every row needs {len(first)} entries")
        columns = [_stacked(owner, list(column)) for column in zip(*rows, strict=True)]
        if isinstance(first, tuple):
            return type(first)(*columns) if hasattr(first, "_fields") else tuple(columns)
        return columns
    if isinstance(first, (str, bytes)):
        return rows
    arrays = [np.asarray(row) for row in rows]
    if any(array.dtype.kind not in "biufc" for array in arrays):
        raise TypeError(
            f"{owner} gave a row with a {type(first).__name__}; a row is an array, a number, or a tuple, "
            "list or dict of them"
        )
    if len({array.shape for array in arrays}) > 1:
        shapes = ", ".join(map(str, sorted({array.shape for array in arrays})))
        raise ValueError(f"{owner} gave rows of shapes {shapes}; the rows of a batch must have one shape")
    return np.stack(arrays)


def _loaded(owner: str, name: str, value: Any) -> Any:
    """A dataset for a DataLoader."""
    if isinstance(value, (list, tuple, str, bytes)):
        raise TypeError(
            f"{owner} got a {type(value).__name__} as dataset; wrap arrays as TensorDataset(x, y)"
        )
    return _check_dataset(owner, value)


def _generator(owner: str, name: str, value: Any) -> Generator | None:
    resolve(owner, value)
    return value


class DataLoader(CheckedAttributes):
    """Batches of a dataset, one epoch for every `for batch in loader`.

    Args:
        dataset: a TensorDataset, a Subset, an array; or anything with a length and `__getitem__` for one
            index, or `__getitems__` for a list of them. Its rows (arrays, numbers, or tuples, lists and dicts
            of them) are stacked.
        batch_size: rows in a batch; the last one holds what is left.
        shuffle: a new order every epoch.
        drop_last: leave out a last batch that is not full.
        generator: where orders come from; None takes a fresh seed from the default generator every epoch.
    Raises:
        TypeError: a list as dataset, a batch_size that is no int, another library's generator.
        ValueError: a batch_size below 1, shuffling no rows at all.

    Every `iter(loader)` draws two words (torch's base seed). The order is drawn with the first batch. With a
    generator of its own, a shuffling loader draws one order more when the rows run out, and discards it.
    """

    _checks: ClassVar[Mapping[str, Check]] = {
        "dataset": _loaded,
        "batch_size": positive_int,
        "shuffle": as_flag,
        "drop_last": as_flag,
        "generator": _generator,
    }

    _not_here: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            (
                "num_workers",
                "pin_memory",
                "timeout",
                "worker_init_fn",
                "prefetch_factor",
                "persistent_workers",
            ),
            "batches are made in this process; leave it out",
        ),
        "collate_fn": "batches are stacked; give a dataset that returns what you want",
        "sampler": "take rows with Subset(dataset, indices), or set shuffle",
        "batch_sampler": "pass batch_size, or a list of batches to fit",
    }

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        generator: Generator | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.generator = generator
        if self.shuffle and len(dataset) == 0:
            raise ValueError("DataLoader got shuffle=True and no rows; give it data, or shuffle=False")
        self._reseeded = Generator()  # what shuffles without a generator, seeded anew every epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        rows = len(self.dataset)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        self._draw_base_seed()
        return self._batches()

    def order(self, permute: Callable[[Array], Array] = permutation_from_words) -> Array:
        """One epoch's row indices, batch after batch; draws what one whole `for batch in loader` draws.

        Args:
            permute: turns the shuffle's raw words into the order; a compiled twin may stand in.
        Returns:
            int64, (len(dataset),), with drop_last only the rows that come up.
        """
        permute = as_function("DataLoader.order", "permute", permute, "a function of raw words")
        self._draw_base_seed()
        order, discard_another = self._draw_order(permute)
        discard_another()
        return order[: len(self) * self.batch_size]

    def _batches(self) -> Iterator[Any]:
        order, discard_another = self._draw_order(permutation_from_words)
        for start in range(0, len(order), self.batch_size):
            stop = start + self.batch_size
            if stop > len(order):
                discard_another()  # before the short batch: filling it has asked for one row too many
                if self.drop_last:
                    return
            yield rows_of(self.dataset, order[start:stop])
        if len(order) % self.batch_size == 0:
            discard_another()

    def _draw_base_seed(self) -> None:
        resolve("DataLoader", self.generator).words64(1)

    def _draw_order(self, permute: Callable[[Array], Array]) -> tuple[Array, Callable[[], object]]:
        """The order of all rows, and what draws the discarded one."""
        rows = len(self.dataset)
        if not self.shuffle:
            return np.arange(rows), lambda: None
        generator = self.generator
        if generator is None:
            generator = self._reseeded.manual_seed(int(default_generator.words64(1)[0]))
        order = permute(permutation_words(rows, generator))[:rows]
        return order, lambda: permutation_words(rows, generator)


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Split a dataset at random into parts of the given lengths.

    Args:
        lengths: ints that sum to len(dataset), or fractions that sum to 1: of these every part gets the
            floor, and the rows left over go to the parts one by one from the first.
        generator: draws one permutation; None is the default generator.
    Raises:
        ValueError: other sums, a negative length. TypeError: lengths that are neither.
    """
    rows = len(_check_dataset("random_split", dataset))
    if isinstance(lengths, (int, float)):
        lengths = [lengths]
    lengths = as_list("random_split", "lengths", lengths, "ints")
    for position, length in enumerate(lengths):
        as_number("random_split", f"lengths[{position}]", length)
    counts = _fraction_counts(rows, lengths) if _are_fractions(lengths) else _counts(rows, lengths)
    indices = randperm(rows, generator=resolve("random_split", generator))
    ends = itertools.accumulate(counts)
    return [Subset(dataset, indices[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def _check_dataset(owner: str, dataset: Any) -> Any:
    """`dataset`, which has a length and gives a row for an index."""
    if isinstance(dataset, np.ndarray) and dataset.ndim:
        any_array(owner, "dataset", dataset)
    elif (
        isinstance(dataset, (type, np.ndarray, str, bytes))
        or any(hasattr(dataset, name) for name in ("iloc", "toarray"))  # tables, sparse matrices
        or not all(hasattr(dataset, name) for name in ("__getitem__", "__len__"))
    ):
        got = type(dataset).__name__
        raise TypeError(f"{owner} got a {got} as dataset; it needs rows: wrap arrays as TensorDataset(x, y)")
    return dataset


def _index(owner: str, index: Any, rows: int) -> Any:
    """`index` as what takes rows from arrays: an int, a slice, an array of ints or of truth values."""
    if isinstance(index, slice) or (type(index) is np.ndarray and index.dtype.kind == "i"):
        return index
    array = any_array(owner, "index", index, "biu")
    if array.dtype.kind == "b" and array.shape != (rows,):
        raise IndexError(
            f"{owner} of {rows} rows got index as {array.shape} truth values; it needs one a row"
        )
    if array.dtype.kind != "b" and array.size and not -rows <= array.min() <= array.max() < rows:
        raise IndexError(f"{owner} of {rows} rows got index={shown(index)}")
    return array if array.size else array.astype(np.int64)


def _are_fractions(lengths: Sequence[float]) -> bool:
    return math.isclose(sum(lengths), 1) and sum(lengths) <= 1


def _fraction_counts(rows: int, fractions: Sequence[float]) -> list[int]:
    for index, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(
                f"random_split got the fraction {fraction} at index {index}; it must lie within [0, 1]"
            )
    counts = [math.floor(rows * fraction) for fraction in fractions]
    for index in range(rows - sum(counts)):
        counts[index % len(counts)] += 1
    for index, count in enumerate(counts):
        if count == 0:
            warnings.warn(f"random_split: part {index} is empty", stacklevel=3)
    return counts


def _counts(rows: int, lengths: Sequence[float]) -> list[int]:
    total = sum(lengths)
    if total != rows or any(length < 0 for length in lengths):
        raise ValueError(
            f"random_split got lengths {list(lengths)} for {rows} rows; "
            f"they must sum to {rows}, or to 1 as fractions"
        )
    try:
        return [operator.index(length) for length in lengths]  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"random_split got lengths {list(lengths)}; it needs ints, or fractions of 1"
        ) from None


def _column(position: int, tensor: Any) -> Array:
    array = any_array("TensorDataset", f"tensors[{position}]", tensor)
    if array.ndim == 0:
        raise ValueError(f"TensorDataset got a single number as tensors[{position}]; it needs rows, axis 0")
    if not hasattr(tensor, "__array__") and array.dtype == np.float64:
        return array.astype(np.float32)
    return array
