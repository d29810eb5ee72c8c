"""What is offered for starting: configs by name, and no path ever."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tiny_model import write_tiny_model

from operators.errors import ConfigError
from pipeline.daemon.catalog import Catalog
from pipeline.runtime.requests import Refused
from pipeline.service import Service


def write(folder: Path, name: str, source: str = "beatsource:Beat", comment: str = "", **options: object) -> None:
    values = {
        "model": str(folder.parent / "tiny"),
        "sources": {"cam": {"use": source, "streams": "video", **options}},
        "inputs": {"video": "cam.video"},
    }
    (folder / f"{name}.yaml").write_text(comment + yaml.safe_dump(values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "tiny")
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def catalog(folder: Path) -> Catalog:
    return Catalog(Service(configs=str(folder)))


def shipped(*, live: bool = False) -> set[str]:
    """What is offered by those that ship; a folder of one's own adds to it."""
    offers = Catalog(Service()).offers()
    assert {"demo", "desk"} <= {offer.name for offer in offers}
    return {offer.name for offer in offers if offer.live or not live}


def test_configs_of_the_services_folder_are_offered_beside_those_that_ship(folder: Path) -> None:
    write(folder, "room", comment="# yaml-language-server: $schema=x\n# My room. And more.\n")
    offers = {offer.name: offer for offer in catalog(folder).offers()}
    assert set(offers) == shipped() | {"room"}
    assert (offers["room"].title, offers["room"].sources, offers["room"].live) == ("My room", ["cam"], False)
    assert offers["desk"].live
    assert all(offer.title for offer in offers.values())


def test_only_a_session_of_live_sources_is_a_preset(folder: Path) -> None:
    write(folder, "cam", "livebeat:LiveBeat", control="/nowhere")
    assert {offer.name for offer in catalog(folder).offers() if offer.live} == shipped(live=True) | {"cam"}
    assert "desk" in shipped(live=True)
    assert "demo" not in shipped(live=True)


def test_a_config_of_ones_own_wins_over_the_one_that_ships(folder: Path) -> None:
    write(folder, "demo", comment="# Mine.\n")
    assert next(offer.title for offer in catalog(folder).offers() if offer.name == "demo") == "Mine."
    assert list(catalog(folder).config("demo").sources) == ["cam"]


def test_a_config_with_a_mistake_is_not_offered_and_started_by_name_says_which(folder: Path) -> None:
    (folder / "broken.yaml").write_text("model: tiny\nsorces: {}\n")
    (folder / "latin.yaml").write_bytes(b"model: \xff\n")
    it = catalog(folder)
    assert {"broken", "latin"}.isdisjoint(offer.name for offer in it.offers())
    with pytest.raises(ConfigError, match="sorces"):
        it.config("broken")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../mine/room", "/etc/passwd", "room.yaml", "ro om", "room\n", "x" * 70, "-room", "*", "roo?"]
)
def test_a_name_that_is_none_finds_nothing(folder: Path, name: str) -> None:
    write(folder, "room")
    with pytest.raises(Refused, match="no config is called"):
        catalog(folder).config(name)


def test_files_whose_names_are_none_are_not_offered(folder: Path) -> None:
    write(folder, "my room")
    write(folder, ".hidden")
    assert {offer.name for offer in catalog(folder).offers()} == shipped()


def test_a_config_is_read_anew_each_time(folder: Path) -> None:
    it = catalog(folder)
    write(folder, "room")
    assert list(it.config("room").sources) == ["cam"]


def test_a_folder_that_is_not_there_offers_nothing(tmp_path: Path) -> None:
    assert {offer.name for offer in catalog(tmp_path / "nowhere").offers()} == shipped()
