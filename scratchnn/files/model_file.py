"""save and load: one safetensors file with the weights, the architecture and the library's version.

The tensors have their state-dict names, so that `safetensors.torch.load_file` reads what the model's
twin in PyTorch takes by `load_state_dict`. The rest is JSON text in the file's metadata under "scratchnn":

    {"format": 1, "version": "0.1.0", "architecture": {"type": "Sequential", ...}, "sha256": "9f86..."}

The digest is over all of that and every tensor's name, dtype, shape and bytes: a bit that has flipped on
the way is found. (It is no signature: who forges a file can forge its digest.)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..checks import Array, as_path
from ..layers import Module
from .architecture import Node, Spec, build, from_json, read, specs, to_json
from .atomic import open_regular, regular_target, write_atomically
from .errors import FileFormatError, needs, short

__all__ = ["check_save", "load", "save"]

FORMAT = 1
KEY = "scratchnn"
RECORDING = b"SNN"  # how the frames of a recording begin; as a length, more than is read
# Room for about 25,000 layers. A header is text, and text becomes objects up to thirty times its size.
MAX_HEADER = 8 * 2**20
NAMES = {"F16": "float16", "F32": "float32", "F64": "float64"}

CURE = (
    "Save the weights alone with snn.save(model.state_dict(), path), "
    "and load them into a model made by your own code: snn.load(path, model=model)."
)


def save(model: Module | Mapping[str, Array], path: str | os.PathLike[str]) -> None:
    """Write a model to one safetensors file; `load` reads it back equal.

    The file holds the weights (float32 or float64), the architecture with every module's training flag,
    and the library's version. Hooks, gradients and attributes of your own are not in it. A module that
    stands in several places comes back as one. Of a model that another thread trains meanwhile, each weight
    is what it was at some moment of the saving. The file appears whole or not at all: it is written
    beside `path`, flushed to the disk and renamed.

    Args:
        model: built of the library's own layers, nested in any way; or a `state_dict()`, which is written
            without an architecture: for a Module of your own.
        path: of the file, by custom "….safetensors"; a file that is there is replaced.
    Raises:
        TypeError: a Module of your own class, named. ValueError: shared parameters, complex weights.
        ImportError: the extra `export` is not installed. OSError: from the disk.
    Source: the safetensors format, https://huggingface.co/docs/safetensors; torch.save for the name.
    """
    file = as_path("save", "path", path)
    header: dict[str, Any] = {"format": FORMAT, "version": _version()}
    if isinstance(model, Mapping):
        state = {_name(name): _plain(name, value) for name, value in model.items()}
    else:
        header["architecture"] = to_json(read(model, "save", CURE))
        state = _copied(model.state_dict())
    header["sha256"] = _digest(header, state)
    data = needs("save", "safetensors.numpy").save(state, {KEY: _text(header)})
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise ValueError(f"save got a model whose description is over {MAX_HEADER} bytes; split the model")
    write_atomically(file, data)


def check_save(model: Module, path: str | os.PathLike[str]) -> None:
    """Raise what `save` of this model there would raise, as far as that can be known; write nothing."""
    needs("save", "safetensors.numpy")
    to_json(read(model, "save", CURE))
    regular_target(path)


def _copied(state: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays as they are now, each once: another thread may be training the model they belong to."""
    copies = {id(value): np.array(value, order="C") for value in state.values()}
    return {name: copies[id(value)] for name, value in state.items()}


def _text(header: dict[str, Any]) -> str:
    return json.dumps(header, allow_nan=False, separators=(",", ":"))


def _digest(header: dict[str, Any], state: Mapping[str, Array]) -> str:
    """Of the header, without its digest, and the tensors in the order of their names."""
    found = hashlib.sha256(_text({k: v for k, v in header.items() if k != "sha256"}).encode())
    for name, value in sorted(state.items()):
        found.update(f"\n{name} {value.dtype.name} {value.shape}\n".encode())
        found.update(value.tobytes())
    return found.hexdigest()


def _name(name: Any) -> str:
    if not isinstance(name, str) or name == "__metadata__":
        raise TypeError(f"save got the name {name!r} in a state dict; names are strings such as '0.weight'")
    return name


