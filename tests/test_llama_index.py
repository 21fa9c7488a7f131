"""RerankPostprocessor inside the real LlamaIndex."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from cases import cases
from llama_index_support import Rerank
from rerank_integrations import (
    ConfigurationError,
    InvalidRequestError,
    Local,
    RerankClient,
    ScorerError,
)
from rerank_integrations.llama_index import RerankPostprocessor


def listening(seen: list[str]) -> RerankClient:
    """A client that notes the texts it is asked to rank."""

    def scorer(query: str, texts: Sequence[str]) -> list[float]:
        seen.extend(texts)
        return [0.0] * len(texts)

    return RerankClient("mine", provider=Local(scorer=scorer))


def test_the_best_come_first_with_their_score(rerank: Rerank, nodes: list[NodeWithScore]) -> None:
    """The result is best first, at most top_n, each with a float as its score."""
    kept = rerank(RerankPostprocessor(model="local:bm25", top_n=2), nodes, "red bicycle")

    assert [found.node.node_id for found in kept] == ["bicycle", "van"]
    assert all(type(found.score) is float for found in kept)


def test_nodes_keep_their_identity_and_wrappers_their_score(
    rerank: Rerank, nodes: list[NodeWithScore]
) -> None:
    """The same node comes back in a new wrapper, and the old wrapper keeps its score."""
    kept = rerank(RerankPostprocessor(model="local:bm25"), nodes, "red bicycle")

    assert {id(found.node) for found in kept} == {id(found.node) for found in nodes}
    assert [found.score for found in nodes] == [0.5, 0.5, 0.5]


def test_no_nodes_no_request(rerank: Rerank) -> None:
    """An empty list comes back empty, and the scorer is not called."""
    seen: list[str] = []

    assert rerank(RerankPostprocessor(client=listening(seen)), [], "red") == []
    assert seen == []


def test_the_embed_content_is_ranked_without_fields(
    rerank: Rerank, nodes: list[NodeWithScore]
) -> None:
    """Without rank_fields a node is ranked by its EMBED content."""
    seen: list[str] = []

    rerank(RerankPostprocessor(client=listening(seen)), nodes, "red")

    assert seen[0] == "title: car\n\na blue car"


def test_fields_are_ranked_in_the_order_that_was_named(
    rerank: Rerank, nodes: list[NodeWithScore]
) -> None:
    """rank_fields maps the node's own text, called text, and metadata to what is ranked."""
    seen: list[str] = []

    rerank(RerankPostprocessor(client=listening(seen), rank_fields=["text", "title"]), nodes, "red")

    assert seen[0] == "text: a blue car\ntitle: car"


def test_it_drops_into_a_query_engine(nodes: list[NodeWithScore]) -> None:
    """A query engine accepts it, and its source nodes are the reranked ones, on both paths."""
    index = VectorStoreIndex(
        [found.node for found in nodes], embed_model=MockEmbedding(embed_dim=2)
    )
    engine = index.as_query_engine(
        llm=MockLLM(),
        similarity_top_k=3,
        node_postprocessors=[RerankPostprocessor(model="local:bm25", top_n=1)],
    )

    answers = [engine.query("red bicycle"), asyncio.run(engine.aquery("red bicycle"))]

    assert [[n.node_id for n in answer.source_nodes] for answer in answers] == [["bicycle"]] * 2


def test_a_query_is_needed_to_rank_nodes(nodes: list[NodeWithScore]) -> None:
    """Nodes without a query are refused with the cure; no nodes need no query."""
    reranker = RerankPostprocessor(model="local:bm25")

    assert reranker.postprocess_nodes([]) == []
    with pytest.raises(InvalidRequestError, match="query_str="):
        reranker.postprocess_nodes(nodes)


def test_a_query_may_come_as_a_bundle_or_a_plain_string(nodes: list[NodeWithScore]) -> None:
    """The second positional argument is a QueryBundle, and a str there works as well."""
    reranker = RerankPostprocessor(model="local:bm25", top_n=1)

    [by_bundle] = reranker.postprocess_nodes(nodes, QueryBundle("red bicycle"))
    [by_text] = reranker.postprocess_nodes(nodes, "red bicycle")  # type: ignore[arg-type]

    assert by_bundle == by_text


def test_only_what_reaches_the_threshold_is_kept(
    rerank: Rerank, nodes: list[NodeWithScore]
) -> None:
    """score_threshold keeps the nodes whose score is at least that."""
    scores = {"a blue car": 0.2, "a red bicycle": 0.7, "a red van": 0.5}
    client = RerankClient(
        "mine", provider=Local(scorer=lambda query, texts: [scores[t] for t in texts])
    )
    reranker = RerankPostprocessor(client=client, score_threshold=0.5, rank_fields=["text"])

    assert [found.score for found in rerank(reranker, nodes, "red")] == [0.7, 0.5]


