"""Tests of cross-encoders in this process, with a tiny model; nothing is downloaded."""

from __future__ import annotations

import json
import math
import sys
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cases import cases
from installed import MEAN_OF_IDS
from rerank_integrations import Local, RerankClient
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers import _cross_encoder

tokenizers: Any = pytest.importorskip("tokenizers", reason="comes with fastembed")
pytest.importorskip("fastembed", reason="of the extra cross-encoder")
WORDS = ["[PAD]", "[UNK]", "a", "red", "bicycle", "car"]
TEXTS = ["red", "a bicycle car", "car car car car"]


def model(folder: Path, without: str = "") -> Path:
    """A cross-encoder whose logit is the mean of the ids of the words, padding included."""
    made = tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(made)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.dumps({"model_max_length": 64, "pad_token": "[PAD]", "pad_token_id": 0})
    for name in ("config", "tokenizer_config"):
        (folder / f"{name}.json").write_text(config, encoding="utf-8")
    (folder / "special_tokens_map.json").write_text("{}", encoding="utf-8")
    (folder / "model.onnx").write_bytes(b64decode(MEAN_OF_IDS))
    if without:
        (folder / without).unlink()
    return folder


def expected(query: str, batch_size: int) -> list[float]:
    """The sigmoid of the mean of the ids, each batch padded to its longest pair."""
    scores = []
    for first in range(0, len(TEXTS), batch_size):
        batch = [f"{query} {text}".split() for text in TEXTS[first : first + batch_size]]
        longest = max(map(len, batch))
        means = [sum(map(WORDS.index, words)) / longest for words in batch]
        scores += [1 / (1 + math.exp(-mean)) for mean in means]
    return scores


@cases("batch_size", [None, 1, 2])
def test_scores(batch_size: int | None, tmp_path: Path) -> None:
    """A folder is read from disk, as it is now; scores are the sigmoid of the logit by batch."""
    name = f"cross-encoder/{model(tmp_path)}"
    response = RerankClient(name, provider=Local(batch_size=batch_size)).rerank("a red", TEXTS)
    found = {result.index: result.relevance_score for result in response}
    assert [found[at] for at in range(3)] == pytest.approx(expected("a red", batch_size or 32))
    assert response.score_kind == "probability"

    _cross_encoder._loaded.cache_clear()
    (tmp_path / "onnx").mkdir()
    (tmp_path / "model.onnx").rename(tmp_path / "onnx" / "model.onnx")
    again = RerankClient(name, provider=Local(batch_size=batch_size)).rerank("a red", TEXTS)
    assert again.results == response.results


def test_threads_load_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that ask at once wait for one load."""
    loads: list[str] = []
    load = _cross_encoder._with_fastembed

    def counted(name: str, *rest: Any) -> Any:
        loads.append(name)
        return load(name, *rest)

    monkeypatch.setattr(_cross_encoder, "_with_fastembed", counted)
    client = RerankClient(f"local:cross-encoder/{model(tmp_path)}")
    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(lambda _: client.rerank("a red", TEXTS), range(8)))
    assert len(loads) == 1
    assert len({tuple(one.relevance_score for one in response) for response in responses}) == 1


@cases(
    ("lacking", "absent", "why"),
    [
        ("config.json", "", "lacks the configuration"),
        ("tokenizer.json", "", "lacks the tokenizer"),
        ("model.onnx", "", "lacks the weights"),
        ("", "fastembed", r"pip install 'rerank-integrations\[cross-encoder\]'"),
    ],
)
def test_what_is_missing(
    lacking: str, absent: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder without a file, and a library that is not installed, are named."""
    if absent:
        monkeypatch.setattr(_cross_encoder, "find_spec", lambda name: None)
    folder = model(tmp_path, lacking)
    with pytest.raises(ConfigurationError, match=why):
        RerankClient(f"local:cross-encoder/{folder}").rerank("a red", TEXTS)
    with pytest.raises(ConfigurationError, match="there is no folder"):
        RerankClient(f"local:cross-encoder/{tmp_path / 'nowhere'}")


