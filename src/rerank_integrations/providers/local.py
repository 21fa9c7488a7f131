"""A scorer in this process, with the request and response bodies of a gateway."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import re
import unicodedata
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from pydantic_core import from_json, to_json

from rerank_integrations.errors import ConfigurationError, ScorerError
from rerank_integrations.providers._model_list import ModelInfo
from rerank_integrations.providers.base import (
    Handler,
    HTTPResponse,
    Instructed,
    Provider,
    ScoreKind,
)

Scores: TypeAlias = Iterable[float] | AsyncIterable[float] | Awaitable[Iterable[float]]
Scorer: TypeAlias = Callable[[str, Sequence[str]], Scores]
"""Takes the query and the texts; returns one score a text, higher is better."""

_MODEL = "bm25"
_NO_LISTS = (Mapping, AbstractSet, str, bytes, bytearray)  # iterables, but no list of scores
# scripts that are written without spaces: each character counts as a word
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def bm25(query: str, texts: Sequence[str]) -> list[float]:
    """Score each text by the words that it shares with the query, rare words higher.

    Lucene's BM25 over the given texts alone: never negative, 0.0 where no word is shared.
    Needs the extra `local`.
    """
    logger = logging.getLogger("bm25s")
    level = logger.level
    try:
        import bm25s  # noqa: PLC0415  # an extra, and slow to load
    except ImportError as cause:
        raise ConfigurationError(
            "local:bm25 needs the extra 'local': pip install 'rerank-integrations[local]'"
        ) from cause
    if logger.level != level:  # the first import sets it to DEBUG, and each call would be logged
        logger.setLevel(level)
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
            its bound method `predict`, is called with `(query, text)` pairs instead. Scores are an
            iterable of numbers, an array or a tensor. Either may be async: `arerank` awaits it on
            the caller's event loop, `rerank` on a loop of its own.
        sees_images: whether the scorer also takes documents with an image: for each of these it
            gets a mapping with the `image`, as a URL or a data URI, and the `text` if there is one.

    Raises:
        ConfigurationError: the scorer cannot be called, or is a class instead of an object.
    """

    name: ClassVar[str] = "local"
    max_documents: ClassVar[int | None] = None

    scorer: Scorer | Any = field(default=bm25, repr=False)
    sees_images: bool = False

    def __post_init__(self) -> None:
        if inspect.isclass(self.scorer):
            name = self.scorer.__name__
            raise ConfigurationError(
                f"scorer is the class {name}; pass an object of it: Local(scorer={name}(...))"
            )
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
    def handler(self) -> Handler | None:
        """The engine itself."""
        asked = self._predict() or self.scorer
        is_async = any(map(inspect.iscoroutinefunction, (asked, type(asked).__call__)))
        return self._answer_on_loop if is_async else self._answer

    def check(self, model: str) -> None:
        """Refuse a model name that promises another scorer than the one in hand."""
        if self.scorer is bm25 and model != _MODEL:
            raise ConfigurationError(
                f"there is no local model {model!r}; use 'local:{_MODEL}', or pass "
                "provider=Local(scorer=...) to score with your own function"
            )

    def own_models(self) -> Sequence[ModelInfo]:
        """The scorer, by its name."""
        name = getattr(self.scorer, "__name__", type(self.scorer).__name__)
        if inspect.ismethod(self.scorer) and name == "predict":
            name = type(self.scorer.__self__).__name__
        return [ModelInfo(name, takes_images=self.sees_images)]

    def kind_of_scores(self, model: str) -> ScoreKind:
        """BM25 has no upper bound; of another scorer nothing is known."""
        return "unbounded" if self.scorer is bm25 else super().kind_of_scores(model)

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Refused: a scorer gets the query and the texts."""
        del model, instruction
        raise ConfigurationError(
            "a local scorer takes no instruction, only the query and the texts; leave instruction= "
            "out, or let the scorer add it"
        )

    def takes_images(self, model: str) -> bool:
        """As the caller says."""
        del model
        return self.sees_images

    def splits(self, model: str) -> bool:
        """Never: BM25 counts how rare a word is among all documents."""
        del model
        return False

    def _answer(self, content: bytes) -> HTTPResponse | Awaitable[HTTPResponse]:
        request = from_json(content)
        try:
            given = self._call(request["query"], request["documents"])
            if inspect.isawaitable(given) or isinstance(given, AsyncIterable):
                return _answer_later(request, given)
            found = _without_arrays(given)
        except ConfigurationError:
            raise
        except Exception as cause:
            raise _failed(cause) from cause
        return _response(request, found)

    async def _answer_on_loop(self, content: bytes) -> HTTPResponse:
        answer = self._answer(content)
        return answer if isinstance(answer, HTTPResponse) else await answer

    def _call(self, query: str, texts: list[str]) -> Any:
        predict = self._predict()
        if predict is not None:
            return predict([(query, text) for text in texts])
        return self.scorer(query, texts)

    def _predict(self) -> Callable[[list[tuple[str, str]]], Any] | None:
        """What takes pairs: the scorer's method, or the scorer where it is such a method."""
        if inspect.ismethod(self.scorer) and self.scorer.__name__ == "predict":
            return self.scorer
        found: Callable[[list[tuple[str, str]]], Any] | None = getattr(self.scorer, "predict", None)
        return found


