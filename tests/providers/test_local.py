"""Tests of the engine in this process."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import math
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from traceback import walk_tb
from typing import Any

import numpy as np
import pytest

from calls import LOOPS, Calls
from cases import cases
from fakes import attempts_of
from rerank_integrations import RerankClient, RerankTimeoutError, ScorerError
from rerank_integrations.errors import ConfigurationError, UnsupportedDocumentError
from rerank_integrations.models import RerankDocument
from rerank_integrations.providers import _lexical, local
from rerank_integrations.providers.base import HTTPResponse
from rerank_integrations.providers.local import Local, bm25
from support import DATA_URI, PNG

pd: Any = import_module("pandas")  # has no types
TEXTS = ["a dog barks", "a cat sleeps", "the cat of the neighbours sees a cat"]


def ranked(
    scorer: Any = bm25, query: str = "cat", texts: Sequence[str] = TEXTS, **more: object
) -> list[tuple[int, float]]:
    """Index and score of each result of an engine with that scorer."""
    request = {"model": "bm25", "query": query, "documents": texts, **more}
    handler = Local(scorer=scorer).handler
    assert handler is not None
    answer = handler(json.dumps(request).encode())
    assert isinstance(answer, HTTPResponse)
    assert answer.status_code == 200
    results = json.loads(answer.content)["results"]
    return [(result["index"], result["relevance_score"]) for result in results]


def indexes(*args: Any, **more: Any) -> list[int]:
    """The ranking without its scores."""
    return [index for index, _ in ranked(*args, **more)]


def lengths(query: str, texts: Sequence[str]) -> list[float]:
    """A scorer that prefers long texts."""
    return [float(len(text)) for text in texts]


class CrossEncoder:
    """A model of the kind that scores pairs."""

    def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        """Prefer texts that are as long as the query."""
        return [-abs(float(len(query) - len(text))) for query, text in pairs]


def test_answer() -> None:
    """The engine answers the same bytes as a gateway."""
    handler = Local(scorer=lengths).handler
    assert handler is not None
    answer = handler(b'{"model":"m","query":"q","documents":["a","bb"]}')
    assert isinstance(answer, HTTPResponse)
    assert answer.headers == {"content-type": "application/json"}
    assert json.loads(answer.content) == {
        "model": "m",
        "results": [{"index": 1, "relevance_score": 2.0}, {"index": 0, "relevance_score": 1.0}],
    }


def test_best_first() -> None:
    """The text that says the word and little else comes first, one without it last."""
    assert indexes()[-1] == 0


def test_no_shared_word_scores_zero() -> None:
    """A text that shares no word scores nothing."""
    assert dict(ranked())[0] == 0.0


def test_rare_word_wins() -> None:
    """A rare word counts for more than a common one."""
    texts = ["a cat", "a cat", "a cat", "a lynx"]
    assert indexes(query="cat lynx", texts=texts)[0] == 3


def test_letter_case() -> None:
    """Upper and lower case are the same word."""
    assert indexes(query="STRASSE", texts=["Weg", "Straße"]) == [1, 0]


@cases(("top_n", "expected"), [(1, 1), (2, 2), (9, 3)])
def test_top_n(top_n: int, expected: int) -> None:
    """The engine obeys top_n."""
    assert len(ranked(top_n=top_n)) == expected


def test_one_document() -> None:
    """A single document with the word scores above zero."""
    assert ranked(texts=["a cat"])[0][1] > 0


def test_two_documents() -> None:
    """Of two documents the one with the word comes first."""
    assert indexes(texts=["a dog", "a cat"]) == [1, 0]


@cases(
    ("query", "texts"),
    [
        ("zebra", ["a cat", "a dog"]),
        ("zebra", ["a cat"]),
        ("?!", ["a cat", "a dog"]),
        ("cat", ["...", "?!"]),
        ("...", ["...", "!"]),
        ("", ["a cat"]),
    ],
)
def test_nothing_shared(query: str, texts: list[str]) -> None:
    """Where no word is shared all score zero, and the order stays."""
    assert ranked(query=query, texts=texts) == [(i, 0.0) for i in range(len(texts))]


def test_only_stop_words() -> None:
    """Stop words are words: a query of nothing else still ranks."""
    assert indexes(query="of the", texts=["cats and dogs", "the best of the cats"]) == [1, 0]


def test_no_documents() -> None:
    """Nothing to rank is an empty ranking."""
    assert bm25("cat", []) == []


@cases(
    ("query", "texts"),
    [
        ("猫", ["犬が公園を走る", "猫が窓辺で眠る"]),
        ("東京の天気", ["大阪は雨です", "東京は晴れです"]),
        ("北京", ["上海很大", "北京很冷"]),
        ("แมว", ["สุนัขวิ่ง", "แมวนอน"]),
        ("قطة", ["كلب ينبح", "قطة سوداء نائمة"]),
        ("बिल्ली", ["कुत्ता भौंकता है", "बिल्ली सोती है"]),
        ("고양이", ["개가 짖는다", "검은 고양이"]),
        ("кошка", ["собака лает", "чёрная кошка"]),
        ("חתול", ["כלב נובח", "חתול ישן"]),
        ("東京", ["大阪", "2024年の東京"]),
        ("速い", ["遅い言語", "Pythonは速い"]),
        ("แมว", ["สุนัข", "iPhoneแมว"]),
    ],
    ids=["ja", "ja2", "zh", "th", "ar", "hi", "ko", "ru", "he", "digits", "letters", "letters2"],
)
def test_other_scripts(query: str, texts: list[str]) -> None:
    """A text in any script is found by its own words, after letters and digits of others too."""
    assert indexes(query=query, texts=texts) == [1, 0]


@cases(
    ("query", "text"),
    [("किताब", "ताला बंद है"), ("पानी", "नीला आसमान")],
)
def test_letters_are_no_words(query: str, text: str) -> None:
    """In a script with vowel signs too, sharing letters is not sharing a word."""
    assert bm25(query, [text, "xyz"]) == [0.0, 0.0]


def test_scores_are_finite() -> None:
    """Scores are plain finite numbers, never negative."""
    scores = bm25("the cat", TEXTS)
    assert all(type(score) is float and math.isfinite(score) and score >= 0 for score in scores)


def test_same_scores_each_time() -> None:
    """The same texts score the same each time."""
    assert bm25("cat dog", TEXTS) == bm25("cat dog", TEXTS)


@cases("library", ["bm25s", "Stemmer", "numpy"])
@cases("engine", ["hybrid", "bm25"])
def test_missing_extra(monkeypatch: pytest.MonkeyPatch, library: str, engine: str) -> None:
    """Without the extra the message says which command to run; it is no error of the scorer."""
    if (library, engine) == ("numpy", "bm25"):
        return  # which needs none
    monkeypatch.setitem(sys.modules, library, None)
    _lexical._stop_lists.cache_clear()
    _lexical._stop_words.cache_clear()
    with pytest.raises(ConfigurationError, match=r"pip install 'rerank-integrations\[local\]'"):
        ranked(None, model=engine)


def test_own_scorer() -> None:
    """A function of query and texts ranks them."""
    assert ranked(lengths, texts=["aa", "a", "aaa"]) == [(2, 3.0), (0, 2.0), (1, 1.0)]


SCORES = [0.5, 2.0, -1.0]


@cases(
    "given",
    [
        (0.5, 2, -1),
        iter(SCORES),
        (score for score in SCORES),
        (Decimal("0.5"), Fraction(2), -1),
        np.array(SCORES),
        np.array(SCORES, dtype="float32"),
        np.array([[score] for score in SCORES]),
        np.array([SCORES]),
        [np.float32(score) for score in SCORES],
        [np.array(score) for score in SCORES],
        [np.array([score]) for score in SCORES],
        [[score] for score in SCORES],
        [tuple(SCORES)],
        pd.Series(SCORES, index=[7, 8, 9]),
        pd.DataFrame({"score": SCORES}),
    ],
    ids=str,
)
def test_form_of_scores(given: Any) -> None:
    """Scores are any iterable of numbers, or an array: flat, one row, or one column."""
    assert ranked(lambda query, texts: given) == [(1, 2.0), (0, 0.5), (2, -1.0)]


@cases("given", [np.array(0.5), np.float64(0.5), 0.5, np.array([[0.5]])], ids=str)
def test_only_score(given: Any) -> None:
    """For one text a bare number will do, which `squeeze()` leaves of an array."""
    assert ranked(lambda query, texts: given, texts=["a cat"]) == [(0, 0.5)]


def test_scorer_gets_the_texts() -> None:
    """A scorer is called with the query and all texts in their order."""
    calls: list[tuple[str, Sequence[str]]] = []

    def scorer(query: str, texts: Sequence[str]) -> Iterable[float]:
        calls.append((query, texts))
        return [0.0] * len(texts)

    ranked(scorer)
    assert calls == [("cat", TEXTS)]


@cases("scorer", [CrossEncoder(), CrossEncoder().predict])
def test_cross_encoder(scorer: object) -> None:
    """A cross-encoder, or its bound method, is called with pairs."""
    assert indexes(scorer, "abc", ["a", "abc", "ab"]) == [1, 2, 0]


def test_function_with_the_name_of_a_method() -> None:
    """A plain function is called with query and texts, whatever its name."""

    def predict(query: str, texts: Sequence[str]) -> list[float]:
        return lengths(query, texts)

    assert indexes(predict, texts=["a", "aaa", "aa"]) == [1, 2, 0]


def test_ties() -> None:
    """Texts with the same score keep their order."""

    def scorer(query: str, texts: Sequence[str]) -> list[float]:
        return [0.5, 0.9, 0.5, 0.9, 0.5]

    assert indexes(scorer, texts=list("abcde")) == [1, 3, 0, 2, 4]


async def by_length(query: str, texts: Sequence[str]) -> list[float]:
    """An async scorer that prefers long texts."""
    await asyncio.sleep(0)
    return lengths(query, texts)


async def one_by_one(query: str, texts: Sequence[str]) -> AsyncIterator[float]:
    """An async scorer that yields its scores."""
    for score in lengths(query, texts):
        await asyncio.sleep(0)
        yield score


class AsyncModel:
    """Models whose methods are async."""

    async def predict(self, pairs: list[tuple[str, str]]) -> Any:
        """Prefer long texts."""
        await asyncio.sleep(0)
        return np.array([[len(text)] for _, text in pairs])


class AsyncFunction:
    """A scorer with an async `__call__`."""

    async def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """Prefer long texts."""
        return await by_length(query, texts)


@cases(
    "scorer",
    [
        by_length,
        one_by_one,
        functools.partial(by_length),
        lambda query, texts: by_length(query, list(texts)),
        AsyncFunction(),
        AsyncModel(),
        AsyncModel().predict,
    ],
)
def test_async_scorer(call: Calls, scorer: Any) -> None:
    """A scorer may be async: a function, method or iterator, or one that returns an awaitable."""
    response = call(RerankClient("mine", provider=Local(scorer=scorer)), "cat", TEXTS)
    assert [(one.index, one.relevance_score) for one in response] == [(2, 36), (1, 12), (0, 11)]


@cases("name", LOOPS)
def test_loop_of_an_async_scorer(name: str) -> None:
    """An async scorer runs on the caller's event loop; under `rerank` on one of its own."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def scorer(query: str, texts: Sequence[str]) -> list[float]:
        loops.append(asyncio.get_running_loop())
        return [1.0]

    async def both() -> None:
        client = RerankClient("mine", provider=Local(scorer=scorer))
        await client.arerank("cat", ["a cat"])
        client.rerank("cat", ["a cat"])  # as in a notebook, where a loop runs in this thread

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(both())
        assert loops[0] is runner.get_loop()
    assert loops[1] not in (loops[0], None)
    assert loops[1].is_closed()


