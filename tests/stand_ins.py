"""What tests of fallbacks and of pace share: a second server, and a clock that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from rerank_integrations import RerankClient, RerankError, RerankResponse
from rerank_integrations._rate_limit import RateLimiter
from server import KEYS, Calls, Server, client_of, running

BREAK = 30.0  # seconds for which an endpoint is left alone
IN_A_ROW = 5  # failures, before it is


class Clock:
    """Time that passes only when somebody sleeps, or when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.meanwhile: list[Callable[[], None]] = []
        self.stands_still = False
        self._taking = threading.Lock()

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass, and do what was to happen meanwhile."""
        with self._taking:
            self.slept.append(seconds)
            happens, self.meanwhile = self.meanwhile, []
            if not self.stands_still:
                self.now += seconds
        for step in happens:
            step()

    async def asleep(self, seconds: float) -> None:
        """The same, on an event loop."""
        self.sleep(seconds)
        await asyncio.sleep(0)


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every call and of every client that is made after it."""
    clock = Clock()
    slow = SimpleNamespace(**{name: getattr(asyncio, name) for name in asyncio.__all__})
    slow.sleep = clock.asleep
    for module in ("_engine", "_pool"):
        monkeypatch.setattr(f"rerank_integrations.{module}.time", clock)
    monkeypatch.setattr("rerank_integrations._engine.asyncio", slow)
    monkeypatch.setattr(RateLimiter.__init__, "__defaults__", (clock.monotonic,))
    return clock


@pytest.fixture(name="second")
def second_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server of Together, for whoever names that provider."""
    with running() as server:
        monkeypatch.setenv(KEYS["together"], "the-second-key")
        monkeypatch.setenv("TOGETHER_BASE_URL", server.url)
        yield server


def chain(
    server: Server, *fallbacks: str | RerankClient, gateway: str = "openrouter", **options: Any
) -> RerankClient:
    """A client without retries that has fallbacks."""
    return client_of(server, gateway, fallbacks=fallbacks, **{"max_retries": 0, **options})


def ended(call: Calls, client: RerankClient, *given: Any, **options: Any) -> Any:
    """The response of a call, or the error that it raised."""
    try:
        return call(client, *given, **options)
    except RerankError as error:
        return error


def told(outcome: RerankResponse | RerankError) -> Sequence[tuple[str, str]]:
    """Who was asked and what came: the name of an error, "" for an answer, or "not asked"."""
    return [(one.provider, (one.error or "").partition(":")[0]) for one in outcome.attempts]
