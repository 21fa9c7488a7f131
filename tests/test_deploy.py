"""The files of the page about deployment run under the servers that they are for."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from docs_support import DOCS, blocks_of, shares_words
from loopback import TIME, Reply, Server, running
from rerank_integrations import AuthenticationError

FILES = {block.title: block.text for block in blocks_of(DOCS / "deploy.md") if block.title}
COMMANDS = {
    block.text.split()[0]: shlex.split(block.text)
    for block in blocks_of(DOCS / "deploy.md")
    if block.language == "sh"
}
DOCUMENTS = ["a blue car", "a red bicycle", "a green bus"]
QUERIES = {"blue": 0, "red": 1, "green": 2}


@pytest.fixture(name="upstream")
def upstream_fixture() -> Iterator[Server]:
    """The provider."""
    with running() as server:
        server.plays(shares_words)
        yield server


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Server) -> Path:
    """A folder with the files of the page, which find the provider on loopback."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RERANK_MODEL", "cohere:rerank-v3.5")
    monkeypatch.setenv("CO_API_KEY", "the-key")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("CO_API_URL", f"http://127.0.0.1:{upstream.server_address[1]}")
    return tmp_path


@contextmanager
def started(command: Sequence[str]) -> Iterator[str]:
    """The address of a server that was given a listening socket, `{}` in its command."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", *(word.format(number) for word in command)],
            pass_fds=[number],
            stderr=subprocess.PIPE,
        )
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            _, said = process.communicate(timeout=TIME)
            assert process.returncode in (0, -15), said.decode()


def best_of(url: str, body: dict[str, Any]) -> Any:
    """What the server answers."""
    return httpx.post(url, json=body, timeout=TIME, trust_env=False).raise_for_status().json()


def test_the_image_serves_the_fastapi_app(folder: Path) -> None:
    """The Dockerfile copies files of the page, and its command serves the app; a 400 says why."""
    lines = re.sub(r"\\\n\s*", " ", FILES["Dockerfile"]).splitlines()
    steps = [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "CMD"}
    assert {word for word, _ in steps} == known
    copied = [rest.split()[0] for word, rest in steps if word == "COPY"]
    assert set(copied) <= set(FILES)
    command = json.loads(dict(steps)["CMD"])
    assert command[:2] == COMMANDS["uvicorn"][:2]
    assert command[-4:] == ["--host", "0.0.0.0", "--port", dict(steps)["EXPOSE"]]

    with started([*command[:-4], "--fd", "{}"]) as url:
        body = {"query": "red", "documents": DOCUMENTS, "top_n": 1}
        assert best_of(f"{url}/search", body) == [{"index": 1, "score": 1.0}]
        refused = httpx.post(f"{url}/search", json={**body, "query": ""}, trust_env=False)
        assert (refused.status_code, "query is empty" in refused.text) == (400, True)


def test_gunicorn_forks_a_client_that_was_made_before(folder: Path, upstream: Server) -> None:
    """With `--preload`, workers rank for many callers, never on a connection of the parent."""
    used = "from wsgi import app, client\nclient.rerank('red', ['a red bicycle'])\n"
    (folder / "used.py").write_text(used, encoding="utf-8")
    command = [*COMMANDS["gunicorn"], "--workers", "2", "--bind", "fd://{}"]
    command[1] = "used:app"
    with started(command) as url, ThreadPoolExecutor(6) as pool:
        queries = list(QUERIES) * 4
        calls = pool.map(lambda one: best_of(url, {"query": one, "documents": DOCUMENTS}), queries)
        assert [call["results"][0]["index"] for call in calls] == list(QUERIES.values()) * 4
    by_parent, *by_workers = [received.connection for received in upstream.received]
    assert by_parent not in by_workers


def test_a_task_of_celery_is_retried_after_a_transient_error(
    folder: Path, upstream: Server, monkeypatch: pytest.MonkeyPatch, pauses: Sequence[float]
) -> None:
    """A task goes back to the queue where the client gave up on a 503, and not after a 401."""
    tasks: dict[str, Any] = {"__name__": "tasks"}
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://")
    exec(FILES["tasks.py"], tasks)  # noqa: S102

    upstream.plays(*[Reply(status=503)] * 3, shares_words)
    assert tasks["rank"].apply(("red", DOCUMENTS)).get()[0] == 1
    assert len(upstream.received) == 4
    upstream.plays(Reply(status=401), shares_words)
    with pytest.raises(AuthenticationError):
        tasks["rank"].apply(("red", DOCUMENTS)).get()


def test_a_cold_start_loads_no_http_library(folder: Path) -> None:
    """The handler's module is imported without httpx; the first invocation loads it and ranks."""
    program = """
import json, sys
import handler
before = "httpx" in sys.modules
class Context:
    get_remaining_time_in_millis = staticmethod(lambda: 3000)
event = {"body": json.dumps({"query": "red", "documents": json.loads(sys.argv[1])})}
answer = handler.handler(event, Context())
print(json.dumps([before, answer["statusCode"], json.loads(answer["body"])["results"][0]["index"]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(DOCUMENTS)], capture_output=True, check=True
    )
    assert json.loads(done.stdout) == [False, 200, 1]
