"""The documentation's pages as programs, and the offline world that they run in.

A block of Python, and the new side of a `diff`, is code; a block with a title is a file in the
directory where the code runs. A block of README stands alone; in docs/ the blocks of a page are
one program, each going on where the one before ended. A block that imports a package of `PEERS` is
left out: `make test-migrate` or `make test-engines` runs it, or nobody, as exporters to a server.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gateways.pages import WRITTEN
from loopback import Received, Reply, Server, running
from rerank_integrations.providers import known_names, provider_class
from rerank_integrations.providers.base import RemoteProvider

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
# the pages of docs/notebooks/ are made from notebooks, which have tests of their own
PAGES = sorted(set(DOCS.rglob("*.md")) - set(DOCS.glob("notebooks/*.md")))
MIGRATE = DOCS / "migrate"
PEERS = (  # not in the group `dev`
    *("flashrank", "llama_index.llms", "sentence_transformers"),
    *("daft", "dask", "pyspark", "ray"),
    *("langfuse", "opentelemetry.exporter"),
)
GATEWAYS = DOCS / "gateways"
# pages that `make providers` writes, and one of the same kind: none needs a directory of its own
SHORT_PAGES = [
    page
    for page in PAGES
    if page.name == "compatible.md" or page.read_text(encoding="utf-8").endswith(f"{WRITTEN}\n")
]
# guides: one task each, all of them in one test
GUIDES = [
    DOCS / f"{name}.md"
    for name in (
        *("cost", "tuning", "hybrid-search", "long-documents", "multilingual", "cross-encoders"),
        *("deploy", "langgraph", "pandas", "proxies"),
    )
]
CLASSES = [kind for kind in map(provider_class, known_names()) if issubclass(kind, RemoteProvider)]
KEYS = {
    name: f"the-{name.partition('_')[0].lower()}-key"
    for name in ("COHERE_API_KEY", *(kind.api_key_env for kind in CLASSES))
    if name
}
LISTED = {
    "id": "cohere/rerank-v3.5",
    "context_length": 4096,
    "architecture": {"input_modalities": ["text"]},
    "pricing": {"request": "0.001"},
}
# what the HTTP library says for itself
_OF_THE_LIBRARY = {"host", "user-agent", "accept-encoding", "content-length"}
_BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
_LOGGERS = ("rerank_integrations", "httpx")  # whose levels a page may set
_LOOPBACK = ("127.0.0.1", "localhost")
_DOCUMENTS = ("documents", "texts", "passages", "input")  # the keys that the dialects have for them
# of servers on the reader's own machine: those of the providers, and of the page of Compatible
_PORTS = {8088} | {urlsplit(kind.default_base_url).port for kind in CLASSES if kind.has_default}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    @property
    def code(self) -> str:
        """What is run of it; empty where it is no code. Its lines keep their numbers."""
        if self.language == "python":
            return self.text
        if self.language != "diff":
            return ""
        lines = self.text.splitlines()
        return "\n".join("" if line.startswith("-") else line[1:] for line in lines)

    @property
    def side_before(self) -> str:
        """The old side of a `diff`."""
        lines = self.text.splitlines()
        return "\n".join("" if line.startswith("+") else line[1:] for line in lines)

    @property
    def needs_peers(self) -> bool:
        """Whether its code imports a package that the tests do without."""
        names = "|".join(map(re.escape, PEERS))
        return re.search(rf"^(?:from|import) (?:{names})\b", self.code, re.MULTILINE) is not None

    @property
    def is_curl(self) -> bool:
        """Whether it is a request by hand."""
        return self.language == "sh" and self.text.startswith("curl ")


@dataclass(frozen=True)
class Sent:
    """A request, by whatever program."""

    url: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class World:
    """Where a page runs: a stand-in for every gateway, and a directory of its own.

    Attributes:
        server: the stand-in.
        asked: the addresses that requests were meant for, by host and path.
    """

    server: Server
    asked: dict[str, str]

    def last_sent(self) -> Sent:
        """The last request that a gateway got."""
        received = self.server.received[-1]
        headers = {k: v for k, v in received.headers.items() if k not in _OF_THE_LIBRARY}
        url = self.asked[received.headers["host"] + received.path]
        return Sent(url, headers, received.body)


@cache
def blocks_of(page: Path) -> Sequence[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 2,
            found["language"],
            found["title"],
            found["text"],
        )
        for found in _BLOCK.finditer(text)
    ]


def programs() -> list[Any]:
    """What runs by itself: each block of README, each page that no other list of here has."""
    alone = [[block] for block in blocks_of(README) if block.code]
    pages = [
        list(blocks_of(page))
        for page in PAGES
        if page not in {*SHORT_PAGES, *GUIDES} and page.parent != MIGRATE
    ]
    return [
        pytest.param(blocks, id=f"{blocks[0].page.relative_to(ROOT)}:{blocks[0].line}")
        for blocks in (*alone, *pages)
        if any(block.code for block in blocks)
    ]


def run(blocks: Sequence[Block]) -> Iterator[Block]:
    """Run the blocks in one namespace; gives each block when it is its turn, code or not."""
    for block in blocks:
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        if block.code and not block.needs_peers:
            source = "\n" * (block.line - 1) + block.code  # so that a traceback names the line
            code = compile(source, str(block.page), "exec", dont_inherit=True)
            exec(code, namespace)  # noqa: S102
        yield block


def promised(blocks: Sequence[Block]) -> list[str]:
    """What the comments behind one-line prints say will be printed."""
    code = "\n".join(block.code for block in blocks if not block.needs_peers)
    return re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)


def by_hand(curl: str) -> Sent:
    """The request that a curl command makes.

    Raises:
        AssertionError: an option that this reader does not know.
    """
    command, url, *words = shlex.split(curl.replace("\\\n", " "))
    assert command == "curl"
    headers, body = {}, ""
    for option, value in zip(words[::2], words[1::2], strict=True):
        if option == "-H":
            name, _, text = value.partition(": ")
            headers[name.lower()] = re.sub(r"\$([A-Z_]+)", lambda found: KEYS[found[1]], text)
        else:
            assert option == "-d", f"curl {option} is not known here"
            body = value
    return Sent(url, headers, json.loads(body))


def shares_words(received: Received) -> Reply:
    """Ranks by the words of the query that stand anywhere in a document, in any dialect.

    A vendor that has a dialect of its own for the response is answered in the common one. A list of
    models has one.
    """
    if received.method == "GET":
        return Reply({"data": [LISTED]})
    body = received.body
    query = body.get("query") or body["queries"][0]
    documents = next(body[key] for key in _DOCUMENTS if key in body)
    asked = set(re.findall(r"\w+", (query["text"] if isinstance(query, dict) else query).lower()))
    scores = [
        len(asked & set(re.findall(r"\w+", json.dumps(one).lower()))) / len(asked)
        for one in documents
    ]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": scores[index]} for index in order
    ]
    if body.get("relevant_spans"):
        for result in results:
            result["relevant_spans"] = _spans(asked, documents[result["index"]])
    top_n = body.get("top_n") or body.get("top_k")
    usage = {"search_units": 1, "total_tokens": 24}
    return Reply({"results": results[:top_n], "model": body.get("model"), "usage": usage})


def _spans(asked: Collection[str], text: str) -> list[dict[str, Any]]:
    """The words of the query in a text that are longer than an article."""
    return [
        {"start": found.start(), "end": found.end(), "score": 0.9}
        for found in re.finditer(r"\w{2,}", text)
        if found[0].lower() in asked
    ]


@pytest.fixture(name="world")
def world_fixture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """Every gateway is a server on loopback, whose name and path stay the gateway's own."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    if find_spec("opentelemetry") is not None:  # a page may set its providers
        from telemetry import without_providers

        without_providers(monkeypatch)
    levels = [(logger, logger.level) for logger in map(logging.getLogger, _LOGGERS)]
    with running() as server:
        server.plays(shares_words)
        port = server.server_address[1]
        asked: dict[str, str] = {}

        def redirect(request: httpx.Request) -> None:
            url = request.url
            asked[request.headers["host"] + url.raw_path.decode()] = str(url)
            if url.host not in _LOOPBACK or url.port in _PORTS:
                request.url = url.copy_with(scheme="http", host="127.0.0.1", port=port)

        _redirect_requests(monkeypatch, redirect)
        yield World(server, asked)
    for logger, level in levels:
        logger.setLevel(level)


def _redirect_requests(
    monkeypatch: pytest.MonkeyPatch, redirect: Callable[[httpx.Request], None]
) -> None:
    send, asend = (
        httpx.HTTPTransport.handle_request,
        httpx.AsyncHTTPTransport.handle_async_request,
    )

    def handle(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        redirect(request)
        return send(transport, request)

    async def ahandle(
        transport: httpx.AsyncHTTPTransport, request: httpx.Request
    ) -> httpx.Response:
        redirect(request)
        return await asend(transport, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", ahandle)
