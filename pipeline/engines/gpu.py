"""Is there an NVIDIA GPU? Asked of the driver itself: importing torch for this question would cost a second."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_MAJOR, _MINOR = 75, 76  # CUdevice_attribute: compute capability


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """capability: (9, 0) for an H100."""

    name: str
    capability: tuple[int, int]


def find_gpu(library: str = "libcuda.so.1") -> Gpu | str:
    """The first GPU, or in a few words why there is none."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return "no NVIDIA driver on this machine"
    count, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(128)
    if (code := cuda.cuInit(0)) != 0:
        return f"the NVIDIA driver does not start (CUDA error {code})"
    if cuda.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return "no NVIDIA GPU"
    if cuda.cuDeviceGet(ctypes.byref(device), 0) != 0 or cuda.cuDeviceGetName(name, len(name), device) != 0:
        return "the NVIDIA driver does not say which GPU it has"
    parts = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        parts.append(value.value)
    return Gpu(name=name.value.decode("utf-8", "replace"), capability=(parts[0], parts[1]))
