"""The checks of arguments: what each accepts, what it refuses, and in which words."""

from __future__ import annotations

import itertools
import math
import os
import pathlib
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import scratchnn as snn
from scratchnn import checks
from scratchnn.checks import (
    any_array,
    as_array,
    as_choice,
    as_dtype,
    as_flag,
    as_function,
    as_int,
    as_list,
    as_mapping,
    as_number,
    as_path,
    as_seed,
    as_shape,
)


def itself() -> list[Any]:
    """A list that contains itself."""
    loop: list[Any] = []
    loop.append(loop)
    return loop


class Broken:
    """What has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Bytes:
    """A path that is bytes."""

    def __fspath__(self) -> bytes:
        return b"model"


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_flags(value: Any) -> None:
    assert as_flag("Owner", "flag", value) is bool(value)


@pytest.mark.parametrize("value", [0, 1, None, "True", np.ones(2), np.array(True), [], 1.0])
def test_no_flags(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^Owner got flag=.*; it needs True or False$"):
        as_flag("Owner", "flag", value)


@pytest.mark.parametrize(("value", "whole"), [(5, 5), (np.uint8(5), 5), (-(2**63), -(2**63)), (5.0, 5)])
def test_seeds(value: Any, whole: int) -> None:
    found = as_seed("Owner", "seed", value)
    assert (found, type(found)) == (whole, int)


@pytest.mark.parametrize("value", [None, "5", True, 5.5, math.inf, math.nan, 2**64, -(2**63) - 1, [5]])
def test_no_seeds(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^Owner got seed="):
        as_seed("Owner", "seed", value)


@pytest.mark.parametrize(
    "value", [None, True, "1", 1.0, [1], np.ones(1, int), 2**63, 10**30, np.uint64(2**63), 1j]
)
def test_no_ints(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^Owner got n=.*; it (needs an int|must fit)"):
        as_int("Owner", "n", value)


def test_numbers() -> None:
    assert as_number("Owner", "p", np.float32(0.5)) == 0.5
    assert as_number("Owner", "p", 1, least=0, most=1) == 1.0
    assert as_number("Owner", "p", math.inf, least=0) == math.inf
    assert math.isnan(as_number("Owner", "p", math.nan))


@pytest.mark.parametrize(
    ("value", "bounds", "words"),
    [
        (1.5, {"least": 0, "most": 1}, r"within \[0, 1\]"),
        (-0.5, {"least": 0}, "at least 0"),
        (0, {"above": 0, "below": 1}, r"within \(0, 1\)"),
        (1.0, {"least": 0, "below": 1}, r"within \[0, 1\)"),
        (math.nan, {"least": 0}, "at least 0"),
        (math.nan, {"finite": True}, "finite"),
        (math.inf, {"above": 0, "finite": True}, "above 0 and finite"),
    ],
)
def test_numbers_out_of_bounds(value: float, bounds: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"^Owner got p={value}; it must be {words}$"):
        as_number("Owner", "p", value, **bounds)


def test_shapes() -> None:
    assert as_shape("Owner", "size", 3) == (3,)
    assert as_shape("Owner", "size", [2, np.int64(3)]) == (2, 3)
    assert as_shape("Owner", "size", ()) == ()


@pytest.mark.parametrize("value", [None, True, 1.5, "x", [1.5], [True], [[2, 3]], -1, [-1], 2**60, [1] * 65])
def test_no_shapes(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^Owner got size="):
        as_shape("Owner", "size", value)


@pytest.mark.parametrize("value", [None, True, "0.5", 1j, [0.5], np.ones(1), np.array(0.5), 10**400])
def test_no_numbers(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^Owner got p=.*; it (needs a number|is too large)"):
        as_number("Owner", "p", value)


def test_choices() -> None:
    assert as_choice("Owner", "mode", np.str_("min"), ("min", "max")) == "min"
    with pytest.raises(ValueError, match=r"^Owner got mode='mim'; .*; did you mean 'min'\?$"):
        as_choice("Owner", "mode", "mim", ("min", "max"))
    for value in (None, 3, "", b"min", ["min"], np.array(["min", "max"]), itself()):
        with pytest.raises(ValueError, match=r"^Owner got mode=.*; it must be one of 'min', 'max'$"):
            as_choice("Owner", "mode", value, ("min", "max"))


def test_paths(tmp_path: pathlib.Path) -> None:
    assert as_path("Owner", "path", "model") == "model"
    assert as_path("Owner", "path", tmp_path) == os.fspath(tmp_path)


@pytest.mark.parametrize("value", [None, 3, b"model", Bytes(), "", "a\0b", "\ud800", ["model"], np.ones(2)])
def test_no_paths(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^Owner got path="):
        as_path("Owner", "path", value)


def test_lists() -> None:
    for value in ([1, 2], (1, 2), range(1, 3), iter([1, 2]), np.array([1, 2])):
        assert as_list("Owner", "rates", value, "floats") == [1, 2]
    assert as_list("Owner", "rates", [], "floats") == []


@pytest.mark.parametrize("value", [None, 3, "relu", b"relu", {"a": 1}, {1, 2}, np.array(1), list])
def test_no_lists(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^Owner got rates=.*; it needs a list of floats$"):
        as_list("Owner", "rates", value, "floats")


def test_an_iterator_that_is_used_up() -> None:
    used = iter([1])
    next(used)
    with pytest.raises(ValueError, match=r"^Owner got rates as an iterator with nothing left in it"):
        as_list("Owner", "rates", used, "floats")


def test_an_iterator_without_end() -> None:
    with pytest.raises(ValueError, match=r"^Owner got rates as an iterator of more than"):
        as_list("Owner", "rates", itertools.count(), "floats")


def test_an_iterators_own_error_is_left_as_it_is() -> None:
    def rows() -> Any:
        yield 1
        raise TypeError("my own")

    with pytest.raises(TypeError, match=r"^my own$"):
        as_list("Owner", "rates", rows(), "floats")


def test_mappings() -> None:
    assert as_mapping("Owner", "runs", {"a": 1}, "{title: run}") == {"a": 1}
    for value in (None, [("a", 1)], "a", dict):
        with pytest.raises(TypeError, match=r"^Owner got runs=.*; it needs {title: run}$"):
            as_mapping("Owner", "runs", value, "{title: run}")


def test_functions() -> None:
    assert as_function("Owner", "callback", len) is len
    with pytest.raises(TypeError, match=r"^Owner got callback=EarlyStopping, a class; .*EarlyStopping\("):
        as_function("Owner", "callback", snn.EarlyStopping)
    with pytest.raises(TypeError, match=r"^Owner got callback=3; it needs a function$"):
        as_function("Owner", "callback", 3)


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("f4"), None])
def test_dtypes(dtype: Any) -> None:
    assert as_dtype("Owner", dtype) == np.float32
    assert snn.Linear(2, 3, dtype=dtype).weight.dtype == np.float32
    assert snn.rand(2, dtype=dtype).dtype == np.float32


@pytest.mark.parametrize(
    "dtype",
    [
        *(
            "flaot32",
            "",
            "double precision",
            "f4,,",
            ">f8",
            "f8,f8",
            "3f4",
            np.float16,
            int,
            object,
            object(),
        ),
        *(3, [], {}, True, snn.Linear, b"f4", itself(), np.dtype("f8,f8"), (np.float32, 3)),
    ],
)
def test_no_dtypes(dtype: Any) -> None:
    makers = (
        lambda: as_dtype("Owner", dtype),
        lambda: snn.Linear(2, 3, dtype=dtype),
        lambda: snn.MLP(2, 3, 1, dtype=dtype),
        lambda: snn.Linear(2, 3).astype(dtype),
        lambda: snn.rand(3, dtype=dtype),
        lambda: snn.randn(3, dtype=dtype),
    )
    for make in makers:
        with pytest.raises(TypeError, match="dtype"):
            make()


def test_astype_of_none_is_a_slip() -> None:
    with pytest.raises(TypeError, match="name a dtype"):
        snn.Linear(2, 3).astype(None)


MASKED = np.ma.masked_greater(np.array([1.0, 999.0], np.float32), 100)
NOT_ARRAYS: list[tuple[Any, str]] = [
    (MASKED, "mask"),
    ([MASKED, MASKED], "mask"),
    ([[1.0], [2.0, 3.0]], "rows differ in length"),
    (itself(), "contains itself"),
    (scipy.sparse.csr_matrix([[1.0]]), "toarray"),
    (pd.array(["a", None], dtype="string"), "to_numpy"),
    (np.array([1.0, None]), "astype"),
    ([1.0, None], "numbers"),
    (None, "numbers"),
    ("x", "numbers"),
    ({1.0}, "numbers"),
    (iter([1.0]), r"list\(x\)"),
    (np.array([10**30]), "numbers"),
    (np.array(["2020-01-01"], "datetime64[D]"), "numbers"),
]


@pytest.mark.parametrize(("value", "word"), NOT_ARRAYS, ids=[word for _, word in NOT_ARRAYS])
def test_no_arrays(value: Any, word: str) -> None:
    for check in (as_array, any_array):
        with pytest.raises((TypeError, ValueError), match=rf"Owner got x .*{word}"):
            check("Owner", "x", value)


def test_arrays_are_not_copied() -> None:
    x = np.ones((2, 2), np.float32)
    assert as_array("Owner", "x", x) is x
    assert any_array("Owner", "x", x) is x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy advises against matrices
        matrix = np.asmatrix(x)
    assert type(as_array("Owner", "x", matrix)) is np.ndarray
    ints = np.arange(3)
    assert any_array("Owner", "x", ints, "iu") is ints
    with pytest.raises(TypeError, match="Owner got x of dtype float32; it needs ints"):
        any_array("Owner", "x", x, "iu")


def test_nullable_columns_work_where_nothing_is_missing() -> None:
    column = pd.Series([1, 0, 1], dtype="Int64")
    assert any_array("Owner", "y", column).dtype.kind == "i"


@pytest.mark.parametrize("value", [np.ones(10**6), [1.0] * 10**6, "x" * 10**6, itself(), Broken(), 10**1000])
def test_what_is_shown_is_short(value: Any) -> None:
    words = checks.shown(value)
    assert len(words) < 160
    assert "\n" not in words


REFUSED = [
    (lambda: snn.Subset("abc", [0]), "Subset got a str as dataset"),
    (lambda: snn.random_split(snn.TensorDataset(np.ones((4, 1))), pd.DataFrame(np.ones((4, 2)))), "lengths="),
    (lambda: snn.init.ones_(scipy.sparse.csr_matrix(np.eye(2))), "ones_ got tensor="),
    (lambda: snn.init.uniform_(np.ma.masked_greater(np.ones(2), 0)), "uniform_ got tensor="),
    (lambda: snn.Linear(2, 2).register_forward_hook(snn.Linear), "as forward hook"),
    (lambda: snn.Linear(2, 2).named_modules(3), "Linear got prefix=3"),  # type: ignore[arg-type]
    (lambda: snn.Parameter(np.ones(2)).accumulate(np.ma.masked_greater(np.ones(2), 0)), "masked"),
    (lambda: snn.to_python(snn.Linear(2, 2), data_file=3), "to_python got data_file=3"),  # type: ignore[arg-type]
    (lambda: snn.to_torch(snn.Linear(2, 2), epochs="x"), "to_torch got epochs='x'"),  # type: ignore[arg-type]
    (lambda: snn.gradcheck(snn.Tanh(), np.ones(2), seed=itself()), "gradcheck got seed="),  # type: ignore[arg-type]
    (lambda: snn.diagnose(snn.Tanh(), np.ones(2), seed=[[1]]), "diagnose got seed="),  # type: ignore[arg-type]
    (lambda: snn.gradcheck(snn.Tanh(), np.ones(2), max_entries=None), "max_entries=None"),  # type: ignore[arg-type]
    (lambda: snn.load(b"model"), "load got path="),  # type: ignore[arg-type]
    (lambda: snn.save(snn.ReLU(), ""), "save got path=''"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_used_to_pass_or_to_end_the_interpreter(call: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        call()