def test_deadline_of_an_async_scorer(call: Calls) -> None:
    """An async scorer ends at the deadline."""

    async def scorer(query: str, texts: Sequence[str]) -> list[float]:
        await asyncio.Event().wait()
        return []

    client = RerankClient("mine", provider=Local(scorer=scorer), deadline=0.2, max_retries=0)
    with pytest.raises(RerankTimeoutError, match=r"^The scorer timed out .*\(deadline=0\.2\)"):
        call(client)


def failing(query: str, texts: Sequence[str]) -> list[float]:
    """A scorer that fails."""
    raise ZeroDivisionError("no weights")


async def failing_later(query: str, texts: Sequence[str]) -> list[float]:
    """An async scorer that fails."""
    await asyncio.sleep(0)
    return failing(query, texts)


async def cancelled(query: str, texts: Sequence[str]) -> list[float]:
    """An async scorer that gives up, although nobody has cancelled the call."""
    raise asyncio.CancelledError


def yielding(query: str, texts: Sequence[str]) -> Iterator[float]:
    """A scorer that fails on its way."""
    yield 1.0
    yield from failing(query, texts)


@cases(
    ("scorer", "kind", "where"),
    [
        (failing, ZeroDivisionError, "failing"),
        (failing_later, ZeroDivisionError, "failing"),
        (yielding, ZeroDivisionError, "failing"),
        (cancelled, asyncio.CancelledError, "cancelled"),
        (lambda query, texts: next(iter(())), StopIteration, "<lambda>"),
        (lambda query: [1.0], TypeError, None),  # it was never entered
    ],
)
def test_failing_scorer(
    call: Calls, scorer: Any, kind: type[BaseException], where: str | None
) -> None:
    """A failing scorer is a ScorerError, with the scorer's error and frames; a fallback answers."""
    with pytest.raises(ScorerError, match=f"the scorer failed: {kind.__name__}") as caught:
        call(RerankClient("mine", provider=Local(scorer=scorer)))
    cause = caught.value.__cause__
    assert type(cause) is kind
    *_, (frame, _) = walk_tb(cause.__traceback__)
    last = frame.f_code
    assert last.co_name == where or (where is None and last.co_filename == local.__file__)
    assert (caught.value.is_retryable, len(caught.value.attempts)) == (False, 1)
    client = RerankClient("mine", provider=Local(scorer=scorer), fallbacks=["local:bm25"])
    assert attempts_of(call(client)) == [("local", "ScorerError"), ("local", "")]


