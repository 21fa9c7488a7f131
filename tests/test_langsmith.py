"""What LangSmith is sent of a reranking, by its own client, in each way a trace can begin."""

from __future__ import annotations

import email
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import create_retriever_tool
from langchain_core.tracers import LangChainTracer
from langsmith import Client, traceable, tracing_context

from cases import cases
from langchain_support import QUERY, Candidates, Way, openrouter, three
from loopback import Received, Reply, Server, ranking, running
from rerank_integrations import RerankError
from rerank_integrations.langchain import RerankCompressor

pytest.importorskip("langchain.agents", reason="the oldest langchain-core excludes LangGraph")
FOUND = ranking(
    0.25,
    0.9,
    0.5,
    usage={"prompt_tokens": 140, "completion_tokens": 10, "total_tokens": 150, "cost": 0.001},
    headers={"X-Generation-Id": "request-1"},
)


class LangSmith:
    """LangSmith's API: takes runs in one of its three ways, and joins the parts of each."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def __call__(self, received: Received) -> Reply:
        """Take runs in."""
        if received.method == "GET":
            return Reply({})
        if received.path.endswith("/multipart"):
            self._multipart(received)
        elif received.path.endswith("/batch"):
            for part in [*received.body.get("post", ()), *received.body.get("patch", ())]:
                self._join(part["id"], part)
        elif received.method == "POST":
            self._join(received.body["id"], received.body)
        else:
            self._join(received.path.rsplit("/", 1)[1], received.body)
        return Reply({}, 202)

    def _multipart(self, received: Received) -> None:
        head = f"content-type: {received.headers['content-type']}\r\n\r\n".encode()
        for part in email.message_from_bytes(head + received.content).get_payload():
            assert isinstance(part, email.message.Message)
            name = str(part.get_param("name", header="content-disposition"))
            _, run_id, *field = name.split(".")
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            value = json.loads(content)
            self._join(run_id, {field[0]: value} if field else value)

    def _join(self, run_id: str, part: dict[str, Any]) -> None:
        known = self.runs.setdefault(run_id, {})
        known |= {name: value for name, value in part.items() if value is not None}

    def own(self) -> dict[str, Any]:
        """The only run of the compressor."""
        (found,) = [run for run in self.runs.values() if run["name"] == "RerankCompressor"]
        return found


class Tracing(NamedTuple):
    """LangSmith's client, and what its server has."""

    client: Client
    smith: LangSmith


def ingest(*, multipart: bool) -> dict[str, Any]:
    """What LangSmith's server says of itself."""
    config = {"size_limit": 100, "size_limit_bytes": None, "scale_up_nthreads_limit": 1}
    more = {"scale_up_qsize_trigger": 1000, "scale_down_nempty_trigger": 4}
    config |= {**more, "use_multipart_endpoint": multipart}
    return {"info": {"batch_ingest_config": config}}


SENT = {
    "one by one": {"auto_batch_tracing": False},
    "in batches": ingest(multipart=False),
    "in parts": ingest(multipart=True),
}


