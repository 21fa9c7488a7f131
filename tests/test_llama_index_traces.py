"""What both event channels and the spans are told of a reranking, without images and keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.dispatcher import (  # type: ignore[attr-defined]
    instrument_tags,
)
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode, NodeWithScore

from llama_index_support import (
    KEY,
    QUERY,
    Ask,
    Candidates,
    Debug,
    Rerank,
    Spans,
    both,
    ends,
    failing,
    local,
    openrouter,
    scored,
    scoring,
    starts,
    three,
)
from loopback import Received, Reply, Server, ranking
from rerank_integrations import RerankError
from rerank_integrations.llama_index import RerankPostprocessor
from support import DATA_URI, PIXELS

USAGE = {"search_units": 1, "total_tokens": 150, "cost": 0.001}
dispatcher = get_dispatcher(__name__)


def with_usage(received: Received) -> Reply:
    """An answer of a provider that says all it can; its id is the query."""
    headers = {"X-Generation-Id": received.body["query"]}
    return ranking(0.25, 0.9, 0.5, provider="Cohere", usage=USAGE, headers=headers)


def test_both_channels_are_told_the_same(rerank: Rerank, heard: list[Any], debug: Debug) -> None:
    """Each channel has the nodes as they came, with their scores, and as they left."""
    reranker = RerankPostprocessor(
        client=scoring(0.25, 0.9, 0.5), top_n=2, callback_manager=CallbackManager([debug])
    )

    rerank(reranker, three(), QUERY)

    start, end = both(heard)
    begun, ended = debug.payloads()
    before = [("car", 0.9), ("bicycle", 0.5), ("van", 0.1)]
    after = [("bicycle", 0.9), ("van", 0.5)]
    assert [scored(told.nodes) for told in (start, end)] == [before, after]
    assert [scored(told[EventPayload.NODES]) for told in (begun, ended)] == [before, after]
    assert (start.query, start.model_name, start.top_n) == (QUERY, "mine", 2)
    said = [
        begun[key] for key in (EventPayload.QUERY_STR, EventPayload.MODEL_NAME, EventPayload.TOP_K)
    ]
    assert said == [QUERY, "mine", 2]


@pytest.mark.parametrize(
    ("given", "client", "told", "tagged"),
    [({}, {}, 3, None), ({"top_n": None}, {"top_n": 2}, 3, None), ({}, {"top_n": 2}, 2, 2)],
)
def test_the_top_n_in_force_is_told(
    *, rerank: Rerank, heard: list[Any], given: Any, client: Any, told: int, tagged: int | None
) -> None:
    """An event has the top_n in force, or where all are kept, how many there are."""
    rerank(RerankPostprocessor(client=scoring(1, 2, 3, **client), **given), three(), QUERY)

    (start,) = starts(heard)
    assert (start.top_n, start.tags["rerank_top_n"]) == (told, tagged)


def test_tags_say_what_the_call_was(
    rerank: Rerank, heard: list[Any], server: Server, pauses: Sequence[float]
) -> None:
    """Tags hold who was asked for what, who served it, the request's id, retries and the cost."""
    server.plays(Reply(status=503), with_usage)

    rerank(openrouter(server, top_n=2), three(), QUERY)

    start, end = both(heard)
    assert start.tags == {
        "rerank_provider": "openrouter",
        "rerank_model": "m",
        "rerank_documents": 3,
        "rerank_top_n": 2,
    }
    assert end.tags == {
        "rerank_served_by": "Cohere",
        "rerank_request_id": QUERY,
        "rerank_retries": 1,
        "rerank_search_units": 1,
        "rerank_total_tokens": 150,
        "rerank_cost": 0.001,
    }
    assert len(pauses) == 1


def test_tags_say_no_more_than_is_known(rerank: Rerank, heard: list[Any], server: Server) -> None:
    """What the provider did not say is None or absent, also after a call of which it said more."""
    server.plays(with_usage, ranking(0.25, 0.9, 0.5))
    reranker = openrouter(server)

    for _ in range(2):
        rerank(reranker, three(), QUERY)

    assert ends(heard)[1].tags.keys() == {
        "rerank_served_by",
        "rerank_request_id",
        "rerank_retries",
    }
    assert ends(heard)[1].tags["rerank_request_id"] is None


