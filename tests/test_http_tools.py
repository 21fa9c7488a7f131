"""Tools that mock, record or trace httpx see every request of the default client."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
import respx
import sentry_sdk
import vcr
import yaml
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from pytest_httpx import HTTPXMock
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.httpx import HttpxIntegration
from sentry_sdk.transport import Transport
from vcr.errors import CannotOverwriteExistingCassetteException

from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from loopback import Reply, Server, ranking, ranks_all
from rerank_integrations import (
    RerankClient,
    RerankResponse,
    ServiceUnavailableError,
)

MOCKED = (0.25, 0.5, 0.125)  # scores that the server never gives
MOCKED_BODY = ranking(*MOCKED).content


def scores(response: RerankResponse) -> Sequence[float]:
    """The scores of a response, in the order of the documents."""
    return [one.relevance_score for one in sorted(response, key=lambda one: one.index)]


def sent_body(content: bytes) -> tuple[str, Sequence[str]]:
    """The query and the documents of a request that a tool has seen."""
    body = json.loads(content)
    return body["query"], body["documents"]


def test_respx_answers(call: Calls, server: Server) -> None:
    """A route of respx answers the call, sees its body, and the server is not asked."""
    with respx.mock(base_url=server.url) as routes, client_of(server) as client:
        route = routes.post(path__regex="/rerank$").respond(json=json.loads(MOCKED_BODY))
        assert scores(call(client)) == [*MOCKED]
        call.close(client)
    assert sent_body(route.calls.last.request.content) == (QUERY, [*TEXTS])
    assert not server.received


def test_pytest_httpx_answers(call: Calls, server: Server, httpx_mock: HTTPXMock) -> None:
    """A response of pytest-httpx answers the call, sees its body, and the server is not asked."""
    httpx_mock.add_response(method="POST", json=json.loads(MOCKED_BODY))
    with client_of(server) as client:
        assert scores(call(client)) == [*MOCKED]
        call.close(client)
    request = httpx_mock.get_request()
    assert request is not None
    assert sent_body(request.content) == (QUERY, [*TEXTS])
    assert not server.received


def cassette(folder: Path, url: str) -> str:
    """A cassette of vcrpy with one answer for a URL."""
    request = {"method": "POST", "uri": url, "body": "", "headers": {}}
    response = {
        "status": {"code": 200, "message": "OK"},
        "headers": {"content-type": ["application/json"]},
        "body": {"string": MOCKED_BODY.decode()},
    }
    file = folder / "cassette.yaml"
    interactions = [{"request": request, "response": response}]
    file.write_text(yaml.safe_dump({"version": 1, "interactions": interactions}))
    return str(file)


def test_a_vcrpy_cassette_answers(call: Calls, server: Server, tmp_path: Path) -> None:
    """A cassette answers what it holds once, and the server is not asked."""
    with client_of(server) as client:
        call(client)
        [asked] = server.received
        recorded = cassette(tmp_path, server.url + asked.path)
        with vcr.use_cassette(recorded, record_mode="none") as played:
            assert scores(call(client)) == [*MOCKED]
            assert played.play_count == 1
        call.close(client)
    assert server.received == [asked]


def test_a_vcrpy_cassette_refuses(call: Calls, server: Server, tmp_path: Path) -> None:
    """With `record_mode="none"` a request that is not in the cassette is never sent."""
    recorded = cassette(tmp_path, "http://other.example/rerank")
    with client_of(server) as client:
        with (
            vcr.use_cassette(recorded, record_mode="none"),
            pytest.raises(CannotOverwriteExistingCassetteException),
        ):
            call(client)
        call.close(client)
    assert not server.received


@pytest.fixture(name="spans")
def spans_fixture() -> Iterator[InMemorySpanExporter]:
    """Where OpenTelemetry's instrumentation of httpx exports to."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()
    provider.shutdown()


def test_opentelemetry_traces_each_request(
    call: Calls, server: Server, spans: InMemorySpanExporter, pauses: Sequence[float]
) -> None:
    """Every request, retries included, is a client span, which the server can continue."""
    server.plays(Reply(status=503), ranks_all)
    with client_of(server) as client:
        call(client)
        call.close(client)
    finished = spans.get_finished_spans()
    assert {span.kind for span in finished} == {SpanKind.CLIENT}
    statuses = [(span.attributes or {}).get("http.status_code") for span in finished]
    assert statuses == [503, 200]
    sent = [one.headers["traceparent"].split("-")[2] for one in server.received]
    contexts = [span.context for span in finished]
    assert sent == [f"{context.span_id:016x}" for context in contexts if context]


