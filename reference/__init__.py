"""PyTorch as the judge: the same networks, losses, optimizers and training runs, by torch.

Nothing here computes: classes are matched with `torch.nn` and `torch.optim` by name, weights are copied,
PyTorch runs, and the numbers are laid side by side. Needs torch (`pip install "scratchnn[reference]"`).
"""

from .compare import compare, compare_training
from .report import ParityReport, Row
from .training import TorchRun, fit
from .twin import from_torch, seeded_twin, twin, twin_loss, twin_optimizer
from .witness import Witness

__all__ = [
    "ParityReport",
    "Row",
    "TorchRun",
    "Witness",
    "compare",
    "compare_training",
    "fit",
    "from_torch",
    "seeded_twin",
    "twin",
    "twin_loss",
    "twin_optimizer",
]
