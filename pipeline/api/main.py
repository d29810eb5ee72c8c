"""The API's process: `python -P -m pipeline.api.main`, started by the daemon's supervisor, which speaks to it in lines of JSON.

Exit codes: 0 the supervisor is gone or told it to end; 2 the settings cannot work (one line on stderr says why).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from operators.errors import SensoriumError
from pipeline import logs
from pipeline.service import Service

CANNOT_WORK = 2


def main() -> int:
    try:
        from pipeline.api.link import read_hello
        from pipeline.api.process import Process
    except ModuleNotFoundError as error:
        print(f"sensorium: the daemon's API wants {error.name}; pip install 'sensorium[api]'", file=sys.stderr)
        return CANNOT_WORK
    try:
        hello = read_hello(sys.stdin.buffer)
        service = Service.model_validate(hello["service"])
        logs.set_up("api", service.log, Path(hello["run_dir"]))
        asyncio.run(Process(hello, service).run(sys.stdin.buffer, sys.stdout.buffer))
    except SensoriumError as error:
        print(f"sensorium: {error}", file=sys.stderr)
        return CANNOT_WORK
    except KeyboardInterrupt:
        pass  # Ctrl-C reaches every process of a terminal; the supervisor decides what becomes of it
    return 0


if __name__ == "__main__":
    sys.exit(main())
