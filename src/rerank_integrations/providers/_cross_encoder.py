"""Cross-encoders in this process: ONNX models through fastembed, others through PyTorch."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._validation import sigmoid

Logits: TypeAlias = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""A function that takes pairs of query and text, and returns a logit for each pair."""

log = logging.getLogger("rerank_integrations")
_ONNX_FILES = ("model.onnx", "onnx/model.onnx", "model_optimized.onnx", "onnx/model_quantized.onnx")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
_BATCH_SIZE = 32
_INSTALL = "pip install 'rerank-integrations[cross-encoder]'"
_INSTALL_TORCH = "pip install sentence-transformers"
_LABELS = "the model {!r} gives {} numbers for a text; a cross-encoder that ranks gives one"
_OFFLINE = "; HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing is downloaded"
_loading = threading.Lock()


class Settings(NamedTuple):
    """How a model is loaded and run.

    Attributes:
        device: the device, such as "cpu" or "cuda"; the library chooses when None.
        batch_size: the number of pairs in one pass of the model; 32 when None.
        max_length: the maximum number of tokens of query and text; the model's limit when None.
        revision: the revision of a model that is downloaded; the newest when None.
    """

    device: str | None = None
    batch_size: int | None = None
    max_length: int | None = None
    revision: str | None = None


def score(name: str, settings: Settings, query: str, texts: Sequence[str]) -> list[float]:
    """Score each text with the probability that it is relevant, the sigmoid of the logit.

    Args:
        name: a folder, or the name of a model, which may be downloaded.
        settings: how it is loaded and run.
        query: the query.
        texts: the texts.

    Raises:
        ConfigurationError: there is no such model, or a library is not installed.
    """
    with _loading:  # one load for all threads; the model itself serves them together
        logits_of = _loaded(full_name(name), settings)
    return [sigmoid(logit) for logit in logits_of([(query, text) for text in texts])]


def full_name(name: str) -> str:
    """The name of a model, or the absolute path of a folder."""
    folder = _folder(name)
    return name if folder is None else str(folder.resolve())


def check(name: str) -> None:
    """Raise ConfigurationError if a folder has no model; nothing is loaded."""
    if not name.strip():
        raise ConfigurationError(
            "name a model or a folder: 'local:cross-encoder/BAAI/bge-reranker-v2-m3' or "
            "'local:cross-encoder/./my-model'"
        )
    folder = _folder(name)
    if folder is not None:
        _check_folder(folder)


@lru_cache(maxsize=4)
def _loaded(name: str, settings: Settings) -> Logits:
    folder = _folder(name)
    if folder is not None:
        _check_folder(folder)
    has_onnx = find_spec("fastembed") is not None
    has_torch = find_spec("sentence_transformers") is not None
    onnx_file = None
    if folder is not None:
        onnx_file = next((one for one in _ONNX_FILES if (folder / one).is_file()), None)
    if has_onnx and (onnx_file or (folder is None and _knows_fastembed(name))):
        return _with_fastembed(name, folder, onnx_file, settings)
    if has_torch:
        return _with_torch(name if folder is None else str(folder), settings)
    if onnx_file or (not has_onnx and folder is None):
        raise ConfigurationError(f"a cross-encoder needs the extra 'cross-encoder': {_INSTALL}")
    what = f"fastembed has no model {name!r}, and there is no such folder"
    if folder is not None:
        what = f"the folder {folder} has no ONNX file"
    raise ConfigurationError(
        f"{what}; PyTorch, which could run it, is not installed: {_INSTALL_TORCH}"
    )


def _folder(name: str) -> Path | None:
    """The folder of a name, if it exists or the name looks like a path; else None."""
    path = Path(name)
    with suppress(RuntimeError):  # the home of a user who is not there
        path = path.expanduser()
    looks_so = name.startswith((".", "/", "~")) or "\\" in name or path.is_absolute()
    return path if looks_so or _is_folder(path) else None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long, or in a folder that may not be read
        return False


def _check_folder(folder: Path) -> None:
    """Raise an error that names what is missing in a folder, before a library fails."""
    if not _is_folder(folder):
        raise ConfigurationError(f"there is no folder {str(folder)!r} with a cross-encoder")
    needed = {
        "the configuration (config.json)": ("config.json",),
        "the tokenizer (tokenizer.json)": _TOKENIZERS,
        "the weights (model.onnx or model.safetensors)": (*_ONNX_FILES, *_WEIGHTS),
    }
    for what, files in needed.items():
        if not any((folder / file).is_file() for file in files):
            raise ConfigurationError(f"the folder {str(folder)!r} lacks {what}")


