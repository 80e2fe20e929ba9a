"""check_gradients and numeric_gradient: gradients that are there already, against a function of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import Array, any_array, as_flag, as_function, as_number, as_seed, positive_int
from .check import measure, quietly
from .nested import finite, float_leaf, leaves, matching, named, rebuilt
from .numeric import analytic_on_complex, best_entry, output_noise
from .report import GradcheckError, GradcheckReport
from .rounding import Rounded, Source
from .subject import BackwardRun, Subject, name_of, parameters_of

__all__ = ["check_gradients", "numeric_gradient"]

# Gradients that are only numbers: how exact the formula behind them is, nobody knows. Of float32 ones,
# three digits are certain.
FINE = {"complex": 1e-7, "central": 1e-6}
COARSE = {"complex": 1e-3, "central": 1e-3}


def check_gradients(
    loss_of: Callable[..., Any],
    params: Any,
    grads: Any,
    *,
    tolerance: float | None = None,
    max_entries: int = 500,
    raise_on_fail: bool = False,
    seed: int = 0,
) -> GradcheckReport:
    """Compare gradients that you have already with the numeric derivative of a loss.

        report = snn.check_gradients(lambda p: loss(p["W"], p["b"]), {"W": W, "b": b}, {"W": dW, "b": db})

    Layouts are yours: samples in rows or in columns, any activation, any framework's numbers. float32 arrays
    are computed in float64. The arrays stay as they are, also after an error.

    Args:
        loss_of: a function that returns one number. It takes params as they are given here; or, where params
            is a list or tuple, its elements as arguments of their own; or nothing, if it reads the very
            arrays of params (float64): then these are moved in place, and put back.
        params: a float array, or arrays in lists, tuples and dicts, nested in any way.
        grads: the gradients, in the same structure. In a dict, that of W is under "W", or under a name such
            as "dW" or "W_grad"; other such names are passed over.
        tolerance: largest error of an entry, relative to the entry: 1e-7, by differences 1e-6, of float32
            gradients 1e-3. What rounding explains is no error.
        max_entries: compared in each array; a larger one is sampled, and covered by a random direction.
        raise_on_fail: raise GradcheckError instead of returning a report that is false.
        seed: of the samples.
    Returns:
        GradcheckReport: true if all gradients are right; a row for each array, named "W", "[0]" or
            "layers[0]['W']". Entries on a kink (relu at 0) pass if they lie between the slopes on its sides.
    Raises:
        GradcheckError: with raise_on_fail, a wrong gradient.
        TypeError, ValueError: structures, shapes or dtypes that do not match, a NaN or infinity in either, a
            loss that is not one number; in words that name the entry. What loss_of itself raises.
    """
    owner = "check_gradients"
    if tolerance is not None:
        tolerance = as_number(owner, "tolerance", tolerance, least=0)
    max_entries = positive_int(owner, "max_entries", max_entries)
    seed = as_seed(owner, "seed", seed) % 2**64
    raise_on_fail = as_flag(owner, "raise_on_fail", raise_on_fail)
    with quietly():
        subject = GivenSubject(owner, loss_of, params)
        subject.take(params, grads)
        measured = measure(subject, "auto", tolerance, max_entries, seed)
    if raise_on_fail and not measured.report:
        raise GradcheckError(measured.report)
    return measured.report


def numeric_gradient(loss_of: Callable[..., Any], params: Any) -> Any:
    """The derivative of a loss by each entry of `params`, from the loss alone.

    By complex step, to machine precision, where loss_of is analytic; else by central differences, whose step
    is chosen for each entry. It costs an evaluation or more for each entry: for checks, not for training.

        dW = snn.numeric_gradient(lambda W: ((x @ W - t) ** 2).mean(), W)

    Args:
        loss_of, params: as for `check_gradients`.
    Returns:
        the structure of params, with float64 arrays of the same shapes.
    Raises:
        TypeError, ValueError: as `check_gradients`.
    """
    with quietly():
        subject = GivenSubject("numeric_gradient", loss_of, params)
        rng = np.random.default_rng(0)
        one = np.ones(())
        kind = "central" if subject.real_only or analytic_on_complex(subject, one, rng) else "complex"
        noise = output_noise(subject, subject.values, rng)
        found = {
            path: np.array(
                [
                    best_entry(subject, subject.values, t, index, one, kind, noise)
                    for index in np.ndindex(value.shape)
                ]
            ).reshape(value.shape)
            for t, (path, value) in enumerate(zip(subject.paths, subject.values, strict=True))
        }
    return rebuilt(params, lambda path, value: found[path] if np.ndim(value) else float(found[path]))


class GivenSubject(Subject):
    """A function of arrays to a number, and gradients that are known where the arrays are, nowhere else."""

    fixed = True

    def __init__(self, owner: str, loss_of: Any, params: Any) -> None:
        self.owner = owner
        self.loss_of = as_function(owner, "loss_of", loss_of, "a function of params to a number")
        self.params = params
        found = list(leaves(owner, params, "params"))
        self.paths = [path for path, _ in found]
        self.arguments = _form(owner, loss_of, params)
        root = self.arguments[0] if len(self.arguments) == 1 else "params"
        self.names = [named(path, root) for path in self.paths]
        full = ["params" + "".join(f"[{key!r}]" for key in path) for path in self.paths]
        self.values = [float_leaf(owner, name, value) for (_, value), name in zip(found, full, strict=True)]
        if not self.values:
            raise ValueError(f"{owner} got params without any array; there is nothing to check")
        self.title = name_of(loss_of)
        self.arrays = [value for _, value in found]
        _distinct(owner, self.arrays, full)
        self.in_place = not self.arguments
        if self.in_place:
            self.real_only = "loss_of() takes no argument, so that its arrays are moved in place"
            for array, name in zip(self.arrays, full, strict=True):
                _movable(owner, array, name)
        self.gradients: list[Array] = [np.zeros(value.shape) for value in self.values]
        self._try()

    @property
    def tolerances(self) -> Mapping[str, float]:  # type: ignore[override]
        coarse = any(g.dtype in (np.float16, np.float32) for g in self.gradients)
        return COARSE if coarse else FINE

    def take(self, params: Any, grads: Any) -> None:
        """Read the gradients. Raises as `check_gradients`."""
        for t, (path, gradient) in enumerate(matching(params, grads)):
            where = "".join(f"[{key!r}]" for key in path)
            array = any_array(self.owner, f"grads{where}", gradient, "biuf")
            if array.shape != self.values[t].shape:
                raise ValueError(
                    f"{self.owner} got grads{where} of shape {array.shape}; params{where} has shape "
                    f"{self.values[t].shape}, and the two must be equal"
                )
            self.gradients[t] = finite(self.owner, f"grads{where}", array)

    def output(self, values: Sequence[Array]) -> Array:
        if self.in_place:
            return self._number(self._moved(values))
        source = None
        if not isinstance(values[0], Rounded) and values[0].dtype.kind == "c":
            # On arrays that know what abs and float(...) mean, most losses are analytic.
            source = Source()
            values = [source.wrap(value) for value in values]
        elif isinstance(values[0], Rounded):
            source = values[0].source
        y = self._number(self._called(values))
        return y if source is None else source.complex_of(y)

    def _called(self, values: Sequence[Array]) -> Any:
        fresh = dict(zip(self.paths, (value.copy() for value in values), strict=True))
        given = rebuilt(
            self.params, lambda path, old: fresh[path] if isinstance(old, np.ndarray) else fresh[path][()]
        )
        return self.loss_of(given) if len(self.arguments) == 1 else self.loss_of(*given)

    def _moved(self, values: Sequence[Array]) -> Any:
        """The loss with other numbers in the arrays, which are put back whatever happens."""
        try:
            for array, value in zip(self.arrays, values, strict=True):
                array[...] = value
            return self.loss_of()
        finally:
            for array, value in zip(self.arrays, self.values, strict=True):
                array[...] = value

    def _number(self, loss: Any) -> Array:
        y = np.asarray(None if isinstance(loss, (tuple, list, dict)) else loss)
        if y.size != 1 or y.dtype.kind not in "biufc":
            what = f"an array of shape {y.shape}" if y.dtype.kind in "biufc" else f"a {type(loss).__name__}"
            raise TypeError(f"{self.owner} got a loss_of that returns {what}; it needs one number")
        return y.reshape(())

    def _try(self) -> None:
        first = self.output(self.values)
        if not np.isfinite(first):
            raise ValueError(f"{self.owner} got a loss_of that returns {first[()]} at these params")
        if self.output(self.values) != first:
            raise ValueError(
                f"{self.owner} got a loss_of that returns another number each time; seed what is random in it"
            )
        if self.in_place and not self._reads():
            raise ValueError(
                f"{self.owner} got a loss_of() whose loss does not depend on the arrays of params; it must "
                "read these very arrays, or take params as an argument"
            )

    def _reads(self) -> bool:
        try:
            return bool(
                self.output([np.full(v.shape, np.nan) for v in self.values]) != self.output(self.values)
            )
        except Exception:  # somebody's code may refuse NaN, which it then has read
            return True

    def backward(self, cotangent: Array, values: Sequence[Array]) -> BackwardRun:
        return BackwardRun(list(self.gradients))

    def cotangent(self, y: Array, rng: np.random.Generator) -> Array:
        return np.ones(())


def _form(owner: str, loss_of: Any, params: Any) -> list[str]:
    """The names of the arguments that loss_of gets: none, one for params, or one for each element."""
    parameters = parameters_of(loss_of)
    if parameters is None or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ["params"]
    taken = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in taken if p.default is p.empty]
    if len(needed) <= 1:
        return [p.name for p in (needed or taken)[:1]]
    if isinstance(params, (list, tuple)) and len(needed) == len(params):
        return [p.name for p in needed]
    raise TypeError(
        f"{owner} got a loss_of that needs {len(needed)} arguments ({', '.join(p.name for p in needed)}); "
        "it must take params as its only one, or, where params is a list, one for each element"
    )


def _distinct(owner: str, arrays: Sequence[Any], names: Sequence[str]) -> None:
    seen: dict[int, str] = {}
    for array, name in zip(arrays, names, strict=True):
        if not isinstance(array, np.ndarray):
            continue
        if id(array) in seen:
            raise ValueError(
                f"{owner} got one array as {seen[id(array)]} and as {name}; give it once, with the sum "
                "of its gradients"
            )
        seen[id(array)] = name


def _movable(owner: str, array: Any, name: str) -> None:
    found = f"an array of dtype {array.dtype}" if isinstance(array, np.ndarray) else f"{type(array).__name__}"
    if not isinstance(array, np.ndarray) or array.dtype != np.float64 or not array.flags.writeable:
        read_only = ", read-only" if isinstance(array, np.ndarray) and not array.flags.writeable else ""
        raise TypeError(
            f"{owner} got {name} as {found}{read_only}. A loss_of() without arguments reads the very arrays "
            "of params, which are moved in place, so they must be float64; or let loss_of take params"
        )
