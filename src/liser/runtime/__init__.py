"""Running a bundle with NumPy, ONNX Runtime and a voice activity detector; no PyTorch."""

from liser.runtime.prediction import Prediction, Segment
from liser.runtime.recognizer import DEFAULT, Recognizer, Source, load
from liser.runtime.stream import Stream

__all__ = ["DEFAULT", "Prediction", "Recognizer", "Segment", "Source", "Stream", "load"]
