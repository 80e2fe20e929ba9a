"""What reading a file can raise, and how a missing package is named."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["FileFormatError", "needs", "short"]


class FileFormatError(ValueError):
    """The file is cut, damaged, oversized, of another format, or not what its description says."""


def needs(owner: str, module: str) -> Any:
    """The imported `module`, or an ImportError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'{owner} needs the package {package}; install it with pip install "scratchnn[export]"',
            name=package,
        ) from error


def short(value: object) -> str:
    """`value` for an error message; what a hostile file holds may be long."""
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= 200 else f"{text[:200]}..."
