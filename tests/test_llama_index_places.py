"""Every place where a LlamaIndex user puts a reranker, on the real framework."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from llama_index.core import QueryBundle, VectorStoreIndex, get_response_synthesizer
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import (
    LongContextReorder,
    MetadataReplacementPostProcessor,
    SimilarityPostprocessor,
)
from llama_index.core.query_engine import (
    CitationQueryEngine,
    RetrieverQueryEngine,
    TransformQueryEngine,
)
from llama_index.core.schema import NodeWithScore
from pydantic import Field

from cases import cases
from llama_index_support import (
    QUERY,
    Ask,
    Candidates,
    failing,
    local,
    memory,
    openrouter,
    scoring,
    three,
    titles,
    tool_of,
)
from loopback import Server
from rerank_integrations import InvalidRequestError, Local, RerankClient, ScorerError
from rerank_integrations.llama_index import RerankPostprocessor

Build = Callable[[list[Any]], Any]


class Noting(RerankPostprocessor):
    """Notes which of its two methods was called."""

    called: list[str] = Field(default_factory=list)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        self.called.append("sync")
        return super()._postprocess_nodes(nodes, query_bundle)

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        self.called.append("async")
        return await super()._apostprocess_nodes(nodes, query_bundle)


def index() -> VectorStoreIndex:
    """An index of three nodes."""
    embedding = MockEmbedding(embed_dim=2)
    return VectorStoreIndex([found.node for found in three()], embed_model=embedding)


def engine_of(steps: list[Any], found: list[NodeWithScore] | None = None) -> RetrieverQueryEngine:
    """A query engine whose model repeats what it is shown."""
    return RetrieverQueryEngine.from_args(
        Candidates(found), llm=MockLLM(), node_postprocessors=steps
    )


ENGINES: dict[str, Build] = {
    "as_query_engine": lambda steps: index().as_query_engine(
        llm=MockLLM(), similarity_top_k=3, node_postprocessors=steps
    ),
    "from_args": engine_of,
    "constructor": lambda steps: RetrieverQueryEngine(
        Candidates(),
        response_synthesizer=get_response_synthesizer(llm=MockLLM()),
        node_postprocessors=steps,
    ),
    "citations": lambda steps: CitationQueryEngine(
        Candidates(), llm=MockLLM(), node_postprocessors=steps
    ),
    "citations from_args": lambda steps: CitationQueryEngine.from_args(
        index(),
        response_synthesizer=get_response_synthesizer(llm=MockLLM()),
        llm=MockLLM(),
        similarity_top_k=3,
        node_postprocessors=steps,
    ),
}
CHATS: dict[str, Build] = {
    "context": lambda steps: ContextChatEngine.from_defaults(
        Candidates(), llm=MockLLM(), memory=memory(), node_postprocessors=steps
    ),
    "condense": lambda steps: CondensePlusContextChatEngine.from_defaults(
        Candidates(), llm=MockLLM(), memory=memory(), node_postprocessors=steps
    ),
    "as_chat_engine": lambda steps: index().as_chat_engine(
        ChatMode.CONTEXT,
        llm=MockLLM(),
        memory=memory(),
        similarity_top_k=3,
        node_postprocessors=steps,
    ),
}
engines = cases("build", ENGINES.values(), ids=ENGINES)

chats = cases("build", CHATS.values(), ids=CHATS)


@engines
def test_in_a_query_engine(ask: Ask, build: Build) -> None:
    """An engine's sources are best first, at most top_n, each with a float, and shown as such."""
    answer = ask(build([local(top_n=2)]), "query", QUERY)

    assert titles(answer) == ["bicycle", "van"]
    scores = [found.score for found in answer.source_nodes]
    assert all(type(score) is float for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert str(answer).index("a red bicycle") < str(answer).index("a red van")
    assert "a blue car" not in str(answer)


@chats
def test_in_a_chat_engine(ask: Ask, build: Build) -> None:
    """A chat engine shows its model the reranked nodes and no others, and cites them."""
    answer = ask(build([local(top_n=2)]), "chat", QUERY)

    assert titles(answer) == ["bicycle", "van"]
    assert answer.response.index("a red bicycle") < answer.response.index("a red van")
    assert "a blue car" not in answer.response


@chats
def test_in_a_streamed_chat(build: Build) -> None:
    """A streamed answer is made out of the reranked nodes."""
    answer = build([local(top_n=1)]).stream_chat(QUERY)
    said = "".join(answer.response_gen)

    assert titles(answer) == ["bicycle"]
    assert "a red bicycle" in said
    assert "a blue car" not in said


@chats
async def test_in_a_streamed_chat_on_a_loop(build: Build) -> None:
    """A streamed answer on an event loop is made out of the reranked nodes."""
    answer = await build([local(top_n=1)]).astream_chat(QUERY)
    said = "".join([token async for token in answer.async_response_gen()])

    assert titles(answer) == ["bicycle"]
    assert "a red bicycle" in said
    assert "a blue car" not in said


def test_a_chat_goes_on(ask: Ask) -> None:
    """The second question of a chat is ranked by itself, not by what was asked before."""
    chat = CHATS["context"]([local(top_n=1)])

    assert titles(ask(chat, "chat", QUERY)) == ["bicycle"]
    assert titles(ask(chat, "chat", "blue car")) == ["car"]


@cases(
    ("build", "method"),
    [(build, "aquery") for build in ENGINES.values()]
    + [(build, "achat") for build in CHATS.values()]
    + [(tool_of, "acall")],
    ids=[*ENGINES, *CHATS, "tool"],
)
async def test_an_engine_on_a_loop_does_not_block_it(build: Build, method: str) -> None:
    """On an event loop the engines, and the tool, call the async method alone."""
    reranker = Noting(model="local:bm25")
    engine = build([reranker])
    if "apostprocess_nodes" not in inspect.getsource(type(engine)):
        pytest.skip("this LlamaIndex calls the sync method from its async one")

    await getattr(engine, method)(QUERY)

    assert reranker.called == ["async"]


@cases("found", [[], three()], ids=["nothing", "something"])
def test_in_an_engine_that_finds_nothing(
    ask: Ask, server: Server, found: list[NodeWithScore]
) -> None:
    """Where nothing is left to rank, an engine says so and nothing is sent."""
    cut = SimilarityPostprocessor(similarity_cutoff=1.0)

    answer = ask(engine_of([cut, openrouter(server)], found), "query", QUERY)

    assert (str(answer), answer.source_nodes) == ("Empty Response", [])
    assert not server.received


def test_a_failure_leaves_an_engine_as_it_is(ask: Ask) -> None:
    """An engine raises the postprocessor's error, of the same class and with the same words."""
    with pytest.raises(ScorerError, match="no memory"):
        ask(engine_of([RerankPostprocessor(client=failing())]), "query", QUERY)


def test_a_failure_passed_over_in_an_engine(ask: Ask) -> None:
    """With on_error="passthrough" an engine answers out of the first top_n nodes."""
    reranker = RerankPostprocessor(client=failing(), on_error="passthrough", top_n=2)

    answer = ask(engine_of([reranker]), "query", QUERY)

    assert [(n.node.node_id, n.score) for n in answer.source_nodes] == [
        ("car", 0.9),
        ("bicycle", 0.5),
    ]


def test_after_a_cutoff(ask: Ask) -> None:
    """SimilarityPostprocessor before it cuts by the first stage's scores."""
    steps = [SimilarityPostprocessor(similarity_cutoff=0.3), local()]

    assert titles(ask(engine_of(steps), "query", QUERY)) == ["bicycle", "car"]


def test_before_a_cutoff(ask: Ask) -> None:
    """SimilarityPostprocessor after it cuts by the new scores."""
    steps = [
        RerankPostprocessor(client=scoring(0.1, 0.95, 0.5)),
        SimilarityPostprocessor(similarity_cutoff=0.5),
    ]

    assert titles(ask(engine_of(steps), "query", QUERY)) == ["bicycle", "van"]


def test_before_a_reordering(ask: Ask) -> None:
    """LongContextReorder after it puts the best first and the next best last."""
    steps = [RerankPostprocessor(client=scoring(0.1, 0.95, 0.5)), LongContextReorder()]

    assert titles(ask(engine_of(steps), "query", QUERY)) == ["bicycle", "car", "van"]


def test_after_a_replacement(ask: Ask) -> None:
    """What MetadataReplacementPostProcessor put in the place of the text is what is ranked."""
    found = three()
    found[0].node.metadata["window"] = "a red bicycle, a very red bicycle"
    steps = [MetadataReplacementPostProcessor("window"), local(top_n=1, rank_fields=["text"])]

    assert titles(ask(engine_of(steps, found), "query", QUERY)) == ["car"]


def test_two_in_a_row(ask: Ask) -> None:
    """A second reranker ranks what the first one kept."""
    steps = [local(top_n=2), RerankPostprocessor(client=scoring(0.1, 0.9))]

    assert titles(ask(engine_of(steps), "query", QUERY)) == ["van", "bicycle"]


def test_a_query_is_ranked_by_its_own_words(ask: Ask) -> None:
    """What HyDE made up for the embedding takes no part in the ranking."""
    asked: list[str] = []

    def scorer(query: str, texts: Sequence[str]) -> list[float]:
        asked.append(query)
        return [0.0] * len(texts)

    client = RerankClient("mine", provider=Local(scorer=scorer))
    inner = engine_of([RerankPostprocessor(client=client)])
    hyde = HyDEQueryTransform(llm=MockLLM())
    assert len(hyde.run(QUERY).embedding_strs) == 2

    ask(TransformQueryEngine(inner, hyde), "query", QUERY)

    assert asked == [QUERY]


def test_in_two_engines_at_once(ask: Ask) -> None:
    """One postprocessor serves two engines, and each gets its own nodes back."""
    reranker = local(top_n=1)
    first, second = engine_of([reranker]), engine_of([reranker], three()[::2])

    answers = [ask(engine, "query", QUERY) for engine in (first, second, first)]

    assert [titles(answer) for answer in answers] == [["bicycle"], ["van"], ["bicycle"]]


async def test_in_two_engines_on_one_loop(server: Server) -> None:
    """Two engines that share it may be asked at the same time."""
    async with openrouter(server, top_n=1, rank_fields=["text"]) as reranker:
        first, second = engine_of([reranker]), engine_of([reranker], three()[::2])
        asked = [(first, "a red bicycle"), (second, "a red van"), (first, "a blue car")] * 5

        answers = await asyncio.gather(*(engine.aquery(query) for engine, query in asked))

    assert [titles(answer) for answer in answers] == [["bicycle"], ["van"], ["car"]] * 5


async def test_a_bundle_and_a_text_at_once() -> None:
    """A query given twice is refused by the framework's own method, on both paths."""
    both: dict[str, Any] = {"query_bundle": QueryBundle(QUERY), "query_str": QUERY}

    with pytest.raises(ValueError, match="both"):
        local().postprocess_nodes(three(), **both)
    with pytest.raises(ValueError, match="both"):
        await local().apostprocess_nodes(three(), **both)


def test_without_a_query(ask: Ask) -> None:
    """Nodes without a query are refused, no nodes are not, on both paths."""
    assert ask(local(), "postprocess_nodes", []) == []
    with pytest.raises(InvalidRequestError, match="query_str="):
        ask(local(), "postprocess_nodes", three())
