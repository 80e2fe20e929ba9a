"""One optimizer step, element by element: SGD, Adam and AdamW in torch's order of operations.

Glossary: p a parameter, g its gradient dL/dp, b the momentum buffer, m and v the running means of
g and g*g, peak the largest v so far (amsgrad only), t the number of the step, from 1.

Each rule takes arrays of one shape and returns their successors; nothing is written in place. What
depends on the step but not on the element (bias corrections, step size) comes from a `*_scalars`
function beside it, in Python doubles, in the order in which the rule takes it. The caller casts
these scalars to the parameter's dtype, once; this is where torch casts them too.
"""

from __future__ import annotations

from scratchnn.functional.vocabulary import Array, maximum, sqrt
from scratchnn.functional.written import written

__all__ = ["adam", "adam_scalars", "adamw", "adamw_scalars", "sgd", "sgd_scalars"]


def sgd_scalars(
    first: bool, lr: float, momentum: float, dampening: float, weight_decay: float
) -> tuple[float, float, float, float]:
    """The scalars of `sgd`: lr, momentum, gain, weight_decay.

    The first gradient enters the (zero) buffer whole: its gain is 1, whatever the dampening.
    """
    gain = 1.0 if first else 1.0 - dampening
    return float(lr), float(momentum), gain, float(weight_decay)


@written(
    "d = where(maximize, -g, g) + weight_decay * p",
    "p_next = p - lr * d",
    momentum=0.0,
)
@written(
    "d = where(maximize, -g, g) + weight_decay * p",
    "b_next = momentum * b + gain * d",
    "p_next = p - lr * (d + momentum * b_next)",
    nesterov=True,
)
@written(
    "d = where(maximize, -g, g) + weight_decay * p",
    "b_next = momentum * b + gain * d",
    "p_next = p - lr * b_next",
)
def sgd(
    p: Array,
    g: Array,
    b: Array,
    lr: float,
    momentum: float,
    gain: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> tuple[Array, Array]:
    """Stochastic gradient descent with momentum.

        g <- g + weight_decay p             (-g first, to maximize)
        b <- momentum b + gain g            gain = 1 - dampening
        p <- p - lr b                       (nesterov: p - lr (g + momentum b))

    Args:
        p, g, b: one shape; b is zeros before the first step, and is not read when momentum is 0.
        lr, momentum, gain, weight_decay: as `sgd_scalars` gives them, in p's dtype.
    Returns:
        p, b.
    Source: Sutskever et al. 2013, in the form of torch.optim.SGD.
    """
    if maximize:
        g = -g
    if weight_decay != 0:
        g = g + weight_decay * p
    if momentum != 0:
        b = momentum * b + gain * g
        if nesterov:
            g = g + momentum * b
        else:
            g = b
    return p - lr * g, b


def adam_scalars(
    t: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> tuple[float, float, float, float, float, float, float]:
    """The scalars of `adam` at step t: step_size, root, eps, gain1, beta2, gain2, weight_decay.

    m and v start at zero, so after t steps they are too small by 1 - beta**t. The correction of m
    goes into step_size, that of v into root. Folding root into step_size as well would rescale eps.
    """
    step_size = lr / (1 - beta1**t)
    root = (1 - beta2**t) ** 0.5
    return step_size, root, float(eps), 1 - beta1, float(beta2), 1 - beta2, float(weight_decay)


@written(
    "d = where(maximize, -g, g) + weight_decay * p",
    "m_next = m + gain1 * (d - m)",
    "v_next = beta2 * v + gain2 * d * d",
    "peak_next = where(amsgrad, maximum(peak, v_next), peak)",
    "p_next = p - step_size * m_next / (sqrt(where(amsgrad, peak_next, v_next)) / root + eps)",
)
def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    peak: Array,
    step_size: float,
    root: float,
    eps: float,
    gain1: float,
    beta2: float,
    gain2: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
) -> tuple[Array, Array, Array, Array]:
    """Adam: a step in units of the gradient's own running size.

        g <- g + weight_decay p             (-g first, to maximize)
        m <- m + gain1 (g - m)              gain1 = 1 - beta1
        v <- beta2 v + gain2 g g            gain2 = 1 - beta2
        p <- p - step_size m / (sqrt(v) / root + eps)
             step_size = lr / (1 - beta1**t),  root = sqrt(1 - beta2**t)

    With amsgrad the root is taken of peak <- max(peak, v).

    Args:
        p, g, m, v, peak: one shape; m, v, peak are zeros before the first step, and peak is
            neither read nor changed without amsgrad.
        step_size, ..., weight_decay: as `adam_scalars` gives them, in p's dtype.
    Returns:
        p, m, v, peak.
    Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; amsgrad: Reddi et al. 2018.
    """
    if maximize:
        g = -g
    if weight_decay != 0:
        g = g + weight_decay * p
    if gain1 < 0.5:
        m = m + gain1 * (g - m)
    else:  # from the other end, which is exact at gain1 = 1
        m = g - (g - m) * (1.0 - gain1)
    v = beta2 * v + (gain2 * g) * g
    if amsgrad:
        peak = maximum(peak, v)
        denominator = sqrt(peak) / root + eps
    else:
        denominator = sqrt(v) / root + eps
    return p - (step_size * m) / denominator, m, v, peak


def adamw_scalars(
    t: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> tuple[float, float, float, float, float, float, float]:
    """The scalars of `adamw` at step t: shrink, then those of `adam` without its weight decay."""
    shrink = 1 - lr * weight_decay
    step_size, root, eps, gain1, beta2, gain2, _ = adam_scalars(t, lr, beta1, beta2, eps, 0.0)
    return shrink, step_size, root, eps, gain1, beta2, gain2


@written(
    "d = where(maximize, -g, g)",
    "m_next = m + gain1 * (d - m)",
    "v_next = beta2 * v + gain2 * d * d",
    "peak_next = where(amsgrad, maximum(peak, v_next), peak)",
    "p_next = shrink * p - step_size * m_next / (sqrt(where(amsgrad, peak_next, v_next)) / root + eps)",
)
def adamw(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    peak: Array,
    shrink: float,
    step_size: float,
    root: float,
    eps: float,
    gain1: float,
    beta2: float,
    gain2: float,
    amsgrad: bool,
    maximize: bool,
) -> tuple[Array, Array, Array, Array]:
    """AdamW: the parameter shrinks first, by 1 - lr weight_decay; the gradient knows nothing of it.

    Adam on shrink * p, without its weight decay. Arguments and results otherwise as in `adam`.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
    """
    return adam(shrink * p, g, m, v, peak, step_size, root, eps, gain1, beta2, gain2, 0.0, amsgrad, maximize)
