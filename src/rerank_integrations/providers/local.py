"""A scorer in this process, with the request and response bodies of a remote provider."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import math
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
from typing import Any, ClassVar, Protocol, TypeAlias

from pydantic_core import from_json, to_json

from rerank_integrations import __version__
from rerank_integrations.errors import ConfigurationError, ScorerError
from rerank_integrations.providers import _cross_encoder, _lexical
from rerank_integrations.providers._model_list import ModelInfo
from rerank_integrations.providers._validation import finite
from rerank_integrations.providers.base import (
    RETRIEVAL_SCORES,
    Handler,
    HTTPResponse,
    Instructed,
    Provider,
    ScoreKind,
)

Scores: TypeAlias = Iterable[float] | AsyncIterable[float] | Awaitable[Iterable[float]]
"""One number for each text, the higher the better: also an array, a tensor, or an awaitable."""

Scorer: TypeAlias = Callable[[Any, list[Any]], Scores]
"""A function that takes the query and the texts, and returns one score for each text.

A higher score is better. With `sees_images=True`, what has an image is a mapping, not a text.
"""


class Predictor(Protocol):
    """A model with the method of a cross-encoder, such as one of `sentence-transformers`."""

    def predict(self, pairs: Any, /) -> Any:
        """Return one score for each pair.

        Args:
            pairs: a list of pairs of query and text.
        """


_NO_LISTS = (Mapping, AbstractSet, str, bytes, bytearray)  # iterables, but no list of scores
_CROSS_ENCODER = "cross-encoder/"  # before the name of a model or a folder
_MOST_WEIGHT = 1000  # with more nothing else would count
_ENGINES = ("hybrid", "bm25", "cross-encoder/<model or folder>")


def bm25(query: str, texts: Sequence[str]) -> list[float]:
    """Score each text with BM25: words shared with the query count, rare words count more.

    This is Lucene's BM25, computed over the given texts only, on stems and without stop words.
    Needs the extra `local`.

    Args:
        query: the query.
        texts: the texts.

    Returns:
        One score for each text: 0.0 if it shares no word with the query, else above 0.

    Raises:
        ConfigurationError: the extra `local` is not installed.
    """
    return _lexical.bm25_scores(_lexical.words_of(query, texts)) if texts else []


def hybrid(query: str, texts: Sequence[str]) -> list[float]:
    """Score each text with BM25 and latent semantic analysis (LSA) of the texts.

    The two scores are added as z-scores, so a score compares a text with the others of the list.
    Needs the extra `local`.

    Args:
        query: the query.
        texts: the texts.

    Returns:
        One score for each text; 0.0 for each if all texts are equal.

    Raises:
        ConfigurationError: the extra `local` is not installed.
    """
    return _lexical.hybrid_scores(_lexical.words_of(query, texts)) if texts else []


@dataclass(frozen=True, kw_only=True)
class Local(Provider):
    """A scorer in this process, without a key and without a network.

    The model is one of these engines, or any name if you pass a `scorer`:

    - "hybrid": BM25 and latent semantic analysis of the texts; nothing is downloaded
    - "bm25": BM25 only
    - "cross-encoder/<model or folder>": a cross-encoder. A folder is read from disk only; a model
      may be downloaded. Needs the extra `cross-encoder`, or `sentence-transformers`

    The engines take only text.

    Args:
        scorer: a function `(query, texts) -> scores`, in place of an engine. An object with a
            method `predict`, such as a cross-encoder, is called with `(query, text)` pairs, and so
            is a bound method `predict`. Scores are an iterable of numbers, an array or a tensor.
            The scorer may be async: `arerank` awaits it on the caller's event loop, `rerank` on a
            new event loop.
        sees_images: whether the scorer takes documents and queries with an image. Each of these is
            passed as a mapping with the `image`, as a URL or a data URI, and the `text` if there is
            one.
        language: the language of the query and the texts for "hybrid" and "bm25", such as "de".
            When None, it is detected by script, else by stop words.
        retrieval_weight: the weight of the retriever's score, from 0 to 1000; 0 ignores it. The
            scores of the engine and of the retriever are added as z-scores. Documents have it as
            `RerankDocument(retrieval_score=...)`; nodes of LlamaIndex and documents of Haystack
            have it already. It is used only if all documents of a call have one.
        batch_size: the maximum number of texts in one call of the scorer or the cross-encoder. When
            None, a cross-encoder gets 32 texts and a scorer gets all.
        score_kind: the scale of the scores of `scorer`, if you know it.
        device: the device of a cross-encoder, such as "cuda".
        max_length: the maximum number of tokens of query and text that a cross-encoder reads.
        revision: the revision of a cross-encoder that is downloaded.

    Raises:
        ConfigurationError: the scorer cannot be called, or is a class instead of an object, or
            another argument is invalid.
    """

    name: ClassVar[str] = "local"
    says_cost: ClassVar[bool] = False
    max_documents: ClassVar[int | None] = None

    scorer: Scorer | Predictor | Callable[[list[tuple[str, str]]], Scores] | None = field(
        default=None, repr=False
    )
    sees_images: bool = False
    language: str | None = None
    retrieval_weight: float = 0.0
    batch_size: int | None = None
    score_kind: ScoreKind = "unknown"  # type: ignore[misc]  # the class's own for all others
    device: str | None = None
    max_length: int | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if inspect.isclass(self.scorer):
            name = self.scorer.__name__
            raise ConfigurationError(
                f"scorer is the class {name}; pass an object of it: Local(scorer={name}(...))"
            )
        if self.scorer is not None and not callable(getattr(self.scorer, "predict", self.scorer)):
            raise ConfigurationError(
                "scorer is a function (query, texts) -> scores, or an object with predict(pairs), "
                f"not {type(self.scorer).__name__}"
            )
        if self.language is not None and self.language not in _lexical.LANGUAGES:
            raise ConfigurationError(
                f"language must be one of {', '.join(_lexical.LANGUAGES)}, not {self.language!r}"
            )
        weight = finite(self.retrieval_weight)
        if weight is None or not 0 <= weight <= _MOST_WEIGHT:
            raise ConfigurationError(f"retrieval_weight must be a number from 0 to {_MOST_WEIGHT}")
        for name in ("batch_size", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be at least 1")
        super().__post_init__()

    @property
    def url(self) -> str:
        """A placeholder; no request is sent to it."""
        return "http://local.invalid/v1/rerank"

    @property
    def handler(self) -> Handler | None:
        """The function that runs the scorer."""
        asked = self._predict() or self.scorer
        is_async = any(map(inspect.iscoroutinefunction, (asked, type(asked).__call__)))
        return self._answer_on_loop if is_async else self._answer

    def check(self, model: str) -> None:
        """Check that the model is an engine, and that it uses all arguments that are set.

        Raises:
            ConfigurationError: the engine is unknown, or would ignore an argument.
        """
        if self.scorer is not None:
            self._refuse("your own scorer", {"batch_size", "score_kind", "sees_images"})
            return
        if model in ("bm25", "hybrid"):
            self._refuse(f"the engine {model}", {"language"})
            return
        if not model.startswith(_CROSS_ENCODER):
            raise ConfigurationError(
                f"there is no local engine {model!r}; use one of "
                f"{', '.join(f'local:{name}' for name in _ENGINES)}, or pass "
                "provider=Local(scorer=...) to score with your own function"
            )
        self._refuse("a cross-encoder", {"batch_size", "device", "max_length", "revision"})
        _cross_encoder.check(model.removeprefix(_CROSS_ENCODER))

    def _refuse(self, engine: str, takes: AbstractSet[str]) -> None:
        common = {"scorer", "retrieval_weight"}
        for one in dataclasses.fields(self):
            is_set = getattr(self, one.name) != one.default
            if is_set and one.name not in common and one.name not in takes:
                raise ConfigurationError(
                    f"Local({one.name}=...) has no effect with {engine}, which takes "
                    f"{', '.join(sorted(takes))}"
                )

    def for_fallback(self, model: str) -> Provider:
        """Return a provider for the engine of that name, without the scorer of this one."""
        language = None if model.startswith(_CROSS_ENCODER) else self.language
        return Local(language=language, retrieval_weight=self.retrieval_weight)

    @property
    def takes_retrieval_scores(self) -> bool:
        """Whether the retriever's score is used."""
        return self.retrieval_weight > 0

    def own_models(self) -> Sequence[ModelInfo]:
        """The engines, or the name of the scorer."""
        if self.scorer is None:
            return [ModelInfo("hybrid", takes_images=False), ModelInfo("bm25", takes_images=False)]
        name = getattr(self.scorer, "__name__", type(self.scorer).__name__)
        if inspect.ismethod(self.scorer) and name == "predict":
            name = type(self.scorer.__self__).__name__
        return [ModelInfo(name, takes_images=self.sees_images)]

    def kind_of_scores(self, model: str) -> ScoreKind:
        """The scale of the engine's scores; `score_kind` for a scorer."""
        if self.takes_retrieval_scores:
            return "relative"
        if self.scorer is not None:
            return "unbounded" if self.scorer is bm25 else self.score_kind
        kinds: Mapping[str, ScoreKind] = {"bm25": "unbounded", "hybrid": "relative"}
        return kinds.get(model, "probability")

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Raise an error, because a scorer gets only the query and the texts."""
        del model, instruction
        raise ConfigurationError(
            "a local scorer takes no instruction, only the query and the texts; leave instruction= "
            "out, or let the scorer add it"
        )

    def takes_images(self, model: str) -> bool:
        """`sees_images` for a scorer; False for an engine."""
        del model
        return self.sees_images and self.scorer is not None

    def takes_image_query(self, model: str) -> bool:
        """The same as `takes_images`."""
        return self.takes_images(model)

    def splits(self, model: str) -> bool:
        """False: BM25 counts how rare a word is among all documents of a call."""
        del model
        return False

    def cache_scope(self, model: str) -> str | None:
        """The engine and the version of this package; None for a scorer, which has no identity.

        A cross-encoder in a folder has its absolute path, because processes have different current
        folders.
        """
        if self.scorer is not None:
            return None
        if model.startswith(_CROSS_ENCODER):
            model = _cross_encoder.full_name(model.removeprefix(_CROSS_ENCODER))
        return repr((__version__, model, self))

    def _answer(self, content: bytes) -> HTTPResponse | Awaitable[HTTPResponse]:
        request = from_json(content)
        try:
            given = self._call(request["model"], request["query"], request["documents"])
            if _is_later(given):
                return _answer_later(request, given, self.retrieval_weight)
            found = _without_arrays(given)
        except (ConfigurationError, ScorerError):
            raise
        except Exception as cause:
            raise _failed(cause) from cause
        return _response(request, found, self.retrieval_weight)

    async def _answer_on_loop(self, content: bytes) -> HTTPResponse:
        answer = self._answer(content)
        return answer if isinstance(answer, HTTPResponse) else await answer

    def _call(self, model: str, query: str, texts: list[str]) -> Any:
        size = self.batch_size
        if self.scorer is None:
            return self._of_engine(model, query, texts)
        if size is None or len(texts) <= size:
            return self._of_scorer(query, texts)
        return self._in_batches(
            query, [texts[first : first + size] for first in range(0, len(texts), size)]
        )

    def _in_batches(self, query: str, batches: Sequence[list[str]]) -> Any:
        """The scores of all batches; an awaitable of them where the first gives one."""
        scores: list[Any] = []
        for batch in batches:
            given = self._of_scorer(query, batch)
            if _is_later(given):
                return self._in_batches_later(query, batches, given)
            scores += _one_each(_without_arrays(given), len(batch))
        return scores

    async def _in_batches_later(
        self, query: str, batches: Sequence[list[str]], given: Any
    ) -> list[Any]:
        """The same for an async scorer, which is called after the previous batch is done."""
        scores: list[Any] = []
        for position, batch in enumerate(batches):
            if position:
                given = self._of_scorer(query, batch)
            scores += _one_each(await _awaited(given), len(batch))
        return scores

    def _of_engine(self, model: str, query: str, texts: list[str]) -> list[float]:
        if model.startswith(_CROSS_ENCODER):
            settings = _cross_encoder.Settings(
                self.device, self.batch_size, self.max_length, self.revision
            )
            name = model.removeprefix(_CROSS_ENCODER)
            return _cross_encoder.score(name, settings, query, texts)
        words = _lexical.words_of(query, texts, self.language)
        if model == "bm25":
            return _lexical.bm25_scores(words)
        return _lexical.hybrid_scores(words)

    def _of_scorer(self, query: str, texts: list[str]) -> Any:
        predict = self._predict()
        if predict is not None:
            return predict([(query, text) for text in texts])
        scorer: Any = self.scorer
        return scorer(query, texts)

    def _predict(self) -> Callable[[list[tuple[str, str]]], Any] | None:
        """The method that takes pairs, if the scorer has one or is one."""
        if inspect.ismethod(self.scorer) and self.scorer.__name__ == "predict":
            return self.scorer
        found: Callable[[list[tuple[str, str]]], Any] | None = getattr(self.scorer, "predict", None)
        return found


def _is_later(given: Any) -> bool:
    return inspect.isawaitable(given) or isinstance(given, AsyncIterable)


async def _awaited(given: Any) -> Any:
    """Wait for what a scorer returned."""
    if inspect.isawaitable(given):
        given = await given
    if isinstance(given, AsyncIterable):
        given = [score async for score in given]
    return _without_arrays(given)


async def _answer_later(request: Mapping[str, Any], given: Any, weight: float) -> HTTPResponse:
    """The response of an async scorer, or of one that returned an awaitable."""
    try:
        found = await _awaited(given)
    except (ConfigurationError, ScorerError):
        raise
    except asyncio.CancelledError as cause:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # the call is cancelled, or its deadline passed
            raise
        raise _failed(cause) from cause
    except Exception as cause:
        raise _failed(cause) from cause
    return _response(request, found, weight)


def _failed(cause: BaseException) -> ScorerError:
    return ScorerError(f"the scorer failed: {type(cause).__name__}: {cause}")


def _response(request: Mapping[str, Any], found: Any, weight: float) -> HTTPResponse:
    scores = _scores(found, len(request["documents"]))
    retrieval_scores = request.get(RETRIEVAL_SCORES)
    if retrieval_scores:
        scores = _lexical.fused([(scores, 1.0), (retrieval_scores, weight)])
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
        ScorerError: the scorer returned something else.
    """
    return [_number(position, score) for position, score in enumerate(_one_each(found, count))]


def _one_each(found: Any, count: int) -> Sequence[Any]:
    """The scores of some texts, one for each."""
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
    return scores


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