def _plain(name: str, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"save got {name} of dtype {array.dtype}; it writes float32 and float64")
    return np.array(array, order="C")


def load(path: str | os.PathLike[str], model: Module | None = None) -> Module:
    """Read a model from a file that `save` wrote, or weights from any safetensors file into `model`.

    Of a checkpoint that `fit` wrote, it is the model with the weights after the checkpoint's last epoch.

    Nothing in a file is run: layers come from a fixed list, their arguments pass their constructors'
    checks, and no tensor is read before names, shapes and dtypes agree with the architecture, so memory
    stays near the size of the file. The default generator is where it was. A file that fails any check
    loads nothing.

    Args:
        path: of the file.
        model: takes the weights, by `load_state_dict`, and is returned: for a Module of your own, and for
            files that PyTorch wrote. None builds the model that the file describes.
    Raises:
        FileFormatError: the file is cut, damaged, hostile, or holds no architecture and `model` is None.
        RuntimeError: the weights are not those of `model`; it is left as it was.
        ImportError: the extra `export` is not installed. OSError: no such file.
    """
    if model is not None and not isinstance(model, Module):
        raise TypeError(f"load got a {type(model).__name__} as model; it needs a scratchnn Module")
    path = as_path("load", "path", path)
    with _opened(path) as file:
        header = _header(path, file)
        if header is not None and "kind" in header:
            return _load_checkpoint(path, header, model)
        return _load_described(path, file, header) if model is None else _fill(path, file, header, model)


def _load_described(path: Any, file: Any, header: dict[str, Any] | None) -> Module:
    if header is None:
        raise _broken(path, "it holds no scratchnn model; for weights alone pass load(path, model=...)")
    if "architecture" not in header:
        raise _broken(path, "it holds weights without an architecture; pass load(path, model=...)")
    node, wanted = _architecture(path, header["architecture"])
    _check_figures(path, wanted, {name: _figures(file, name) for name in file.keys()})  # noqa: SIM118
    state = {name: file.get_tensor(name) for name in wanted}
    _check_digest(path, header, state)
    return _built(path, node, wanted, state)


def _load_checkpoint(path: Any, header: dict[str, Any], model: Module | None) -> Module:
    """The model of a run that `fit` keeps, as it was when it was last kept."""
    from .state_file import read_state

    if header["kind"] != "checkpoint":
        raise _broken(path, f"it holds a {short(header['kind'])}, which is no model")
    kept = read_state("checkpoint", path)
    weights, architecture = kept.get("model"), kept.get("architecture")
    if not isinstance(weights, dict) or not all(
        isinstance(v, np.ndarray) and v.dtype.name in NAMES.values() for v in weights.values()
    ):
        raise _broken(path, "it holds a checkpoint without the weights of a model")
    if model is not None:
        model.load_state_dict(weights)
        return model
    if architecture is None:
        raise _broken(
            path,
            "it holds the checkpoint of a run, whose model is of a class that only your code can build; "
            "its weights load into one that your code has made: load(path, model=...)",
        )
    if not isinstance(architecture, str):
        raise _broken(path, "its architecture is no text")
    node, wanted = _architecture(path, _json(path, architecture))
    _check_figures(path, wanted, {name: (v.shape, v.dtype.name) for name, v in weights.items()})
    return _built(path, node, wanted, weights)


def _architecture(path: Any, described: Any) -> tuple[Node, dict[str, Spec]]:
    """A description, and what weights it needs."""
    try:
        node = from_json(described)
    except ValueError as error:
        raise _broken(path, str(error)) from error
    return node, specs(node)


def _check_figures(path: Any, wanted: dict[str, Spec], found: dict[str, tuple[Any, str]]) -> None:
    names = set(found)
    if names != set(wanted):
        lacking, extra = sorted(set(wanted) - names), sorted(map(str, names - set(wanted)))
        raise _broken(path, f"its weights are not its architecture's: missing {lacking}, unexpected {extra}")
    for name, spec in wanted.items():
        shape, dtype = found[name]
        if (shape, dtype) != (spec.shape, spec.dtype):
            raise _broken(path, f"{name} is {dtype} {shape}, its layer needs {spec.dtype} {spec.shape}")


