"""{name of a mistake: functions that make a network with just it}, from all files."""

from __future__ import annotations

import mistakes_of_flow
import mistakes_of_layout
import mistakes_of_rules
from mistakes import MISTAKES

__all__ = ["MISTAKES", "mistakes_of_flow", "mistakes_of_layout", "mistakes_of_rules"]
