"""Parameter and Module: what every layer and network is made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn, Self, TypeAlias

import numpy as np

from ..checks import Array, Check, CheckedAttributes, any_array, as_array, as_dtype, as_flag, as_text, shown

__all__ = ["IncompatibleKeys", "Module", "Parameter"]

ForwardHook: TypeAlias = "Callable[[Module, tuple[Array, ...], Array], Array | None]"


def _own(owner: str, name: str, value: Any) -> Array:
    """The values of a parameter: an array that can be written to."""
    array = as_array(owner, name, value)
    return array if array.flags.writeable else array.copy()


FROZEN = (
    "nothing is frozen by it yet. Give the optimizer the other parameters only: "
    "SGD(model[2].parameters(), lr=0.1)"
)


class Parameter(CheckedAttributes):
    """An array that an optimizer moves, and the gradient that tells it where.

    Args:
        data: array (float32, float64) or list of numbers (float32); kept as it is, not copied, unless it is
            read-only.
    Attributes:
        data: the values; another array may take their place.
        grad: dL/d(data), same shape, or None before the first backward and after `zero_grad`.
    Source: torch.nn.Parameter.
    """

    _checks: ClassVar[Mapping[str, Check]] = {"data": _own}

    def __init__(self, data: Any) -> None:
        self.data: Array = data
        self.grad: Array | None = None

    @property
    def requires_grad(self) -> bool:
        """True, and nothing else: every parameter gets its gradient."""
        return True

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        _refuse_freezing("Parameter", value)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """The parameter itself. Raises AttributeError for False, which would change nothing."""
        _refuse_freezing("Parameter", requires_grad)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        """The number of elements, as of a NumPy array. (PyTorch's `size()` is `shape` here.)"""
        return self.data.size

    def numel(self) -> int:
        """The number of elements."""
        return self.data.size

    def __len__(self) -> int:
        return len(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        # NumPy's functions take a parameter for its values.
        return np.array(self.data, dtype=dtype, copy=copy)

    def __bool__(self) -> NoReturn:
        raise ValueError(
            f"a parameter of shape {self.shape} was asked for its truth value; write `is not None`, "
            "or ask for .data.any() or .data.all()"
        )

    def accumulate(self, gradient: Array) -> None:
        """Add `gradient` to `grad`, as every backward does: gradients of several uses sum up.

        Raises:
            ValueError: `gradient` has another shape than `data`.
        """
        if getattr(gradient, "shape", None) != self.shape:
            got = f"a gradient of shape {gradient.shape}" if hasattr(gradient, "shape") else shown(gradient)
            raise ValueError(
                f"a parameter of shape {self.shape} got {got} as gradient; "
                "they must be the same: check the backward that made it"
            )
        if type(gradient) is not np.ndarray:
            any_array("Parameter", "gradient", gradient)
        # Past __setattr__, which has nothing to check here: this runs in every backward.
        vars(self)["grad"] = gradient if self.grad is None else self.grad + gradient

    def zero_grad(self) -> None:
        """Forget the gradient: `grad` becomes None."""
        vars(self)["grad"] = None

    def __repr__(self) -> str:
        return f"Parameter containing:\n{self.data!r}"


def _refuse_freezing(owner: str, value: Any) -> None:
    if not as_flag(owner, "requires_grad", value):
        raise AttributeError(f"{owner} got requires_grad=False; {FROZEN}")


class IncompatibleKeys(NamedTuple):
    """The paths that `load_state_dict` passed over.

    Attributes:
        missing_keys: the model's, absent from the state dict.
        unexpected_keys: the state dict's, absent from the model.
    Source: torch.nn.modules.module._IncompatibleKeys.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Module(CheckedAttributes):
    """Base of all layers and networks.

    A network of your own is a subclass that writes `forward(x)` and `backward(dy)`; layers and
    `Parameter`s assigned to its attributes are found by themselves, in the order of assignment.

        class Twice(snn.Module):
            def __init__(self):
                self.inner = snn.Linear(2, 2)
            def forward(self, x):
                return 2 * self.inner(x)
            def backward(self, dy):
                return self.inner.backward(2 * dy)

    Source: torch.nn.Module.
    """

    _not_here: ClassVar[Mapping[str, str]] = {"requires_grad": FROZEN}
    # Defaults on the class, so that a subclass need not call super().__init__().
    training = True
    _saved: tuple[Any, ...] | None = None
    _output: tuple[tuple[int, ...], np.dtype[Any]] | None = None
    _hooks: dict[int, ForwardHook] | None = None
    # Names whose parameter is None at present: a layer without bias.
    _absent: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a parameter or submodule gives way only to another one, or to None.

        Raises:
            TypeError: an array in place of a parameter, or anything else in place of a submodule.
        """
        held = vars(self).get(name)
        if isinstance(value, Parameter):
            if name in self._absent:
                vars(self)["_absent"] = tuple(n for n in self._absent if n != name)
        elif value is None:
            if isinstance(held, Parameter):
                vars(self)["_absent"] = (*self._absent, name)
        elif isinstance(held, Parameter) or name in self._absent:
            cure = "" if held is None else f"write {name}.data[...] = values to change the one there, or "
            raise TypeError(
                f"{type(self).__name__} got {type(value).__name__} as its parameter {name}, which needs a "
                f"Parameter or None; {cure}assign scratchnn.Parameter(values)"
            )
        elif isinstance(held, Module) and not isinstance(value, Module):
            raise TypeError(
                f"{type(self).__name__} got {type(value).__name__} as its submodule {name}, which needs a "
                "Module or None"
            )
        super().__setattr__(name, value)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set the parameter `name`; None says that there is none, as in a layer without bias.

        Raises:
            TypeError: something that is neither a Parameter nor None.
        """
        name = as_text(type(self).__name__, "name", name)
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(
                f"{type(self).__name__} got {type(parameter).__name__} as its parameter {name}, which needs "
                "a Parameter or None"
            )
        setattr(self, name, parameter)
        if parameter is None and name not in self._absent:
            vars(self)["_absent"] = (*self._absent, name)

    def forward(self, x: Any) -> Array:
        """y for x. Shapes as each layer says."""
        raise NotImplementedError(f"{type(self).__name__} must write forward(x)")

    def backward(self, dy: Any) -> Array:
        """dL/dx for dL/dy, after a forward; adds to the `grad` of every parameter used."""
        raise NotImplementedError(f"{type(self).__name__} must write backward(dy)")

    def __call__(self, x: Any) -> Array:
        """`forward(x)`, then the forward hooks."""
        y = self.forward(x)
        for hook in tuple((self._hooks or {}).values()):
            replaced = hook(self, (x,), y)
            y = y if replaced is None else replaced
        return y

    # What a forward leaves for its backward -----------------------------------------------------

    def _remember(self, y: Array, *saved: Any) -> Array:
        """Save what the vjp needs, and the shape that dy must have; returns y."""
        # Past __setattr__, which need not look at these: this runs in every forward.
        own = vars(self)
        own["_saved"], own["_output"] = saved, (y.shape, y.dtype)
        return y

    def _recall(self, dy: Any) -> tuple[Any, ...]:
        """(dy, *saved): dy checked against the y that forward returned."""
        if self._saved is None or self._output is None:
            raise RuntimeError(f"{self._label()} got backward before forward; call it on an input first")
        shape, dtype = self._output
        dy = as_array(self._label(), "dy", dy, dtype)
        if dy.shape != shape:
            raise ValueError(
                f"{self._label()} got dy of shape {dy.shape} in backward; its last output had shape {shape}, "
                "and dy = dL/dy must have the same"
            )
        return (dy, *self._saved)

    def _snapshot(self) -> tuple[Any, ...]:
        return (self._saved, self._output)

    def _restore(self, snapshot: tuple[Any, ...]) -> None:
        own = vars(self)
        own["_saved"], own["_output"] = snapshot

    def __getstate__(self) -> dict[str, Any]:
        # A copy or a pickle carries parameters, not the arrays of somebody's last forward.
        return {k: v for k, v in vars(self).items() if k not in ("_saved", "_output")}

    # What a module is made of ---------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, submodule) in the order of assignment, each once."""
        seen: set[int] = set()
        for name, value in vars(self).items():
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        """The submodules one level down."""
        for _, child in self.named_children():
            yield child

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) of this module (path "") and all below it, parents first, each once."""
        return self._walk(as_text(type(self).__name__, "prefix", prefix))

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        seen: set[int] = set()
        pending: list[tuple[str, Module]] = [(prefix, self)]
        while pending:
            path, module = pending.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            below = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
            pending.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        """This module and all below it, parents first."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), a shared parameter once: "0.weight", "0.bias", ..."""
        seen: set[int] = set()
        for path, parameter in self._all_named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield path, parameter

    def _all_named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value._all_named_parameters(f"{prefix}{name}.")

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter once, in the order of `named_parameters`."""
        for _, parameter in self.named_parameters():
            yield parameter

    # State ----------------------------------------------------------------------------------------

    def state_dict(self) -> OrderedDict[str, Array]:
        """{path: array} in torch's names and shapes. The arrays are the parameters' own, not copies,
        as in torch; `torch.from_numpy` of each loads into the torch twin."""
        return OrderedDict((path, parameter.data) for path, parameter in self._all_named_parameters())

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values in from a state dict; all or, on an error, nothing.

        Args:
            state_dict: {path: array}; values are cast to each parameter's dtype, as torch does.
            strict: with False, missing and unexpected paths are passed over.
        Returns:
            IncompatibleKeys: (missing_keys, unexpected_keys), the paths passed over.
        Raises:
            RuntimeError: missing, unexpected or mis-shaped entries, all of them named.
            TypeError: an entry that is not numeric. ValueError: a list that makes no array.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict got state_dict={shown(state_dict)}; it needs a dict of arrays")
        strict = as_flag("load_state_dict", "strict", strict)
        own = OrderedDict(self._all_named_parameters())
        missing = [path for path in own if path not in state_dict]
        unexpected = [str(path) for path in state_dict if path not in own]
        problems = []
        if strict:
            if missing:
                problems.append(f"missing: {', '.join(missing)}")
            if unexpected:
                problems.append(f"unexpected: {', '.join(unexpected)}")
        values: dict[str, Array] = {}
        for path, parameter in own.items():
            if path not in state_dict:
                continue
            value = any_array("load_state_dict", path, state_dict[path], "biuf")
            if value.shape != parameter.shape:
                problems.append(f"{path} has shape {value.shape}, the model needs {parameter.shape}")
                continue
            with np.errstate(over="ignore"):  # infinity, as torch casts it
                values[path] = value.astype(parameter.dtype)
        if problems:
            raise RuntimeError(
                f"load_state_dict into {type(self).__name__} loaded nothing: {'; '.join(problems)}. "
                "The state dict is of another architecture, or was cut."
            )
        for path, value in values.items():
            own[path].data[...] = value
        return IncompatibleKeys(missing, unexpected)

    def train(self, mode: bool = True) -> Self:
        """Training mode (dropout drops) for this module and all below it; returns self."""
        if not isinstance(mode, bool):
            raise ValueError(f"train got mode={shown(mode)}; it must be True or False")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode (dropout passes everything); returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """The module itself. Raises AttributeError for False, which would change nothing."""
        _refuse_freezing(type(self).__name__, requires_grad)
        return self

    def zero_grad(self) -> None:
        """Forget every parameter's gradient."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def astype(self, dtype: Any) -> Self:
        """Convert every parameter to `dtype` in place and forget gradients; returns self.

        The `Parameter` objects stay the same ones, so an optimizer made before keeps working, but
        state it has collected keeps its dtype: convert first, then make the optimizer.
        """
        if dtype is None:
            raise TypeError(f"{self._label()} got astype(None); name a dtype: float32 or float64")
        target = as_dtype(f"{type(self).__name__}.astype", dtype)
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(target)
            parameter.grad = None
        for module in self.modules():
            module._restore((None, None))
        return self

    def register_forward_hook(self, hook: ForwardHook) -> Callable[[], None]:
        """Call `hook(module, inputs, y)` after every forward; what it returns, unless None, replaces y.

        Args:
            hook: a function of the module, the tuple of its inputs, `(x,)`, and its output.
        Returns:
            a function that removes the hook.
        Raises:
            TypeError: a hook that cannot be called.
        """
        if not callable(hook) or isinstance(hook, type):
            raise TypeError(
                f"{self._label()} got {shown(hook)} as forward hook; it needs "
                "a function (module, inputs, output)"
            )
        hooks = dict(self._hooks or {})
        key = max(hooks, default=-1) + 1
        hooks[key] = hook
        self._hooks = hooks
        pending = [key]  # the key of a hook that is removed may be another's later

        def remove() -> None:
            while pending:
                gone = pending.pop()
                self._hooks = {k: h for k, h in (self._hooks or {}).items() if k != gone}

        return remove

    # Printing -------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of the repr."""
        return ""

    def _label(self) -> str:
        """The module in one line, for errors."""
        return f"{type(self).__name__}({self.extra_repr()})"

    def _repr_html_(self) -> str:
        from ..show import model_html

        return model_html(self)

    def __repr__(self) -> str:
        children = [(name, value) for name, value in vars(self).items() if isinstance(value, Module)]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [self.extra_repr()] if self.extra_repr() else []
        lines += [f"({name}): {child!r}" for name, child in children]
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"
