"""No key is to be read in what people print, log or hand to an error tracker."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from loopback import Fault, Reply, Server, Step, ranking
from rerank_integrations import (
    ConfigurationError,
    InvalidRequestError,
    OpenRouter,
    Portkey,
    Provider,
    RerankClient,
    RerankDocument,
    RerankError,
    Together,
)

SECRET = "s3cr3t"
KEYS: dict[str, Any] = {
    "api_key": f"sk-{SECRET}-api",
    "virtual_key": f"vk-{SECRET}-virtual",
    "authorization": f"up-{SECRET}-stream",
}
CONFIG = {"provider": "cohere", "api_key": f"in-{SECRET}-config"}
HEADERS = {"X-Upstream-Key": f"hd-{SECRET}-header", "Authorization-2": f"Bearer {SECRET}-second"}
IMAGE = f"data:image/png;base64,iVBORw0KGgoA{SECRET * 20}AA=="
TESTS = str(Path(__file__).parent)


def portkey(url: str | None = None, **more: Any) -> Provider:
    """A provider with every kind of key."""
    return Portkey(base_url=url, provider="cohere", config=CONFIG, **KEYS, **more)


def secretive(url: str, **more: Any) -> RerankClient:
    """A client with every kind of key, extra headers included."""
    return RerankClient("m", provider=portkey(url), extra_headers=HEADERS, **more)


def told(error: BaseException) -> str:
    """What an error tracker stores: the messages and our frames with their local variables."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    parts: list[str] = []
    chain: list[traceback.TracebackException | None] = [report]
    for link in chain:
        if link is None:
            continue
        for frame in list(link.stack):
            if frame.filename.startswith(TESTS):  # the caller's variables are the caller's
                link.stack.remove(frame)
        parts.extend(link.format(chain=False))
        chain += [link.__cause__, link.__context__]
    return "".join(parts)


def assert_silent(text: str) -> None:
    """No secret is in the text."""
    lines = [line for line in text.splitlines() if SECRET in line]
    assert not lines


def echoing(status: int, *keys: str) -> Reply:
    """An answer that repeats keys, as some proxies do."""
    return Reply({"error": {"message": f"refused: {' '.join(keys)}", "code": status}}, status)


PRINTED: dict[str, Callable[[], object]] = {
    "OpenRouter": lambda: OpenRouter(api_key=KEYS["api_key"]),
    "Together": lambda: Together(api_key=KEYS["api_key"]),
    "Portkey": portkey,
    "client": lambda: secretive("https://host"),
    "copy": lambda: secretive("https://host").with_options(extra_headers=HEADERS, top_n=1),
    "options": lambda: secretive("https://host")._options,
    "fields of a provider": lambda: [
        value for name, value in vars(portkey()).items() if name in {*KEYS, "config"}
    ],
    "fields of a client": lambda: vars(secretive("https://host")),
}


@cases("make", PRINTED.values(), ids=PRINTED)
def test_nothing_prints_a_key(make: Callable[[], object]) -> None:
    """No repr or str of a provider, a client, its options or its attributes holds a key."""
    thing = make()
    assert_silent(f"{thing!r} {thing}")


SETUPS: dict[str, Callable[[], object]] = {
    "unknown argument of a provider": lambda: OpenRouter(
        api_key=KEYS["api_key"],
        titel="t",  # type: ignore[call-arg]
    ),
    "unknown argument of a client": lambda: RerankClient(
        "m",
        provider=OpenRouter(api_key=KEYS["api_key"]),
        extra_headers=HEADERS,
        topn=1,  # type: ignore[call-arg]
    ),
    "unknown argument of with_options": lambda: secretive("https://host").with_options(
        extra_headers=HEADERS,
        topn=1,  # type: ignore[call-arg]
    ),
    "line break in a key": lambda: OpenRouter(api_key=f"{SECRET}\nrest"),
    "character in a key": lambda: Together(api_key=f"{SECRET}é"),
    "wrong type of key": lambda: Together(api_key=SECRET.encode()),  # type: ignore[arg-type]
    "line break in a header": lambda: client_of(
        "https://host", extra_headers={"X-Key": f"{SECRET}\r\nX-Other: 1"}
    ),
    "wrong base_url": lambda: OpenRouter(api_key=KEYS["api_key"], base_url="host"),
    "key in base_url": lambda: OpenRouter(base_url=f"https://user:{SECRET}@host/v1"),
    "wrong categories": lambda: OpenRouter(api_key=KEYS["api_key"], categories="No!"),
    "wrong preferences": lambda: OpenRouter(
        api_key=KEYS["api_key"], provider_preferences={"sorts": "price"}
    ),
    "config without JSON": lambda: Portkey(config={**CONFIG, "x": object()}, **KEYS),
    "wrong metadata": lambda: portkey(metadata={"a": None}),
    "nobody who serves": lambda: RerankClient("m", provider=Portkey(api_key=KEYS["api_key"])),
    "wrong top_n": lambda: secretive("https://host", top_n=0),
    "wrong extra_body": lambda: secretive("https://host", extra_body={"model": "m"}),
}


@cases("make", SETUPS.values(), ids=SETUPS)
def test_a_wrong_setup_tells_no_key(make: Callable[[], object]) -> None:
    """An error about the setup holds no key, neither in its message nor in our frames."""
    with pytest.raises((ConfigurationError, InvalidRequestError)) as caught:
        make()
    assert_silent(f"{caught.value} {caught.value!r}")
    assert_silent(told(caught.value))


