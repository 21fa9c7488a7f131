"""Fixtures for all tests; those of a framework are in its support module."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import settings

from calls import KEYS, LOOPS, AsyncCalls, Calls, SyncCalls
from fakes import Clock, sleepless, use_clock
from loopback import Server, echoes, running, tls_context
from rerank_integrations.providers import known_names, provider_class

pytest_plugins = ["docs_support", "servers_support"]
# what `make lowest` tests without the frameworks has none of these
_FRAMEWORKS = {"langchain_support": "langchain_core", "llama_index_support": "llama_index"}

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # it calls out otherwise
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the threads of small matrices wait in busy loops
# a loaded machine is no failure; the examples differ in each run, so few are enough in one
settings.register_profile("untimed", deadline=None, max_examples=40)
settings.load_profile("untimed")
collect_ignore = ["servers"]  # they need servers and SDKs: `make test-servers`
_OTHERS = ("VOYAGE_API_KEY_PATH", "DASHSCOPE_WORKSPACE_ID")


def _variables() -> Iterator[str]:
    """The environment variables that any provider reads."""
    for kind in map(provider_class, known_names()):
        names = (getattr(kind, name, None) for name in ("api_key_env", "base_url_env"))
        yield from (name for name in names if name)
        yield from getattr(kind, "other_key_envs", ())


_KEYS = (*_variables(), *_OTHERS)


def pytest_configure(config: pytest.Config) -> None:
    """A process that hands all tests out to others is spared the imports of the frameworks."""
    if "PYTEST_XDIST_WORKER" in os.environ or not config.getoption("numprocesses", None):
        for name, framework in _FRAMEWORKS.items():
            if find_spec(framework):
                config.pluginmanager.import_plugin(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that at the end no worker waits for another."""
    items.sort(key=lambda item: item.path.name != "test_typing.py")


gc.disable()  # nothing that an import makes is garbage, and there is much of it


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """What was imported is not looked through in each collection of garbage of a test."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _log_levels() -> Iterator[None]:
    """What a program of a test, or `rerank --debug`, sets is not there in the next test."""
    loggers = [logging.getLogger(name) for name in (None, "rerank_integrations", "httpx")]
    before = [(logger, logger.level) for logger in loggers]
    yield
    for logger, level in before:
        logger.setLevel(level)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Any]:
    """Each async test runs on asyncio's event loop and on uvloop's."""
    return LOOPS


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(vcr: Any) -> None:
    """Cassettes are read, matched and scrubbed as `make record` writes them."""
    from cassettes.replay import prepared  # for the tests that have a cassette

    prepared(vcr)


@pytest.fixture(name="server")
def server_fixture() -> Iterator[Server]:
    """A server that ranks every document, until it is told another script."""
    with running() as server:
        yield server


@pytest.fixture(name="second")
def second_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server of Together, for whoever names that provider."""
    with running() as server:
        monkeypatch.setenv(KEYS["together"], "the-second-key")
        monkeypatch.setenv("TOGETHER_BASE_URL", server.url)
        yield server


@pytest.fixture(name="nobody")
def nobody_fixture() -> Iterator[str]:
    """An address that refuses connections."""
    with running(door="shut") as server:
        yield server.url


@pytest.fixture(name="context")
def context_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The TLS context of a server on 127.0.0.1 that the environment trusts."""
    authority, file = trustme.CA(), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return tls_context(authority)


@pytest.fixture(name="plain")
def plain_fixture() -> Iterator[Server]:
    """A server without TLS whose responses have the query as their id."""
    with running(echoes) as server:
        yield server


@pytest.fixture(name="call", params=["sync", *LOOPS])
def call_fixture(request: pytest.FixtureRequest) -> Iterator[Calls]:
    """Calls a client without an event loop, and on each kind of event loop."""
    if request.param == "sync":
        yield SyncCalls()
        return
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield AsyncCalls(runner)


@pytest.fixture(name="pauses")
def pauses_fixture(monkeypatch: pytest.MonkeyPatch) -> Sequence[float]:
    """The seconds that a client would have slept, which it does not."""
    return sleepless(monkeypatch)


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every call and of every client that is made after it."""
    clock = Clock()
    use_clock(monkeypatch, clock)
    return clock
