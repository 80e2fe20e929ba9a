"""to_python and to_torch: the text of the program that builds and trains a model from a seed.

Both are the same program: seed, model, loss, optimizer, data, loop. Layers, losses, optimizers and loaders
have the same names and arguments in both libraries, so they are written once, behind another prefix.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import __version__
from ..checks import as_path, as_seed, positive_int
from ..data import DataLoader
from ..layers import Linear, Module, ModuleList
from ..losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, Loss, MSELoss, NLLLoss
from ..optim import SGD, Adam, AdamW, Optimizer
from ..random import default_generator
from ..train.door import check_arguments
from .architecture import CONTAINERS, Node, build, read

__all__ = ["to_python", "to_torch"]

LOSSES = (BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss)
OPTIMIZERS = (SGD, Adam, AdamW)
CURE = "Write its program by hand: a class of your own is already source text."


def to_python(
    model: Module,
    loss_fn: Loss | None = None,
    optimizer: Optimizer | None = None,
    data: Any = None,
    epochs: int | None = None,
    *,
    seed: int | None = None,
    data_file: str = "data.npz",
) -> str:
    """The text of a scratchnn program: seed, model, and what more is given of loss, optimizer and training.

    Run, it makes `model` with the weights that `manual_seed(seed)` and the layers' constructors draw, in the
    order of the layers, and trains it by `fit`: bit for bit what the same calls gave here. Its first lines
    say whether the model had those weights when the text was written; a trained one has others. An MLP is
    written as the Sequential it is. What draws between the seed and `fit`, apart from the layers (another
    initialisation, `random_split`, validation), and callbacks are not in the text.

    Args:
        model: built of the library's own layers, nested in any way.
        loss_fn, optimizer: as for `fit`. The optimizer is over the model's parameters, in groups or not.
        data: the training data as given to `fit`: a DataLoader over two arrays, or a pair (X, y). The
            program reads the rows from `data_file`.
        epochs: how many; needed with `data`.
        seed: None takes the seed of the default generator, that of the last `manual_seed`.
        data_file: an .npz file with the arrays X and y: `np.savez(data_file, X=X, y=y)`.
    Raises:
        TypeError: a layer, loss or optimizer of a class of your own; data in batches; `data` without the
            rest. ValueError: parameters that are not the model's; a learning-rate schedule; as `fit`.
    """
    return _program(_SCRATCHNN, model, loss_fn, optimizer, data, epochs, seed, data_file)


def to_torch(
    model: Module,
    loss_fn: Loss | None = None,
    optimizer: Optimizer | None = None,
    data: Any = None,
    epochs: int | None = None,
    *,
    seed: int | None = None,
    data_file: str = "data.npz",
) -> str:
    """The text of the same program for PyTorch, which needs no scratchnn.

    Run on a CPU with AVX2 or better, it starts from the same weights, bit for bit, draws the same batches
    and masks, and ends with the same weights to the rounding of the two libraries' sums.

    Args, Raises: as `to_python`.
    """
    return _program(_TORCH, model, loss_fn, optimizer, data, epochs, seed, data_file)


@dataclass(frozen=True)
class _Library:
    """What differs between the two programs."""

    name: str
    imports: tuple[str, ...]
    root: str  # of manual_seed, Generator, default_generator
    layers: str
    optimizers: str
    data: str
    dtypes: str
    array: Callable[[str, str], str]  # (list literal, dtype) -> code
    read: Callable[[str, str], str]  # (array of the file, dtype) -> code
    train: Callable[[str, int], list[str]]  # (the batches, epochs) -> lines


def _torch_loop(batches: str, epochs: int) -> list[str]:
    return [
        f"for epoch in range({epochs}):",
        f"    for x, target in {batches}:",
        "        optimizer.zero_grad()",
        "        loss = loss_fn(model(x), target)",
        "        loss.backward()",
        "        optimizer.step()",
    ]


_SCRATCHNN = _Library(
    name="scratchnn",
    imports=("import numpy as np", "", "import scratchnn as snn"),
    root="snn",
    layers="snn",
    optimizers="snn",
    data="snn",
    dtypes="np",
    array=lambda values, dtype: f"np.array({values}, np.{dtype})",
    read=lambda name, dtype: f'arrays["{name}"].astype(np.{dtype})',
    train=lambda batches, epochs: [
        f"history = snn.fit(model, loss_fn, optimizer, {batches}, epochs={epochs})"
    ],
)
_TORCH = _Library(
    name="PyTorch",
    imports=("import numpy as np", "import torch"),
    root="torch",
    layers="torch.nn",
    optimizers="torch.optim",
    data="torch.utils.data",
    dtypes="torch",
    array=lambda values, dtype: f"torch.tensor({values}, dtype=torch.{dtype})",
    read=lambda name, dtype: f'torch.from_numpy(arrays["{name}"].astype(np.{dtype}))',
    train=_torch_loop,
)


def _program(
    library: _Library,
    model: Module,
    loss_fn: Loss | None,
    optimizer: Optimizer | None,
    data: Any,
    epochs: int | None,
    seed: int | None,
    data_file: str,
) -> str:
    owner = "to_python" if library is _SCRATCHNN else "to_torch"
    node = read(model, owner, CURE)
    data_file = as_path(owner, "data_file", data_file)
    if epochs is not None:
        positive_int(owner, "epochs", epochs, minimum=0)
    seed = default_generator.initial_seed() if seed is None else as_seed(owner, "seed", seed)
    dtype = next((p.dtype.name for p in model.parameters()), "float32")
    lines = [f"{library.root}.manual_seed({seed})", *_model_lines(node, library)]
    if loss_fn is not None:
        lines.append(f"loss_fn = {_loss(owner, loss_fn, library, dtype)}")
    if optimizer is not None:
        lines += _optimizer(owner, optimizer, model, library)
    if data is not None:
        if loss_fn is None or optimizer is None or epochs is None:
            raise TypeError(f"{owner} got data; a training needs loss_fn, optimizer and epochs too")
        check_arguments(model, loss_fn, optimizer, epochs, "auto")
        lines += ["", *_training(owner, loss_fn, data, epochs, library, dtype, data_file)]
    used = "\n".join(lines)
    imports = [line for line in library.imports if line != "import numpy as np" or "np." in used]
    if "OrderedDict" in used:
        imports = ["from collections import OrderedDict", "", *imports]
    while imports[0] == "":
        imports.pop(0)
    return "\n".join([*_heading(node, model, seed, library), "", *imports, "", *lines, ""])


def _heading(node: Node, model: Module, seed: int, library: _Library) -> list[str]:
    drawn = build(node, seed).state_dict()
    same = all(value.tobytes() == drawn[name].tobytes() for name, value in model.state_dict().items())
    start = "The model had other weights when this was written: it was trained, or drawn otherwise."
    if same:
        start = "It starts from the weights that the model had when this was written, bit for bit."
    first = f'"""A model and its training in {library.name}, written by scratchnn {__version__}.'
    return [first, "", start, '"""']


