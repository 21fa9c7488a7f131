"""No key can be found from an object, dump, trace, log or error, those of adapters included."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_core.documents import Document
from langchain_core.load import dumps
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import SecretStr

from calls import QUERY, TEXTS, Calls
from cases import cases
from faults.acts import failing, in_encoding, says
from langchain_support import Tracer, content
from llama_index_support import Debug, Spans
from loopback import Fault, Received, Reply, Server, Step, head, ranking, running
from rerank_integrations import OpenRouter, Portkey, RerankClient, RerankError, Together
from rerank_integrations.langchain import RerankCompressor, RerankRunnable
from rerank_integrations.llama_index import RerankPostprocessor
from support import hidden
from sweep import places_of
from test_secrets import CONFIG, HEADERS, KEYS, SECRET, assert_silent, told

KEY = KEYS["api_key"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)


def client_at(url: str, **options: Any) -> RerankClient:
    """A client with every kind of key, and two fallbacks that have keys of their own."""
    first = Portkey(base_url=url, provider="cohere", config=CONFIG, **KEYS)
    second = OpenRouter(base_url=url)  # with the key of the environment
    third = Together(api_key=KEY, base_url=url)
    fallbacks = [RerankClient("m", provider=second), RerankClient("m", provider=third)]
    given = {"provider": first, "extra_headers": HEADERS, "fallbacks": fallbacks}
    return RerankClient("m", **{**given, **options})


def echoing(received: Received) -> Reply:
    """An answer that repeats every key that came, as some proxies do."""
    came = [value for value in received.headers.values() if SECRET in value]
    return Reply({"error": {"message": f"refused: {' '.join(came)}"}}, 401)


CLIENTS: dict[str, Callable[[str], Any]] = {
    "client": client_at,
    "copy": lambda url: copy.copy(client_at(url)),
    "client with other options": lambda url: client_at(url).with_options(extra_headers=HEADERS),
}
IN_FRAMEWORKS: dict[str, Callable[[str], Any]] = {
    "compressor with a client": lambda url: RerankCompressor(client=client_at(url)),
    "compressor with a key": lambda url: RerankCompressor(
        model="openrouter:m", api_key=SecretStr(KEY), base_url=url
    ),
    "step of a chain": lambda url: RerankCompressor(client=client_at(url)).as_runnable(),
    "postprocessor with a client": lambda url: RerankPostprocessor(client=client_at(url)),
    "postprocessor with a key": lambda url: RerankPostprocessor(
        model="together:m", api_key=SecretStr(KEY), base_url=url
    ),
}
HOLDERS = CLIENTS | IN_FRAMEWORKS
each_holder = cases("make", HOLDERS.values(), ids=HOLDERS)


class Asking:
    """Ranks with any holder of keys, without an event loop or on one that tells all."""

    def __init__(self, runner: asyncio.Runner | None) -> None:
        self._runner = runner

    def __call__(self, holder: Any, callbacks: Any = None) -> Any:
        """Rank."""
        name, given, named = _call_of(holder, callbacks)
        if self._runner is None:
            return getattr(holder, name)(*given, **named)
        return self._runner.run(_awaited(holder, f"a{name}", given, named))


async def _awaited(holder: Any, name: str, given: Sequence[Any], named: dict[str, Any]) -> Any:
    return await getattr(holder, name)(*given, **named)


def _call_of(holder: Any, callbacks: Any) -> tuple[str, Sequence[Any], dict[str, Any]]:
    documents = [Document(text) for text in TEXTS]
    match holder:
        case RerankCompressor():
            return "compress_documents", (documents, QUERY, callbacks), {}
        case RerankRunnable():
            given = {"query": QUERY, "documents": documents}
            return "invoke", (given, {"callbacks": callbacks}), {}
        case RerankPostprocessor():
            nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
            return "postprocess_nodes", (nodes,), {"query_str": QUERY}
        case _:
            return "rerank", (QUERY, TEXTS), {}


@pytest.fixture(name="ask", params=["sync", "async"])
def ask_fixture(request: pytest.FixtureRequest) -> Iterator[Asking]:
    """Both ways to ask."""
    if request.param == "sync":
        yield Asking(None)
        return
    with asyncio.Runner(debug=True) as runner:
        yield Asking(runner)


@pytest.fixture(name="playing")
def playing_fixture() -> Iterator[Callable[[Step], str]]:
    """Starts a server that answers with raw bytes, and gives its address."""
    with ExitStack() as stack:
        yield lambda act: stack.enter_context(running(act)).url


def test_the_sweep_finds_what_is_in_no_box() -> None:
    """A secret in an attribute, slot, container, closure or iterator is found, in a box not."""

    @dataclasses.dataclass(slots=True)
    class Slotted:
        value: Any

    held = SECRET.encode()
    for thing in (
        SimpleNamespace(a=SECRET),
        Slotted({"a": [SECRET]}),
        {SECRET: 1},
        lambda: held,
        iter([SECRET]),
        ValueError(SECRET),
    ):
        assert places_of(SECRET, [thing])
    assert not places_of(SECRET, [hidden(SECRET), SecretStr(SECRET)])


@each_holder
def test_no_key_is_reached_from_an_object(ask: Asking, server: Server, make: Any) -> None:
    """No way leads from an object to a key, before a call and with the connections that it left."""
    holder = make(server.url)
    assert places_of(SECRET, holder) == []
    ask(holder)
    assert SECRET in str(server.received[0].headers)
    assert places_of(SECRET, holder) == []


@each_holder
def test_no_key_is_reached_from_an_error(
    ask: Asking, server: Server, pauses: Sequence[float], make: Any
) -> None:
    """No way leads from an error to a key: not by text, attribute, cause or a frame's variable."""
    server.plays(echoing)
    with pytest.raises(RerankError) as caught:
        ask(make(server.url))
    assert "refused" in str(caught.value)
    assert places_of(SECRET, caught.value) == []
    assert_silent(f"{caught.value} {caught.value!r} {told(caught.value)}")


