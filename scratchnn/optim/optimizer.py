"""What every optimizer has: parameter groups, state, and the checks at the door."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from operator import is_
from typing import Any, ClassVar

import numpy as np

from ..checks import Array, Check, CheckedAttributes, as_flag, as_function, as_mapping, as_number
from ..layers import Parameter

__all__ = ["Group", "Optimizer", "State"]

Group = dict[str, Any]
State = dict[str, Any]


def _groups(owner: str, name: str, value: Any) -> list[Group]:
    if not isinstance(value, list) or not all(isinstance(group, dict) for group in value):
        raise TypeError(f"{owner} got {name} of type {type(value).__name__}; it needs a list of dicts")
    return value


def _state(owner: str, name: str, value: Any) -> defaultdict[Parameter, State]:
    if isinstance(value, defaultdict):
        return value
    return defaultdict(dict, as_mapping(owner, name, value, "a dict {parameter: its state}"))


class Optimizer(CheckedAttributes):
    """What every optimizer has: parameter groups, state for each parameter, and `step`.

    A subclass implements `_update(p, group) -> new value of p.data` and `_check_group(group)`.

    Attributes:
        param_groups: list of dicts; "params" is the list of parameters, the other entries are the
            hyperparameters of the group. A changed entry takes effect at the next step.
        state: what the optimizer remembers of each parameter, in arrays of the parameter's shape and
            dtype under torch's names, and "step", a float32 scalar array as in torch.
        defaults: hyperparameters for groups that do not set their own.

    Args:
        params: parameters, `(name, parameter)` pairs as of `named_parameters()`, or dicts with the
            entry "params" and hyperparameters of their own.
    Raises:
        TypeError: something that is no Parameter.
        ValueError: no parameters, a parameter given twice, a hyperparameter out of its range.
    Source: torch.optim.Optimizer.
    """

    STATE_KEYS: tuple[str, ...] = ()  # what a loaded state must hold for each parameter it knows
    _stepped: bool | None = None  # since a schedule was attached; None: none is
    _looked_at: list[Any] | None = None  # the groups' entries when they were checked
    _checks: ClassVar[Mapping[str, Check]] = {"param_groups": _groups, "state": _state}
    _not_here: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            (
                "lr",
                "momentum",
                "dampening",
                "weight_decay",
                "nesterov",
                "maximize",
                "betas",
                "eps",
                "amsgrad",
            ),
            "set it in each group, for group in optimizer.param_groups: group[name] = value",
        ),
        **dict.fromkeys(
            ("foreach", "fused", "capturable", "differentiable"),
            "there is one way to step; leave it out",
        ),
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in vars(cls):
            cls.step = _noted(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        self.defaults: dict[str, Any] = as_mapping(self._name, "defaults", defaults, 'a dict: {"lr": 0.1}')
        self.param_groups: list[Group] = []
        self.state: defaultdict[Parameter, State] = defaultdict(dict)
        self._check_group(self.defaults)
        groups = self._as_list(params)
        if not groups:
            raise ValueError(f"{self._name} got an empty parameter list; pass model.parameters()")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _check_group(self, group: Mapping[str, Any]) -> None:
        """Raise ValueError where a hyperparameter is out of its range."""

    def _update(self, parameter: Parameter, group: Group) -> Array:
        raise NotImplementedError(f"{self._name} must implement _update(parameter, group)")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, in place; the others are left alone.

        Args:
            closure: recomputes loss and gradients first, if given; its loss is returned.
        Raises:
            TypeError, ValueError: a gradient whose dtype or shape is not its parameter's (then no
                parameter changes).
        """
        if self._stepped is False:
            self._stepped = True
        loss = None if closure is None else as_function(self._name, "closure", closure)()
        self.check_groups()
        for group in self.param_groups:
            for parameter in group["params"]:
                self._check_gradient(parameter)
        # A run that diverges shows in the loss, as in torch; it is no warning on every step.
        with np.errstate(all="ignore"):
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.data[...] = self._update(parameter, group)
        return loss

    def check_groups(self) -> None:
        """Look at the entries of `param_groups`, which anyone may set at any time.

        Raises:
            TypeError, ValueError: an entry that is missing, or of another kind than its default. (A number
                out of the range that a constructor checks is taken, as in torch.)
        """
        entries = [entry for group in self.param_groups for entry in group.values()]
        looked = self._looked_at
        if looked is not None and len(looked) == len(entries) and all(map(is_, entries, looked)):
            return
        for i, group in enumerate(self.param_groups):
            missing = [name for name in ("params", *self.defaults) if name not in group]
            if missing:
                raise ValueError(
                    f"{self._name} got param_groups[{i}] without {', '.join(missing)}; put it back"
                )
            params = group["params"]
            if not isinstance(params, list) or not all(isinstance(p, Parameter) for p in params):
                raise TypeError(
                    f"{self._name} got param_groups[{i}]['params'] that is not a list of Parameters"
                )
            for name, default in self.defaults.items():
                self._check_like(name, group[name], default)
        self._looked_at = entries

    def _check_like(self, name: str, value: Any, default: Any) -> None:
        if isinstance(default, (tuple, list)):
            if not isinstance(value, (tuple, list)) or len(value) != len(default):
                raise TypeError(f"{self._name} got {name}={value!r}; it needs {len(default)} numbers")
            for one in value:
                as_number(self._name, name, one)
        elif not isinstance(default, bool) and isinstance(default, (int, float, np.integer, np.floating)):
            as_number(self._name, name, value)

    def _counts_steps(self) -> None:
        """From now on `_stepped` says whether a step was made."""
        if self._stepped is None:
            self._stepped = False

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients: None, or zeros with `set_to_none=False`."""
        set_to_none = as_flag(self._name, "set_to_none", set_to_none)
        self.check_groups()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and set_to_none:
                    parameter.zero_grad()
                elif parameter.grad is not None:
                    parameter.grad = np.zeros_like(parameter.grad)

    def add_param_group(self, param_group: Group) -> None:
        """Take on more parameters, with hyperparameters of their own where the dict gives them.

        Args:
            param_group: {"params": parameter, parameters or (name, parameter) pairs, "lr": ...}.
        Raises:
            TypeError, ValueError: as for the class; the optimizer stays as it was.
        """
        if not isinstance(param_group, dict):
            raise TypeError(
                f"{self._name} got a parameter group of type {type(param_group).__name__}; "
                'it needs a dict such as {"params": layer.parameters(), "lr": 0.01}'
            )
        if "params" not in param_group:
            raise ValueError(
                f'{self._name} got a parameter group with the keys {list(param_group)}; it needs "params"'
            )
        params = param_group["params"]
        entries: list[Any] = [params] if isinstance(params, Parameter) else self._as_list(params)
        names = [entry[0] for entry in entries if _is_named(entry)]
        parameters = [entry[1] if _is_named(entry) else entry for entry in entries]
        for parameter in parameters:
            self._check_parameter(parameter)

        group = {**self.defaults, **param_group, "params": parameters}
        if names:
            group["param_names"] = names
        self._check_group(group)
        if names and len(names) != len(parameters):
            raise ValueError(f"{self._name} got names for some parameters only; name all or none")
        if any(("param_names" in group) != ("param_names" in other) for other in self.param_groups):
            raise ValueError(f"{self._name} got groups with and without names; name all groups or none")
        known = [parameter for other in self.param_groups for parameter in other["params"]]
        if len({id(parameter) for parameter in known + parameters}) < len(known) + len(parameters):
            raise ValueError(f"{self._name} got some parameters more than once; give each to one group")
        self.param_groups.append(group)

    def state_dict(self) -> dict[str, Any]:
        """A snapshot in torch's layout: {"state": {index: {...}}, "param_groups": [...]}.

        Parameters appear as indices, counted through the groups. The arrays are copies, so that
        later steps leave the snapshot as it is (torch's are live).
        """
        index = {parameter: i for i, parameter in enumerate(self._parameters())}
        state = {
            index[parameter]: {key: _copy(value) for key, value in entries.items()}
            for parameter, entries in self.state.items()
        }
        groups = [
            {
                **deepcopy(_without_params(group)),
                "params": [index[parameter] for parameter in group["params"]],
            }
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def __getstate__(self) -> dict[str, Any]:
        # By position, as in `state_dict`: not every format takes an object for the key of a dict.
        index = {parameter: i for i, parameter in enumerate(self._parameters())}
        return {**vars(self), "state": {index[p]: entries for p, entries in self.state.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        parameters = list(self._parameters())
        self.state = defaultdict(dict, {parameters[i]: entries for i, entries in state["state"].items()})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take on the state and the hyperparameters of a `state_dict()`, ours or torch's.

        Groups and parameters match by position. Arrays are copied, in the dtype of their parameter.

        Raises:
            TypeError, ValueError: no state dict; groups, sizes, entries or shapes that do not match (then
                nothing is loaded).
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"{self._name} got a state dict of type {type(state_dict).__name__}; "
                "it needs what state_dict() returns"
            )
        if not {"state", "param_groups"} <= set(state_dict):
            raise ValueError(
                f"{self._name} got a state dict with the keys {list(state_dict)}; "
                'it needs "state" and "param_groups", as state_dict() returns them'
            )
        saved_groups = state_dict["param_groups"]
        if len(saved_groups) != len(self.param_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(saved_groups)}, where {self._name} has {len(self.param_groups)}"
            )
        groups = [self._loaded_group(*pair) for pair in zip(self.param_groups, saved_groups, strict=True)]
        indices = [i for saved in saved_groups for i in saved["params"]]
        owners = dict(zip(indices, self._parameters(), strict=True))
        state: defaultdict[Parameter, State] = defaultdict(dict)
        for i, entries in state_dict["state"].items():
            if i not in owners:
                raise ValueError(f"loaded state dict has state for parameter {i}, which is in no group")
            state[owners[i]] = self._loaded_state(i, owners[i], entries)
        self.param_groups[:] = groups
        self.state = state

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {value}" for key, value in sorted(_without_params(group).items())]
        return "\n".join([*lines, ")"])

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _parameters(self) -> list[Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _as_list(self, params: Any) -> list[Any]:
        if isinstance(params, (Parameter, np.ndarray, str, Mapping)) or not isinstance(params, Iterable):
            raise TypeError(
                f"{self._name} got params of type {type(params).__name__}; "
                "it needs a list of parameters or of dicts, such as model.parameters()"
            )
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{self._name} got params as a set, whose order is not fixed; pass a list")
        return list(params)

    def _check_parameter(self, parameter: Any) -> None:
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"{self._name} can only optimize Parameters, but one of the params is "
                f"{type(parameter).__name__}; wrap arrays in Parameter(array)"
            )
        if parameter.data.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"{self._name} got a parameter of dtype {parameter.data.dtype}; it needs float32 or float64"
            )

    def _check_gradient(self, parameter: Parameter) -> None:
        gradient, data = parameter.grad, parameter.data
        if gradient is None:
            return
        if not isinstance(gradient, np.ndarray) or gradient.dtype != data.dtype:
            raise TypeError(
                f"{self._name} got a gradient of {getattr(gradient, 'dtype', type(gradient).__name__)} for a "
                f"parameter of {data.dtype}; make it an array of {data.dtype}"
            )
        if not data.flags.writeable:
            raise ValueError(
                f"{self._name} got a parameter of shape {data.shape} that is read-only; give it a copy: "
                "p.data = p.data.copy()"
            )
        if gradient.shape != data.shape:
            raise ValueError(
                f"{self._name} got a gradient of shape {gradient.shape} for a parameter of shape "
                f"{data.shape}; they must be equal"
            )

    def _loaded_group(self, group: Group, saved: Mapping[str, Any]) -> Group:
        count, expected = len(saved.get("params", ())), len(group["params"])
        if count != expected:
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                f"optimizer's group: {count} parameters for {expected}"
            )
        # Older files lack the newer flags, which are off by default.
        flags = {key: False for key, default in self.defaults.items() if default is False}
        loaded = {**flags, **deepcopy(_without_params(saved)), "params": group["params"]}
        missing = [key for key in self.defaults if key not in loaded]
        if missing:
            raise ValueError(
                f"loaded state dict has no {missing} in a parameter group; is it {self._name}'s?"
            )
        if "param_names" in group:
            loaded.setdefault("param_names", group["param_names"])
        self._check_group(loaded)
        return loaded

    def _loaded_state(self, index: int, parameter: Parameter, entries: Mapping[str, Any]) -> State:
        missing = [key for key in self.STATE_KEYS if key not in entries]
        if missing:
            raise ValueError(
                f"loaded state dict has no {missing} for parameter {index}; is it {self._name}'s?"
            )
        state: State = {}
        for key, value in entries.items():
            if value is None:
                continue
            # asarray reads torch's tensors too; astype copies.
            array = np.asarray(value)
            if key == "step":
                state[key] = array.astype(np.float32)
                continue
            state[key] = array.astype(parameter.data.dtype)
            if state[key].shape != parameter.data.shape:
                raise ValueError(
                    f"loaded state dict has {key} of shape {state[key].shape} for parameter {index} "
                    f"of shape {parameter.data.shape}; they must be equal"
                )
        return state

    def _check_not_negative(self, group: Mapping[str, Any], **described: str) -> None:
        for key, description in described.items():
            value = group[key]
            if not as_number(self._name, key, value) >= 0:
                raise ValueError(f"Invalid {description}: {value}; {self._name} needs {key} >= 0")


def _noted(step: Any) -> Any:
    """`step`, which notes that it was called, for the schedules."""

    @functools.wraps(step)
    def noted(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if self._stepped is False:
            self._stepped = True
        return step(self, *args, **kwargs)

    return noted


def _is_named(entry: Any) -> bool:
    return isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)


def _without_params(group: Mapping[str, Any]) -> Group:
    return {key: value for key, value in group.items() if key != "params"}


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value