# The model ----------------------------------------------------------------------------------------


def _model_lines(node: Node, library: _Library) -> list[str]:
    shared: set[str] = set()
    _find_shared(node, shared)
    names = {path: f"shared_{i}" for i, path in enumerate(sorted(shared))}
    return _module(node, library, names, "model = ", "", "")


def _find_shared(node: Node, shared: set[str]) -> None:
    if node.same_as is not None:
        shared.add(node.same_as)
    for child in node.children.values():
        _find_shared(child, shared)


def _module(
    node: Node, library: _Library, names: dict[str, str], before: str, after: str, indent: str
) -> list[str]:
    """The lines of one module; `before` and `after` stand on its first and last line."""
    if node.same_as is not None:
        return [f"{indent}{before}{names[node.same_as]}{after}"]
    if node.path in names:
        # Named where it comes first, so that it is drawn in its turn.
        before, after = f"{before}({names[node.path]} := ", f"){after}"
    if node.kind not in CONTAINERS:
        return [f"{indent}{before}{_leaf(node, library)}{after}"]
    kind = "ModuleList" if node.kind is ModuleList else "Sequential"
    opening, closing = f"{library.layers}.{kind}(", ")"
    named = list(node.children) != [str(i) for i in range(len(node.children))]
    if named:
        opening, closing = f"{opening}OrderedDict([", "]))"
    elif kind == "ModuleList":
        opening, closing = f"{opening}[", "])"
    if not node.children:
        return [f"{indent}{before}{opening}{closing}{after}"]
    lines = [f"{indent}{before}{opening}"]
    for name, child in node.children.items():
        start, end = (f"({_literal(name)}, ", "),") if named else ("", ",")
        lines += _module(child, library, names, start, end, indent + "    ")
    return [*lines, f"{indent}{closing}{after}"]


def _leaf(node: Node, library: _Library) -> str:
    arguments = dict(node.arguments)
    positional: list[str] = []
    if node.kind is Linear:
        positional = [str(arguments.pop("in_features")), str(arguments.pop("out_features"))]
        dtype = arguments.pop("dtype")
        keywords = _keywords(Linear, arguments)
        if dtype != "float32":
            keywords.append(f"dtype={library.dtypes}.{dtype}")
    else:
        keywords = _keywords(node.kind, arguments)
    return f"{library.layers}.{node.kind.__name__}({', '.join([*positional, *keywords])})"


