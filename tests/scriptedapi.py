"""In place of the API's process: `python -m scriptedapi` does what the words in its hello line say, one after the other.

ready      says that it listens          ask        asks for something
tell       says what it has been told so far, as an ask         until X    reads until a line of type X came
die N      ends with exit code N         hang       says nothing more, and does not end
noise      prints what is no message     rest       beats until its stdin is closed
What it did at its start it writes to the file `log`, one line each.
"""

import json
import sys
import threading
from pathlib import Path


def say(**message):
    print(json.dumps(message), flush=True)


def main():
    hello = json.loads(sys.stdin.readline())
    log = Path(hello["log"])
    lives = len(log.read_text().splitlines()) if log.exists() else 0
    with log.open("a") as out:
        out.write(f"{hello['service']['listen']} {hello['again']}\n")
    told = []
    for word in hello["script"][min(lives, len(hello["script"]) - 1)]:
        kind, _, rest = word.partition(" ")
        if kind == "ready":
            say(type="ready", address=f"http://127.0.0.1:{4000 + lives}")
        elif kind == "ask":
            say(type="ask", id=1, ask={rest: {}})
        elif kind == "until":
            while not told or told[-1]["type"] != rest:
                told.append(json.loads(sys.stdin.readline()))
        elif kind == "tell":
            say(type="ask", id=2, ask=told)
        elif kind == "noise":
            print("a library prints this", flush=True)
            print("[1]", flush=True)
        elif kind == "die":
            print("sensorium: " + "why it died", file=sys.stderr)
            return int(rest)
        elif kind == "hang":
            threading.Event().wait()
        elif kind == "rest":
            for line in sys.stdin:
                told.append(json.loads(line))
                if told[-1]["type"] == "close":
                    break
    return 0


if __name__ == "__main__":
    sys.exit(main())