SENT = [*KEYS.values(), *HEADERS.values()]
FAILURES: dict[str, Step] = {
    "401 with the keys": echoing(401, *SENT),
    "400 with the keys": echoing(400, *SENT),
    "500 with the keys": echoing(500, *SENT),
    "200 with the keys": echoing(200, *SENT),
    "401 with the config": echoing(401, json.dumps(CONFIG, separators=(",", ":"))),
    "401 with the config's key": echoing(401, CONFIG["api_key"]),
    "text with the keys": Reply(f"no: {' '.join(SENT)}".encode(), 403),
    "page with the keys": Reply(f"<title>{KEYS['api_key']}</title>".encode(), 502),
    "no JSON": Reply(f'{{"a": "{KEYS["api_key"]}'.encode()),
    "redirect": Reply(status=307, headers={"Location": f"http://host/?key={KEYS['api_key']}"}),
    "lying gzip": Reply(KEYS["api_key"].encode(), headers={"Content-Encoding": "gzip"}),
    "dropped": Fault.DROP,
    "half": Fault.HALF,
    "stalled": Fault.STALL,
}


def failed(call: Calls, client: RerankClient, **options: Any) -> RerankError:
    """The error that a call ends with."""
    with client, pytest.raises(RerankError) as caught:
        call(client, **options)
    return caught.value


@cases("step", FAILURES.values(), ids=FAILURES)
def test_a_failed_call_tells_no_key(
    call: Calls, server: Server, pauses: Sequence[float], step: Step
) -> None:
    """The error of a call holds no key: not in its text, its attributes or our frames."""
    server.plays(step)
    timeout = httpx.Timeout(5.0, read=0.03 if step is Fault.STALL else 5.0)
    error = failed(call, secretive(server.url, max_retries=1, timeout=timeout))
    assert_silent(f"{error} {error!r} {vars(error)} {error.attempts}")
    assert_silent(told(error))
    assert SECRET in str(server.received[0].headers)


def test_what_is_no_key_stays_in_the_message(call: Calls, server: Server) -> None:
    """Only keys are cut out of a message: who serves, and the app's title, are no secret."""
    message = "cohere error: trace-12345 is not known"
    server.plays(Reply({"error": {"message": message}, "provider": "cohere"}, 400))
    provider = portkey(server.url, trace_id="trace-12345")
    error = failed(call, RerankClient("m", provider=provider))
    assert message in str(error)


def test_a_refused_connection_tells_no_key(
    call: Calls, nobody: str, pauses: Sequence[float]
) -> None:
    """The error of a refused connection holds no key."""
    error = failed(call, secretive(nobody))
    assert_silent(f"{error} {error!r} {vars(error)} {error.attempts}")
    assert_silent(told(error))


def test_a_call_with_keys_of_its_own_tells_none(call: Calls, server: Server) -> None:
    """Headers that are passed to one call are as hidden as those of the client."""
    server.plays(echoing(401, *HEADERS.values()))
    error = failed(call, client_of(server), extra_headers=HEADERS)
    assert_silent(told(error))


def test_a_call_that_is_refused_here_tells_no_key(call: Calls, server: Server) -> None:
    """An error before sending holds no key."""
    error = failed(call, secretive(server.url), query=" ", extra_headers=HEADERS)
    assert_silent(told(error))
    error = failed(call, secretive(server.url), extra_body={"a": object()})
    assert_silent(told(error))


@cases(
    "document",
    [RerankDocument(text="cat", image=IMAGE), {"text": "cat", "image": IMAGE}],
    ids=["document", "mapping"],
)
@cases(
    "step",
    [
        Reply({"error": {"message": f"cannot read {IMAGE}"}}, 400),
        Reply({"results": [{"index": 9, "relevance_score": 1, "document": {"image": IMAGE}}]}),
        Fault.DROP,
    ],
    ids=["echoed", "untrusted", "dropped"],
)
def test_a_failed_call_tells_no_image(
    call: Calls, server: Server, step: Step, document: Any
) -> None:
    """The error of a call holds no image data in its text or attributes."""
    server.plays(step)
    error = failed(call, client_of(server, max_retries=0), documents=[document])
    assert_silent(f"{error} {error!r} {vars(error)} {error.attempts}")
    assert SECRET in str(server.received[0].body)


@cases(
    "documents",
    [
        [RerankDocument(image=IMAGE), 5],
        [{"image": IMAGE}, 5],
        [RerankDocument(text="cat", image=f"{IMAGE}?")],
        [{"image": f"{IMAGE}?"}],
    ],
    ids=["document", "mapping", "broken document", "broken mapping"],
)
def test_a_refused_document_tells_no_image(
    call: Calls, server: Server, documents: list[Any]
) -> None:
    """The error of a document that is refused here holds no image data."""
    error = failed(call, client_of(server), documents=documents)
    assert_silent(f"{error} {error!r}")
    assert not server.received


@cases("step", [ranking(1.0), Reply(status=401), Fault.DROP], ids=["success", "401", "dropped"])
def test_nothing_logs_a_key(
    call: Calls,
    server: Server,
    pauses: Sequence[float],
    caplog: pytest.LogCaptureFixture,
    *,
    step: Step,
) -> None:
    """No log record holds a key, those of the HTTP libraries at their most talkative included."""
    caplog.set_level(logging.DEBUG)
    server.plays(step)
    with secretive(server.url) as client:
        try:
            call(client, QUERY, TEXTS)
        except RerankError:
            logging.getLogger(__name__).debug("failed", exc_info=True)
        logging.getLogger(__name__).debug("%r", client)
    assert __name__ in {record.name for record in caplog.records}
    assert_silent(caplog.text)
    assert_silent(" ".join(f"{record.args}" for record in caplog.records))
