"""Every place where a LangChain user puts a reranker, on the real framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    ConfigurableField,
    Runnable,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tools import create_retriever_tool
from langchain_text_splitters import CharacterTextSplitter

from cases import cases
from langchain_support import QUERY, Candidates, Tracer, Way, ids, local, openrouter, three
from loopback import Server
from rerank_integrations import (
    ConfigurationError,
    InvalidRequestError,
    RerankClient,
    RerankTimeoutError,
)
from rerank_integrations.langchain import RerankCompressor


class Without(BaseDocumentTransformer):
    """Drops the documents that hold a word."""

    def __init__(self, word: str) -> None:
        self._word = word

    def transform_documents(self, documents: Sequence[Document], **_: Any) -> Sequence[Document]:
        """Drop them."""
        return [document for document in documents if self._word not in document.page_content]


def found() -> Candidates:
    """A first stage."""
    return Candidates(found=three())


def two_stages(compressor: Any = None) -> ContextualCompressionRetriever:
    """A first stage and a compressor behind it, which keeps one document."""
    return ContextualCompressionRetriever(
        base_retriever=found(), base_compressor=compressor or local(top_n=1)
    )


def answering(documents: Runnable[str, Any]) -> Runnable[str, str]:
    """A chain that has a model answer out of the documents for a question."""
    prompt = ChatPromptTemplate.from_template("Answer {question} out of {context}")
    model = FakeListChatModel(responses=["The red one."])
    asked = RunnableParallel(context=documents, question=RunnablePassthrough())
    return asked | prompt | model | StrOutputParser()


def configurable(compressor: RerankCompressor, **ids: str) -> Runnable[Any, list[Document]]:
    """A step some fields of which can be configured under an id."""
    fields = {name: ConfigurableField(id=each) for name, each in ids.items()}
    return compressor.as_runnable().configurable_fields(**fields)


def given(query: str = QUERY) -> dict[str, Any]:
    """What a step takes."""
    return {"query": query, "documents": three()}


def test_in_a_retriever(way: Way) -> None:
    """ContextualCompressionRetriever returns the reranked documents."""
    (kept,) = way.invoke(two_stages(), QUERY)

    assert kept.id == "2"
    assert type(kept.metadata["relevance_score"]) is float


def test_in_a_retriever_that_finds_nothing(way: Way) -> None:
    """ContextualCompressionRetriever returns nothing where nothing was found."""
    retriever = ContextualCompressionRetriever(
        base_retriever=Candidates(found=[]), base_compressor=local()
    )

    assert way.invoke(retriever, QUERY) == []


@cases(
    "documents",
    [
        two_stages(),
        local(top_n=1).as_runnable(found()),
        RunnableParallel(query=RunnablePassthrough(), documents=found())
        | local(top_n=1).as_runnable(),
        RunnableLambda(lambda query: local(top_n=1).compress_documents(three(), query)),
    ],
    ids=["retriever", "as_runnable with a retriever", "as_runnable", "lambda"],
)
def test_in_a_chain_with_a_model(way: Way, documents: Runnable[str, Any]) -> None:
    """Inside a chain the model is shown the reranked documents and no others."""
    tracer = Tracer()

    answer = way.invoke(answering(documents), QUERY, {"callbacks": [tracer]})

    assert answer == "The red one."
    shown = str(tracer.run("FakeListChatModel").inputs)
    assert "a red bicycle" in shown
    assert "car" not in shown


def test_in_a_pipeline(way: Way) -> None:
    """DocumentCompressorPipeline hands it what other transformers made, and takes its result."""
    splitter = CharacterTextSplitter(separator=". ", chunk_size=14, chunk_overlap=0)
    text = Document("a red car. a red bicycle. a blue car", metadata={"source": "s"})
    pipeline = DocumentCompressorPipeline(
        transformers=[splitter, Without("blue"), local(), Without("car")]
    )

    (kept,) = way.compress(pipeline, [text])

    assert kept.page_content == "a red bicycle"
    assert kept.metadata.keys() == {"source", "relevance_score"}


@cases("documents", [[], three()], ids=["nothing", "nothing left"])
def test_in_a_pipeline_without_documents(
    way: Way, server: Server, documents: list[Document]
) -> None:
    """DocumentCompressorPipeline may call it with an empty list, which sends nothing."""
    pipeline = DocumentCompressorPipeline(transformers=[Without("a"), openrouter(server)])

    assert list(way.compress(pipeline, documents)) == []
    assert not server.received


def test_in_a_pipeline_behind_a_retriever(way: Way) -> None:
    """A pipeline that holds it is a retriever's compressor, and its run nests all the same."""
    tracer = Tracer()
    pipeline = DocumentCompressorPipeline(transformers=[Without("blue"), local(top_n=1)])

    kept = way.invoke(two_stages(pipeline), QUERY, {"callbacks": [tracer]})

    assert ids(kept) == ["2"]
    outer = tracer.run("ContextualCompressionRetriever")
    assert tracer.run().parent_run_id == outer.id


