"""Pictures of data, models and training runs: the only place that imports matplotlib.

A function that draws one picture takes `ax=` (a matplotlib Axes to draw on; without it a new
Figure is made) and returns the Axes; its figure is `axes.figure`. A function that draws several
side by side returns the Figure. Nothing is shown, and nothing is written unless `save` is called.

The figures are plain objects drawn by the Agg canvas: no display, no `pyplot` and no global state,
so they work in a script, a thread or a test alike; a notebook shows them after `%matplotlib inline`.

A model is anything that maps points (N, D) to outputs (N, C): a `Module` (asked in evaluation mode,
in its own dtype) or a plain function. Asking a Module runs its forward pass, so draw between steps,
not between `forward` and `backward`.
"""

from . import arguments
from .answers import predicted_against_actual, region
from .diagram import network_diagram
from .epochs import curves, history
from .grid import curve_grid
from .hidden import decision_lines, hidden_regions
from .line import binary_prediction, curve_fit, curve_fits, staircase, threshold_places, thresholds
from .look import new_figure, panels, save
from .plane import decision_regions, points, probabilities, probability, train_and_test
from .recorded import animate, boundary_strip, gradients_over_time, parameters_over_time
from .responses import hidden_activations, hidden_responses, hidden_triples
from .step import trace_diagram
from .sweeps import distribution, table_of_means
from .training import confusion_matrix, loss_curve

__all__ = [
    "animate",
    "binary_prediction",
    "boundary_strip",
    "confusion_matrix",
    "curve_fit",
    "curve_fits",
    "curve_grid",
    "curves",
    "decision_lines",
    "decision_regions",
    "distribution",
    "gradients_over_time",
    "hidden_activations",
    "hidden_regions",
    "hidden_responses",
    "hidden_triples",
    "history",
    "loss_curve",
    "network_diagram",
    "new_figure",
    "panels",
    "parameters_over_time",
    "points",
    "predicted_against_actual",
    "probabilities",
    "probability",
    "region",
    "save",
    "staircase",
    "table_of_means",
    "threshold_places",
    "thresholds",
    "trace_diagram",
    "train_and_test",
]

globals().update({name: arguments.checked(globals()[name]) for name in __all__})