@cases("kind", [KeyboardInterrupt, SystemExit])
def test_interrupted_scorer(kind: type[BaseException]) -> None:
    """Ctrl+C and an exit pass through, whatever the scorer is."""

    def scorer(query: str, texts: Sequence[str]) -> list[float]:
        raise kind

    async def later(query: str, texts: Sequence[str]) -> list[float]:
        raise kind

    for one in (scorer, later):
        client = RerankClient("mine", provider=Local(scorer=one))
        with pytest.raises(kind):
            client.rerank("cat", TEXTS)
        with pytest.raises(kind):
            asyncio.run(client.arerank("cat", TEXTS))


@cases(
    ("given", "why"),
    [
        (None, "returned NoneType; it must return one number for each text"),
        ("123", "returned str;"),
        (b"123", "returned bytes;"),
        ({0: 1.0, 1: 2.0, 2: 3.0}, "returned dict;"),
        ({1.0, 2.0, 3.0}, "returned set;"),
        (0.5, "1 scores for 3 texts"),
        ([1.0], "1 scores for 3 texts"),
        ([1.0] * 4, "4 scores for 3 texts"),
        ([], "0 scores for 3 texts"),
        (np.zeros((1, 2)), "2 scores for 3 texts"),
        (np.zeros((3, 2)), r"shape \(3, 2\); .* shape \(3,\)"),
        (np.zeros((3, 0)), r"shape \(3, 0\)"),
        (np.zeros((3, 1, 1)), r"shape \(3, 1, 1\)"),
        (pd.DataFrame({"a": [1, 2, 3], "b": [1, 2, 3]}), r"shape \(3, 2\)"),
        ([[1.0], [2.0, 3.0], [4.0]], "score 0 .* is list"),
        ([1.0, math.nan, 0.0], "score 1 .* is nan, which is not a finite number"),
        ([1.0, 0.0, -math.inf], "score 2 .* is -inf"),
        (np.array([1.0, math.nan, 0.0]), "score 1 .* is nan"),
        ([1.0, 0.0, "high"], "score 2 .* is 'high'"),
        ([1.0, 0.0, "0.5"], "score 2 .* is '0.5'"),
        ([1.0, None, 0.0], "score 1 .* is NoneType"),
        ([{"score": 1.0}] * 3, "score 0 .* is dict"),
        ([1.0, 10**400, 0.0], "score 1 .* is int"),
        ([1j, 0.0, 0.0], "score 0 .* is complex"),
    ],
)
def test_wrong_scores(given: Any, why: str) -> None:
    """Scores that are not one finite number a text are an error that says which, and how many."""
    with pytest.raises(ScorerError, match=why) as caught:
        ranked(lambda query, texts: given)
    assert not caught.value.is_retryable


