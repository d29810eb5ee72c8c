"""Training that goes on from a model."""

import pytest
import safetensors.torch
import tinytable
import torch
import yaml
from tiny_model import tiny_spec, write_tiny_model

from operators.errors import ConfigError
from operators.network import build_network
from pipeline.model import load_model, parse_spec
from pipeline.train import train
from pipeline.training.config import Training
from pipeline.training.network import begin_with


def network_of(spec, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_network(parse_spec(spec, "test"))


def config(folder, start):
    values = {
        "model": tiny_spec(),
        "start": start,
        "data": [{"use": "pipeline.training.drawn:DrawnScenes"}],
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(values), "utf-8")
    return path


def test_a_network_begins_with_every_number_of_the_model_it_goes_on_from(tmp_path):
    write_tiny_model(tmp_path / "tiny")
    began, other = network_of(tiny_spec(), 0), network_of(tiny_spec(), 7)
    assert any(not torch.equal(a, b) for a, b in zip(began.parameters(), other.parameters(), strict=True))
    begin_with(other, load_model(tmp_path / "tiny"))
    for name, tensor in began.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_weights_of_another_shape_are_refused_and_named(tmp_path):
    write_tiny_model(tmp_path / "tiny")
    wider = tiny_spec()
    wider["head"]["width"] = 24
    with pytest.raises(ConfigError, match=r"start: .* is of shape \(.*16.*\) in these weights, of shape \(.*24.*\) in the model"):
        begin_with(network_of(wider, 0), load_model(tmp_path / "tiny"))


def test_weights_of_another_head_are_refused_and_named(tmp_path):
    write_tiny_model(tmp_path / "tiny")
    late = tiny_spec(head="operators.fusion.late:LateHead")
    with pytest.raises(ConfigError, match=r"start: .* missing in the"):
        begin_with(network_of(late, 0), load_model(tmp_path / "tiny"))


def test_a_config_names_the_model_by_its_folder_or_as_a_shipped_one(tmp_path):
    write_tiny_model(tmp_path / "tiny")
    assert Training(config(tmp_path, "tiny")).start.folder == tmp_path / "tiny"
    assert Training(config(tmp_path, "./tiny")).start.name == "tiny"
    assert Training(config(tmp_path, "speaking")).start.name == "speaking"
    assert Training(config(tmp_path, None)).start is None


@pytest.mark.parametrize("start", ["nowhere", "./nowhere"])
def test_a_model_that_is_not_there_is_a_mistake_at_its_line(tmp_path, start):
    with pytest.raises(ConfigError, match=r"train.yaml:\d+.*start: .*nowhere: no model"):
        Training(config(tmp_path, start))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_no_epoch_leaves_the_weights_and_fits_offsets_and_temperature(tmp_path):
    first = train(tinytable.write(tmp_path), progress=False)
    again = yaml.safe_load((tmp_path / "train.yaml").read_text())
    again |= {"start": "made", "out": "again", "loop": {**again["loop"], "epochs": 0, "even_recall": 0.02}}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(again))
    made = train(tmp_path / "again.yaml", progress=False)
    old, new = (safetensors.torch.load_file(folder / "weights.safetensors") for folder in (first, made))
    assert new.pop("offsets").shape == (4, 2)
    assert all(torch.equal(old[name], tensor) for name, tensor in new.items())
    assert "no epoch: the weights are those it began with" in (made / "README.md").read_text()
    assert (made / "confusion.png").is_file()
    assert not (made / "curves.png").exists()


@pytest.mark.parametrize(
    ("loop", "problem"),
    [
        (", epochs: 0", "loop.epochs: is 0, and there is no `start`"),
        (", even_recall: true", r"loop.even_recall: .*got true"),
        (", even_recall: 1.5", "loop.even_recall: .*got 1.5"),
        (", needs: {high: c}", "loop.needs.high: wants a label and the input that it needs, got high: c; labels low, high; inputs a, b"),
    ],
)
def test_what_the_loop_cannot_do_is_a_mistake_at_its_line(tmp_path, loop, problem):
    path = tinytable.write(tmp_path)
    path.write_text(path.read_text().replace("epochs: 4, ", "").replace("seed: 3", f"seed: 3{loop}"))
    with pytest.raises(ConfigError, match=problem):
        Training(path)
