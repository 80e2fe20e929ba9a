"""How things look outside of a terminal: the page of a step, cells of a notebook, LaTeX.

Importing it loads NumPy only. Everything a user named is escaped, and nothing is fetched from anywhere.
"""

from .cells import (
    comparison_html,
    gradcheck_html,
    history_html,
    model_html,
    parity_html,
    sheet_html,
    trace_html,
)
from .latex import trace_latex
from .page import page, save_trace

__all__ = [
    "comparison_html",
    "gradcheck_html",
    "history_html",
    "model_html",
    "page",
    "parity_html",
    "save_trace",
    "sheet_html",
    "trace_html",
    "trace_latex",
]