def _keywords(kind: type, values: dict[str, Any]) -> list[str]:
    """name=value for every argument that is not the constructor's default."""
    parameters = inspect.signature(kind).parameters
    return [f"{name}={_literal(v)}" for name, v in values.items() if not _is(v, parameters[name].default)]


def _is(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and value == default)


def _literal(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, (tuple, list)):
        brackets = "()" if isinstance(value, tuple) else "[]"
        return f"{brackets[0]}{', '.join(map(_literal, value))}{brackets[1]}"
    if isinstance(value, str):
        plain = value.isprintable() and "\\" not in value and '"' not in value
        return f'"{value}"' if plain else repr(value)
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    raise TypeError(f"a {type(value).__name__} has no source text; use numbers")


# Loss and optimizer -------------------------------------------------------------------------------


def _loss(owner: str, loss_fn: Loss, library: _Library, dtype: str) -> str:
    kind = _known(owner, loss_fn, LOSSES)
    parts: list[str] = []
    for name, parameter in inspect.signature(kind).parameters.items():
        value = getattr(loss_fn, name)
        if name in ("weight", "pos_weight") and value is not None:
            parts.append(f"{name}={library.array(_literal(np.asarray(value, dtype).tolist()), dtype)}")
        elif not _is(value, parameter.default):
            parts.append(f"{name}={_literal(value)}")
    return f"{library.layers}.{kind.__name__}({', '.join(parts)})"


def _known(owner: str, thing: Any, kinds: Sequence[type]) -> type:
    if type(thing) not in kinds:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{owner} has no text for {type(thing).__name__}; it knows {names}. {CURE}")
    return type(thing)


def _optimizer(owner: str, optimizer: Optimizer, model: Module, library: _Library) -> list[str]:
    kind = _known(owner, optimizer, OPTIMIZERS)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    options = [name for name in inspect.signature(kind).parameters if name != "params"]
    constructor = f"optimizer = {library.optimizers}.{kind.__name__}("
    groups: list[tuple[list[str], list[str]]] = []
    for group in optimizer.param_groups:
        if "initial_lr" in group:
            raise ValueError(f"{owner} has no text for a learning-rate schedule; add it to the text yourself")
        if any(id(parameter) not in names for parameter in group["params"]):
            raise ValueError(f"{owner} got an optimizer over parameters that are not the model's")
        paths = [names[id(parameter)] for parameter in group["params"]]
        groups.append((paths, _keywords(kind, {name: group[name] for name in options})))
    if len(groups) == 1 and groups[0][0] == list(names.values()):
        return [f"{constructor}{', '.join(['model.parameters()', *groups[0][1]])})"]
    lines = ["parameters = dict(model.named_parameters())", f"{constructor}["]
    for paths, keywords in groups:
        entries = ["params=[" + ", ".join(f"parameters[{_literal(path)}]" for path in paths) + "]", *keywords]
        lines.append(f"    dict({', '.join(entries)}),")
    return [*lines, "])"]


# Data and training --------------------------------------------------------------------------------


def _training(
    owner: str, loss_fn: Loss, data: Any, epochs: int, library: _Library, dtype: str, data_file: str
) -> list[str]:
    if isinstance(data, DataLoader):
        rows = data.dataset[:]
    elif isinstance(data, (tuple, list)) and len(data) == 2 and not isinstance(data[0], tuple):
        rows = data
    else:
        raise TypeError(
            f"{owner} got a {type(data).__name__} as data; it needs a DataLoader or a pair (X, y)"
        )
    if not isinstance(rows, (tuple, list)) or len(rows) != 2:
        raise TypeError(f"{owner} got data that are not two arrays, inputs and targets")
    X, y = (np.asarray(array) for array in rows)
    target = loss_fn.convert_target(y, np.dtype(dtype)).dtype.name
    lines = [
        f"arrays = np.load({_literal(data_file)})",
        f"X = {library.read('X', dtype)}  # {X.shape}",
        f"y = {library.read('y', target)}  # {y.shape}",
    ]
    if not isinstance(data, DataLoader):
        pair = "(X, y)" if library is _SCRATCHNN else "[(X, y)]"
        return [*lines, *library.train(pair, epochs)]
    options = [f"batch_size={data.batch_size}"]
    options += [f"{name}=True" for name in ("shuffle", "drop_last") if getattr(data, name)]
    if data.generator is default_generator:
        options.append(f"generator={library.root}.default_generator")
    elif data.generator is not None:
        seeded = f"{library.root}.Generator().manual_seed({data.generator.initial_seed()})"
        options.append(f"generator={seeded}")
    dataset = f"{library.data}.TensorDataset(X, y)"
    lines.append(f"loader = {library.data}.DataLoader({dataset}, {', '.join(options)})")
    return [*lines, *library.train("loader", epochs)]