def test_a_failing_provider_can_be_passed_by(
    rerank: Rerank, nodes: list[NodeWithScore], caplog: pytest.LogCaptureFixture
) -> None:
    """on_error="passthrough" gives the first top_n nodes as they were, with a logged warning."""

    def failing(query: str, texts: Sequence[str]) -> list[float]:
        raise RuntimeError("no memory")

    client = RerankClient("mine", provider=Local(scorer=failing))
    with pytest.raises(ScorerError, match="no memory"):
        rerank(RerankPostprocessor(client=client), nodes, "red")

    kept = rerank(RerankPostprocessor(client=client, on_error="passthrough", top_n=2), nodes, "red")

    assert kept == nodes[:2]
    assert "no memory" in caplog.text


def test_a_mistake_on_this_side_is_never_passed_by(
    rerank: Rerank, nodes: list[NodeWithScore]
) -> None:
    """on_error="passthrough" does not hide a request that was refused before it was sent."""
    reranker = RerankPostprocessor(model="local:bm25", on_error="passthrough")

    with pytest.raises(InvalidRequestError, match="query is empty"):
        rerank(reranker, nodes, " ")


def test_both_event_channels_hear_of_a_call(
    rerank: Rerank, nodes: list[NodeWithScore], heard: list[Any]
) -> None:
    """A call is told to both channels, on both paths, in a span, with what it cost in the tags."""
    debug = LlamaDebugHandler(print_trace_on_end=False)
    reranker = RerankPostprocessor(model="local:bm25", callback_manager=CallbackManager([debug]))

    kept = rerank(reranker, nodes, "red bicycle")

    [start] = (event for event in heard if isinstance(event, ReRankStartEvent))
    [end] = (event for event in heard if isinstance(event, ReRankEndEvent))
    assert (start.top_n, start.model_name, start.span_id is None) == (3, "bm25", False)
    assert start.tags["rerank_provider"] == "local"
    assert end.tags["rerank_retries"] == 0
    assert [n.node.node_id for n in end.nodes] == [n.node.node_id for n in kept]
    [(begun, ended)] = debug.get_event_pairs(CBEventType.RERANKING)
    assert begun.payload is not None
    assert begun.payload[EventPayload.TOP_K] == 3
    assert ended.payload is not None
    assert len(ended.payload[EventPayload.NODES]) == 3


def test_events_hold_copies(rerank: Rerank, nodes: list[NodeWithScore], heard: list[Any]) -> None:
    """What a caller does to the result does not change what the events hold."""
    kept = rerank(RerankPostprocessor(model="local:bm25"), nodes, "red bicycle")
    kept[0].score = -1.0
    nodes[0].score = -1.0

    assert all(n.score != -1.0 for e in heard for n in getattr(e, "nodes", []))


def test_the_retrieval_score_is_kept_on_request(rerank: Rerank, nodes: list[NodeWithScore]) -> None:
    """keep_retrieval_score notes the first score in a copied node, out of any model's sight."""
    reranker = RerankPostprocessor(model="local:bm25", keep_retrieval_score=True)

    best = rerank(reranker, nodes, "red bicycle")[0].node

    assert best.metadata["retrieval_score"] == 0.5
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert "retrieval_score" not in best.get_content(metadata_mode=mode)
    assert all("retrieval_score" not in found.node.metadata for found in nodes)


def test_the_metadata_mode_says_what_is_ranked(rerank: Rerank, nodes: list[NodeWithScore]) -> None:
    """metadata_mode chooses the metadata in the content that is ranked."""
    seen: list[str] = []

    rerank(
        RerankPostprocessor(client=listening(seen), metadata_mode=MetadataMode.NONE), nodes, "red"
    )

    assert seen == ["a blue car", "a red bicycle", "a red van"]


def test_no_key_is_shown() -> None:
    """A key appears in no repr and no dump, and the dump makes the same postprocessor again."""
    reranker = RerankPostprocessor(model="openrouter:m", api_key="sk-secret-1")
    shown = f"{reranker!r} {reranker} {reranker.to_dict()} {reranker.to_json()}"

    assert "sk-secret-1" not in shown
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENROUTER_API_KEY", "sk-secret-2")
        assert RerankPostprocessor.from_dict(reranker.to_dict()).model == "openrouter:m"


@cases(
    ("arguments", "cure"),
    [
        ({}, "either model="),
        ({"model": "local:bm25", "topn": 1}, "topn"),
        ({"model": "local:bm25", "top_n": 0}, "top_n must be an int of at least 1"),
        ({"model": "together:x"}, "TOGETHER_API_KEY"),
        ({"client": "local:bm25"}, "RerankClient"),
    ],
)
def test_a_wrong_setup_is_refused_at_once(arguments: dict[str, Any], cure: str) -> None:
    """Construction refuses what could not work, and says the cure."""
    with pytest.raises((ConfigurationError, InvalidRequestError), match=cure):
        RerankPostprocessor(**arguments)
