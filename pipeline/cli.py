"""The command `sensorium`: what can be typed, and how every ending becomes an exit code and at most one line.

0 done (Ctrl-C, SIGTERM and a closed pipe included) · 1 unexpected · 2 config or usage · 3 source · 4 model or backend · 5 recorded session

Only click is imported here: the help must be there at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from operators.errors import SensoriumError
from pipeline import __version__
from pipeline.cli_sessions import replay, sessions
from pipeline.clock import SystemClock
from pipeline.commands.stopping import asked_to_stop
from pipeline.mask import mask, printable

if TYPE_CHECKING:
    from pipeline.commands.inputs import Chosen

_OVERRIDE = click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Put a value over the config's, e.g. align.deadline_ms=100."
)
_INPUT = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="FILE",
    help="Play this instead of the config's file; more files or a folder as one session.",
)
_MODEL = click.option("--model", metavar="NAME|FOLDER", help="Decide with this model instead of the config's.")


class _Closed(Exception):
    """Whoever read our output has had enough. An own type, because click would make exit code 1 of a BrokenPipeError."""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _Closed from None


class _Words(click.Command):
    """A command whose --input takes all the words up to the next option, as people type it (`--input a.mp4 b.mp4`)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args, "--input"))


def spread(args: Sequence[str], option: str) -> list[str]:
    """`--input a b -x` -> `--input a --input b -x`."""
    out: list[str] = []
    taking = 0
    for word in args:
        if word.startswith("-") and word != "-":
            taking = 2 if word == option else 0
        elif taking > 1:
            taking = 1
        elif taking == 1:
            out.append(option)
        out.append(word)
    return out


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="sensorium", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Live video, sound and text in; a decision out at every tick, by a deadline."""
    context.obj = {**(context.obj or {}), "debug": debug}


@cli.command(cls=_Words)
@click.argument("config", required=False)
@_OVERRIDE
@_INPUT
@_MODEL
@click.option("--duration", metavar="TIME", help="End after this much session time: 30s, 1.5m, 1:30.")
@click.option("--speed", metavar="1|max|N", help="1: as live; max: as fast as this machine can.")
@click.option("--runner", metavar="ray|inline", help="ray: one process a source; inline: all in one process.")
@click.option("--out", metavar="FILE", help="Also write decisions to FILE: JSON lines, or an Arrow stream (.arrow).")
@click.option("--record", metavar="FOLDER", help="Keep the run in a new folder in FOLDER; see `sensorium sessions` and `sensorium replay`.")
@click.option("--truth", metavar="FILE", help="Score the decisions against JSON lines of start_ms, end_ms, label.")
@click.option("--plain", is_flag=True, help="One line a decision instead of the live view.")
@click.option("--quiet", is_flag=True, help="No decisions on the terminal; they still go to --out and to the config's sinks.")
@click.option("--daemon", is_flag=True, help="Run it in the daemon, which is started if need be; without CONFIG only start that.")
@click.option("--service", metavar="FILE", help="The daemon's settings; see docs/daemon.md.")
@click.option("--attached", is_flag=True, help="Be the daemon instead of starting one, for systemd and containers.")
@click.pass_context
def run(
    context: click.Context,
    /,
    plain: bool,
    quiet: bool,
    daemon: bool,
    service: str | None,
    attached: bool,
    config: str | None,
    **typed: object,
) -> int:
    """Run CONFIG: a file, or the name of one that ships (demo, file).

    \b
    sensorium run demo
    sensorium run file --input talk.mp4 --speed max --out decisions.jsonl
    sensorium run --daemon desk
    """
    if not daemon and (service is not None or attached):
        raise click.UsageError("--service and --attached go with --daemon")
    if config is None and not daemon:
        raise click.UsageError("name a CONFIG")
    with asked_to_stop() as stopping:
        try:
            chosen = None if config is None else _chosen({"config": config, **typed})
            if daemon or chosen is None:
                from pipeline.commands.daemon import run_in_daemon

                return run_in_daemon(chosen, service, attached=attached)
            from pipeline.commands.run import run_config

            view: Literal["auto", "plain", "quiet"] = "quiet" if quiet else "plain" if plain else "auto"
            return run_config(chosen, view=view, begun_ns=context.obj["begun_ns"], stopping=stopping)
        except KeyboardInterrupt:
            say("stopped")
            return 0


@cli.command(cls=_Words)
@click.argument("config", required=False)
@_OVERRIDE
@_INPUT
@_MODEL
@click.option("--schema", is_flag=True, help="Print the JSON schema of configs, for editors.")
def check(config: str | None, schema: bool, **typed: object) -> None:
    """Check all of CONFIG and start nothing.

    Names, options, files, model, and what the first packets look like to it.
    """
    from pipeline.commands.check import print_check, print_schema

    if schema:
        print_schema()
    elif config is None:
        raise click.UsageError("name a CONFIG, or ask for --schema")
    else:
        print_check(_chosen({"config": config, **typed}))


@cli.command()
@click.argument("config")
@_OVERRIDE
@click.option("--out", metavar="FOLDER", help="Write the model there instead of where the config says.")
@click.option("--fresh", is_flag=True, help="Begin anew where a run of the same config was cut off.")
def train(config: str, sets: Sequence[str], out: str | None, fresh: bool) -> None:
    """Train a model as CONFIG says and write its folder."""
    from pipeline.commands.train import train_config

    train_config(config, sets, out, fresh)


@cli.command()
@click.argument("model")
@click.argument("config")
@_OVERRIDE
@click.option("--backend", default="auto", metavar="NAME", help="What runs the model: auto, onnx, torch or tensorrt.")
@click.option("--noise", type=float, multiple=True, metavar="LEVEL", help="Noise on all inputs, in deviations; default: 0, 0.5, 1 and 2.")
@click.option("--out", metavar="FILE", help="Also write all figures to FILE as JSON.")
def evaluate(model: str, config: str, sets: Sequence[str], backend: str, noise: Sequence[float], out: str | None) -> None:
    """Measure MODEL on the test split of a training CONFIG: accuracy with intervals, by missing stream and noise, and calibration."""
    from pipeline.commands.evaluate import print_evaluation

    print_evaluation(model, config, sets, backend=backend, noise=noise or (0.0, 0.5, 1.0, 2.0), out=out)


@cli.command()
@click.argument("model")
@click.option("--half", metavar="FOLDER", help="Also write the fp16 graphs there.")
@click.option("--out", metavar="FILE", help="Also write the report to FILE as JSON.")
def export(model: str, half: str | None, out: str | None) -> int:
    """Compare MODEL's graphs in fp32, fp16 and int8 with its network in float64, and ask TensorRT whether it takes them."""
    from pipeline.commands.export import print_export

    return print_export(model, half, out)


