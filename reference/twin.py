"""scratchnn to PyTorch and back: classes are matched by name, numbers are copied. No mathematics.

A subclass is judged by the PyTorch class of its nearest known ancestor, so a `Linear` with a `backward`
of one's own is held against `torch.nn.Linear`.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scratchnn import layers
from scratchnn.checks import Array
from scratchnn.layers import Module, Parameter
from scratchnn.losses import Loss
from scratchnn.optim import Optimizer

from .streams import scratchnn_stream, torch_stream

__all__ = [
    "from_torch",
    "seeded_twin",
    "torch_device",
    "torch_dtype",
    "twin",
    "twin_loss",
    "twin_optimizer",
]

# Layers whose torch class has the same name and takes the same arguments, kept as attributes.
LAYERS: dict[str, tuple[str, ...]] = {
    "ReLU": (),
    "LeakyReLU": ("negative_slope",),
    "Sigmoid": (),
    "Tanh": (),
    "Softmax": ("dim",),
    "LogSoftmax": ("dim",),
    "Threshold": ("threshold", "value"),
    "Identity": (),
    "Dropout": ("p",),
}
LOSSES: dict[str, tuple[str, ...]] = {
    "MSELoss": (),
    "L1Loss": (),
    "HuberLoss": ("delta",),
    "BCELoss": ("weight",),
    "BCEWithLogitsLoss": ("weight", "pos_weight"),
    "NLLLoss": ("weight", "ignore_index"),
    "CrossEntropyLoss": ("weight", "ignore_index", "label_smoothing"),
}
OPTIMIZERS = ("SGD", "Adam", "AdamW")


def torch_device(device: str | torch.device) -> torch.device:
    """`device` as PyTorch's, if it is there. Raises ValueError, with the cure, if it is not."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is not a PyTorch device; use 'cpu', 'cuda' or 'cuda:0'"
        ) from error
    if found.type == "cpu":
        return found
    if found.type != "cuda":
        raise ValueError(f"device={device!r} is not supported; use 'cpu', 'cuda' or 'cuda:0'")
    if not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r}, but this PyTorch ({torch.__version__}) sees no CUDA device; "
            "use device='cpu', or install a CUDA build of PyTorch on a machine with an NVIDIA GPU"
        )
    if found.index is not None and found.index >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r}, but there are {torch.cuda.device_count()} CUDA devices; use 'cuda:0'"
        )
    return found


def torch_dtype(dtype: Any) -> torch.dtype:
    """PyTorch's name for a NumPy float dtype. Raises TypeError for anything but float32 and float64."""
    names = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}
    if np.dtype(dtype) not in names:
        raise TypeError(
            f"PyTorch compares in float32 or float64, got {np.dtype(dtype)}; use model.astype(np.float64)"
        )
    return names[np.dtype(dtype)]


def model_dtype(model: Module, default: Any = np.float32) -> np.dtype[Any]:
    """The one dtype of a model's parameters, `default` where it has none. Raises TypeError if they differ."""
    found = {parameter.dtype for parameter in model.parameters()} or {np.dtype(default)}
    if len(found) > 1:
        names = ", ".join(sorted(str(dtype) for dtype in found))
        raise TypeError(
            f"the model's parameters are of several dtypes ({names}); use model.astype(np.float32)"
        )
    dtype = found.pop()
    torch_dtype(dtype)
    return dtype


def to_tensor(array: Array, device: str | torch.device = "cpu") -> torch.Tensor:
    """A tensor with the array's numbers and memory of its own."""
    return torch.from_numpy(np.array(array, order="C")).to(device)


def twin(model: Module, device: str | torch.device = "cpu") -> torch.nn.Module:
    """The same network as a `torch.nn.Module`: same structure, same state-dict keys, weights copied.

    Args:
        model: built-in layers, nested in any way; a subclass is judged by its nearest known ancestor.
        device: where the twin lives.
    Raises:
        TypeError: a layer that PyTorch has no class for.
        ValueError: a device that is not there.
    """
    place = torch_device(device)
    with torch_stream():  # torch's constructors draw weights that are overwritten here
        torch_model = _build(model, {})
    torch_model.load_state_dict({key: to_tensor(value) for key, value in model.state_dict().items()})
    return torch_model.to(place)


