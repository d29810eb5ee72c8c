"""The transforms of sound, by the names that configs use."""

from operators.logmel import LogMel
from operators.resample import Resample
from operators.segment import Segment

__all__ = ["LogMel", "Resample", "Segment"]
