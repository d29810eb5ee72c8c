"""The daemon's settings: their defaults, their folders, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators.errors import ConfigError
from pipeline.service import Service, load_service


def test_without_a_file_all_has_its_default() -> None:
    service = load_service(None)
    assert (service.listen, service.tls, service.hosts, service.configs) == ("127.0.0.1:8700", None, [], None)
    assert service.recordings_folder == Path("recordings").absolute()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("listen: '[::1]:0'\nconfigs: mine\nrecordings: kept\nadmission: {cores: 1.5, share: 0.5}\nray: {fusion_actors: 3}\n")
    service = load_service(path)
    assert (service.listen, service.admission.cores, service.admission.share, service.ray.fusion_actors) == ("[::1]:0", 1.5, 0.5, 3)
    assert (service.folder, service.recordings_folder) == (tmp_path, tmp_path / "kept")


def test_settings_survive_their_journey_to_the_api(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("hosts: [box.example]\nlimits: {body_kb: 1, connections: 2, connections_of_one: 1}\n")
    service = load_service(path)
    assert Service.model_validate(service.model_dump(mode="json")) == service


MISTAKES = [
    ("", "", "holds no mapping"),
    ("- 1\n", "", "holds no mapping"),
    ("listen: [\n", ":2:", "is not valid YAML"),
    ("listen: 8700\n", "listen", "got 8700, expected text; ADDRESS:PORT"),
    ("listen: localhost\n", "listen", "ADDRESS:PORT"),
    ("listen: ':8700'\n", "listen", "ADDRESS:PORT"),
    ("listen: 127.0.0.1:70000\n", "listen", "ADDRESS:PORT"),
    ("listen: 127.0.0.1:http\n", "listen", "ADDRESS:PORT"),
    ("lisen: 127.0.0.1:0\n", "lisen", "listen"),
    ("tls: {certificate: a.pem}\n", "tls.key", ""),
    ("tls: {certificate: '', key: b.pem}\n", "tls.certificate", ""),
    ("hosts: box.example\n", "hosts", ""),
    ("ray: {fusion_actors: 0}\n", "ray.fusion_actors", ""),
    ("ray: {fusion_actors: many}\n", "ray.fusion_actors", ""),
    ("admission: {share: 1.5}\n", "admission.share", ""),
    ("admission: {cores: 0}\n", "admission.cores", ""),
    ("admission: {cores: .inf}\n", "admission.cores", ""),
    ("limits: {body_kb: 0}\n", "limits.body_kb", ""),
    ("limits: {seconds: -1}\n", "limits.seconds", ""),
    ("limits: {conections: 5}\n", "limits.conections", "connections"),
    ("log: loud\n", "log", "auto"),
    ("origin: /etc/passwd\n", "origin", "not a key"),
]


@pytest.mark.parametrize(("text", "key", "says"), MISTAKES, ids=[text.strip().replace(" ", "") or "empty" for text, _, _ in MISTAKES])
def test_a_mistake_gets_one_line_with_its_key(tmp_path: Path, text: str, key: str, says: str) -> None:
    path = tmp_path / "service.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_service(path)
    line = str(caught.value)
    assert "service.yaml" in line
    assert "\n" not in line
    assert says in line
    assert key in line
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_service(tmp_path / "nowhere.yaml")
