"""What the way itself holds back: by how much at the least a picture or a block of sound is over when FFmpeg gives it out.

A clock is laid through the least delays (`operators.clockmap`), so what every packet waits for is an error of all stamps, of another size
for picture and for sound. Two waits are the same whoever sends, and known:

 a parser gives a picture out when the next begins               H.264, HEVC, MPEG-1, 2 and 4 where packets are not whole pictures:
                                                                 so a picture began to arrive when the one before was given out
 MPEG-TS gives a packet out when the next begins (its length     one more, as a parser stands behind it
 is 0 for pictures, ISO/IEC 13818-1, 2.4.3.7)
 AAC's window reaches one block further (ISO/IEC 14496-3,        two blocks of 1024 samples; FFmpeg's and Fraunhofer's encoders both
 4.6.11), and its shape is chosen after a look at the next       have this delay

AAC's is taken off where sound comes alone. Beside pictures, on one clock, theirs is enough, and known better: some senders count the block
of silence that the encoder began with into their stamps (GStreamer over RTP), others take it off (FFmpeg in MPEG-TS).

What a sender's encoder or network takes beyond that, no stamp shows: `sensorium calibrate` measures it against the other streams.
"""

from __future__ import annotations

from collections import deque
from typing import Any

PARSED = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"}
PICTURES_HELD = {"mpegts": 2, "rtsp": 1, "sdp": 1, "rtp": 1}
"""By format. All others carry whole pictures (FLV, Matroska, MP4, JPEG one by one)."""
BLOCKS_AHEAD = {"aac": 2}


class Holding:
    """Of one stream of a container. alone: no other is on its clock."""

    def __init__(self, format_name: str, stream: Any, *, alone: bool) -> None:  # noqa: ANN401 - an av.Stream
        codec = stream.codec_context
        held = max((PICTURES_HELD.get(name, 0) for name in format_name.split(",")), default=0)
        self._came: deque[int] = deque(maxlen=1 + (held if codec.name in PARSED else 0))
        self._blocks = BLOCKS_AHEAD.get(codec.name, 0) if alone else 0

    def picture(self, came_ns: int) -> int:
        """How long ago the packet that was given out at came_ns began to arrive: when the one it waited for was given out.

        Call it with every packet. Nothing is known of the first of a connection: 0.
        """
        self._came.append(came_ns)
        return came_ns - self._came[0] if len(self._came) == self._came.maxlen else 0

    def sound(self, length_ns: int) -> int:
        """length_ns: of the decoded block."""
        return self._blocks * length_ns
