"""A plan built in a process of its own: the same bytes every time, and a builder that crashes takes nobody with it.

TensorRT orders some of what it writes by where it happens to lie in memory. So the process that builds begins with nothing of the
caller's: a fixed environment, no hash seed of its own, and addresses that the kernel does not randomise (where it lets us ask for that).

    python -m pipeline.engines.builder LIBRARY FILE < graph.onnx > plan
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

from operators.errors import EngineMismatch
from pipeline.engines.trt import Library, find_library

_NO_RANDOM_ADDRESSES = 0x0040000  # ADDR_NO_RANDOMIZE of sys/personality.h
_ASK = 0xFFFFFFFF
_KEPT = ("PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_REFUSED = 4


def build_apart(library: Library, graph: bytes, file: str) -> bytes:
    """ONNX bytes -> a plan, by this library. Raises EngineMismatch: refused, with the node's name, or the builder died."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    made = subprocess.run(
        [sys.executable, "-m", "pipeline.engines.builder", library.name, file],
        input=graph,
        capture_output=True,
        env={**kept, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    if made.returncode == 0:
        return made.stdout
    said = made.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["without a word"]
    if made.returncode == _REFUSED:
        raise EngineMismatch(said[0])
    raise EngineMismatch(f"{file}: the builder of {library.version} ended with {made.returncode}: {said[0][:300]}")


def main() -> int:
    _stand_still()
    name, file = sys.argv[1:]
    try:
        plan = find_library((name,)).build(sys.stdin.buffer.read(), file)
    except EngineMismatch as error:
        print(error, file=sys.stderr)
        return _REFUSED
    sys.stdout.buffer.write(plan)
    return 0


def _stand_still() -> None:
    """Starts this program anew without random addresses, unless it is so already or may not be (a strict seccomp profile)."""
    persona = ctypes.CDLL(None).personality
    if not persona(_ASK) & _NO_RANDOM_ADDRESSES and persona(_NO_RANDOM_ADDRESSES) != -1:
        os.execv(sys.executable, [sys.executable, "-m", "pipeline.engines.builder", *sys.argv[1:]])  # noqa: S606 - ourselves


if __name__ == "__main__":
    sys.exit(main())