@pytest.fixture(name="tracing_by")
def tracing_by_fixture(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes LangSmith's client and the server that it sends to."""
    monkeypatch.setenv("LANGSMITH_DISABLE_RUN_COMPRESSION", "true")
    monkeypatch.setenv("LANGCHAIN_CALLBACKS_BACKGROUND", "false")

    @contextmanager
    def make(**options: Any) -> Iterator[Tracing]:
        smith = LangSmith()
        with running(smith) as server:
            client = Client(server.url, api_key="ls-key", **options)
            try:
                yield Tracing(client, smith)
            finally:
                client.flush()
                client.cleanup()

    return make


class State(TypedDict, total=False):
    """What LangGraph hands on."""

    query: str
    found: list[Document]


class Setup(NamedTuple):
    """A compressor behind a first stage, a way to ask them, and where the runs go."""

    way: Way
    compressor: RerankCompressor
    client: Client

    @property
    def first(self) -> BaseRetriever:
        """The first stage."""
        return Candidates(found=three())

    def config(self, **more: Any) -> RunnableConfig:
        """With a tracer."""
        tracer = LangChainTracer(client=self.client, **more)
        return {"callbacks": [tracer]}


def plain(setup: Setup) -> None:
    """The compressor alone."""
    callbacks = setup.config()["callbacks"]
    setup.way.compress(setup.compressor, three(), QUERY, callbacks)


def in_a_chain(setup: Setup) -> None:
    """A step of a chain."""
    chain = setup.compressor.as_runnable(setup.first) | RunnableLambda(len)
    setup.way.invoke(chain, QUERY, setup.config())


def in_a_graph(setup: Setup) -> None:
    """A node of LangGraph with a checkpointer and a thread."""
    from langgraph.checkpoint.memory import InMemorySaver  # slow to load
    from langgraph.graph import START, StateGraph

    ask = RunnableLambda(lambda state: state["query"]) | setup.compressor.as_runnable(setup.first)
    graph = StateGraph(State)
    graph.add_node("rerank", ask | RunnableLambda(lambda found: {"found": found}))
    graph.add_edge(START, "rerank")
    compiled = graph.compile(checkpointer=InMemorySaver())
    config = {**setup.config(), "configurable": {"thread_id": "thread-1"}}
    setup.way.invoke(compiled, {"query": QUERY}, config)


def in_an_agent(setup: Setup) -> None:
    """A retriever tool of an agent."""
    from langchain.agents import create_agent  # slow to load

    class Model(GenericFakeChatModel):
        def bind_tools(self, *_: Any, **__: Any) -> Any:
            return self

    retriever = setup.compressor.as_retriever(setup.first)
    call = {"name": "search", "args": {"query": QUERY}, "id": "1"}
    messages = [AIMessage("", tool_calls=[call]), AIMessage("the second")]
    tool = create_retriever_tool(retriever, "search", "Search pages.")
    agent = create_agent(Model(messages=iter(messages)), [tool])
    setup.way.invoke(agent, {"messages": [("user", QUERY)]}, setup.config())


def in_a_traced_function(setup: Setup) -> None:
    """A function with LangSmith's decorator."""

    @traceable(client=setup.client, metadata={"theirs": 1})
    def ask() -> None:
        setup.way.compress(setup.compressor, three())

    with tracing_context(enabled=True):
        ask()


def in_a_context(setup: Setup) -> None:
    """LangSmith's context, with metadata."""
    with tracing_context(enabled=True, client=setup.client, metadata={"theirs": 1}):
        setup.way.compress(setup.compressor, three())


def with_a_tracer_of_its_own(setup: Setup) -> None:
    """A tracer that has metadata."""
    callbacks = setup.config(metadata={"theirs": 1})["callbacks"]
    setup.way.compress(setup.compressor, three(), QUERY, callbacks)


BEGUN = (
    *(plain, in_a_chain, in_a_graph, in_an_agent, in_a_traced_function, in_a_context),
    with_a_tracer_of_its_own,
)
each_way_to_send = cases("sent", SENT.values(), ids=SENT)
each_way_to_begin = cases("begin", BEGUN, ids=[one.__name__ for one in BEGUN])


@each_way_to_send
@each_way_to_begin
def test_usage_cost_and_ids_arrive(
    way: Way,
    server: Server,
    tracing_by: Callable[..., Any],
    *,
    begin: Callable[[Setup], None],
    sent: dict[str, Any],
) -> None:
    """However a trace begins and is sent, it has the tokens, the cost and the request id."""
    server.plays(FOUND)
    with tracing_by(**sent) as (client, smith):
        begin(Setup(way, openrouter(server), client))

    metadata = smith.own()["extra"]["metadata"]
    assert metadata["usage_metadata"] == {
        "input_tokens": 140,
        "output_tokens": 10,
        "total_tokens": 150,
        "total_cost": 0.001,
    }
    assert metadata["rerank"]["request_id"] == "request-1"
    assert metadata["rerank"]["served_by"] == "openrouter"
    names = ("ls_retriever_name", "ls_provider", "ls_model_name")
    assert [metadata[name] for name in names] == ["rerank", "openrouter", "m"]
    assert smith.own()["run_type"] == "retriever"
    assert "sk-0123456789" not in repr(smith.runs)


@cases("begin", [in_a_graph, with_a_tracer_of_its_own], ids=["graph", "tracer"])
def test_ids_of_a_failed_call_arrive(
    way: Way, server: Server, tracing_by: Callable[..., Any], begin: Callable[[Setup], None]
) -> None:
    """A failed call has its error, its request id and the number of retries in the trace."""
    server.plays(Reply({"error": {"message": "no"}}, 400, {"X-Generation-Id": "request-2"}))
    with tracing_by(**ingest(multipart=True)) as (client, smith), pytest.raises(RerankError):
        begin(Setup(way, openrouter(server), client))

    run = smith.own()
    assert "BadRequestError" in run["error"]
    assert run["extra"]["metadata"]["rerank"] == {"request_id": "request-2", "retries": 0}
    assert run["extra"]["metadata"]["usage_metadata"] == {}