def test_tags_of_the_caller_are_added(rerank: Rerank, heard: list[Any]) -> None:
    """Tags of the caller's instrument_tags() stand beside ours, and not in a later call."""
    with instrument_tags({"user": "u"}):
        rerank(local(), three(), QUERY)
    rerank(local(), three(), QUERY)

    told = [event.tags for event in (*starts(heard), *ends(heard))]
    assert [tags.get("user") for tags in told] == ["u", None, "u", None]
    assert all(tags.keys() & {"rerank_provider", "rerank_retries"} for tags in told)


def test_a_call_has_a_span(rerank: Rerank, heard: list[Any], spans: Spans) -> None:
    """A call outside of any span is a root with its two events in it, and ends."""
    rerank(local(), three(), QUERY)

    span = spans.own("enter")
    assert span.id.split("-")[0].endswith("postprocess_nodes")
    assert span.parent is None
    assert [event.span_id for event in both(heard)] == [span.id, span.id]
    assert spans.own("exit").id == span.id
    assert not spans.open_spans


def test_a_span_nests(rerank: Rerank, heard: list[Any], spans: Spans) -> None:
    """A call inside of a span is a child of it, and the events are in the child."""

    @dispatcher.span
    def around() -> None:
        rerank(local(), three(), QUERY)

    around()

    outer = next(span for span in spans.seen if "around" in span.id)
    assert spans.own("enter").parent == outer.id
    assert {event.span_id for event in both(heard)} == {spans.own("enter").id}


def test_an_engines_call_is_told(ask: Ask, heard: list[Any], spans: Spans, debug: Debug) -> None:
    """Inside an engine the span is within the engine's, and the engine's manager is told."""
    engine = RetrieverQueryEngine.from_args(
        Candidates(),
        llm=MockLLM(),
        node_postprocessors=[local()],
        callback_manager=CallbackManager([debug]),
    )

    ask(engine, "query", QUERY)

    assert (spans.own("enter").parent or "").startswith("RetrieverQueryEngine.")
    assert {event.span_id for event in both(heard)} == {spans.own("enter").id}
    assert len(debug.told()) == 1


@pytest.mark.parametrize("together", ["threads", "loop"])
def test_calls_at_once_do_not_mix(
    heard: list[Any], spans: Spans, server: Server, together: str
) -> None:
    """Of calls that run at once each has its own span, events, tags and documents."""
    server.plays(
        lambda received: Reply({"results": []}, 200, {"X-Generation-Id": received.body["query"]})
    )
    debug = Debug()
    reranker = openrouter(server, callback_manager=CallbackManager([debug]))
    queries = [f"query {number}" for number in range(9)]

    async def all_on_one_loop() -> None:
        async with reranker:
            await asyncio.gather(
                *(
                    reranker.apostprocess_nodes(three()[: n % 3 + 1], query_str=q)
                    for n, q in enumerate(queries)
                )
            )

    if together == "loop":
        asyncio.run(all_on_one_loop())
    else:
        with reranker, ThreadPoolExecutor(9) as pool:
            for n, q in enumerate(queries):
                call = reranker.postprocess_nodes
                pool.submit(call, three()[: n % 3 + 1], query_str=q)

    by_span = {end.span_id: end for end in ends(heard)}
    assert len(by_span) == 9
    assert sorted(str(start.query) for start in starts(heard)) == queries
    for start in starts(heard):
        number = int(str(start.query)[-1])
        assert start.tags["rerank_documents"] == len(start.nodes) == number % 3 + 1
        assert by_span[start.span_id].tags["rerank_request_id"] == start.query
    assert all(len(pair) == 2 for pair in debug.told())
    assert len(debug.told()) == 9