@cases(
    ("scorer", "why"),
    [
        ("bm25", "not str"),
        (5, "not int"),
        (CrossEncoder, r"is the class CrossEncoder; .* Local\(scorer=CrossEncoder\(\.\.\.\)\)"),
    ],
)
def test_no_scorer(scorer: Any, why: str) -> None:
    """A scorer that cannot be called, or is a class, is refused when the engine is made."""
    with pytest.raises(ConfigurationError, match=why):
        Local(scorer=scorer)


def test_only_model() -> None:
    """Without a scorer the model is one of the engines; the message lists them."""
    for name in ("bm25", "hybrid"):
        Local().check(name)
    engines = "use one of local:hybrid, local:bm25, local:cross-encoder/<model or folder>"
    with pytest.raises(ConfigurationError, match=engines):
        Local().check("bge-reranker")


def test_model_of_an_own_scorer() -> None:
    """An own scorer may bear any name."""
    Local(scorer=lengths).check("my-model")


def test_repr() -> None:
    """A repr says how the engine is set, and not the scorer, which may be a large model."""
    shown = repr(Local(scorer=lengths, sees_images=True, language="de"))
    assert "sees_images=True, language='de', retrieval_weight=0.0" in shown
    assert "scorer" not in shown


def test_address() -> None:
    """The engine's address is one that no network resolves."""
    assert Local().url.startswith("http://local.invalid/")


