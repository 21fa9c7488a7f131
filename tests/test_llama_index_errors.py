"""What both event channels and the spans are told of a reranking that fails or does nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextvars import copy_context
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.base import global_stack_trace
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.schema import NodeWithScore

from cases import cases
from llama_index_support import (
    QUERY,
    Ask,
    Debug,
    Rerank,
    Spans,
    both,
    ends,
    failing,
    ids,
    local,
    openrouter,
    scored,
    starts,
    three,
)
from loopback import Fault, Reply, Server
from rerank_integrations import InvalidRequestError, RerankClient, ScorerError
from rerank_integrations.llama_index import RerankPostprocessor


def test_an_error_is_told(rerank: Rerank, heard: list[Any], spans: Spans, debug: Debug) -> None:
    """A failed call ends its callback event with the error, drops its span, and has no end."""
    reranker = RerankPostprocessor(client=failing(), callback_manager=CallbackManager([debug]))

    with pytest.raises(ScorerError) as caught:
        rerank(reranker, three(), QUERY)

    assert debug.payloads()[1] == {EventPayload.EXCEPTION: caught.value}
    assert (len(starts(heard)), ends(heard)) == (1, [])
    assert spans.own("drop").error is caught.value
    assert not spans.open_spans


def test_every_error_is_told(rerank: Rerank, debug: Debug) -> None:
    """A call after a failed one, of the same postprocessor, tells its own error."""
    reranker = RerankPostprocessor(client=failing(), callback_manager=CallbackManager([debug]))

    for _ in range(2):
        with pytest.raises(ScorerError):
            rerank(reranker, three(), QUERY)

    assert all(EventPayload.EXCEPTION in (ended.payload or {}) for _, ended in debug.told())
    assert len(debug.told()) == 2


def test_a_refused_call_ends_what_it_began(rerank: Rerank, spans: Spans, debug: Debug) -> None:
    """A call that is refused before it is sent leaves nothing begun and not ended."""
    reranker = local(callback_manager=CallbackManager([debug]))

    with pytest.raises(InvalidRequestError):
        rerank(reranker, three(), " ")

    assert all(EventPayload.EXCEPTION in (ended.payload or {}) for _, ended in debug.told())
    assert isinstance(spans.own("drop").error, InvalidRequestError)


async def test_a_cancelled_call_ends_what_it_began(
    server: Server, heard: list[Any], spans: Spans, debug: Debug
) -> None:
    """A call that is cancelled ends its callback event and drops its span."""
    server.plays(Fault.STALL)
    async with openrouter(server, callback_manager=CallbackManager([debug])) as reranker:
        task = asyncio.create_task(reranker.apostprocess_nodes(three(), query_str=QUERY))
        await asyncio.to_thread(server.asked.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert len(debug.payloads()) == 2
    assert isinstance(spans.own("drop").error, asyncio.CancelledError)
    assert ends(heard) == []


def test_a_failure_passed_over_is_told(
    *,
    rerank: Rerank,
    heard: list[Any],
    debug: Debug,
    server: Server,
    pauses: Sequence[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With on_error="passthrough" the end has the first nodes as they came, the id and retries."""
    answer = {"error": {"message": "no capacity", "code": 503}}
    server.plays(Reply(answer, 503, {"X-Generation-Id": "request-1"}))
    manager = CallbackManager([debug])
    reranker = openrouter(server, on_error="passthrough", top_n=2, callback_manager=manager)

    kept = rerank(reranker, three(), QUERY)

    (end,) = ends(heard)
    assert end.tags == {"rerank_request_id": "request-1", "rerank_retries": len(pauses)}
    assert pauses
    for told in (kept, end.nodes, debug.payloads()[1][EventPayload.NODES]):
        assert scored(told) == [("car", 0.9), ("bicycle", 0.5)]
    (warning,) = (r for r in caplog.records if r.name == "rerank_integrations")
    assert warning.levelno == logging.WARNING
    assert "no capacity" in warning.getMessage()


@pytest.mark.parametrize("nodes", [[], three()], ids=["no nodes", "no query"])
def test_nothing_is_told_of_nothing(
    ask: Ask, heard: list[Any], debug: Debug, nodes: list[NodeWithScore]
) -> None:
    """No nodes, or no query, begin no event."""
    reranker = local(callback_manager=CallbackManager([debug]))

    if nodes:
        with pytest.raises(InvalidRequestError, match="query_str="):
            ask(reranker, "postprocess_nodes", nodes)
    else:
        assert ask(reranker, "postprocess_nodes", nodes, query_str=QUERY) == []

    assert [*starts(heard), *ends(heard), *debug.get_events()] == []


def test_a_handler_may_be_broken(rerank: Rerank, heard: list[Any], spans: Spans) -> None:
    """A handler of events that raises stops neither the reranking nor what others are told."""

    class Broken(BaseEventHandler):
        def handle(self, event: BaseEvent, **_: Any) -> None:
            raise LookupError

    root, broken = get_dispatcher(), Broken()
    root.event_handlers.insert(0, broken)
    try:
        assert ids(rerank(local(top_n=1), three(), QUERY)) == ["bicycle"]
    finally:
        root.event_handlers.remove(broken)
    assert len(both(heard)) == 2
    assert spans.own("exit")


@cases("client", [local()._ranker(), failing()], ids=["well", "failing"])
def test_nothing_leaks_out_of_a_call(client: RerankClient) -> None:
    """After a sync call the caller's context has no span and no event of it."""
    reranker = RerankPostprocessor(client=client, on_error="passthrough")

    def call() -> tuple[Any, Any]:
        before = global_stack_trace.get()
        reranker.postprocess_nodes(three(), query_str=QUERY)
        return active_span_id.get(), global_stack_trace.get() == before

    assert copy_context().run(call) == (None, True)
