"""The hostile values of the sweep: what a user may hand to an argument by mistake.

Each is made anew for every call, so that none is used up or changed by the call before.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

import scratchnn as snn

__all__ = ["VALUES", "Anything"]


class Anything:
    """A class, and an object of it, that have nothing to do with networks."""


def itself() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def used_up() -> Any:
    generator = (number for number in [1.0])
    next(generator)
    return generator


def read_only() -> Any:
    array = np.ones((4, 2), np.float32)
    array.flags.writeable = False
    return array


def matrix() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy advises against matrices
        return np.asmatrix(np.ones((4, 2), np.float32))


VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "-1": lambda: -1,
    "0": lambda: 0,
    "3": lambda: 3,
    "1.5": lambda: 1.5,
    "1e-300": lambda: 1e-300,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "10**30": lambda: 10**30,
    "1j": lambda: 1j,
    "np.float32(0.5)": lambda: np.float32(0.5),
    '""': lambda: "",
    '"x"': lambda: "x",
    'np.str_("x")': lambda: np.str_("x"),
    'b"x"': lambda: b"x",
    "Path": lambda: Path("x"),
    "folder": lambda: Path(),
    "[]": list,
    "[None]": lambda: [None],
    "[1]": lambda: [1],
    "(1, 2)": lambda: (1, 2),
    '["x"]': lambda: ["x"],
    "ragged list": lambda: [[1.0], [2.0, 3.0]],
    "list that contains itself": itself,
    "{}": dict,
    '{"x": 1}': lambda: {"x": 1},
    "set": lambda: {1, 2},
    "range": lambda: range(2),
    "iterator": lambda: iter([1.0, 2.0]),
    "exhausted generator": used_up,
    "object()": object,
    "class": lambda: Anything,
    "object of a class": Anything,
    "lambda": lambda: lambda *_, **__: None,
    "Parameter": lambda: snn.Parameter(np.ones(2, np.float32)),
    "ReLU()": snn.ReLU,
    "scalar array": lambda: np.array(1.0, np.float32),
    "empty array": lambda: np.empty((0, 2), np.float32),
    "1-d array": lambda: np.ones(3, np.float32),
    "3-d array": lambda: np.ones((2, 2, 2), np.float32),
    "float16 array": lambda: np.ones((4, 2), np.float16),
    "float64 array": lambda: np.ones((4, 2)),
    "int array": lambda: np.ones((4, 2), np.int64),
    "bool array": lambda: np.ones((4, 2), bool),
    "complex array": lambda: np.ones((4, 2), np.complex64),
    "object array": lambda: np.array([[None, 1]] * 4),
    "array of strings": lambda: np.array(["a", "b"]),
    "array of dates": lambda: np.array(["2020-01-01"], "datetime64[D]"),
    "array with nan": lambda: np.full((4, 2), np.nan, np.float32),
    "other byte order": lambda: np.ones((4, 2), ">f4" if np.little_endian else "<f4"),
    "read-only array": read_only,
    "masked array": lambda: np.ma.masked_greater(np.ones((4, 2), np.float32), 0),
    "matrix": matrix,
    "sparse matrix": lambda: scipy.sparse.csr_matrix(np.eye(4, 2, dtype=np.float32)),
    "table": lambda: pd.DataFrame(np.ones((4, 2), np.float32)),
    "nullable column": lambda: pd.Series([1, 0, None, 1], dtype="Int64"),
}
