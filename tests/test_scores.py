"""What scores are, what changes them, and what a result says besides."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from calls import Calls
from cases import cases
from loopback import Reply, Server, ranking
from rerank_integrations import (
    TEI,
    VLLM,
    Cohere,
    Compatible,
    ConfigurationError,
    Jina,
    LlamaCpp,
    Local,
    OpenRouter,
    Portkey,
    Provider,
    RelevantSpan,
    RerankClient,
    RerankDocument,
    RerankResponse,
)
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.providers.local import bm25

LOGITS = {"results": [{"index": i, "relevance_score": s} for i, s in enumerate((800.0, 0.0, -3.0))]}
TEXTS = ["a", "b", "c"]
SPANS = [{"start": 6, "end": 9, "score": 0.9}, {"start": 0, "end": 2, "score": 0.4}]


def llama(server: Server, **settings: Any) -> RerankClient:
    """A client of a server whose scores are logits."""
    return RerankClient("m", provider=LlamaCpp(base_url=server.url), max_retries=0, **settings)


def cohere(server: Server, *, spans: Any = True, **settings: Any) -> RerankClient:
    """A client of a server that marks the relevant spans of a document."""
    provider = Cohere(api_key="the-key", base_url=server.url, relevant_spans=spans)
    return RerankClient("rerank-v5.0-pro", provider=provider, max_retries=0, **settings)


def test_sigmoid_makes_probabilities(call: Calls, server: Server) -> None:
    """`score_transform="sigmoid"` is opt-in, and comes before the threshold."""
    server.plays(Reply(LOGITS))
    with llama(server) as client:
        plain = call(client, "q", TEXTS)
        changed = call(client, "q", TEXTS, score_transform="sigmoid", score_threshold=0.4)
    assert [one.relevance_score for one in plain] == [800.0, 0.0, -3.0]
    assert [one.relevance_score for one in changed] == [1.0, 0.5]
    assert (plain.score_kind, changed.score_kind) == ("logit", "probability")
    assert not changed.warnings


def test_a_function_changes_scores_and_the_order(server: Server) -> None:
    """A function of one score gives the score, by which results are ordered and merged."""
    server.plays(lambda received: ranking(ord(received.body["documents"][0])))
    with llama(server, score_transform=lambda score: -score) as client:
        response = client.rerank("q", TEXTS, max_documents_per_request=1)
    assert [(one.index, one.relevance_score) for one in response] == [
        (0, -97.0),
        (1, -98.0),
        (2, -99.0),
    ]
    assert response.score_kind == "unknown"


@cases(
    ("transform", "reason"),
    [
        (lambda score: "high", "could not convert string"),
        (lambda score: math.nan, "returned nan for the score 800.0"),
        (lambda score: int("x"), "invalid literal"),
    ],
)
def test_a_function_that_fails_is_a_wrong_argument(
    server: Server, transform: Callable[[float], Any], reason: str
) -> None:
    """A function that gives no finite number is a ConfigurationError, not a broken response."""
    server.plays(Reply(LOGITS))
    with (
        llama(server, score_transform=transform) as client,
        pytest.raises(ConfigurationError, match=reason),
    ):
        client.rerank("q", TEXTS)
    assert len(server.received) == 1


@cases("value", ["softmax", 1, int, np.array([1.0, 2.0])])
def test_a_wrong_transform(value: Any) -> None:
    """What is neither "sigmoid" nor a function is refused at once."""
    with pytest.raises(ConfigurationError, match="score_transform must be 'sigmoid'"):
        RerankClient("local:bm25", score_transform=value)


def test_sigmoid_of_probabilities_is_warned_of(server: Server) -> None:
    """A sigmoid of what is no logit says nothing, and the response says so."""
    server.plays(Reply({"results": [{"index": 0, "relevance_score": 0.5}]}))
    with cohere(server, spans=None) as client:
        response = client.rerank("q", ["a"], score_transform="sigmoid")
    [warning] = response.warnings
    assert "is for logits, but cohere returns scores of kind 'probability'" in warning
    assert response.score_kind == "unknown"


@cases(
    ("provider", "model", "kind"),
    [
        (Cohere(api_key="k"), "rerank-v3.5", "probability"),
        (Jina(api_key="k"), "jina-reranker-m0", "probability"),
        (Jina(api_key="k"), "jina-reranker-v3", "cosine"),
        (TEI(), "m", "probability"),
        (TEI(raw_scores=True), "m", "logit"),
        (OpenRouter(api_key="k"), "cohere/rerank-v3.5", "probability"),
        (OpenRouter(api_key="k"), "nvidia/llama-nemotron-rerank-vl-1b-v2", "logit"),
        (OpenRouter(api_key="k"), "qwen/qwen3-reranker-8b", "unknown"),
        (Portkey(api_key="k", provider="@cohere-prod"), "rerank-v3.5", "probability"),
        (Portkey(api_key="k", provider="@x"), "bge-reranker-v2-m3", "probability"),
        (Portkey(api_key="k", provider="@voyage"), "rerank-2.5", "unknown"),
        (Local(), "bm25", "unbounded"),
        (Local(scorer=bm25), "mine", "unbounded"),
        (Local(), "hybrid", "relative"),
        (Local(), "cross-encoder/some/model", "probability"),
        (Local(retrieval_weight=1), "bm25", "relative"),
        (Local(scorer=lambda _, texts: list(map(len, texts)), score_kind="logit"), "mine", "logit"),
        (Local(scorer=lambda query, texts: [1.0] * len(texts)), "mine", "unknown"),
        (Compatible(base_url="http://localhost"), "m", "unknown"),
    ],
)
def test_the_kind_of_scores(provider: Provider, model: str, kind: str) -> None:
    """A provider says what the scores of a model are, with its arguments as they are."""
    assert provider.kind_of_scores(model) == kind


def test_a_fallback_has_scores_of_its_own(server: Server, nobody: str) -> None:
    """A fallback's kind is its own, and what was set for another model's scores is not applied."""
    server.plays(Reply(LOGITS))
    first = TEI(base_url=nobody)
    with (
        llama(server) as second,
        RerankClient(
            "m", provider=first, max_retries=0, score_transform="sigmoid", fallbacks=[second]
        ) as client,
    ):
        response = client.rerank("q", TEXTS)
    assert response.score_kind == "logit"
    assert response[0].relevance_score == 800.0
    assert any("score_transform was not applied" in one for one in response.warnings)


@cases(
    ("document", "settings", "text"),
    [
        ("a red bicycle", {}, "a red bicycle"),
        ({"title": "t", "text": "a bicycle"}, {"rank_fields": ["text"]}, "a bicycle"),
        ({"title": "t", "text": "x"}, {}, "title: t\ntext: x"),
        (RerankDocument(text="a red bicycle"), {"max_document_chars": 6}, "a red"),
        ("\ud83d\ude00 a \ud83d red", {}, "\U0001f600 a \ufffd red"),
    ],
)
def test_spans_count_in_the_text_that_was_sent(
    server: Server, document: Any, settings: Mapping[str, Any], text: str
) -> None:
    """Spans are positions in `sent_text`, which is the text on the wire."""
    server.plays(
        Reply({"results": [{"index": 0, "relevance_score": 0.9, "relevant_spans": SPANS}]})
    )
    with cohere(server, spans={"threshold": 0.2}) as client:
        [result] = client.rerank("q", [document], **settings)
    assert server.received[0].body["documents"] == [text] == [result.sent_text]
    assert server.received[0].body["relevant_spans"] == {"mode": "enabled", "threshold": 0.2}
    assert result.spans == (RelevantSpan(6, 9, 0.9), RelevantSpan(0, 2, 0.4))
    assert result.document is document


def test_details_of_results(call: Calls, server: Server) -> None:
    """What a server says of a result is kept where it is there, also in copies and as JSON.

    The first result may have no spans where a later one has.
    """
    results = [
        {"index": 1, "relevance_score": 0.9, "relevant_spans": SPANS[:1], "meta_info": {"id": "x"}},
        {"index": 0, "relevance_score": 0.5, "document": {"text": "a"}, "object": "result"},
    ]
    server.plays(Reply({"results": results}))
    with cohere(server) as client:
        response = call(client, "q", TEXTS[:2], keep_raw=True)
        plain = {"index": 0, "relevance_score": 0.95}
        server.plays(Reply({"results": [plain, results[0]]}))
        best, other = call(client, "q", TEXTS[:2])
        assert (best.spans, other.spans) == ((), (RelevantSpan(6, 9, 0.9),))
    first, second = response
    assert (first.extra, second.extra) == ({"meta_info": {"id": "x"}}, {})
    assert (second.spans, second.sent_text) == ((), "a")
    assert first.to_dict() == {
        "index": 1,
        "relevance_score": 0.9,
        "document": "b",
        "spans": [SPANS[0]],
        "sent_text": "b",
        "extra": {"meta_info": {"id": "x"}},
    }
    assert response.to_dict()["results"][0] == first.to_dict()
    again: RerankResponse = pickle.loads(pickle.dumps(response))  # noqa: S301
    for other in (again[0], copy.deepcopy(first), copy.copy(first)):
        assert (other, other.details) == (first, first.details)


def test_usual_results_have_no_details(server: Server) -> None:
    """A result of index, score and echo has no spans, no text and no extra."""
    echo = {"index": 0, "relevance_score": 0.9, "document": {"text": "a"}, "input": "a"}
    server.plays(Reply({"results": [echo]}))
    with cohere(server, spans=None) as client:
        [result] = client.rerank("q", ["a"])
    assert result.details is None
    assert (result.spans, result.sent_text, dict(result.extra)) == ((), None, {})
    assert result.to_dict() == {"index": 0, "relevance_score": 0.9, "document": "a"}


def test_keys_are_cut_out_of_extras(server: Server) -> None:
    """A key that a server repeats in a result is not kept, also as the name of something."""
    said = {"by": ["the-key"], "of the-key": {"the-key": 1}}
    server.plays(Reply({"results": [{"index": 0, "relevance_score": 1.0, **said}]}))
    with cohere(server) as client:
        [result] = client.rerank("q", ["a"])
    assert result.extra == {"by": ["***"], "of ***": {"***": 1}}


def test_adapters_take_the_settings(server: Server) -> None:
    """An adapter has both settings; a function cannot be saved, and the word can."""
    adapter = RerankCompressor(model="local:bm25", score_transform="sigmoid")
    assert adapter.model_dump()["score_transform"] == "sigmoid"
    other = adapter.with_options(score_transform=abs)
    assert other.model_dump()["score_transform"] is None
    with pytest.raises(ValueError, match="a local scorer takes no instruction"):
        RerankCompressor(model="local:bm25", instruction="find pages")


@cases(
    ("value", "reason"),
    [
        ("", "must be a str"),
        ("  ", "must be a str"),
        (3, "must be a str"),
        ("find \ud83d", "has a lone surrogate"),
    ],
)
def test_a_wrong_instruction(value: Any, reason: str) -> None:
    """An instruction is a text that says something, of whole characters."""
    with pytest.raises(ConfigurationError, match=f"instruction {reason}"):
        RerankClient("m", provider=VLLM(), instruction=value)


def test_an_instruction_that_a_fallback_cannot_take(server: Server, nobody: str) -> None:
    """A fallback that takes no instruction ranks without it, with a warning."""
    server.plays(Reply(LOGITS))
    provider = Compatible(base_url=nobody, instruction_key="task")
    with (
        llama(server) as second,
        RerankClient(
            "m", provider=provider, max_retries=0, fallbacks=[second, "local:bm25"]
        ) as client,
    ):
        response = client.rerank("q", TEXTS, instruction="find pages")
    [warning] = [one for one in response.warnings if "instruction was not applied" in one]
    assert warning.endswith("llamacpp:m answered, without an instruction")
    assert "find pages" not in str(server.received[0].body)


def test_body_keys_of_the_dialect_are_not_overridden(server: Server) -> None:
    """`extra_body` holds no key that the call itself fills, however the server spells it.

    The message names the argument for it.
    """
    provider = Compatible(base_url=server.url, documents_key="texts", top_n_key="top_k")
    with RerankClient("m", provider=provider) as client:
        own = {"texts": "documents", "top_k": "top_n", "query": "query", "documents": "documents"}
        for name, argument in own.items():
            said = f"must not have the key {name!r}; pass it as the argument {argument}$"
            with pytest.raises(ConfigurationError, match=said):
                client.rerank("q", TEXTS, extra_body={name: 1})
    assert not server.received