@cli.command(cls=_Words)
@click.argument("config")
@_OVERRIDE
@_INPUT
@_MODEL
@click.option("--at", required=True, metavar="TIME", help="The decision about this time: seconds, or 1:30.")
@click.option("--out", default="explained.png", metavar="FILE", help="The picture to write; default: explained.png.")
def explain(at: str, out: str, **typed: object) -> None:
    """Say why CONFIG, or a recorded session, decides what it does at a time, and draw it: streams, pictures, sound, words."""
    from pipeline.commands.explain import print_explanation

    print_explanation(_chosen(typed), at, out)


@cli.command()
def models() -> None:
    """List the models that ship."""
    from pipeline.commands.models import print_models

    print_models()


@cli.command(cls=_Words)
@click.argument("config")
@_OVERRIDE
@_INPUT
@_MODEL
@click.option("--seconds", type=click.FloatRange(6, 600), default=30.0, show_default=True, help="How long to listen and look.")
@click.option("--write", is_flag=True, help="Put the offset into CONFIG.")
def calibrate(seconds: float, write: bool, **typed: object) -> None:
    """Say how far sound and picture of CONFIG's sources are apart, by lips and voice of who speaks."""
    from pipeline.commands.calibrate import calibrate_config

    calibrate_config(_chosen(typed), seconds, write=write)


