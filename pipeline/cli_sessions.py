"""The commands of recorded sessions: `sensorium replay` and `sensorium sessions`. Only click is imported here."""

from __future__ import annotations

from typing import Literal

import click

from pipeline.commands.stopping import asked_to_stop


@click.command()
@click.argument("session")
@click.option("--speed", metavar="N|max", help="1: as it was (the default); 0.5: half as fast; max: as fast as this machine can.")
@click.option("--from", "start", metavar="TIME", help="Begin with the decisions about this time: 90s, 1:30.")
@click.option("--to", "end", metavar="TIME", help="End before this time.")
@click.option("--step", is_flag=True, help="Wait for Enter after every decision; q ends it.")
@click.option("--loop", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option("--ideal", is_flag=True, help="Wait for late data instead of deciding by the deadline.")
@click.option("--model", metavar="NAME|FOLDER", help="What would this model have decided? Ends with the differences.")
@click.option("--verify", is_flag=True, help="Compare with the recorded decisions; exit 1 and the first difference if they differ.")
@click.option("--truth", metavar="FILE|NAME", help="Score the decisions against a truth file, or labels of the session.")
@click.option("--runner", type=click.Choice(["inline", "ray"]), default="inline", show_default=True, help="As for `run`.")
@click.option("--out", metavar="FILE", help="Also write decisions to FILE: JSON lines, or an Arrow stream (.arrow).")
@click.option("--plain", is_flag=True, help="One line a decision instead of the live view.")
@click.option("--quiet", is_flag=True, help="No decisions on the terminal.")
@click.pass_context
def replay(context: click.Context, /, plain: bool, quiet: bool, **typed: object) -> int:
    """Replay SESSION, a recorded session's folder: the same windows, the same decisions.

    \b
    sensorium run demo --record recordings
    sensorium replay recordings/demo-20261125T013055Z --verify
    """
    with asked_to_stop() as stopping:
        try:
            from pipeline.commands.replay import Asked, replay_session

            view: Literal["auto", "plain", "quiet"] = "quiet" if quiet else "plain" if plain or typed["step"] else "auto"
            asked = Asked(**typed)  # type: ignore[arg-type]
            return replay_session(asked, view=view, begun_ns=context.obj["begun_ns"], stopping=stopping)
        except KeyboardInterrupt:
            from pipeline.cli import say

            say("stopped")
            return 0


@click.group()
def sessions() -> None:
    """Recorded sessions: list, show, verify, mend, label, export, import, delete."""


@sessions.command("ls")
@click.argument("store", default="recordings")
def sessions_ls(store: str) -> None:
    """List the sessions in the folder STORE (default: recordings)."""
    from pipeline.commands.sessions import list_sessions

    list_sessions(store)


@sessions.command("show")
@click.argument("session")
def sessions_show(session: str) -> None:
    """Show what is in SESSION."""
    from pipeline.commands.sessions import show_session

    show_session(session)


@sessions.command("verify")
@click.argument("session")
def sessions_verify(session: str) -> int:
    """Check every file of SESSION against its checksum; exit 1 if one is damaged or missing."""
    from pipeline.commands.sessions import verify_session

    return verify_session(session)


@sessions.command("recover")
@click.argument("session")
def sessions_recover(session: str) -> None:
    """Finish what a kill left open in SESSION, put damaged files into quarantine, say what was lost."""
    from pipeline.commands.sessions import recover_session

    recover_session(session)


@sessions.command("purge")
@click.argument("session")
@click.option("--yes", is_flag=True, help="Really.")
def sessions_purge(session: str, yes: bool) -> None:
    """Delete SESSION altogether."""
    from pipeline.commands.sessions import purge_session

    purge_session(session, yes=yes)


@sessions.command("label")
@click.argument("session")
@click.argument("file")
@click.option("--name", metavar="NAME", help="What the labels are called; the file's name if left out.")
@click.option("--shift", metavar="TIME", default="0s", show_default=True, help="Session time of the file's zero, e.g. 1.5s or -200ms.")
@click.option("--tier", metavar="TIER", help="Which tier of an ELAN file.")
def sessions_label(session: str, file: str, name: str | None, shift: str, tier: str | None) -> None:
    """Keep the labels in FILE with SESSION: WebVTT, SRT, ELAN (.eaf), Audacity (.txt), CSV, JSON lines.

    \b
    sensorium sessions label recordings/talk talk.eaf --tier speaker
    sensorium replay recordings/talk --truth talk
    """
    from pipeline.commands.exchange import label_session

    label_session(session, file, name=name, shift=shift, tier=tier)


@sessions.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.argument("store")
def sessions_import(files: tuple[str, ...], store: str) -> None:
    """Make a session in the folder STORE of every FILE: a media file, or a zip or tar file of a session.

    \b
    sensorium sessions import talk.mp4 recordings
    sensorium replay recordings/talk-20261125T013055Z --model speaking
    """
    from pipeline.commands.exchange import import_files

    import_files(files, store)


@sessions.command("export")
@click.argument("session")
@click.argument("out")
@click.option("--to", type=click.Choice(["mcap", "rerun", "parquet"]), help="Instead of what OUT's suffix says.")
def sessions_export(session: str, out: str, to: Literal["mcap", "rerun", "parquet"] | None) -> None:
    """Write SESSION as OUT: .mcap, .rrd (Rerun), else a folder of Parquet and media files."""
    from pipeline.commands.exchange import export_session

    export_session(session, out, to)