def _built(path: Any, node: Node, wanted: dict[str, Spec], state: dict[str, Array]) -> Module:
    for name, spec in wanted.items():
        if state[name].tobytes() != state[spec.source].tobytes():
            raise _broken(path, f"{name} and {spec.source} are of one layer, but hold different numbers")
    try:
        model = build(node)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise _broken(path, f"its architecture cannot be built: {error}") from error
    model.load_state_dict(state)
    return model


def _fill(path: Any, file: Any, header: dict[str, Any] | None, model: Module) -> Module:
    own = {name: parameter.shape for name, parameter in model._all_named_parameters()}
    state: dict[str, Array] = {}
    whole = True
    for name in file.keys():  # noqa: SIM118 (a file is no dict)
        shape, dtype = _figures(file, name)
        if dtype not in NAMES.values():
            raise _broken(path, f"{name} holds {dtype}; weights are float16, float32 or float64")
        # What the model has no place for is not read: load_state_dict refuses it by name and shape.
        fits = own.get(name) == shape
        state[name] = file.get_tensor(name) if fits else np.broadcast_to(np.float32(0), shape)
        whole = whole and fits
    if header is not None and whole:
        _check_digest(path, header, state)
    model.load_state_dict(state)
    return model


def _figures(file: Any, name: str) -> tuple[tuple[int, ...], str]:
    """Shape and dtype, from the header alone."""
    entry = file.get_slice(name)
    dtype = entry.get_dtype()
    return tuple(entry.get_shape()), NAMES.get(dtype, dtype)


def _header(path: Any, file: Any) -> dict[str, Any] | None:
    """What `save` wrote beside the tensors; None in a file that it did not write."""
    text = (file.metadata() or {}).get(KEY)
    if text is None:
        return None
    header = _json(path, text)
    if not isinstance(header, dict) or type(header.get("format")) is not int:
        raise _broken(path, "its description has no format number")
    if header["format"] != FORMAT:
        version = short(header.get("version"))
        raise _broken(path, f"it has format {header['format']}, of scratchnn {version}; known is {FORMAT}")
    return header


def _check_digest(path: Any, header: dict[str, Any], state: Mapping[str, Array]) -> None:
    if header.get("sha256") != _digest(header, state):
        raise _broken(path, "its contents are not what was saved: some bytes have changed")


# The file -----------------------------------------------------------------------------------------


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The open file, after the checks that need no tensor."""
    safetensors = needs("load", "safetensors")
    with open_regular(path) as checked:
        _check_header(path, checked)
        # By its number where there are such names: the file that was checked, whatever is at `path` by now.
        name = f"/dev/fd/{checked.fileno()}"
        try:
            with safetensors.safe_open(name if os.path.exists(name) else path, framework="numpy") as file:
                yield file
        except safetensors.SafetensorError as error:
            raise _broken(path, f"it is no whole safetensors file: {error}") from error


def _check_header(path: str | os.PathLike[str], file: Any) -> None:
    """The header's length, before anybody reserves memory for it, and its names, each given once."""
    size, start = os.fstat(file.fileno()).st_size, file.read(8)
    if start[:3] == RECORDING:
        raise _broken(path, "it is a recording of a run; snn.Recording.load(path) reads it")
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER:
        raise _broken(path, f"its header claims {length} bytes; at most {MAX_HEADER} are read")
    if size < 8 or length > size - 8:
        raise _broken(path, f"it has {size} bytes, its header alone needs {length + 8}")
    _json(path, file.read(length))


def _json(path: Any, text: str | bytes) -> Any:
    try:
        text = text if isinstance(text, str) else text.decode()
        return json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"its header is no JSON: {error}") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (np.inf, -np.inf):
        raise ValueError(f"{short(text)} is larger than any float")
    return value


def _broken(path: Any, what: str) -> FileFormatError:
    return FileFormatError(f"load cannot read {os.fspath(path)}: {short(what)}")


def _version() -> str:
    from .. import __version__

    return __version__
