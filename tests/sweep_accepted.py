"""Which hostile values a call may accept, and why: by what an annotation promises, and by name."""

from __future__ import annotations

import inspect
from fnmatch import fnmatch
from typing import Any

__all__ = ["reason"]

WHOLE = {"-1", "0", "3", "10**30"}
NUMBERS = {*WHOLE, "1.5", "1e-300", "nan", "inf", "np.float32(0.5)"}
TEXTS = {'""', '"x"', 'np.str_("x")'}
LISTS = {"[]", "[1]", "(1, 2)", "range", "empty array", "1-d array"}
OF_SHAPES = {"scalar array", "empty array", "1-d array", "3-d array"}
OF_DTYPES = {f"{dtype} array" for dtype in ("float16", "float64", "int", "bool", "complex", "read-only")}
ARRAYS = {*OF_SHAPES, *OF_DTYPES, "array with nan", "other byte order", "np.float32(0.5)"}
TABLES = {"matrix", "table", "nullable column", "Parameter"}

# What the words of an annotation, or the type of a default, let pass; the bounds are the argument's own.
PROMISED: dict[str, tuple[set[str], str]] = {
    "None": ({"None"}, "may be left out"),
    "bool": ({"True"}, "a flag"),
    "int": (WHOLE, "a whole number"),
    "float": (NUMBERS, "a number; infinite or NaN where PyTorch takes it"),
    "Float": (NUMBERS | {"True", "scalar array"}, "what float() reads, as in PyTorch"),
    "Index": (WHOLE, "a whole number"),
    "Size": (LISTS | WHOLE, "a shape"),
    "str": (TEXTS, "a text"),
    "PathLike": ({'"x"', 'np.str_("x")', "Path", "folder"}, "a path"),
    "Sequence": (LISTS | {"iterator", "set"}, "a list, or what gives its elements in turn"),
    "Iterable": (LISTS | {"iterator", "set"}, "a list, or what gives its elements in turn"),
    "list": (LISTS | {"iterator"}, "a list"),
    "tuple": (LISTS | WHOLE, "a tuple"),
    "Mapping": ({"{}", '{"x": 1}'}, "a dict"),
    "Callable": ({"class", "lambda", "ReLU()"}, "what can be called"),
    "Hook": ({"lambda", "ReLU()"}, "what can be called"),
    "Module": ({"ReLU()"}, "a module"),
    "Parameter": ({"Parameter"}, "a parameter"),
    "Array": (ARRAYS | TABLES, "an array of numbers"),
    "Any": (ARRAYS | TABLES | LISTS | NUMBERS | {"True", "1j"}, "an array, or what NumPy reads as one"),
    "T": (ARRAYS | TABLES, "an array to fill"),
}
# What no annotation says.
NAMED: list[tuple[str, set[str], str]] = [
    ("*.dtype", {"None"}, "float32, as in PyTorch"),
    ("*.ax", {"None"}, "new Axes"),
    ("MLP*.fit.X", {"sparse matrix"}, "scikit-learn's estimators take sparse tables"),
    ("MLP*.X", {"sparse matrix"}, "scikit-learn's estimators take sparse tables"),
    ("MLPClassifier.*fit.y", {"sparse matrix"}, "a table of labels, as scikit-learn takes it"),
    ("MLP*.learning_rate", {"lambda"}, "a function that makes a schedule"),
    ("MLP*.verbose", {"0", "3", "10**30"}, "how much to print, as in scikit-learn"),
    ("fit_many.labels", {"{}"}, "no columns"),
    ("plots.binary_prediction.x", {"[1]"}, "a list of numbers"),
    ("MLP*.class_weight", {"{}"}, "weights of no class"),
    ("*.model", {"ReLU()", "{}"}, "a module; save takes a state dict"),
    ("*.subject", {"ReLU()"}, "a module"),
    ("*.constants", {*TEXTS, "[]", '["x"]'}, "names of arrays; Tanh's input is x"),
    ("*.names", {'["x"]', "array of strings"}, "a list of texts"),
    ("plots.table_of_means.*", {*TEXTS, "ragged list", "array of strings"}, "settings may be anything"),
    ("*.dataset", {*ARRAYS, "matrix"}, "an array's rows are a dataset"),
    ("*.dataset", {"{}", '{"x": 1}', "[None]", '["x"]', "ragged list"}, "what has a length and an index"),
    ("*.dataset", {"list that contains itself", "[]", "[1]", "(1, 2)", "range"}, "a list of rows"),
    ("Sequential.modules", {"{}", "ReLU()"}, "a dict of modules, or one"),
    ("to_*.data_file", {"Path", "folder"}, "a path"),
    ("fit.checkpoint", {'"x"', 'np.str_("x")', "Path"}, "a path"),
    ("BCELoss.cause_of_nan.*", {"*"}, "asked by fit, of what its own call has refused"),
    ("Parameter.accumulate.gradient", {"object array", *ARRAYS, *TABLES}, "the optimizer checks its dtype"),
    ("functional.*", {*NUMBERS, "scalar array"}, "a formula takes any number"),
    ("*.permute", {"class", "lambda", "ReLU()"}, "is not called where nothing is shuffled"),
    ("*.random_state", {"0", "3", "None"}, "a seed, as in scikit-learn"),
    ("*.closure", {"lambda", "ReLU()"}, "what can be called"),
    ("*.state_dict", {"{}"}, "the state of a layer without parameters"),
    ("*.defaults", {"{}", '{"x": 1}'}, "settings of a subclass"),
]


def reason(subject: Any, argument: str, value: str) -> str | None:
    """Why this may be accepted; None where nobody has said so."""
    for pattern, values, why in NAMED:
        if fnmatch(f"{subject.name}.{argument}", pattern) and (value in values or "*" in values):
            return why
    parameter = inspect.signature(subject.function).parameters[argument]
    words = f"{parameter.annotation} {type(parameter.default).__name__}"
    words = words.replace("NoneType", "None")
    for word, (values, why) in PROMISED.items():
        if word in words and value in values:
            return why
    return None
