"""A call of the client in a real Arize Phoenix, as its REST interface shows the span."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from loopback import Reply, Server, ranking, running
from rerank_integrations import BadRequestError, OpenRouter, RerankClient

START = 300  # seconds; a quiet machine needs 20 to 80
PORT, GRPC_PORT = 16106, 16107
ADDRESS = f"http://127.0.0.1:{PORT}"
QUERY = "How often does a bicycle chain need oil?"
DOCUMENTS: list[Any] = [
    "Cars need fuel.",
    {"id": "care", "title": "Bicycle care", "text": "Oil the chain once a month."},
    "Wash the car by hand.",
    "A chain has links.",
]
USAGE = {"search_units": 1, "total_tokens": 150, "cost": 0.001}
OFFLINE = {
    "PHOENIX_HOST": "127.0.0.1",
    "PHOENIX_PORT": str(PORT),
    "PHOENIX_GRPC_PORT": str(GRPC_PORT),  # on all interfaces, whatever the host is
    "PHOENIX_TELEMETRY_ENABLED": "false",
    "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
}


def fetched(path: str) -> Any:
    """What Phoenix says at a path; None where there is nothing yet."""
    try:
        with urlopen(f"{ADDRESS}{path}", timeout=5) as response:  # noqa: S310  # loopback
            return response.read()
    except (HTTPError, URLError, TimeoutError, ConnectionError):
        return None


@pytest.fixture(scope="module", name="phoenix")
def phoenix_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A project in a Phoenix of its own, to which this process exports."""
    folder = tmp_path_factory.mktemp("phoenix")
    command = [str(Path(sys.executable).with_name("phoenix")), "serve"]
    environment = {**os.environ, **OFFLINE, "PHOENIX_WORKING_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        ends = time.monotonic() + START
        while fetched("/healthz") is None:
            said = (folder / "log").read_text(errors="replace")[-2000:]
            assert process.poll() is None, said
            assert time.monotonic() < ends, f"Phoenix did not start in {START} s: {said}"
            time.sleep(1)
        provider = TracerProvider(resource=Resource({"openinference.project.name": "rerank"}))
        exporter = OTLPSpanExporter(f"{ADDRESS}/v1/traces")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        yield "rerank"
        provider.shutdown()
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(name="server")
def server_fixture() -> Iterator[Server]:
    """A gateway."""
    with running() as server:
        yield server


def spans(project: str, count: int) -> list[Any]:
    """The spans of a project, newest first, once there are so many."""
    found: list[Any] = []
    for _ in range(60):
        answer = fetched(f"/v1/projects/{project}/spans?limit=100")
        found = [] if answer is None else json.loads(answer)["data"]
        if len(found) >= count:
            break
        time.sleep(0.5)
    return found


def test_a_call_is_a_reranker(phoenix: str, server: Server) -> None:
    """Phoenix shows query, documents, scores, usage and the retry of a call, and one that failed.

    Its views read these attributes and events.
    """
    headers = {"X-Generation-Id": "gen-1"}
    good = ranking(0.1, 0.9, 0.2, 0.4, provider="Cohere", usage=USAGE, headers=headers)
    bad = Reply({"error": {"message": "no such model"}}, 400)
    server.plays(Reply(status=503), good, bad)
    own = OpenRouter(api_key="the-key", base_url=server.url)
    with RerankClient("cohere/rerank-v3.5", provider=own, top_n=2) as client:
        response = client.rerank(QUERY, DOCUMENTS)
        with pytest.raises(BadRequestError):
            client.rerank(QUERY, DOCUMENTS)

    failed, span = spans(phoenix, 2)
    assert (span["name"], span["span_kind"]) == ("rerank cohere/rerank-v3.5", "RERANKER")
    told = span["attributes"]
    assert (told["reranker.query"], told["reranker.top_k"]) == (QUERY, 2)
    assert told["reranker.model_name"] == "cohere/rerank-v3.5"
    inputs = [told[f"reranker.input_documents.{n}.document.content"] for n in range(4)]
    assert inputs[::2] == DOCUMENTS[::2]
    assert "Oil the chain once a month." in inputs[1]
    assert told["reranker.input_documents.1.document.id"] == "care"
    assert told["reranker.input_documents.1.document.metadata.title"] == "Bicycle care"
    for place, result in enumerate(response):
        at = f"reranker.output_documents.{place}.document"
        assert told[f"{at}.content"] == inputs[result.index]
        assert told[f"{at}.score"] == result.relevance_score
    assert told["rerank.request_id"] == "gen-1"
    assert told["llm.token_count.total"] == 150
    assert [event["name"] for event in span["events"]] == ["rerank.retry", "rerank.wait"]
    assert span["events"][0]["attributes"]["http.response.status_code"] == 503
    assert (failed["span_kind"], failed["status_code"]) == ("RERANKER", "ERROR")
    assert "no such model" in failed["status_message"]
    assert "the-key" not in json.dumps([span, failed])