def test_as_a_tool(way: Way) -> None:
    """create_retriever_tool gives an agent the text of the reranked documents."""
    tool = create_retriever_tool(two_stages(), "search", "Finds vehicles.")

    assert way.invoke(tool, {"query": QUERY}) == "a red bicycle"


def test_as_a_tool_with_documents(way: Way) -> None:
    """create_retriever_tool hands the reranked documents on as the artifact of its message."""
    tool = create_retriever_tool(
        two_stages(), "search", "Finds vehicles.", response_format="content_and_artifact"
    )
    asked = {"name": "search", "args": {"query": QUERY}, "id": "1", "type": "tool_call"}

    message = way.invoke(tool, asked)

    assert isinstance(message, ToolMessage)
    assert ids(message.artifact) == ["2"]
    assert message.artifact[0].metadata["relevance_score"] > 0


def test_as_a_step(way: Way) -> None:
    """as_runnable() takes a query and documents and gives the reranked documents."""
    assert ids(way.invoke(local(top_n=2).as_runnable(), given())) == ["2", "3"]


def test_as_a_step_without_documents(way: Way) -> None:
    """as_runnable() gives an empty list for an empty list."""
    assert way.invoke(local().as_runnable(), {"query": QUERY, "documents": []}) == []


def test_as_a_step_with_more_in_its_input(way: Way) -> None:
    """as_runnable() passes over further keys of its input."""
    assert ids(way.invoke(local(top_n=1).as_runnable(), given() | {"history": []})) == ["2"]


def test_as_a_step_with_a_retriever(way: Way) -> None:
    """as_runnable(retriever) takes a query and gives the reranked documents."""
    assert ids(way.invoke(local(top_n=2).as_runnable(found()), QUERY)) == ["2", "3"]


def test_a_batch_of_steps(way: Way) -> None:
    """A batch gives each query its own documents, in order."""
    step = local(top_n=1).as_runnable()

    kept = way.batch(step, [given("bicycle"), given("blue")])

    assert [ids(each) for each in kept] == [["2"], ["1"]]


def test_a_batch_with_a_retriever(way: Way) -> None:
    """A batch of queries gives each its own documents, in order."""
    kept = way.batch(local(top_n=1).as_runnable(found()), ["bicycle", "blue"])

    assert [ids(each) for each in kept] == [["2"], ["1"]]


def test_a_wrong_input_in_a_batch_fails_alone(way: Way) -> None:
    """With return_exceptions one wrong input does not take the others with it."""
    step = local(top_n=1).as_runnable()

    kept, failure = way.batch(step, [given(), {"query": QUERY}], return_exceptions=True)

    assert ids(kept) == ["2"]
    assert isinstance(failure, InvalidRequestError)


@cases(
    ("wrong", "cure"),
    [
        (QUERY, "query.*documents"),
        (None, "query.*documents"),
        (three(), "query.*documents"),
        ({}, "query.*documents"),
        ({"query": QUERY}, "query.*documents"),
        ({"documents": three()}, "query.*documents"),
        ({"query": None, "documents": three()}, "query"),
        ({"query": three(), "documents": three()}, "query"),
        ({"query": "", "documents": three()}, "query"),
        ({"query": QUERY, "documents": None}, "documents"),
        ({"query": QUERY, "documents": "a red bicycle"}, "documents"),
        ({"query": QUERY, "documents": three()[0]}, "documents"),
        ({"query": QUERY, "documents": ["a red bicycle"]}, "[Dd]ocument"),
    ],
)
def test_a_step_refuses_a_wrong_input(way: Way, server: Server, wrong: Any, cure: str) -> None:
    """Anything but a query and documents is an InvalidRequestError, and nothing is sent."""
    with pytest.raises(InvalidRequestError, match=cure):
        way.invoke(openrouter(server).as_runnable(), wrong)
    assert not server.received


