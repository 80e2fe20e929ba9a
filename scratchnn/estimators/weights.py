"""coefs_ and intercepts_: the arrays of a fitted network, which can be assigned."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import Array

__all__ = ["LayerArrays"]


class LayerArrays(list[Array]):
    """One array for each layer, views of the network's own; assigned arrays are written into them.

    Raises:
        ValueError: another number of arrays, or another shape; nothing is written.
        TypeError: something that is not numeric.
    """

    def __init__(self, name: str, arrays: list[Array]) -> None:
        super().__init__(arrays)
        self.name = name

    def __setitem__(self, index: Any, value: Any) -> None:
        several = isinstance(index, slice)
        layers = list(range(len(self)))[index] if several else [range(len(self))[index]]
        values = list(value) if several else [value]
        if len(values) != len(layers):
            raise ValueError(
                f"{self.name} got {len(values)} arrays for {len(layers)} layers; it needs one for each"
            )
        arrays = [self._checked(layer, array) for layer, array in zip(layers, values, strict=True)]
        for layer, array in zip(layers, arrays, strict=True):
            self[layer][...] = array

    def _checked(self, layer: int, value: Any) -> Array:
        array, shape = np.asarray(value), self[layer].shape
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{self.name}[{layer}] got {array.dtype}; it needs numbers")
        if array.shape != shape:
            raise ValueError(f"{self.name}[{layer}] got an array of shape {array.shape}; it needs {shape}")
        return array.astype(self[layer].dtype)  # a copy: it may be a view of the very array

    def __reduce__(self) -> Any:
        return list, (list(self),)
