"""`python tests/golden/make_golden.py`, from the checkout: records the golden session anew.

Only after a change of the format that readers of the old one survive; the change belongs into docs/sessions.md.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fakeplan import MS
from recordings import record, story

from pipeline.session.compare import Digest
from pipeline.session.manifest import RecordedModel, write_manifest

HERE = Path(__file__).parent
ALIGN = {"deadline_ns": 100 * MS, "revise_ns": 300 * MS}


def main() -> None:
    folder = HERE / "session"
    shutil.rmtree(folder, ignore_errors=True)
    session, notes = record(story(count=60, align=ALIGN), folder, segment_ms=1000)
    (folder / "lock").unlink()
    # Where this machine keeps the model is nobody's business.
    manifest = session.manifest
    here = RecordedModel(name="fake", digest="f" * 64, windows=manifest.model.windows if manifest.model else "")
    write_manifest(folder, manifest.model_copy(update={"model": here}))
    digest = Digest()
    for decision in notes.decisions:
        digest.add(decision)
    labels = "".join(decision.label[0] for decision in notes.decisions)
    expected = {"count": digest.count, "windows": digest.windows, "labels": labels}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(expected, sum(path.stat().st_size for path in session.folder.rglob("*") if path.is_file()), "bytes")


if __name__ == "__main__":
    main()
