"""Files: models on disk, ONNX exports, and the source text of a training program."""

from .errors import FileFormatError
from .model_file import load, save
from .onnx_graph import export_onnx
from .source import to_python, to_torch

__all__ = ["FileFormatError", "export_onnx", "load", "save", "to_python", "to_torch"]