def seeded_twin(
    model: Module,
    seed: int,
    initialise: Callable[[Any, Any], object] | None = None,
    device: str | torch.device = "cpu",
) -> torch.nn.Module:
    """The same structure with weights that PyTorch draws itself, none copied.

    The counterpart of `scratchnn.manual_seed(seed)` and building the model: `torch.manual_seed(seed)`,
    then PyTorch's own constructors, layer by layer in the order of `model`, then
    `initialise(torch_model, torch.nn.init)`. Write `initialise(model, init)` once and call it on both:

        def initialise(model, init):
            init.kaiming_uniform_(model[0].weight, nonlinearity="relu")

    PyTorch's own random state is left as it was.
    """
    place = torch_device(device)
    with torch_stream():
        torch.manual_seed(seed)
        torch_model = _build(model, {})
        if initialise is not None:
            with torch.no_grad():
                initialise(torch_model, torch.nn.init)
    return torch_model.to(place)


def _build(module: Module, seen: dict[int, torch.nn.Module]) -> torch.nn.Module:
    if id(module) not in seen:  # a layer used twice stays one layer
        seen[id(module)] = _build_new(module, seen)
        seen[id(module)].training = module.training  # of this module alone: its children have their own
    return seen[id(module)]


def _build_new(module: Module, seen: dict[int, torch.nn.Module]) -> torch.nn.Module:
    if isinstance(module, layers.Linear):
        out_features, in_features = module.weight.shape
        dtype = torch_dtype(module.weight.dtype)
        return torch.nn.Linear(in_features, out_features, bias=module.bias is not None, dtype=dtype)
    if isinstance(module, layers.Sequential):
        # named_children would pass over a layer that stands in a second place.
        places = ((name, child) for name, child in vars(module).items() if isinstance(child, Module))
        return torch.nn.Sequential(OrderedDict((name, _build(child, seen)) for name, child in places))
    if isinstance(module, layers.ModuleList):
        return torch.nn.ModuleList([_build(child, seen) for child in module])
    for ancestor in type(module).__mro__:
        if ancestor.__name__ in LAYERS and ancestor.__module__.startswith("scratchnn"):
            arguments = {name: getattr(module, name) for name in LAYERS[ancestor.__name__]}
            layer: torch.nn.Module = getattr(torch.nn, ancestor.__name__)(**arguments)
            return layer
    known = ", ".join(["Linear", "Sequential", "ModuleList", *LAYERS])
    raise TypeError(
        f"{type(module).__name__} has no twin in torch.nn; known are {known}. "
        "For a module of your own, write it in PyTorch with the same parameter names and pass torch_model="
    )


def from_torch(module: torch.nn.Module) -> Module:
    """A scratchnn model with the structure, weights and training mode of a `torch.nn.Module`.

    Linear, the activations, Dropout, Sequential and ModuleList, nested in any way; float32 or float64.
    The weights are copied, from any device; nothing is drawn from scratchnn's generator.

    Raises:
        TypeError: a class that scratchnn has no layer for, or parameters of another dtype.
        ValueError: Softmax or LogSoftmax without a `dim`.
    """
    with scratchnn_stream():
        model = _adopt(module, "", {})
    state = {key: value.detach().cpu().numpy().copy() for key, value in module.state_dict().items()}
    model.load_state_dict(state)
    return model


def _adopt(module: torch.nn.Module, path: str, seen: dict[int, Module]) -> Module:
    if id(module) not in seen:
        seen[id(module)] = _adopt_new(module, path, seen)
        seen[id(module)].training = module.training  # of this module alone: its children have their own
    return seen[id(module)]


def _adopt_new(module: torch.nn.Module, path: str, seen: dict[int, Module]) -> Module:
    kind = type(module)
    if isinstance(module, torch.nn.Linear) and kind is torch.nn.Linear:
        if module.weight.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"{_where(kind, path)} has {module.weight.dtype} weights; "
                "call module.float() or module.double() first"
            )
        dtype = np.float64 if module.weight.dtype == torch.float64 else np.float32
        return layers.Linear(
            module.in_features, module.out_features, bias=module.bias is not None, dtype=dtype
        )
    if kind in (torch.nn.Sequential, torch.nn.ModuleList):
        children = OrderedDict(
            (name, _adopt(child, f"{path}.{name}" if path else name, seen))
            for name, child in module._modules.items()
            if child is not None
        )
        return (
            layers.Sequential(children)
            if kind is torch.nn.Sequential
            else layers.ModuleList(children.values())
        )
    if kind.__name__ in LAYERS and kind is getattr(torch.nn, kind.__name__):
        arguments = {name: getattr(module, name) for name in LAYERS[kind.__name__]}
        if arguments.get("dim", 0) is None:
            raise ValueError(f"{_where(kind, path)} has dim=None, which PyTorch guesses; give it a dim")
        layer: Module = getattr(layers, kind.__name__)(**arguments)
        return layer
    known = ", ".join(["Linear", "Sequential", "ModuleList", *LAYERS])
    raise TypeError(f"{_where(kind, path)} is not supported; scratchnn knows {known}")


