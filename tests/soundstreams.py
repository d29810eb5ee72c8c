"""Sound as events for the tests of its transforms: cut into packets anywhere, played through, put together again."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from operators.packet import AudioBlock, Closed, Packet, Watermark
from operators.sample_clock import time_of

MS = 1_000_000


def block(samples, rate_hz, start_ns=0, seq=0):
    """samples: (n,) or (channels, n)."""
    data = np.atleast_2d(np.asarray(samples, np.float32))
    payload = AudioBlock(data=data, rate_hz=rate_hz)
    return Packet(stream="mic", seq=seq, start_ns=start_ns, end_ns=start_ns + time_of(data.shape[1], rate_hz), payload=payload)


def events(samples, rate_hz, cuts=(), start_ns=0):
    """The samples (n,) as packets cut at `cuts`, each followed by its promise, then the end."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(samples)}), len(samples)]
    out = []
    for seq, (first, last) in enumerate(pairwise(edges)):
        packet = block(samples[first:last], rate_hz, start_ns + time_of(first, rate_hz), seq)
        out += [packet, Watermark(stream="mic", time_ns=packet.end_ns)]
    return [*out, Closed(stream="mic", time_ns=start_ns + time_of(len(samples), rate_hz))]


def cuts(length):
    return st.lists(st.integers(1, length - 1), max_size=8)


def through(make, stream, *, restart=False):
    """All that comes out. restart: before every event the operator is replaced by a new one with the old one's state."""
    operator, out = make(), []
    for event in stream:
        if restart:
            state, operator = operator.snapshot(), make()
            operator.restore(state)
        out += operator.process(event)
    return out


def packets(stream):
    return [event for event in stream if isinstance(event, Packet)]


def array_of(packet):
    return packet.payload.data


def samples_of(stream):
    return np.concatenate([array_of(packet)[0] for packet in packets(stream)])


def same(one, other):
    """Are the events equal, to the bit?"""
    return [told(event) for event in one] == [told(event) for event in other]


def told(event):
    if not isinstance(event, Packet):
        return event
    return event.stream, event.seq, event.start_ns, event.end_ns, array_of(event).dtype, array_of(event).shape, array_of(event).tobytes()


def noise(length, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32)