async def _answer_later(request: Mapping[str, Any], given: Any) -> HTTPResponse:
    """The response of an async scorer, or of one that returned an awaitable."""
    try:
        if inspect.isawaitable(given):
            given = await given
        if isinstance(given, AsyncIterable):
            given = [score async for score in given]
        found = _without_arrays(given)
    except ConfigurationError:
        raise
    except asyncio.CancelledError as cause:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # the call is cancelled, or its deadline passed
            raise
        raise _failed(cause) from cause
    except Exception as cause:
        raise _failed(cause) from cause
    return _response(request, found)


def _failed(cause: BaseException) -> ScorerError:
    return ScorerError(f"the scorer failed: {type(cause).__name__}: {cause}")


def _response(request: Mapping[str, Any], found: Any) -> HTTPResponse:
    scores = _scores(found, len(request["documents"]))
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    results = [
        {"index": index, "relevance_score": scores[index]}
        for index in order[: request.get("top_n")]
    ]
    body = to_json({"model": request["model"], "results": results})
    return HTTPResponse(200, {"content-type": "application/json"}, body)


def _without_arrays(given: Any) -> Any:
    """Scores as a list, and arrays, tensors, frames and their scalars as lists and numbers."""
    plain = _plain(given)
    is_ordered = isinstance(plain, Iterable) and not isinstance(plain, _NO_LISTS)
    return [_plain(score) for score in plain] if is_ordered else plain


def _plain(value: Any) -> Any:
    if hasattr(value, "to_numpy") and not hasattr(value, "tolist"):  # a frame
        value = value.to_numpy()
    return value.tolist() if hasattr(value, "tolist") else value


def _scores(found: Any, count: int) -> list[float]:
    """One finite number for each text.

    Raises:
        ScorerError: what the scorer returned is something else.
    """
    if isinstance(found, int | float):  # a 0-d array: `squeeze()` makes one of a single score
        found = [found]
    if not isinstance(found, list):
        raise ScorerError(
            f"the scorer returned {type(found).__name__}; it must return one number for each "
            "text, in the order of the texts"
        )
    scores = _flat(found, count)
    if len(scores) != count:
        raise ScorerError(f"the scorer returned {len(scores)} scores for {count} texts")
    return [_number(position, score) for position, score in enumerate(scores)]


def _flat(found: list[Any], count: int) -> Sequence[Any]:
    """The scores of a row or of a column."""
    widths = {len(row) if isinstance(row, list | tuple) else None for row in found}
    if len(widths) != 1 or None in widths:
        return found
    flat: Sequence[Any] = []
    if widths == {1}:
        flat = [row[0] for row in found]
    elif len(found) == 1 < count:
        flat = found[0]
    if not flat or any(isinstance(score, list | tuple) for score in flat):
        raise ScorerError(
            f"the scorer returned scores of shape {_shape(found)}; it must return one number for "
            f"each text, shape ({count},)"
        )
    return flat


def _shape(rows: Any) -> tuple[int, ...]:
    if not isinstance(rows, list | tuple):
        return ()
    return (len(rows), *(_shape(rows[0]) if rows else ()))


def _number(position: int, score: Any) -> float:
    number = math.nan
    if not isinstance(score, str | bytes | bytearray):  # float() would read digits
        with suppress(TypeError, ValueError, OverflowError):
            number = float(score)
    if not math.isfinite(number):
        shown = f"{score!r:.60}" if isinstance(score, str | float) else type(score).__name__
        raise ScorerError(
            f"score {position} of the scorer (counted from 0) is {shown}, which is not a finite "
            "number"
        )
    return number