def test_equal_engines() -> None:
    """Engines with the same scorer are equal, and others are not."""
    assert (Local() == Local(), Local() == Local(scorer=lengths)) == (True, False)


def test_scorer_that_sees() -> None:
    """A scorer that sees gets a mapping for a document with an image, and strings for the rest."""
    given: list[Any] = []

    def scorer(query: str, documents: Sequence[Any]) -> list[float]:
        given.extend(documents)
        return [float(len(document)) for document in documents]

    client = RerankClient("mine", provider=Local(scorer=scorer, sees_images=True))
    documents: list[Any] = [
        "a text",
        RerankDocument(image=PNG),
        RerankDocument(text="a caption", image=DATA_URI),
        {"title": "t", "text": "fields"},
        {"image": "https://example.org/a.png"},
    ]

    response = client.rerank("a query", documents)

    assert given == [
        "a text",
        {"image": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"},
        {"text": "a caption", "image": DATA_URI},
        "title: t\ntext: fields",
        {"image": "https://example.org/a.png"},
    ]
    assert [result.document for result in response] == [documents[i] for i in (3, 0, 2, 1, 4)]


def test_cross_encoder_that_sees() -> None:
    """A model that scores pairs and sees gets the query beside each mapping."""
    given: list[Any] = []

    class Seeing:
        """A model of the kind that scores pairs."""

        def predict(self, pairs: list[Any]) -> list[float]:
            """Note the pairs."""
            given.extend(pairs)
            return [1.0 for _ in pairs]

    client = RerankClient("mine", provider=Local(scorer=Seeing(), sees_images=True))
    client.rerank("a query", [{"image": DATA_URI}, "a text"])

    assert given == [("a query", {"image": DATA_URI}), ("a query", "a text")]


def test_scorer_that_does_not_see() -> None:
    """Without sees_images an image is refused, and the scorer is not called.

    An engine sees none, and an argument that it would ignore is refused.
    """
    calls: list[str] = []

    def noted(query: str, texts: Sequence[str]) -> Iterable[float]:
        calls.append(query)
        return lengths(query, texts)

    client = RerankClient("mine", provider=Local(scorer=noted))
    with pytest.raises(UnsupportedDocumentError, match=r"document 1: .*takes text only"):
        client.rerank("a query", ["a text", RerankDocument(text="a caption", image=PNG)])
    assert not calls
    ignored: list[tuple[str, dict[str, Any]]] = [
        ("hybrid", {"sees_images": True}),  # no engine sees any
        ("bm25", {"batch_size": 2}),
        ("cross-encoder/x", {"language": "de"}),
        ("mine", {"scorer": noted, "device": "cpu"}),
    ]
    for model, arguments in ignored:  # what an engine would ignore is refused, as all else is
        with pytest.raises(
            ConfigurationError, match=f"Local.{[*arguments][-1]}=....* has no effect"
        ):
            RerankClient(model, provider=Local(**arguments))
