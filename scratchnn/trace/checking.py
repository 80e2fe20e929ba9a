"""The same number by other means: complex step, and PyTorch."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..gradcheck.numeric import analytic_on_complex, entry
from ..gradcheck.subject import ModuleSubject
from ..random import default_generator
from .origins import Index
from .run import untouched
from .sheet import Check
from .torch_side import by_torch

if TYPE_CHECKING:
    from .trace import Trace

__all__ = ["checks_of_gradient", "checks_of_loss"]

REMARK = 100  # characters of somebody's error message that fit beside a number


def checks_of_gradient(trace: Trace, name: str, index: Index, value: float, unit: float) -> tuple[Check, ...]:
    """dL/d(entry) by differentiation of the forward alone, and by PyTorch's autograd.

    Args:
        name: of a parameter, or "x". unit: one rounding, at the size of what was added up.
    """
    return _by_differentiation(trace, name, index, value, unit), _by_pytorch(trace, name, index, value, unit)


def checks_of_loss(trace: Trace, index: Index, value: float, unit: float) -> tuple[Check, ...]:
    """The loss in double precision, on the same numbers, and PyTorch's."""
    subject, reason = _subject(trace)
    if subject is None:
        double = Check("double precision", None, None, reason)
    else:
        with untouched():
            default_generator.set_state(trace.random_state)
            again = float(np.asarray(subject.output(subject.values))[index])
        double = Check("double precision", again, abs(again - value) / unit, "the same forward in float64")
    return double, _by_pytorch(trace, "loss", index, value, unit)


def _subject(trace: Trace) -> tuple[ModuleSubject | None, str]:
    with untouched():
        try:
            return ModuleSubject(trace.model, [trace.x], trace.loss_fn, trace.target), ""
        except Exception as error:  # whatever a stranger's network raises in float64
            return None, _in_a_line(error)


def _by_differentiation(trace: Trace, name: str, index: Index, value: float, unit: float) -> Check:
    subject, reason = _subject(trace)
    if subject is None:
        return Check("complex step", None, None, reason)
    place = subject.names.index(name, 1) if name in trace.parameters else 0  # the input stands first
    with untouched(), np.errstate(all="ignore"):
        default_generator.set_state(trace.random_state)
        ones = np.ones(np.shape(subject.output(subject.values)))
        why_not = analytic_on_complex(subject, ones, np.random.default_rng(0))
        method = "central" if why_not else "complex"
        number = entry(subject, subject.values, place, index, ones, method)
    words = f"no complex step: {why_not}" if why_not else "Im L(w + ih)/h, h = 1e-20, in float64"
    called = "central differences" if why_not else "complex step"
    return Check(called, number, abs(number - value) / unit, words)


def _by_pytorch(trace: Trace, name: str, index: Index, value: float, unit: float) -> Check:
    try:
        theirs: Any = by_torch(trace)[name][index]
    except ImportError:
        return Check("PyTorch", None, None, "torch is not installed")
    except Exception as error:  # no twin for a module of somebody's own, or what that raises
        return Check("PyTorch", None, None, _in_a_line(error))
    number = float(theirs)
    return Check("PyTorch", number, abs(number - value) / unit, f"torch.autograd, {trace.x.dtype}")


def _in_a_line(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text if len(text) <= REMARK else textwrap.shorten(text.partition(";")[0], REMARK, placeholder=" …")