def test_a_steps_top_n_can_be_configured(way: Way) -> None:
    """configurable_fields(top_n=...) lets each call say how many to keep."""
    step = configurable(local(top_n=2), top_n="keep")

    one = way.invoke(step, given(), {"configurable": {"keep": 1}})
    every = way.invoke(step, given(), {"configurable": {"keep": None}})
    own = way.invoke(step, given())

    assert [len(one), len(every), len(own)] == [1, 3, 2]


def test_a_steps_rank_fields_can_be_configured(way: Way) -> None:
    """configurable_fields(rank_fields=...) lets each call say what to rank by."""
    step = configurable(local(top_n=1), rank_fields="fields")
    documents = [Document("bicycle", id="1"), Document("x", id="2", metadata={"t": "bicycle"})]
    asked = {"query": "bicycle", "documents": documents}

    assert ids(way.invoke(step, asked, {"configurable": {"fields": ["t"]}})) == ["2"]
    assert ids(way.invoke(step, asked)) == ["1"]


def test_a_steps_model_can_be_configured(way: Way, server: Server) -> None:
    """configurable_fields(model=...) lets each call say which model to ask."""
    step = configurable(openrouter(server), model="model")

    way.invoke(step, given(), {"configurable": {"model": "openrouter:other"}})
    way.invoke(step, given())

    assert [received.body["model"] for received in server.received] == ["other", "m"]
    connections = server.connections
    with openrouter(server, requests_per_minute=3, deadline=1) as limited:
        step = configurable(limited, model="model")
        for model in ("openrouter:m", "openrouter:other", "openrouter:third"):
            way.invoke(step, given(), {"configurable": {"model": model}})
        with pytest.raises(RerankTimeoutError, match="the rate limit"):  # it is for all models
            way.invoke(step, given(), {"configurable": {"model": "openrouter:other"}})
    assert server.connections == connections + 1
    keyed = configurable(RerankCompressor(model="voyage:m", api_key="k"), model="model")
    with pytest.raises(ConfigurationError, match="not sent to cohere"):
        way.invoke(keyed, given(), {"configurable": {"model": "cohere:m"}})


def test_what_is_not_configured_stays_as_the_client_has_it(way: Way) -> None:
    """Configuring one option of a step leaves the client's other options in force."""
    client = RerankClient("local:bm25", top_n=1)
    step = configurable(RerankCompressor(client=client), rank_fields="fields")

    kept = way.invoke(step, given(), {"configurable": {"fields": ["title"]}})

    assert ids(kept) == ["2"]


def test_a_wrong_configuration_is_refused(way: Way) -> None:
    """A top_n of 0 that comes with a call is refused as it is at construction."""
    step = configurable(local(), top_n="keep")

    with pytest.raises(ValueError, match="top_n"):
        way.invoke(step, given(), {"configurable": {"keep": 0}})


def test_a_configured_step_in_a_batch(way: Way) -> None:
    """A batch takes one configuration for all, or one for each."""
    step = configurable(local(), top_n="keep")
    configs = [{"configurable": {"keep": 1}}, {"configurable": {"keep": 2}}]

    each = way.batch(step, [given(), given()], config=configs)
    alike = way.batch(step, [given(), given()], config=configs[0])

    assert [len(kept) for kept in (*each, *alike)] == [1, 2, 1, 1]


def test_a_retrievers_compressor_can_be_configured(way: Way) -> None:
    """configurable_fields(base_compressor=...) exchanges the compressor for a call."""
    field = ConfigurableField(id="reranker")
    retriever = two_stages().configurable_fields(base_compressor=field)

    other = way.invoke(retriever, QUERY, {"configurable": {"reranker": local(top_n=2)}})
    own = way.invoke(retriever, QUERY)

    assert [len(other), len(own)] == [2, 1]


def test_in_a_lambda(way: Way) -> None:
    """The compressor can be called in a RunnableLambda, as LangChain's documentation shows."""
    reranker, retriever = local(top_n=1), found()
    step: Runnable[str, Any] = RunnableLambda(
        lambda query: reranker.compress_documents(retriever.invoke(query), query)
    )

    assert ids(way.invoke(step, QUERY)) == ["2"]


async def test_in_an_async_lambda() -> None:
    """The async method can be awaited in a RunnableLambda."""
    reranker, retriever = local(top_n=1), found()

    async def step(query: str) -> Sequence[Document]:
        return await reranker.acompress_documents(await retriever.ainvoke(query), query)

    chain: Runnable[str, Any] = RunnableLambda(step)
    assert ids(await chain.ainvoke(QUERY)) == ["2"]
