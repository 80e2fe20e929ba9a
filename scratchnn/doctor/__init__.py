"""The gradient doctor: what is wrong with a wrong gradient.

`diagnose` records the forward while it runs, works out the gradient that each mistake of a catalogue
would give on this very function, and names the one, or the few together, that give the gradient at hand.
"""

from .catalogue import CATALOGUE
from .diagnose import diagnose
from .diagnosis import Diagnosis, Finding

__all__ = ["CATALOGUE", "Diagnosis", "Finding", "diagnose"]
