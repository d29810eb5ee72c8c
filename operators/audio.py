"""The transforms of sound, by the names that configs use."""

from operators.denoise import Denoise
from operators.logmel import LogMel
from operators.resample import Resample
from operators.segment import Segment

__all__ = ["Denoise", "LogMel", "Resample", "Segment"]
