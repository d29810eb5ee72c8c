"""docs/console.svg: the console as it stands in the middle of a real run of the demo. Run `python docs/make_console_svg.py`.

The decision shown is the first sure `speaking` from FROM_NS on; latencies are those of the machine it runs on.
"""

import io
import re
from pathlib import Path

from rich.console import Console as Terminal

from operators.decision import Decision
from pipeline.config import load_config
from pipeline.plan import build_plan
from pipeline.runtime.supervisor import run_supervised
from pipeline.sinks.console import Console

OUT = Path(__file__).parent / "console.svg"
FROM_NS = 3_000_000_000
SURE = 0.9
DURATION = "6s"


class Photographer(Console):
    """Draws nothing; keeps what the live view shows at the chosen moment."""

    def __init__(self) -> None:
        super().__init__(terminal=Terminal(file=io.StringIO(), force_terminal=True, width=100))
        self.svg: str | None = None

    def decision(self, decision: Decision) -> None:
        super().decision(decision)
        if self.svg is None and decision.start_ns >= FROM_NS and decision.scores["speaking"] > SURE:
            paper = Terminal(file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True, width=100)
            paper.print(self.view())
            self.svg = paper.export_svg(title="sensorium run demo", unique_id="console")


def main() -> None:
    photographer = Photographer()
    run_supervised(build_plan(load_config("demo", [f"run.duration={DURATION}"])), [photographer])
    photographer.close()
    if photographer.svg is None:
        raise SystemExit("nobody spoke in that part of the demo")
    # The fonts would be fetched from elsewhere; whatever monospaced font is there does as well.
    OUT.write_text(re.sub(r"\s*@font-face \{.*?\}\n", "\n", photographer.svg, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    main()
