"""How far apart two correct programs may be: rounding, and nothing else.

On the CPU these are the project's own rules. On CUDA every one is `CUDA_FACTOR` times as wide: cuBLAS
sums in another order for every shape, CUDA's exp, log and tanh are good to 2 ulp instead of 1, and its
reductions are trees. The factor is an estimate that has not been measured on hardware.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scratchnn.checks import Array

__all__ = ["CUDA_FACTOR", "bitwise_platform", "eps_of", "largest", "trajectory_tolerance"]

CUDA_FACTOR = 4.0
NETWORK = 64.0  # a whole network's predictions and gradients: 64 eps of the largest number in them
SUMS = 16.0  # a sum of terms: 16 eps of their magnitudes
SPREAD_FACTOR = 8.0  # of PyTorch's own spread, where a quantity is chaotic or ill-conditioned
# Runs by PyTorch from weights one ulp away, at most. A sample that falls on the kink of a ReLU parts some
# runs and not others, so one such run is a poor estimate of how far runs part.
MOVED_RUNS = 8
UNIFORM = 4.0  # uniform draws without a fused multiply-add: 4 eps of the bounds

# (up to this step, largest parameter difference over max(1, max|p|)); the last one holds from there on.
# Float32 runs of up to 100 steps that clip gradients part by up to 1.8e-6 between processors, PyTorch's from
# PyTorch's by 1.3e-6 (docs/accuracy.md, "On other processors"); without clipping all stay within 1e-6.
TRAJECTORY = {
    np.dtype(np.float64): ((10, 1e-15), (100, 1e-14), (1000, 1e-12), (10000, 1e-11)),
    np.dtype(np.float32): ((100, 2e-6), (1000, 3e-5), (10000, 1e-4)),
}


def trajectory_tolerance(step: int, dtype: np.dtype[Any], device: torch.device) -> float:
    """Largest parameter difference allowed after `step` steps, for parameters of magnitude 1."""
    table = TRAJECTORY[dtype]
    allowed = next((allowed for last, allowed in table if step <= last), table[-1][1])
    return allowed * device_factor(device)


def device_factor(device: torch.device) -> float:
    """1 on the CPU, `CUDA_FACTOR` elsewhere."""
    return 1.0 if device.type == "cpu" else CUDA_FACTOR


def eps_of(dtype: np.dtype[Any]) -> float:
    """The machine epsilon of a float dtype."""
    return float(np.finfo(dtype).eps)


def largest(*arrays: Array) -> float:
    """The largest finite magnitude in the arrays; 0 where there is none."""
    magnitudes = [np.abs(a[np.isfinite(a)]).max(initial=0.0) for a in arrays]
    return float(max(magnitudes, default=0.0))


def bitwise_platform() -> bool:
    """PyTorch fuses multiply and add here, so uniform draws are the same in every bit."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
