"""Forked processes: each has connections of its own, and none reads the response of another."""

from __future__ import annotations

import json
import multiprocessing
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from cases import cases
from fork_scenarios import CALLS, WORKERS
from loopback import Received, Reply, Server, ranking, running, tls_context

TIME = 90.0  # seconds until a program that hangs fails

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="has no fork"
)


def number_as_score(received: Received) -> Reply:
    """Scores a document with the number that is the query."""
    return ranking(float(received.body["query"]))


@contextmanager
def served(scheme: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose answers tell the query, over http or https."""
    authority = trustme.CA()
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = None if scheme == "http" else tls_context(authority, "localhost")
    with running(number_as_score, context=context, host="localhost") as server:
        yield server


def found(scenario: str, server: Server) -> Any:
    """What a program finds that forks."""
    script = Path(__file__).with_name("fork_scenarios.py")
    ended = subprocess.run(
        [sys.executable, str(script), scenario, server.url],
        capture_output=True,
        text=True,
        timeout=TIME,
        check=False,
    )
    assert ended.stderr == ""
    return json.loads(ended.stdout)


def test_a_cache_is_shared_with_forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked child has the scores of its parent; those that it adds are kept in a file alone.

    So are those of a child that is killed after its call, and no child waits for a lock of a thread
    of its parent.
    """
    with served("http", tmp_path, monkeypatch) as server:
        in_memory, in_file = found("cached", server)
        asked = Counter(request.query for request in server.received)
    assert in_memory == [[], [], 1]
    assert in_file == [[], [], 3]
    assert {asked[str(number)] for number in range(1, 21)} == {2}  # for each kind of cache once
    assert {asked["1000"], asked["2000"]} == {3}  # in memory the parent asks again


@cases("scheme", ["http", "https"])
@cases("scenario", ["async", "threads"])
def test_each_process_reads_its_own_responses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, scenario: str
) -> None:
    """A client that was used, in threads too, gives right answers in forked processes."""
    with served(scheme, tmp_path, monkeypatch) as server:
        assert found(scenario, server) == []
    assert len(server.received) >= CALLS


@cases("scheme", ["http", "https"])
def test_the_parent_keeps_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Forked processes get right answers, and leave the connection of their parent open.

    So does one that closes its client.
    """
    with served(scheme, tmp_path, monkeypatch) as server:
        assert found("sync", server) == []
    assert len(server.received) >= CALLS
    assert 1 < server.connections <= 1 + WORKERS


def test_each_process_calls_its_factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callable makes a client for each forked process, even if it was used before."""
    with served("http", tmp_path, monkeypatch) as server:
        assert found("factories", server) == []
    in_parent, in_children = server.received[:2], server.received[2:]
    parents = {one.headers["x-process"] for one in in_parent}
    children = {one.headers["x-process"] for one in in_children}
    assert len(parents) == 1
    assert 1 <= len(children - parents) == len(children) <= WORKERS


@pytest.fixture(scope="module", name="instances")
def instances_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What a program finds that forks after it has used a client of its own."""
    with (
        pytest.MonkeyPatch.context() as patch,
        served("http", tmp_path_factory.mktemp("instances"), patch) as server,
    ):
        yield found("instances", server)


@pytest.mark.parametrize(
    "way", ["in the child", "with_options", "a copy", "another RerankClient", "async, in the child"]
)
def test_a_given_client_that_was_used_before_the_fork(instances: Any, way: str) -> None:
    """A client that was used before the fork is refused after it, with what to do instead."""
    assert re.match("ConfigurationError: .*pass a callable", str(instances[way]))


def test_a_given_client_elsewhere(instances: Any) -> None:
    """A client that was given works in its own process, and where it was not used before."""
    works = ("unused", "used", "in the parent", "async")
    assert [instances[way] for way in works] == [5.0, 1.0, 2.0, 6.0]