def _where(kind: type, path: str) -> str:
    return f"torch.nn module {kind.__name__}" + (f" at '{path}'" if path else "")


def twin_loss(loss_fn: Loss, device: str | torch.device = "cpu", dtype: Any = np.float32) -> torch.nn.Module:
    """The `torch.nn` loss of the same name, with the same arguments.

    Args:
        loss_fn: MSELoss, L1Loss, HuberLoss, BCELoss, BCEWithLogitsLoss, NLLLoss or CrossEntropyLoss, or a
            subclass.
        device: where its weights live.
        dtype: of its weights: that of the predictions.
    Raises:
        TypeError: a loss that PyTorch has no class for.
    """
    place = torch_device(device)
    for ancestor in type(loss_fn).__mro__:
        if ancestor.__name__ in LOSSES and ancestor.__module__.startswith("scratchnn"):
            arguments: dict[str, Any] = {"reduction": loss_fn.reduction}
            for name in LOSSES[ancestor.__name__]:
                value = getattr(loss_fn, name)
                if name in ("weight", "pos_weight") and value is not None:
                    value = torch.tensor(np.asarray(value), dtype=torch_dtype(dtype), device=place)
                arguments[name] = value
            loss: torch.nn.Module = getattr(torch.nn, ancestor.__name__)(**arguments)
            return loss
    raise TypeError(f"{type(loss_fn).__name__} has no twin in torch.nn; known are {', '.join(LOSSES)}")


def twin_optimizer(
    optimizer: Optimizer, model: Module, torch_model: torch.nn.Module
) -> torch.optim.Optimizer:
    """The `torch.optim` optimizer of the same name over the twin's parameters.

    Parameter groups keep their order and options; state (momentum buffers, Adam's moments and step
    counts) is copied, so a run may be taken over in its middle.

    Raises:
        TypeError: an optimizer that PyTorch has no class for.
        ValueError: a parameter that is not one of `model`'s, or that `torch_model` lacks.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    theirs = dict(torch_model.named_parameters())

    def counterpart(parameter: Parameter) -> torch.nn.Parameter:
        name = names.get(id(parameter))
        if name is None:
            raise ValueError(
                f"{type(optimizer).__name__} holds a parameter of shape {parameter.shape} that is not the "
                "model's; make the optimizer from model.parameters()"
            )
        if name not in theirs:
            raise ValueError(f"the PyTorch model has no parameter {name!r}; it has {', '.join(theirs)}")
        return theirs[name]

    kind = _optimizer_class(optimizer)
    options = set(inspect.signature(kind).parameters) - {"params"}
    groups = [
        {"params": [counterpart(p) for p in group["params"]]}
        | {key: value for key, value in group.items() if key in options}
        for group in optimizer.param_groups
    ]
    torch_optimizer: torch.optim.Optimizer = kind(groups)
    for parameter, entries in optimizer.state.items():
        target = counterpart(parameter)
        torch_optimizer.state[target] = {key: _state_tensor(value, target) for key, value in entries.items()}
    return torch_optimizer


def _optimizer_class(optimizer: Optimizer) -> Any:
    for ancestor in type(optimizer).__mro__:
        if ancestor.__name__ in OPTIMIZERS and ancestor.__module__.startswith("scratchnn"):
            return getattr(torch.optim, ancestor.__name__)
    raise TypeError(
        f"{type(optimizer).__name__} has no twin in torch.optim; known are {', '.join(OPTIMIZERS)}"
    )


def _state_tensor(value: Any, parameter: torch.Tensor) -> Any:
    if isinstance(value, np.ndarray) and value.ndim:
        return to_tensor(value, parameter.device)
    if value is None:
        return None
    return torch.tensor(float(value))  # torch keeps step counts as float32 scalars on the CPU
