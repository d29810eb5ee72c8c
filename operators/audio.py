"""The transforms of sound, by the names that configs use."""

from operators.denoise import Denoise
from operators.logmel import LogMel
from operators.resample import Resample
from operators.segment import Segment
from operators.sessionrate import SessionRate

__all__ = ["Denoise", "LogMel", "Resample", "Segment", "SessionRate"]