ECHOES: dict[str, Step] = {
    "status line": says(f"{KEY}\r\n\r\n".encode()),
    "header line": says(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()),
    "chunk": says(head(200, {"Transfer-Encoding": "chunked"}) + f"{KEY}\r\n".encode()),
    "name of an encoding": in_encoding(KEY, b"{}"),
    "content type": Reply(b"<p>", 200, {"Content-Type": KEY}),
    "header of the request id": failing(401, {"x-request-id": KEY}),
    "id": Reply({"id": KEY, "message": "no"}, 400),
    "code": Reply({"error": {"message": "no", "code": KEY}}, 400),
    "index": Reply({"results": [{"index": KEY, "relevance_score": 1}]}),
    "score": Reply({"results": [{"index": 0, "relevance_score": KEY}]}),
}


@cases("act", ECHOES.values(), ids=ECHOES)
def test_no_echo_brings_a_key_into_an_error(
    call: Calls, playing: Callable[[Step], str], pauses: Sequence[float], act: Step
) -> None:
    """Wherever in an answer a key is repeated, the error does not hold it, nor does its cause."""
    provider = Together(api_key=KEY, base_url=playing(act))
    with RerankClient("m", provider=provider) as client, pytest.raises(RerankError) as caught:
        call(client)
    assert places_of(SECRET, caught.value) == []
    assert_silent(told(caught.value))


ECHOED_FACTS: dict[str, Reply] = {
    "id": ranking(1.0, id=KEY),
    "model": ranking(1.0, model=KEY),
    "provider": ranking(1.0, provider=KEY),
    "request id": ranking(1.0, headers={"x-request-id": KEY}),
}


@cases("reply", ECHOED_FACTS.values(), ids=ECHOED_FACTS)
def test_no_echo_brings_a_key_into_a_response(call: Calls, server: Server, reply: Reply) -> None:
    """A key that an answer repeats as one of its facts is not in the response, nor in its repr."""
    server.plays(reply)
    with RerankClient("m", provider=Together(api_key=KEY, base_url=server.url)) as client:
        response = call(client)
    assert places_of(SECRET, response) == []
    assert_silent(repr(response))


ADAPTERS = {"compressor": RerankCompressor, "postprocessor": RerankPostprocessor}
each_adapter = cases("adapter", ADAPTERS.values(), ids=ADAPTERS)
WITH_PASSWORD = f"https://user:{SECRET}@host/v1"
WRONG: dict[str, Callable[[Any], object]] = {
    "unknown argument": lambda make: make(model="openrouter:m", api_key=KEY, topn=1),
    "a key that HTTP cannot carry": lambda make: make(model="openrouter:m", api_key=f"{KEY}é"),
    "a key for nobody": lambda make: make(model="local:bm25", api_key=KEY),
    "a password in base_url": lambda make: make(model="together:m", base_url=WITH_PASSWORD),
    "with_options, a key beside a mistake": lambda make: make(model="openrouter:m").with_options(
        api_key=KEY, top_n=0
    ),
}


