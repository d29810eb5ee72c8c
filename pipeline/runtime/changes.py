"""A running session's config with sources more or fewer, and whether that can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.check import check_source
from pipeline.config import Config, validate
from pipeline.configerrors import HIDDEN
from pipeline.plan import Plan, build_plan
from pipeline.runtime.parts import takes_changes
from pipeline.runtime.requests import Refused

SECTIONS = ("sources", "inputs", "transforms")


def changed(plan: Plan, request: Mapping[str, Any], *, recorded: bool) -> tuple[Plan, str]:
    """The plan to follow from now on, with the digest of the one that the session began with, and a line for whoever asked.

    Raises Refused, ConfigError or SourceError where it cannot be; then nothing has changed.
    """
    if recorded:
        raise Refused("this session is recorded, and what is recorded is fixed when it begins")
    if not takes_changes(plan):
        raise Refused("only a session of live sources, run by ray, can be changed while it runs")
    match request:
        case {"attach": dict(more)}:
            config, names = _attached(plan.config, more)
            done = f"attached {', '.join(names)}"
        case {"detach": list(names)}:
            config = _detached(plan.config, names)
            names, done = [], f"detached {', '.join(map(str, names))}"
        case _:
            raise Refused("this is no request")
    after = build_plan(config)
    for name in names:
        if not after.make_source(name).live:
            raise Refused(f"{name} is not live: a file would begin in the middle")
        check_source(after, name)
    if not takes_changes(after):
        raise Refused("that would leave no live source: stop the session instead")
    return replace(after, digest=plan.digest), done


def _attached(config: Config, more: Mapping[str, Any]) -> tuple[Config, Sequence[str]]:
    unknown = sorted(more.keys() - set(SECTIONS))
    if unknown or not all(isinstance(more.get(section, {}), dict) for section in SECTIONS) or not more.get("sources"):
        raise Refused(f"{' and '.join(SECTIONS)} are what can be attached, by name" + (f", not {unknown[0]}" if unknown else ""))
    for section in ("sources", "inputs"):
        for name in more.get(section, {}):
            if name in getattr(config, section):
                raise Refused(f"{section}.{name} is there already: detach it first")
    values = _values(config)
    for section in SECTIONS:
        values[section] = {**values.get(section, {}), **more.get(section, {})}
    return validate(values, {}, origin=config.origin), list(more["sources"])


def _detached(config: Config, names: Sequence[str]) -> Config:
    for name in names:
        if name not in config.sources:
            raise Refused(f"there is no source {name!r}; there are {', '.join(config.sources)}")
    values = _values(config)
    values["sources"] = {name: use for name, use in values["sources"].items() if name not in names}
    values["inputs"] = {wanted: fed for wanted, fed in values["inputs"].items() if fed.partition(".")[0] not in names}
    if not values["sources"]:
        raise Refused("that would leave no source: stop the session instead")
    return validate(values, {}, origin=config.origin)


def _values(config: Config) -> dict[str, Any]:
    """As they were written."""
    return config.model_dump(exclude_unset=True, exclude=set(HIDDEN))