@cli.command()
@click.argument("session")
@click.argument("what", metavar="SOURCES.YAML|CONFIG")
def attach(session: str, what: str) -> None:
    """Add the live sources of a file, or of a CONFIG that the daemon offers, to the running SESSION.

    \b
    sources: {door: {use: "pipeline.sources.stream:Stream", url: "rtsp://door/1"}}
    inputs: {video: door.video}
    """
    from pipeline.commands.runs import attach_sources

    attach_sources(session, what)


@cli.command()
@click.argument("session")
@click.argument("sources", nargs=-1, required=True)
def detach(session: str, sources: Sequence[str]) -> None:
    """End SOURCES of the running SESSION; what they fed is masked."""
    from pipeline.commands.runs import detach_sources

    detach_sources(session, sources)


@cli.command()
def devices() -> None:
    """List the cameras and microphones of this machine."""
    from pipeline.commands.devices import print_devices

    print_devices()


@cli.command()
def status() -> None:
    """Show the daemon, and the sessions that run on this machine."""
    from pipeline.commands.runs import print_status

    print_status()


@cli.command()
@click.argument("session", required=False)
@click.option("--all", "everything", is_flag=True, help="All sessions, and the daemon.")
def stop(session: str | None, everything: bool) -> None:
    """Stop SESSION; without a name, the one that runs."""
    from pipeline.commands.runs import stop_session

    stop_session(session, everything=everything)


@cli.command()
@click.argument("session", required=False)
@click.option("--lines", default=100, show_default=True, type=click.IntRange(1, 10_000), help="So many, the newest.")
def logs(session: str | None, lines: int) -> None:
    """Show what the daemon's processes said, or what concerns SESSION."""
    from pipeline.commands.runs import print_logs

    print_logs(session, lines)


cli.add_command(replay)
cli.add_command(sessions)


def _chosen(typed: dict[str, object]) -> Chosen:
    from pipeline.commands.inputs import Chosen

    return Chosen(**typed)  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and gives its exit code; never raises, never shows a traceback unasked."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = {"arguments": words, "begun_ns": SystemClock().now_ns()}
    return ended(lambda: cli.main(args=words, prog_name="sensorium", standalone_mode=False, obj=given), debug="--debug" in words)


def ended(command: Callable[[], object], *, debug: bool) -> int:
    """The exit code of a command, with one line on stderr for what went wrong."""
    try:
        code = command()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        say(f"{error.format_message().rstrip('.')}; see sensorium --help")
        return 2
    except (click.Abort, KeyboardInterrupt):
        say("stopped")
        return 130
    except (_Closed, BrokenPipeError):
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SensoriumError as error:
        say(str(error))
        if debug:
            traceback.print_exc()
        return error.exit_code
    except OSError as error:
        say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        if debug:
            traceback.print_exc()
        return 1
    except Exception as error:  # noqa: BLE001 - the outermost edge: whatever it is becomes one line and a log
        say(f"unexpected {type(error).__name__}: {error}; {_logged(debug)}")
        return 1


def say(text: str) -> None:
    """One line on stderr, without secrets and without control characters."""
    print(f"sensorium: {printable(mask(' '.join(text.split())))}", file=sys.stderr, flush=True)


def state_folder() -> Path:
    """Where logs are kept: $XDG_STATE_HOME/sensorium, else ~/.local/state/sensorium."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "sensorium"


def _logged(debug: bool) -> str:
    """Where the traceback went."""
    if debug:
        traceback.print_exc()
        return "its traceback is above"
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = folder / "error.log"
        log.write_text(mask(traceback.format_exc()), encoding="utf-8")
    except OSError:
        return "run it again with `sensorium --debug` for the traceback"
    return f"the traceback is in {log}"


if __name__ == "__main__":
    sys.exit(main())