def _knows_fastembed(name: str) -> bool:
    from fastembed.rerank.cross_encoder import TextCrossEncoder  # noqa: PLC0415  # an extra

    known = (one["model"].lower() for one in TextCrossEncoder.list_supported_models())
    return name.lower() in known


def _with_fastembed(
    name: str, folder: Path | None, onnx_file: str | None, settings: Settings
) -> Logits:
    from fastembed.common.model_description import ModelSource  # noqa: PLC0415  # an extra
    from fastembed.rerank.cross_encoder import TextCrossEncoder  # noqa: PLC0415

    arguments: dict[str, Any] = {"local_files_only": _is_offline()}
    if settings.device is not None:
        kind, _, number = settings.device.partition(":")
        if kind not in ("cpu", "cuda") or not (number or "0").isdecimal():
            raise ConfigurationError(
                f"device is 'cpu', 'cuda' or 'cuda:1' with fastembed, not {settings.device!r}"
            )
        arguments |= {"cuda": kind == "cuda", "device_ids": [int(number)] if number else None}
    if settings.revision is not None:
        raise ConfigurationError("fastembed takes no revision=; download the model into a folder")
    known = name
    if folder is None:
        log.info("loading the cross-encoder %s; it is downloaded if it is not there yet", name)
    else:
        name = str(folder.resolve())
        arguments["specific_model_path"] = name
        # fastembed keeps what it was told of a name, in whatever case: one name for each file
        known = f"{__name__}/{onnx_file}"
        if not _knows_fastembed(known):
            TextCrossEncoder.add_custom_model(
                model=known,
                sources=ModelSource(url=folder.resolve().as_uri()),
                model_file=onnx_file or _ONNX_FILES[0],
            )
    with _readable_errors(name):
        made: Any = TextCrossEncoder(model_name=known, **arguments)
    encoder = made.model
    labels = encoder.model.get_outputs()[0].shape[-1]
    if isinstance(labels, int) and labels != 1:
        raise ConfigurationError(_LABELS.format(name, labels))
    if settings.max_length is not None:
        cut = encoder.tokenizer.truncation
        longest = min(settings.max_length, cut["max_length"])  # more than it has places for fails
        encoder.tokenizer.enable_truncation(longest, direction=cut["direction"])
    size = settings.batch_size or _BATCH_SIZE
    return lambda pairs: list(encoder.rerank_pairs(pairs, batch_size=size))


def _with_torch(name: str, settings: Settings) -> Logits:
    from sentence_transformers import CrossEncoder  # noqa: PLC0415  # large, and slow to load
    from torch import nn  # noqa: PLC0415

    if not Path(name).is_dir():
        log.info("loading the cross-encoder %s; it is downloaded if it is not there yet", name)
    given: dict[str, Any] = {
        "device": settings.device,
        "max_length": settings.max_length,
        "revision": settings.revision,
    }
    given = {key: value for key, value in given.items() if value is not None}
    given["local_files_only"] = _is_offline() or Path(name).is_dir()
    with _readable_errors(name):
        encoder = CrossEncoder(name, **given)
    size = settings.batch_size or _BATCH_SIZE

    def logits(pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
        # the sigmoid is ours, so that both libraries give the same scores
        found = encoder.predict(
            list(pairs),
            batch_size=size,
            show_progress_bar=False,
            activation_fn=nn.Identity(),
        )
        if found.ndim != 1:
            raise ConfigurationError(_LABELS.format(name, found.shape[-1]))
        scores: Sequence[float] = found.tolist()
        return scores

    return logits


@contextmanager
def _readable_errors(name: str) -> Iterator[None]:
    """Convert the errors of a library that loads a model; fastembed prints nothing."""
    logger: Any = None
    with suppress(ImportError):
        from loguru import logger  # noqa: PLC0415  # of fastembed, which writes to stderr

        logger.disable("fastembed")
    try:
        yield
    except Exception as cause:
        hint = "" if Path(name).is_dir() or not _is_offline() else _OFFLINE
        raise ConfigurationError(
            f"the cross-encoder {name!r} cannot be loaded: {str(cause).rstrip('.')}{hint}"
        ) from cause
    finally:
        if logger is not None:
            logger.enable("fastembed")


def _is_offline() -> bool:
    """Whether Hugging Face's libraries are set to offline mode."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in names)
