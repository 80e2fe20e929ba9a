"""Where a run's batches come from: what `for x, target in data` gives, in the model's dtype.

Nothing is kept from epoch to epoch: a loader, a dataset or an array that changes between two epochs gives
other batches from then on, as in a loop by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..checks import Array, any_array
from ..data import DataLoader, Subset, TensorDataset, is_made_of_arrays
from ..losses import Loss

__all__ = ["CHECK_ROWS", "EVERY_EPOCH", "BatchSource", "LoaderSource", "PairSource", "Source", "at_the_door"]

EVERY_EPOCH = "it needs rows in every epoch, from an iterable that begins anew each time"
# Rows looked at together when data are checked: bounds the memory a check takes.
CHECK_ROWS = 65536


class Source:
    """Batches (x, target), converted to the model's dtype as they come.

    Args:
        data: as `fit` got it. name: in errors, "data" or "validation".
    Attributes:
        loader: the DataLoader whose generator and order a run follows, or None.
    """

    loader: DataLoader | None = None

    def __init__(self, data: Any, loss_fn: Loss, dtype: np.dtype[Any], name: str) -> None:
        self.data, self.loss_fn, self.dtype, self.name = data, loss_fn, dtype, name

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for batch in self.data:
            yield self._converted(batch)

    @property
    def steps(self) -> int | None:
        """Batches in an epoch; None where nobody can say before it is over."""
        return _length(self.data)

    def at(self, dtype: np.dtype[Any]) -> Source:
        """The same batches for a model of `dtype`."""
        if dtype == self.dtype:
            return self
        other = copy.copy(self)
        other.dtype = dtype
        return other

    def rows(self) -> tuple[Array, Array] | None:
        """All inputs and targets as they are now; None where they are not at hand as two arrays."""
        return None

    def at_hand(self) -> Iterable[tuple[Array, Array]]:
        """The (x, target) that can be looked at without drawing or reading anything."""
        rows = self.rows()
        return () if rows is None else [rows]

    def kept(self) -> Source:
        """The same batches, converted once and for all."""
        return self

    def check(self) -> None:
        """Raise TypeError or ValueError, in words, for data that no run can begin with."""
        found = self.rows()
        if found is None:
            return
        x, y = found
        if len(x) != len(y):
            raise ValueError(
                f"fit got {self.name} with {len(x)} inputs but {len(y)} targets; each row needs one"
            )
        if len(x) == 0:
            raise ValueError(f"fit got {self.name} without rows; there is nothing to learn from")
        _check_finite(x, f"the inputs of {self.name}")
        _check_finite(y, f"the targets of {self.name}")

    def _converted(self, batch: Any) -> tuple[Array, Array]:
        try:
            x, target = batch
        except (TypeError, ValueError) as error:
            raise TypeError(f"fit needs {self.name} that gives pairs (x, target)") from error
        return self._input(x), self.loss_fn.convert_target(target, self.dtype)

    def _input(self, x: Any) -> Array:
        if type(x) is np.ndarray and x.dtype == self.dtype and x.ndim:
            return x
        array = any_array("fit", f"inputs of {self.name}", x, kinds="biuf")
        if array.ndim == 0:
            raise ValueError(f"fit got a single number as inputs of {self.name}; it needs an array of rows")
        return array.astype(self.dtype, copy=False)


class LoaderSource(Source):
    """A DataLoader over arrays, or over rows picked out of them."""

    data: DataLoader

    @property
    def loader(self) -> DataLoader:  # type: ignore[override]
        return self.data

    def on(self, loader: DataLoader) -> LoaderSource:
        """The same from another loader."""
        return LoaderSource(loader, self.loss_fn, self.dtype, self.name)

    def kept(self) -> LoaderSource:
        rows = self.rows()
        if rows is None:
            return self
        loader = copy.copy(self.data)
        loader.dataset = TensorDataset(*rows)
        return self.on(loader)

    def rows(self) -> tuple[Array, Array] | None:
        try:
            arrays = _arrays(self.data.dataset)
        except IndexError:  # a Subset of rows that are not there: the batch that asks for them says so
            return None
        return self._converted(arrays) if arrays is not None and len(arrays) == 2 else None

    def check(self) -> None:
        arrays = _arrays(self.data.dataset)
        if arrays is not None and len(arrays) != 2:
            raise ValueError(
                f"fit got {self.name} with {len(arrays)} arrays; it needs two, inputs and targets"
            )
        super().check()


class PairSource(Source):
    """A pair (X, y): one full batch an epoch."""

    @property
    def steps(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        yield self._converted(self.data)

    def rows(self) -> tuple[Array, Array]:
        return self._converted(self.data)

    def kept(self) -> PairSource:
        return PairSource(self.rows(), self.loss_fn, self.dtype, self.name)


class BatchSource(Source):
    """Ready-made batches, of an iterable that begins anew each time; each is checked as it comes."""

    def at_hand(self) -> Iterable[tuple[Array, Array]]:
        return self if isinstance(self.data, (list, tuple)) else ()

    def _converted(self, batch: Any) -> tuple[Array, Array]:
        x, target = super()._converted(batch)
        _check_finite(target, f"the targets of {self.name}")
        _check_finite(x, f"the inputs of {self.name}")
        return x, target


def at_the_door(data: Any, loss_fn: Loss, dtype: np.dtype[Any], name: str) -> Source:
    """The source of `data`, checked for NaN where the rows are at hand as a whole."""
    if not isinstance(data, (np.ndarray, str)) and _length(data) == 0:
        raise ValueError(f"fit got {name} without a single batch; {EVERY_EPOCH}")
    source: Source
    if type(data) is DataLoader and _arrays(data.dataset) is not None:
        source = LoaderSource(data, loss_fn, dtype, name)
    # A list of two (x, target) tuples is two batches; any other two things are X and y.
    elif isinstance(data, (tuple, list)) and len(data) == 2 and not isinstance(data[0], tuple):
        source = PairSource(data, loss_fn, dtype, name)
    elif not isinstance(data, Iterable) or isinstance(data, (Iterator, np.ndarray, str, dict)):
        raise TypeError(
            f"fit got {name} of type {type(data).__name__}; it needs a DataLoader, a pair (X, y), "
            "or an iterable of (x, target) that begins anew each time it is gone through, such as a list"
        )
    else:
        source = BatchSource(data, loss_fn, dtype, name)
    source.check()
    return source


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None


def _arrays(dataset: Any) -> tuple[Array, ...] | None:
    """The arrays of a TensorDataset, or the rows of them that a Subset picks out; None for other datasets."""
    inner = dataset
    while isinstance(inner, Subset):
        inner = inner.dataset
    if not isinstance(inner, TensorDataset) or not is_made_of_arrays(dataset):
        return None
    return inner.tensors if inner is dataset else dataset[:]


def _check_finite(array: Array, what: str) -> None:
    for start in range(0, len(array) if array.ndim else 0, CHECK_ROWS):
        rows = array[start : start + CHECK_ROWS]
        if not np.isfinite(rows).all():
            where = np.argwhere(~np.isfinite(rows))[0]
            where[0] += start
            index = tuple(where.tolist())
            raise ValueError(f"fit got {array[index]} in {what} at index {index}; remove or fill it")
