"""Whose gradient a name says: dW, W_grad, grads["W"] and nabla_w are W's.

A name is a path of steps, attribute names, keys and indices: layers[0].dW is ("layers", 0, "dW"). A step is
read as it is or as a gradient's, its marker taken off; a path that has a marker somewhere and is otherwise
the path of a value names that value's gradient.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "RATES",
    "TARGETS",
    "gradient_like",
    "is_named",
    "is_weight",
    "rank",
    "returned_names",
    "upstream_like",
]

TARGETS = frozenset(
    {
        "t",
        "target",
        "targets",
        "label",
        "labels",
        "y",
        "y_true",
        "ytrue",
        "truth",
        "true",
        "ys",
        "yb",
        "gold",
        "answers",
    }
)
RATES = frozenset({"learning_rate", "learningrate", "lr", "rate", "eta", "step_size", "stepsize", "alpha"})
PREFIXES = (
    r"gradients?_(?:of_|wrt_|for_)?",
    r"grads?_(?:of_|wrt_|for_)?",
    r"gradients?",
    r"grads?",
    r"nabla_?",
    r"delta_?",
    r"deriv(?:ative)?s?_(?:of_)?",
    r"[dD](?:[LJCE]|[lL]oss|[cC]ost|[eE]rr(?:or)?)_?(?:by_?|wrt_?)?[dD]_?",
    r"der_",
    r"partial_?",
    r"[dg]_",
    r"d",
    r"g(?=[A-Z])",
)
SUFFIXES = (
    r"_?gradients?",
    r"_?grads?",
    r"Gradients?",
    r"Grads?",
    r"_deltas?",
    r"_nabla",
    r"_deriv(?:ative)?s?",
    r"_d",
    r"_g",
    r"_bar",
)
WHOLE = frozenset(
    {
        "grads",
        "grad",
        "gradients",
        "gradient",
        "nabla",
        "derivatives",
        "deltas",
        "delta",
        "g",
        "d",
        "adjoints",
        "adjoint",
        "bar",
    }
)
MARKED = [re.compile(rf"(?:{p})(?P<base>.+)") for p in PREFIXES] + [
    re.compile(rf"(?P<base>.+?)(?:{s})") for s in SUFFIXES
]
# Where values are kept: params["W"] is W.
GENERIC = frozenset(
    {"params", "parameters", "param", "parameter", "data", "value", "values", "val", "variables", "vars"}
)
SYNONYMS = [
    (re.compile(r"(?:weights?|kernels?)(?=\d*$)"), "w"),
    (re.compile(r"(?:bias(?:es)?)(?=\d*$)"), "b"),
    (re.compile(r"(?:inputs?)(?=\d*$)"), "x"),
]
WEIGHT = re.compile(r"(?:[wWbBuU](?:\d|_|$)|W[a-z]{1,2}$|weights?|bias(?:es)?|kernels?|gamma|beta)")
MANGLED = re.compile(r"^_[A-Za-z]\w*?__(?=[A-Za-z])")
LONGEST = 6  # steps of a path that are read in every way

Steps = Sequence[Any]


def _bases(step: str) -> list[str]:
    """What is left of a name without each marker that it may have."""
    step = step.strip("_")
    if step.lower() in WHOLE:
        return [""]
    found = (pattern.fullmatch(step) for pattern in MARKED)
    return list(dict.fromkeys(match["base"].strip("_") for match in found if match))


def gradient_like(name: str) -> bool:
    """A name such as grad_W or nabla_b; dW too, but so are dim and data."""
    return bool(_bases(name))


def upstream_like(name: str, outputs: Any) -> bool:
    """An argument of backward that is the gradient of another output: dnext_c for next_c, dh, grad_b.

    Args:
        outputs: what the source of forward calls what it returns, as `returned_names` says.
    """
    if not _bases(name):
        return False
    base = name[1:]
    explicit = not name.startswith("d") or name.startswith(("d_", "delta", "deriv"))
    known = isinstance(outputs, list) and base in outputs
    return explicit or known or len(base) == 1 or base[-1:].isdigit()


def _exact(step: Any) -> Any:
    return step


def _public(step: Any) -> Any:
    """An attribute's name as its class writes it: __W of a Layer is kept as _Layer__W."""
    return MANGLED.sub("", step) if isinstance(step, str) else step


def _loose(step: Any) -> Any:
    return step.lower().replace("_", "") if isinstance(step, str) else step


def _synonym(step: Any) -> Any:
    found = _loose(step)
    if isinstance(found, str):
        for pattern, short in SYNONYMS:
            found = pattern.sub(short, found, count=1) if pattern.match(found) else found
    return found


def _path(steps: Steps, level: Callable[[Any], Any]) -> tuple[Any, ...]:
    return tuple(level(s) for s in steps if s != "" and not (isinstance(s, str) and s.lower() in GENERIC))


def rank(candidate: Steps, value: Steps) -> int | None:
    """How well `candidate` names the gradient of `value`: 0 to 2 for the whole path, more for its end."""
    steps = [_public(step) for step in candidate][-LONGEST:]
    value = [_public(step) for step in value]
    ways = [
        [(s, False), *((b, True) for b in _bases(s))] if isinstance(s, str) else [(s, False)] for s in steps
    ]
    best: int | None = None
    for way in itertools.product(*ways):
        if not any(marked for _, marked in way):
            continue
        for level, same in enumerate((_exact, _loose, _synonym)):
            found, wanted = _path([s for s, _ in way], same), _path(value, same)
            missing = len(wanted) - len(found)
            if missing < 0 or wanted[missing:] != found or (missing and not found):
                continue
            score = level + 10 * missing
            best = score if best is None else min(best, score)
    return best


def is_named(found: int | None) -> bool:
    """The whole path agreed: the name leaves no doubt whose gradient it is."""
    return found is not None and found < 10


def is_weight(name: Any) -> bool:
    """W2, b, weight_hh, gamma: what a layer calls its weights, and never what it remembers of a forward."""
    return isinstance(name, str) and WEIGHT.match(_public(name).strip("_")) is not None


def returned_names(function: Any) -> Any:
    """What a function's return statement calls what it returns: a name, or a list with one for each element.

    None where nothing is said, as in `return f(x), g(x)`, or where there is no source to read.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    found = [_names(node.value) for node in _returns(tree) if node.value is not None]
    same = found and all(_shape(names) == _shape(found[-1]) for names in found)
    return found[-1] if same else None


def _returns(tree: ast.AST) -> list[ast.Return]:
    """The return statements of the outermost function."""
    outer = next((n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))), None)
    pending: list[ast.AST] = list(outer.body) if outer else []
    found = []
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.Return):
            found.append(node)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending.extend(ast.iter_child_nodes(node))
    return found


def _names(node: ast.AST) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, (ast.Tuple, ast.List)) and not any(isinstance(e, ast.Starred) for e in node.elts):
        return [_names(element) for element in node.elts]
    return None


def _shape(names: Any) -> Any:
    return len(names) if isinstance(names, list) else None
