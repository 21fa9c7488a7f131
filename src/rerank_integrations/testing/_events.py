"""Rules about the events that a postprocessor emits on both event APIs of LlamaIndex."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest
from unittest.mock import patch

from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span_handlers import NullSpanHandler
from llama_index.core.schema import NodeWithScore
from pydantic import Field

from rerank_integrations.testing._llama_index import LlamaIndex
from rerank_integrations.testing._setup import with_fix


class Events(BaseEventHandler):
    """Records the events about reranking."""

    noted: list[Any] = Field(default_factory=list)

    def handle(self, event: BaseEvent, **_: Any) -> None:
        """Record one."""
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.noted.append(event)


class Spans(NullSpanHandler):
    """Records the instances whose spans were entered."""

    noted: list[Any] = Field(default_factory=list)

    def span_enter(
        self,
        id_: str,  # noqa: ARG002  # LlamaIndex's signature
        bound_args: inspect.BoundArguments,  # noqa: ARG002
        instance: Any | None = None,
        *_: Any,
        **__: Any,
    ) -> None:
        """Record one."""
        self.noted.append(instance)


class EventRules(LlamaIndex):
    """A trace shows the query, the inputs and the results of each call."""

    tells_events: bool

    def test_both_methods_run_in_a_span(self) -> None:
        """Each call, sync or async, runs in a span of the postprocessor."""
        reranker = self.make()
        with _listening() as (_, spans):
            for way, _ in self._both(reranker, self._documents()):
                assert any(instance is reranker for instance in spans.noted), (
                    f"{way} opened no span, so its events are in the span of the caller: decorate "
                    f"{self._written[1]} with @dispatcher.span of get_dispatcher(__name__); "
                    f"{self._written[0]} gets its span from LlamaIndex"
                )
                spans.noted.clear()

    def test_instrumentation_is_told(self) -> None:
        """Each call emits ReRankStartEvent and then ReRankEndEvent, with query and nodes."""
        self._needs_events()
        documents = self._documents()
        with _listening() as (events, _):
            for way, kept in self._both(self._keeping(len(documents)), documents):
                told, fix = list(events.noted), "call dispatcher.event() around the request"
                events.noted.clear()
                names = [type(event).__name__ for event in told]
                assert names == ["ReRankStartEvent", "ReRankEndEvent"], (
                    f"{way} emitted {names}, not one ReRankStartEvent and one ReRankEndEvent: "
                    f"{fix}, in both methods"
                )
                start, end = told
                asked = getattr(start.query, "query_str", start.query)
                assert asked == self.query, f"{way} emitted the query {asked!r}: use query_str"
                self._check_nodes(f"ReRankStartEvent of {way}", start.nodes, documents)
                self._check_nodes(f"ReRankEndEvent of {way}", end.nodes, kept)

    def test_the_callback_manager_can_be_assigned(self) -> None:
        """The field callback_manager can be assigned, as every engine does."""
        with with_fix("do not set frozen=True: engines assign postprocessor.callback_manager"):
            self.make().callback_manager = CallbackManager([])

    def test_the_callback_manager_is_told(self) -> None:
        """Each call emits one RERANKING event on the assigned manager, with query and nodes."""
        self._needs_events()
        documents = self._documents()
        reranker, handler = self._keeping(len(documents)), _Debug()
        reranker.callback_manager = CallbackManager([handler])
        fix = (
            "put `with self.callback_manager.event(CBEventType.RERANKING, payload={...}) as event` "
            "around the request and call event.on_end(payload={EventPayload.NODES: ...}) in it"
        )
        with with_fix(fix):
            for way, kept in self._both(reranker, documents):
                pairs = handler.taken()
                assert [len(pair) for pair in pairs] == [2], (
                    f"{way} emitted {len(pairs)} RERANKING events that begin and end: {fix}"
                )
                start, end = pairs[0]
                asked = start.get(EventPayload.QUERY_STR)
                assert asked == self.query, (
                    f"{way} emitted the query {asked!r}: put EventPayload.QUERY_STR in the payload"
                )
                nodes = [payload.get(EventPayload.NODES, []) for payload in (start, end)]
                self._check_nodes(f"the start of {way}'s RERANKING event", nodes[0], documents)
                self._check_nodes(f"the end of {way}'s RERANKING event", nodes[1], kept)

    def test_events_keep_what_they_were_told(self) -> None:
        """Changing a NodeWithScore after the call does not change its events."""
        self._needs_events()
        for sync in (True, False):
            documents = self._documents()
            reranker, handler = self._keeping(len(documents)), _Debug()
            reranker.callback_manager = CallbackManager([handler])
            with _listening() as (events, _):
                call = self._rank if sync else self._run
                kept = call(reranker, documents, self.query)
            told = [found for event in events.noted for found in event.nodes]
            for pair in handler.taken():
                told += [found for payload in pair for found in payload.get(EventPayload.NODES, [])]
            before = [found.score for found in told]
            for found in [*documents, *kept]:
                found.score = -1.0  # as the next postprocessor may
            assert [found.score for found in told] == before, (
                f"events of {self._ways[0 if sync else 1]} hold the NodeWithScore objects that "
                "went in or came out, so later scores appear in the trace: emit copies, "
                "[found.model_copy() for found in nodes]"
            )

    def _check_nodes(
        self, place: str, told: Sequence[NodeWithScore], expected: Sequence[NodeWithScore]
    ) -> None:
        assert self._texts(told) == self._texts(expected), (
            f"{place} holds {self._texts(told)} instead of {self._texts(expected)}: emit all input "
            "nodes at the start, and all returned nodes at the end"
        )

    def _needs_events(self) -> None:
        if not self.tells_events:
            raise SkipTest("tells_events is False: no event to check")


class _Debug(LlamaDebugHandler):
    def __init__(self) -> None:
        super().__init__(print_trace_on_end=False)

    def taken(self) -> list[list[dict[str, Any]]]:
        """The payloads of each RERANKING event since the last call."""
        pairs = [
            [event.payload or {} for event in pair]
            for pair in self.get_event_pairs(CBEventType.RERANKING)
        ]
        self.flush_event_logs()
        return pairs


@contextmanager
def _listening() -> Iterator[tuple[Events, Spans]]:
    """Record the events and spans of the root dispatcher."""
    root, events, spans = get_dispatcher(), Events(), Spans()
    with (
        patch.object(root, "event_handlers", [*root.event_handlers, events]),
        patch.object(root, "span_handlers", [*root.span_handlers, spans]),
    ):
        yield events, spans
