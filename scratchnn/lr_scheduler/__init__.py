"""Learning-rate schedules, with the constructors and the sequences of torch.optim.lr_scheduler.

    for epoch in range(epochs):
        for x, target in loader:
            ...
            optimizer.step()                      # OneCycleLR: scheduler.step() here, after every batch
        scheduler.step()                          # the others: here, after every epoch

or `fit(..., scheduler=scheduler)`, which does the same on either engine.

lr  a group's learning rate now    base  the one it started with    t  steps of the schedule so far

Most rules go from one lr to the next, as torch's do, and not from base and t to lr: so they keep what
somebody else did to the lr in between, and round as torch's do. Every sequence is torch's to the last bit.
"""

from .base import LRScheduler, Schedule
from .one_cycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .rules import CosineAnnealingLR, ExponentialLR, LambdaLR, LinearLR, MultiStepLR, StepLR

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
]