@pytest.mark.parametrize("on_error", ["raise", "passthrough"])
def test_what_was_told_stays(rerank: Rerank, heard: list[Any], debug: Debug, on_error: str) -> None:
    """What happens to the lists, scores and wrappers afterwards does not reach any event."""
    client = failing() if on_error == "passthrough" else scoring(0.9, 0.5, 0.1)
    manager = CallbackManager([debug])
    settings: dict[str, Any] = {"client": client, "on_error": on_error}
    nodes = three()
    kept = rerank(RerankPostprocessor(**settings, callback_manager=manager), nodes, QUERY)

    for found in (*nodes, *kept):
        found.score, found.node = -1.0, three()[0].node
    for changed in (nodes, kept):
        changed.reverse()
        changed.pop()

    told = [event.nodes for event in both(heard)]
    told += [payload[EventPayload.NODES] for payload in debug.payloads()]
    assert [scored(each) for each in told] == [[("car", 0.9), ("bicycle", 0.5), ("van", 0.1)]] * 4


def test_handlers_do_not_share_what_they_are_told(rerank: Rerank, heard: list[Any]) -> None:
    """A handler that changes what it is told changes neither the result nor the other channel."""

    class Changing(LlamaDebugHandler):
        def on_event_end(self, *given: Any, **named: Any) -> None:
            for found in (named.get("payload") or given[1])[EventPayload.NODES]:
                found.score = -1.0

    reranker = local(callback_manager=CallbackManager([Changing(print_trace_on_end=False)]))

    kept = rerank(reranker, three(), QUERY)

    assert all(found.score != -1.0 for found in (*kept, *both(heard)[1].nodes))


def test_every_handler_is_told(rerank: Rerank, debug: Debug) -> None:
    """Every handler of a manager is told, once."""
    other = Debug()

    rerank(local(callback_manager=CallbackManager([debug, other])), three(), QUERY)

    assert [len(handler.told()) for handler in (debug, other)] == [1, 1]


@pytest.mark.parametrize("status", [200, 401, 500])
def test_no_key_is_told(
    *,
    rerank: Rerank,
    heard: list[Any],
    spans: Spans,
    debug: Debug,
    server: Server,
    pauses: Sequence[float],
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """No event, span or log shows the key, also where an answer repeats it."""
    caplog.set_level(logging.DEBUG)
    answer = {"error": {"message": f"bad key {KEY}", "code": status}}
    server.plays(with_usage if status == 200 else Reply(answer, status))
    manager = CallbackManager([debug])

    for on_error in ("raise", "passthrough"):
        reranker = openrouter(server, on_error=on_error, callback_manager=manager)
        try:
            rerank(reranker, three(), QUERY)
        except RerankError:
            assert status != 200

    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
    events = [event.model_dump_json() for event in heard]
    payloads = [repr(event.payload) for event in debug.get_events()]
    assert len(events) >= 4
    assert len(payloads) == 4
    assert len(spans.seen) == 4
    assert KEY not in f"{events} {payloads} {heard} {spans.seen} {caplog.text}"


@pytest.mark.parametrize("status", [200, 400])
def test_no_image_is_told_twice(
    rerank: Rerank,
    heard: list[Any],
    server: Server,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """The data of an image is in the nodes of an event, but in no tag and no log."""
    caplog.set_level(logging.DEBUG)
    answer = {"error": {"message": f"cannot use {DATA_URI}", "code": status}}
    server.plays(ranking(0.5) if status == 200 else Reply(answer, status))
    node = NodeWithScore(node=ImageNode(text="a red bicycle", image=PIXELS, id_="1"))

    rerank(openrouter(server, on_error="passthrough"), [node], QUERY)

    assert PIXELS in server.received[0].content.decode()
    assert PIXELS not in f"{[event.tags for event in both(heard)]} {caplog.text}"


def test_both_ways_tell_the_same(heard: list[Any], debug: Debug) -> None:
    """A sync and an async call differ in nothing that an event shows but its time and ids."""
    reranker = local(top_n=2, callback_manager=CallbackManager([debug]))
    reranker.postprocess_nodes(three(), query_str=QUERY)
    asyncio.run(reranker.apostprocess_nodes(three(), query_str=QUERY))

    passing = {"id_", "timestamp", "span_id"}
    for one, other in (starts(heard), ends(heard)):
        assert one.model_dump(exclude=passing) == other.model_dump(exclude=passing)
    (begun, ended), (begun_too, ended_too) = debug.told()
    assert (begun.payload, ended.payload) == (begun_too.payload, ended_too.payload)
