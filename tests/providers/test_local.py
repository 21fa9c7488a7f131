"""Tests of the engine in this process."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from cases import cases
from rerank_integrations import RerankClient
from rerank_integrations.errors import ConfigurationError, ServerError, UnsupportedDocumentError
from rerank_integrations.models import RerankDocument
from rerank_integrations.providers.local import Local, Scorer, bm25
from support import DATA_URI, PNG

TEXTS = ["a dog barks", "a cat sleeps", "the cat of the neighbours sees a cat"]


def ranked(
    scorer: Any = bm25, query: str = "cat", texts: Sequence[str] = TEXTS, **more: object
) -> list[tuple[int, float]]:
    """Index and score of each result of an engine with that scorer."""
    request = {"model": "bm25", "query": query, "documents": texts, **more}
    handler = Local(scorer=scorer).handler
    assert handler is not None
    answer = handler(json.dumps(request).encode())
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
    ],
    ids=["ja", "ja2", "zh", "th", "ar", "hi", "ko", "ru", "he"],
)
def test_other_scripts(query: str, texts: list[str]) -> None:
    """A text in any script is found by its own words."""
    assert indexes(query=query, texts=texts) == [1, 0]


@cases(
    ("query", "texts"),
    [
        ("東京", ["大阪", "2024年の東京"]),
        ("速い", ["遅い言語", "Pythonは速い"]),
        ("แมว", ["สุนัข", "iPhoneแมว"]),
    ],
)
def test_mixed_scripts(query: str, texts: list[str]) -> None:
    """Letters and digits before a script without spaces do not hide its words."""
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


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the message says which command to run."""
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'rerank-integrations\[local\]'"):
        bm25("cat", ["a cat"])


def test_missing_extra_at_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is an error of the setup, not of the scorer."""
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ConfigurationError, match="needs the extra 'local'"):
        ranked()


def test_own_scorer() -> None:
    """A function of query and texts ranks them."""
    assert ranked(lengths, texts=["aa", "a", "aaa"]) == [(2, 3.0), (0, 2.0), (1, 1.0)]


def test_scorer_may_yield() -> None:
    """A scorer may return any iterable of numbers."""

    def scorer(query: str, texts: Sequence[str]) -> Iterator[int]:
        return iter(range(len(texts)))

    assert ranked(scorer) == [(2, 2.0), (1, 1.0), (0, 0.0)]


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


def _failing(query: str, texts: Sequence[str]) -> list[float]:
    raise ZeroDivisionError("no weights")


@cases(
    ("scorer", "why"),
    [
        (_failing, "the scorer failed: ZeroDivisionError: no weights"),
        (lambda query: [1.0], "the scorer failed: TypeError"),
        (lambda query, texts: None, "the scorer failed: TypeError"),
        (lambda query, texts: ["high"] * 3, "the scorer failed: ValueError"),
        (lambda query, texts: [1.0], "the scorer gave 1 scores for 3 texts"),
        (lambda query, texts: [1.0] * 4, "the scorer gave 4 scores for 3 texts"),
        (lambda query, texts: [], "the scorer gave 0 scores for 3 texts"),
        (lambda query, texts: [1.0, math.nan, 0.0], "not a finite number"),
        (lambda query, texts: [1.0, math.inf, 0.0], "not a finite number"),
    ],
)
def test_wrong_scorer(scorer: Scorer, why: str) -> None:
    """A scorer that fails or answers nonsense is an error of the far side, and final."""
    with pytest.raises(ServerError, match=why) as caught:
        ranked(scorer)
    error = caught.value
    assert (error.status_code, error.provider, error.is_retryable) == (500, "local", False)


def test_cause_of_a_failing_scorer() -> None:
    """A scorer's own exception is kept as the cause."""
    with pytest.raises(ServerError) as caught:
        ranked(_failing)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@cases("scorer", [None, "bm25", 5])
def test_no_scorer(scorer: Any) -> None:
    """A scorer that cannot be called is refused when the engine is made."""
    with pytest.raises(ConfigurationError, match=f"not {type(scorer).__name__}"):
        Local(scorer=scorer)


def test_only_model() -> None:
    """With the scorer out of the box the model is bm25."""
    Local().check("bm25")
    with pytest.raises(ConfigurationError, match="'local:bm25'"):
        Local().check("bge-reranker")


def test_model_of_an_own_scorer() -> None:
    """An own scorer may bear any name."""
    Local(scorer=lengths).check("my-model")


def test_repr() -> None:
    """A repr does not show the scorer, which may be a large model."""
    assert repr(Local(scorer=lengths)) == "Local(sees_images=False)"


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
    """Without sees_images an image is refused, and the scorer is not called."""
    calls: list[str] = []

    def noted(query: str, texts: Sequence[str]) -> Iterable[float]:
        calls.append(query)
        return lengths(query, texts)

    client = RerankClient("mine", provider=Local(scorer=noted))
    with pytest.raises(UnsupportedDocumentError, match=r"document 1: .*takes text only"):
        client.rerank("a query", ["a text", RerankDocument(text="a caption", image=PNG)])
    assert not calls


def test_repr_of_an_engine_that_sees() -> None:
    """A repr says that the engine sees images."""
    assert repr(Local(scorer=lengths, sees_images=True)) == "Local(sees_images=True)"