@cases(
    ("settings", "why"),
    [
        ({"max_length": 3}, ""),
        ({"max_length": 3, "device": "cpu"}, ""),
        ({"device": "mps"}, "device is 'cpu', 'cuda' or"),
        ({"device": "cuda:first"}, "not 'cuda:first'"),
        ({"revision": "main"}, "takes no revision="),
    ],
)
def test_settings(settings: dict[str, Any], why: str, tmp_path: Path) -> None:
    """`max_length` cuts each pair to this number of tokens; what fastembed lacks is refused."""
    client = RerankClient(f"cross-encoder/{model(tmp_path)}", provider=Local(**settings))
    if why:
        with pytest.raises(ConfigurationError, match=why):
            client.rerank("a", TEXTS)
        return
    [found] = client.rerank("a", ["bicycle car car car car"])
    mean = sum(map(WORDS.index, ["a", "bicycle", "car"])) / 3
    assert found.relevance_score == pytest.approx(1 / (1 + math.exp(-mean)))


class Row(list[float]):
    """What `predict` returns: an array of one or two dimensions."""

    def __init__(self, *shape: int) -> None:
        super().__init__([0.0] * shape[0])
        self.ndim, self.shape = len(shape), shape

    def tolist(self) -> list[float]:
        """The numbers."""
        return list(self)


@cases(
    ("labels", "offline", "why"),
    [
        (1, "", ""),
        (3, "", "gives 3 numbers for a text"),
        (0, "1", "cannot be loaded: no file"),
    ],
)
def test_models_of_pytorch(
    labels: int, offline: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder without ONNX file is for sentence-transformers: no bar, no sigmoid, no download.

    PyTorch is not among the packages of the tests, so its modules are played here.
    """
    asked: list[dict[str, Any]] = []

    class CrossEncoder:
        def __init__(self, name: str, **arguments: Any) -> None:
            asked.append({"name": name, **arguments})
            if not labels:
                raise OSError("no file")

        def predict(self, pairs: list[tuple[str, str]], **arguments: Any) -> Row:
            asked.append({"pairs": pairs, **arguments})
            return Row(len(pairs)) if labels == 1 else Row(len(pairs), labels)

    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(_cross_encoder, "find_spec", lambda name: name == "sentence_transformers")
    torch = SimpleNamespace(nn=SimpleNamespace(Identity=lambda: "identity"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    played = SimpleNamespace(CrossEncoder=CrossEncoder)
    monkeypatch.setitem(sys.modules, "sentence_transformers", played)
    folder = model(tmp_path, "model.onnx")
    (folder / "model.safetensors").touch()
    name = f"cross-encoder/{folder}"
    client = RerankClient(name, provider=Local(device="cpu", batch_size=2, max_length=9))
    if why:
        with pytest.raises(ConfigurationError, match=why):
            client.rerank("a red", TEXTS)
        return
    response = client.rerank("a red", TEXTS)
    assert [one.relevance_score for one in response] == [0.5, 0.5, 0.5]
    loaded, called = asked
    assert loaded == {
        "name": str(folder),
        "device": "cpu",
        "max_length": 9,
        "local_files_only": True,
    }
    assert called == {
        "pairs": [("a red", text) for text in TEXTS],
        "batch_size": 2,
        "show_progress_bar": False,
        "activation_fn": "identity",
    }


def test_a_model_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, a model that is not there says what was tried; nothing is downloaded."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, why in (
        ("Xenova/ms-marco-MiniLM-L-6-v2", "HF_HUB_OFFLINE"),
        ("nobody/nothing", "fastembed has no model"),
        ("n" * 300, "there is no such folder"),
        ("~nobody-of-this-name/nothing", "there is no folder '~nobody"),
        (" ", "name a model or a folder"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            RerankClient(f"local:cross-encoder/{name}").rerank("a red", TEXTS)