@each_adapter
@cases("setup", WRONG.values(), ids=WRONG)
def test_a_wrong_setup_of_an_adapter_tells_no_key(adapter: Any, setup: Any) -> None:
    """An error about the setup of an adapter tells no key: no text, no variable of a frame."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # of pydantic's kind or of ours
        setup(adapter)
    assert_silent(f"{caught.value} {caught.value!r}")
    assert_silent(told(caught.value))


def _texts(holder: Any) -> Iterator[object]:
    """All that a holder can be written as, but a pickle."""
    yield from (repr(holder), str(holder), vars(holder), dumps(holder), dumps(holder, pretty=True))
    if isinstance(holder, RerankClient):
        yield dataclasses.asdict(holder._options)
        yield from (dataclasses.asdict(holder.provider), holder.__dict__)
        return
    yield from (holder.model_dump(), holder.model_dump(mode="json"), holder.model_dump_json())
    if isinstance(holder, RerankPostprocessor):
        yield from (holder.to_dict(), holder.to_json())


@each_holder
def test_nothing_that_is_written_of_an_object_holds_a_key(make: Any) -> None:
    """No repr, no dump of an adapter and no dict of the settings holds a key."""
    for text in _texts(make("https://host")):
        assert_silent(f"{text}")


TOLD: dict[str, Step] = {
    "success": ranking(1.0, 0.5),
    "401 with the keys": echoing,
    "dropped": Fault.DROP,
}
each_step = cases("step", TOLD.values(), ids=TOLD)


@each_holder
@each_step
def test_no_log_record_holds_a_key(
    ask: Asking,
    server: Server,
    pauses: Sequence[float],
    caplog: pytest.LogCaptureFixture,
    *,
    make: Any,
    step: Step,
) -> None:
    """No record of this package, of asyncio or of the HTTP library holds a key, DEBUG included."""
    caplog.set_level(logging.DEBUG)
    server.plays(step)
    with suppress(RerankError):
        ask(make(server.url))
    logging.getLogger(__name__).debug("it was asked")
    assert __name__ in {record.name for record in caplog.records}
    for record in caplog.records:
        assert_silent(f"{vars(record)} {record.getMessage()}")


@each_step
def test_no_log_record_of_a_users_client_holds_a_key(
    call: Calls,
    server: Server,
    pauses: Sequence[float],
    caplog: pytest.LogCaptureFixture,
    *,
    step: Step,
) -> None:
    """The same for an HTTP client that the user brings, whose library logs requests of its own."""
    caplog.set_level(logging.DEBUG)
    server.plays(step)
    with call.http_client(httpx) as theirs, suppress(RerankError):
        call(client_at(server.url, fallbacks=[], **{call.argument: theirs}))
    assert {"httpcore.http11"} <= {record.name for record in caplog.records}
    for record in caplog.records:
        assert_silent(f"{vars(record)} {record.getMessage()}")


@each_step
def test_no_log_record_of_a_proxied_call_holds_a_key(
    call: Calls,
    server: Server,
    pauses: Sequence[float],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    step: Step,
) -> None:
    """The same for a call that goes through the proxy of the environment."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", "")
    server.plays(step)
    provider = Together(api_key=KEY, base_url="http://gateway.invalid/v1", allow_http=True)
    with suppress(RerankError):
        call(RerankClient("m", provider=provider, extra_headers=HEADERS))
    assert SECRET in str(server.received[0].headers)
    for record in caplog.records:
        assert_silent(f"{vars(record)} {record.getMessage()}")


@each_step
@cases("make", IN_FRAMEWORKS.values(), ids=IN_FRAMEWORKS)
def test_no_trace_holds_a_key(
    ask: Asking,
    server: Server,
    pauses: Sequence[float],
    heard: list[Any],
    *,
    spans: Spans,
    debug: Debug,
    make: Any,
    step: Step,
) -> None:
    """No run, event, payload or span of either framework holds a key."""
    server.plays(step)
    tracer, holder = Tracer(), make(server.url)
    if isinstance(holder, RerankPostprocessor):
        holder.callback_manager = CallbackManager([debug])
    with suppress(RerankError):
        ask(holder, [tracer])
    traced = [content(run) for run in tracer.runs] + [event.model_dump() for event in heard]
    traced += [span.text for span in spans.seen] + [str(debug.told())]
    assert traced
    assert_silent(f"{traced} {[event.__dict__ for event in heard]}")
