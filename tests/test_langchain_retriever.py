"""`as_retriever`: a retriever of LangChain's, made of another one and a compressor."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumps
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableConfig, RunnableLambda
from langchain_core.tools import create_retriever_tool

from cases import cases
from langchain_support import QUERY, Candidates, Tracer, Way, ids, local, openrouter, three
from loopback import Reply, Server
from rerank_integrations import ConfigurationError, InvalidRequestError, ServerError
from rerank_integrations.langchain import RerankRetriever


def found() -> BaseRetriever:
    """A first stage."""
    return Candidates(found=three())


def by_hand(query: str) -> list[Document]:
    """A first stage that is a function."""
    return three()


def test_it_is_a_retriever(way: Way) -> None:
    """It gives the best documents for a query, and for each query of a batch, in order."""
    retriever = local(top_n=1).as_retriever(found())

    assert isinstance(retriever, BaseRetriever)
    assert ids(way.invoke(retriever, QUERY)) == ["2"]
    assert [ids(each) for each in way.batch(retriever, ["bicycle", "blue"])] == [["2"], ["1"]]


@cases("first", [by_hand, RunnableLambda(by_hand)], ids=["function", "runnable"])
def test_the_first_stage_may_be_anything_that_takes_a_query(way: Way, first: Any) -> None:
    """A function or a Runnable that gives documents is a first stage too."""
    assert ids(way.invoke(local(top_n=1).as_retriever(first), QUERY)) == ["2"]


def test_arguments_of_the_first_stage_are_handed_on(way: Way) -> None:
    """Further arguments of `invoke` go to the first stage, as LangChain's own retrievers do it."""

    class Filtered(Candidates):
        def _get_relevant_documents(
            self, query: str, *, run_manager: Any, title: str = ""
        ) -> list[Document]:
            return [one for one in self.found if one.metadata["title"] == title]

    retriever = local().as_retriever(Filtered(found=three()))
    kept = way.invoke(RunnableLambda(retriever.invoke).bind(title="car"), QUERY)

    assert sorted(map(str, ids(kept))) == ["1", "3"]


def test_the_config_of_a_call_reaches_the_first_stage(way: Way) -> None:
    """What a call makes configurable is so for the first stage too, such as a tenant to filter by.

    Its other limits hold there as well; its name is that of the outer run alone.
    """
    seen: list[RunnableConfig] = []

    def of_tenant(query: str, config: RunnableConfig) -> list[Document]:
        seen.append(config)
        return [one for one in three() if one.id == config["configurable"]["tenant"]]

    retriever = local().as_retriever(RunnableLambda(of_tenant, name="first"))
    given: RunnableConfig = {"configurable": {"tenant": "3"}, "recursion_limit": 7}
    tracer = Tracer()

    found = way.invoke(retriever, QUERY, {**given, "callbacks": [tracer], "run_name": "outer"})
    assert ids(found) == ["3"]
    assert seen[0]["recursion_limit"] == 7
    assert [run.name for run in tracer.runs] == ["outer", "first", "RerankCompressor"]


def test_a_trace_has_each_run_once(way: Way) -> None:
    """Below the retriever's run are those of the first stage and of the compressor, once each."""
    tracer = Tracer()

    way.invoke(local().as_retriever(found()), QUERY, {"callbacks": [tracer]})

    outer, first, own = tracer.runs
    assert (outer.name, outer.run_type, outer.parent_run_id) == (
        *("RerankRetriever", "retriever"),
        None,
    )
    assert [(one.name, one.parent_run_id) for one in (first, own)] == [
        ("Candidates", outer.id),
        ("RerankCompressor", outer.id),
    ]
    assert all(run.end_time for run in tracer.runs)


def test_a_run_can_be_named(way: Way) -> None:
    """`with_config(run_name=...)` names the run, of a retriever and of a step."""
    tracer = Tracer()
    retriever = local().as_runnable(found()).with_config(run_name="second stage")

    way.invoke(retriever, QUERY, {"callbacks": [tracer]})

    assert tracer.runs[0].name == "second stage"


@pytest.mark.filterwarnings("ignore:This API is in beta")
def test_it_can_be_a_tool(way: Way) -> None:
    """The input has a type, so `as_tool` works, and `create_retriever_tool` does."""
    retriever = local(top_n=1).as_retriever(found())
    own = retriever.as_tool(name="search", description="Finds vehicles.")
    tool = create_retriever_tool(retriever, "search", "Finds vehicles.")

    assert retriever.get_input_jsonschema()["type"] == "string"
    assert ids(way.invoke(own, QUERY)) == ["2"]
    assert way.invoke(tool, {"query": QUERY}) == "a red bicycle"


def test_settings_can_be_made_configurable(way: Way, server: Server) -> None:
    """`top_n`, `model` and `rank_fields` can be chosen for each call."""
    retriever = (
        openrouter(server, top_n=1)
        .as_retriever(found())
        .configurable_fields(
            top_n=ConfigurableField("keep"),
            model=ConfigurableField("model"),
            rank_fields=ConfigurableField("fields"),
        )
    )
    chosen = {"keep": 2, "model": "openrouter:other", "fields": ["title"]}

    assert len(way.invoke(retriever, QUERY)) == 1
    assert len(way.invoke(retriever, QUERY, {"configurable": chosen})) == 2
    first, second = (received.body for received in server.received)
    assert (first["model"], second["model"]) == ("m", "other")
    assert second["documents"] == ["car", "bicycle", "car"]


def test_an_error_ends_each_run_with_it(way: Way, server: Server) -> None:
    """An error of the second stage is raised, and is the error of both runs."""
    server.plays(Reply(status=500))
    tracer = Tracer()
    retriever = openrouter(server, max_retries=0).as_retriever(found())

    with pytest.raises(ServerError):
        way.invoke(retriever, QUERY, {"callbacks": [tracer]})

    outer, first, own = tracer.runs
    assert [bool(run.error) for run in (outer, first, own)] == [True, False, True]


@cases("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301
def test_it_can_be_copied(way: Way, copied: Callable[[Any], Any]) -> None:
    """Copies and pickles work as the first one does."""
    retriever = copied(local(top_n=1).as_retriever(found()))

    assert isinstance(retriever, RerankRetriever)
    assert ids(way.invoke(retriever, QUERY)) == ["2"]


def test_what_is_no_first_stage_is_refused() -> None:
    """What is no retriever is a ConfigurationError, and what gives no documents is an error too."""
    with pytest.raises(ConfigurationError, match="retriever must be a LangChain retriever"):
        local().as_retriever("index")  # type: ignore[arg-type]
    strings = local().as_retriever(lambda _: ["a text"])
    with pytest.raises(InvalidRequestError, match="must be LangChain documents, not str"):
        strings.invoke(QUERY)


def test_dumps_writes_it() -> None:
    """`dumps` writes the retriever with its compressor, as far as both can be written."""
    written = dumps(local(top_n=1).as_retriever(found()))

    assert '"RerankRetriever"' in written
    assert "local:bm25" in written
