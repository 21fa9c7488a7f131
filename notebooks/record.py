"""Record again what the notebooks ask of gateways, from Prism.

make record

Prism serves the vendors' own OpenAPI files, and answers with the example in them whatever was
asked. Keys play no part: a notebook shows errors too, which no live service gives on demand.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
from cassettes import prism
from cassettes.readable import Readable
from run import HERE, KEY, cassette_of, run

ASKS = ("01_quickstart", "02_langchain_rag", "03_llama_index_rag", "06_batch", "08_tracing")
"""The notebooks that ask gateways."""
STATUSES: Mapping[str, Mapping[str, Sequence[int]]] = {
    "01_quickstart": {"openrouter": [200, 200, 200, 404, 429, 200, 503]},
    "08_tracing": {"openrouter": [200, 429, 503, 503, 200, 503]},
}
"""What a gateway answers in turn, where it is not 200 each time."""
EXAMPLES = "Prism answers with the example in the vendor's file, whatever was asked."
CHOSEN = "Which status it answers with was chosen, to show errors."
ADDED = {"portkey": {"x-portkey-virtual-key": KEY}}
"""Portkey's file knows no slugs of the model catalog, so another way is added for Prism."""
HOSTS = {
    "openrouter.ai": "openrouter",
    "api.together.ai": "together",
    "api.portkey.ai": "portkey",
}

HTTPResponse = Callable[[httpx.Request], httpx.Response]


def load_ipython_extension(_: object) -> None:
    """In the kernel: have Prism answer for the vendors, and store it when the kernel ends."""
    path = Path(os.environ["NOTEBOOK_CASSETTE"])
    statuses = STATUSES.get(path.stem, {})
    head = [f"What {path.stem}.ipynb asks of gateways.", EXAMPLES, *([CHOSEN] if statuses else [])]
    answer = _answer_of(json.loads(os.environ["NOTEBOOK_PRISMS"]), statuses, head)

    def handle(_: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        request.read()
        return answer(request)

    async def ahandle(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return answer(request)

    httpx.HTTPTransport.handle_request = handle  # type: ignore[assignment,method-assign]
    httpx.AsyncHTTPTransport.handle_async_request = ahandle  # type: ignore[assignment,method-assign]
    from cassettes.replay import recording  # noqa: PLC0415  # it keeps what it finds when imported

    held = ExitStack()
    held.callback(Path(os.environ["NOTEBOOK_SAID"]).write_text, "", encoding="utf-8")
    held.enter_context(recording(path, Readable(head, [KEY])))
    atexit.register(held.close)


def _answer_of(
    addresses: Mapping[str, str], statuses: Mapping[str, Sequence[int]], head: list[str]
) -> HTTPResponse:
    """Sends what is meant for a vendor to Prism, and notes in the head who has answered."""
    send, loopback = httpx.HTTPTransport.handle_request, httpx.HTTPTransport()
    turns = {name: iter(found) for name, found in statuses.items()}

    def answer(request: httpx.Request) -> httpx.Response:
        name = HOSTS[request.url.host]
        origin = f"Recorded from {prism.described(name)}; not from the live service."
        if origin not in head:
            head.append(origin)
        headers = {**request.headers, **ADDED.get(name, {})}
        headers["prefer"] = f"code={next(turns.get(name, iter(())), 200)}"
        headers["host"] = "127.0.0.1"
        sent = httpx.Request("POST", addresses[name], headers=headers, content=request.content)
        got = send(loopback, sent)
        got.read()
        return httpx.Response(got.status_code, headers=got.headers, content=got.content)

    return answer


def main() -> None:
    """Record all, and run the notebooks that they are for."""
    lacks = prism.missing()
    if lacks:
        sys.exit(f"no Prism: {lacks}")
    with ExitStack() as stack:
        addresses = {name: stack.enter_context(prism.served(name)) for name in HOSTS.values()}
        paths = [HERE / f"{stem}.ipynb" for stem in ASKS]
        for path in paths:
            cassette_of(path).unlink(missing_ok=True)
        told = json.dumps(addresses)
        failed = [path for path in paths if run(path, "record", NOTEBOOK_PRISMS=told)]
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