class Captured(Transport):
    """Keeps the envelopes that Sentry would send."""

    def __init__(self) -> None:
        super().__init__()
        self.envelopes: list[Envelope] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep an envelope."""
        self.envelopes.append(envelope)


@pytest.fixture(scope="module", name="sentry")
def sentry_fixture() -> Iterator[Captured]:
    """Sentry with its httpx integration alone; it can be switched on once in a process."""
    captured = Captured()
    before = httpx.Client.send, httpx.AsyncClient.send
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=captured,
        traces_sample_rate=1.0,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[HttpxIntegration()],
        enable_backpressure_handling=False,
    )
    yield captured
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)
    httpx.Client.send, httpx.AsyncClient.send = before  # type: ignore[method-assign]


def in_this_context(client: RerankClient) -> None:
    """Call on an event loop that has the context variables of its caller."""
    asyncio.run(client.arerank(QUERY, TEXTS))


def without_loop(client: RerankClient) -> None:
    """Call without an event loop."""
    client.rerank(QUERY, TEXTS)


@pytest.mark.parametrize("called", [without_loop, in_this_context])
def test_sentry_traces_a_request(
    called: Callable[[RerankClient], None], server: Server, sentry: Captured
) -> None:
    """A request is a span and a breadcrumb of Sentry's, and carries its trace header."""
    sentry.envelopes.clear()
    with client_of(server) as client, sentry_sdk.isolation_scope():
        with sentry_sdk.start_transaction(name="search", op="test"):
            called(client)
        sentry_sdk.capture_message("after the call")
    events: Any = [one.get_event() or one.get_transaction_event() for one in sentry.envelopes]
    transaction, message = sorted(events, key=lambda event: event.get("type") != "transaction")
    [span] = transaction["spans"]
    [asked] = server.received
    assert span["op"] == "http.client"
    assert span["description"] == f"POST {server.url}{asked.path}"
    assert asked.headers["sentry-trace"].split("-")[1] == span["span_id"]
    [crumb] = message["breadcrumbs"]["values"]
    assert crumb["data"]["http.response.status_code"] == 200


Mocks: TypeAlias = Callable[[httpx.Response], AbstractContextManager[None]]


@contextmanager
def respx_below(response: httpx.Response) -> Iterator[None]:
    """Respx in place of httpcore, as is its default."""
    with respx.mock as routes:
        routes.post().mock(return_value=response)
        yield


@contextmanager
def respx_above(response: httpx.Response) -> Iterator[None]:
    """Respx in place of the transport of a client."""
    with respx.mock(using="httpx") as routes:
        routes.post().mock(return_value=response)
        yield


@contextmanager
def patched_transports(response: httpx.Response) -> Iterator[None]:
    """What pytest-httpx does, and whoever patches the transports of httpx."""
    with pytest.MonkeyPatch.context() as patch:

        async def handle_async_request(*_: object) -> httpx.Response:
            return response

        patch.setattr(httpx.HTTPTransport, "handle_request", lambda *_: response)
        patch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle_async_request)
        yield


@cases("coding", ["", "gzip"])
@cases("mocks", [respx_below, respx_above, patched_transports])
def test_a_mocked_response_that_was_read(
    call: Calls, server: Server, mocks: Mocks, coding: str
) -> None:
    """A mocked response that is read already is an answer, encoded or not."""
    content = gzip.compress(MOCKED_BODY) if coding else MOCKED_BODY
    headers = {"content-encoding": coding} if coding else {}
    response = httpx.Response(200, content=content, headers=headers)
    response.read()
    with client_of(server) as client, mocks(response):
        assert scores(call(client)) == [*MOCKED]
        call.close(client)
    assert not server.received


@cases("mocks", [respx_below, respx_above, patched_transports])
def test_after_a_mock(call: Calls, server: Server, mocks: Mocks) -> None:
    """A client that was used before a mock and inside it asks the real server again after it."""
    with client_of(server, max_retries=0) as client:
        call(client)
        with mocks(httpx.Response(503, json={"error": "mocked"})):
            for _ in range(2):
                with pytest.raises(ServiceUnavailableError):
                    call(client)
        for _ in range(2):
            assert call(client)[0].document == QUERY
        call.close(client)
    assert len(server.received) == 3


@cases("coding", ["", "gzip"])
def test_a_tool_that_reads_everything(
    call: Calls, server: Server, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    """A tool around `send` may read the request and the response, and the call is answered."""
    content = gzip.compress(MOCKED_BODY) if coding else MOCKED_BODY
    server.plays(Reply(content, headers={"Content-Encoding": coding} if coding else {}))
    read: list[bytes] = []
    send, async_send = httpx.Client.send, httpx.AsyncClient.send

    def reads(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        response = send(client, request, **options)
        read.extend((request.content, response.read()))
        return response

    async def reads_async(
        client: httpx.AsyncClient, request: httpx.Request, **options: Any
    ) -> httpx.Response:
        response = await async_send(client, request, **options)
        read.extend((request.content, await response.aread()))
        return response

    monkeypatch.setattr(httpx.Client, "send", reads)
    monkeypatch.setattr(httpx.AsyncClient, "send", reads_async)
    with client_of(server) as client:
        assert scores(call(client)) == [*MOCKED]
        call.close(client)
    assert read == [server.received[0].content, MOCKED_BODY]
