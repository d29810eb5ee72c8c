"""What may be started from the page: configs by name, those that ship and those of the service's own folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from operators.errors import ConfigError, SensoriumError
from pipeline.config import SHIPPED, Config, load_config
from pipeline.plan import build_plan
from pipeline.runtime.parts import takes_changes
from pipeline.runtime.requests import Refused
from pipeline.service import Service

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A config by name. title: the first sentence of its comments. live: its sources can be attached to a running session."""

    name: str
    title: str
    model: str
    sources: list[str]
    live: bool


class Catalog:
    """folders: the later win where a name is there twice."""

    def __init__(self, service: Service) -> None:
        shipped = SHIPPED if SHIPPED.is_dir() else SHIPPED.parent.parent / "configs"
        self._folders = [shipped, *([] if service.configs is None else [service.folder / Path(service.configs).expanduser()])]

    def offers(self) -> list[Offer]:
        """What can be started: a config with a mistake is not offered, and starting it by name says which."""
        found = {offer.name: offer for path in self._paths() if (offer := _offer(path)) is not None}
        return sorted(found.values(), key=lambda offer: offer.name)

    def config(self, name: str) -> Config:
        """Raises Refused for a name that is not offered, ConfigError for a mistake in it."""
        if not _NAME.fullmatch(name):
            raise Refused(f"no config is called {name!r}")
        paths = [path for path in self._paths() if path.stem == name]
        if not paths:
            raise Refused(f"no config is called {name!r}; there are {', '.join(offer.name for offer in self.offers()) or 'none'}")
        return load_config(paths[-1])

    def _paths(self) -> Iterator[Path]:
        for folder in self._folders:
            yield from sorted(path for path in folder.glob("*.yaml") if _NAME.fullmatch(path.stem))


def _offer(path: Path) -> Offer | None:
    """None: it is no config that runs as it is (a service's settings, a config that wants a file)."""
    try:
        config = load_config(path)
        plan = build_plan(config)
        live = all(plan.make_source(name).live for name in config.sources) and takes_changes(plan)
    except (ConfigError, SensoriumError, OSError, UnicodeDecodeError):
        return None
    return Offer(name=path.stem, title=_title(path), model=config.model, sources=list(config.sources), live=live)


def _title(path: Path) -> str:
    comments = (line.lstrip("# ").strip() for line in path.read_text("utf-8").splitlines() if line.startswith("#"))
    first = next((line for line in comments if not line.startswith("yaml-language-server")), "")
    return first.partition(". ")[0].partition(": sensorium")[0]
