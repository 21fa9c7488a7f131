"""A scorer in this process, with the request and response bodies of a gateway."""

from __future__ import annotations

import inspect
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from pydantic_core import from_json, to_json

from rerank_integrations.errors import ConfigurationError, ServerError
from rerank_integrations.providers.base import HTTPResponse, Provider

Scorer: TypeAlias = Callable[[str, Sequence[str]], Iterable[float]]
"""Takes the query and the texts; returns one score a text, higher is better."""

_MODEL = "bm25"
# scripts that are written without spaces: each character counts as a word
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def bm25(query: str, texts: Sequence[str]) -> list[float]:
    """Score each text by the words that it shares with the query, rare words higher.

    Lucene's BM25 over the given texts alone: never negative, 0.0 where no word is shared.
    Needs the extra `local`.
    """
    try:
        import bm25s  # noqa: PLC0415  # an extra, and slow to load
    except ImportError as cause:
        raise ConfigurationError(
            "local:bm25 needs the extra 'local': pip install 'rerank-integrations[local]'"
        ) from cause
    corpus = [_words(text) for text in texts]
    asked = _words(query)
    if not asked or not any(corpus):  # the library raises on either
        return [0.0] * len(texts)
    index = bm25s.BM25(method="lucene")
    index.index(corpus, show_progress=False)
    return [float(score) for score in index.get_scores(asked)]


class _Separated(dict[int, str]):
    """What `str.translate` puts for a character, so that `split()` finds the words."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if _UNSPACED.match(character):
            put = f" {character} "
        elif character.isalnum() or unicodedata.category(character).startswith("M"):
            put = character  # a vowel sign or accent is part of its word
        else:
            put = " "
        self[code] = put
        return put


_SEPARATED = _Separated()


def _words(text: str) -> list[str]:
    return text.casefold().translate(_SEPARATED).split()


@dataclass(frozen=True, kw_only=True)
class Local(Provider):
    """A scorer in this process: no key, no network, and text only unless it sees images.

    Args:
        scorer: a function `(query, texts) -> scores`; `bm25` out of the box. A cross-encoder, or
            its bound method `predict`, is called with `(query, text)` pairs instead.
        sees_images: whether the scorer also takes documents with an image: for each of these it
            gets a mapping with the `image`, as a URL or a data URI, and the `text` if there is one.

    Raises:
        ConfigurationError: the scorer cannot be called.
    """

    name: ClassVar[str] = "local"
    max_documents: ClassVar[int | None] = None

    scorer: Scorer | Any = field(default=bm25, repr=False)
    sees_images: bool = False

    def __post_init__(self) -> None:
        if not callable(getattr(self.scorer, "predict", self.scorer)):
            raise ConfigurationError(
                "scorer is a function (query, texts) -> scores, or an object with predict(pairs), "
                f"not {type(self.scorer).__name__}"
            )
        super().__post_init__()

    @property
    def url(self) -> str:
        """An address of the kind that is never looked up."""
        return "http://local.invalid/v1/rerank"

    @property
    def handler(self) -> Callable[[bytes], HTTPResponse] | None:
        """The engine itself."""
        return self._answer

    def check(self, model: str) -> None:
        """Refuse a model name that promises another scorer than the one in hand."""
        if self.scorer is bm25 and model != _MODEL:
            raise ConfigurationError(
                f"there is no local model {model!r}; use 'local:{_MODEL}', or pass "
                "provider=Local(scorer=...) to score with your own function"
            )

    def takes_images(self, model: str) -> bool:
        """As the caller says."""
        del model
        return self.sees_images

    def splits(self, model: str) -> bool:
        """Never: BM25 counts how rare a word is among all documents."""
        del model
        return False

    def _answer(self, content: bytes) -> HTTPResponse:
        request = from_json(content)
        scores = self._scores(request["query"], request["documents"])
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        results = [
            {"index": index, "relevance_score": scores[index]}
            for index in order[: request.get("top_n")]
        ]
        body = to_json({"model": request["model"], "results": results})
        return HTTPResponse(200, {"content-type": "application/json"}, body)

    def _scores(self, query: str, texts: list[str]) -> list[float]:
        try:
            scores = [float(score) for score in self._call(query, texts)]
        except ConfigurationError:
            raise
        except Exception as cause:
            raise _failure(f"the scorer failed: {type(cause).__name__}: {cause}") from cause
        if len(scores) != len(texts):
            raise _failure(f"the scorer gave {len(scores)} scores for {len(texts)} texts")
        if not all(map(math.isfinite, scores)):
            raise _failure("the scorer gave a score that is not a finite number")
        return scores

    def _call(self, query: str, texts: list[str]) -> Iterable[Any]:
        predict = getattr(self.scorer, "predict", None)
        if inspect.ismethod(self.scorer) and self.scorer.__name__ == "predict":
            predict = self.scorer
        if predict is not None:
            return predict([(query, text) for text in texts])  # type: ignore[no-any-return]
        return self.scorer(query, texts)


def _failure(message: str) -> ServerError:
    return ServerError(
        message, status_code=500, provider=Local.name, message=message, is_retryable=False
    )
