"""Replacements for the insides of a client: a clock that nobody waits for, other limits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from calls import Calls, client_of
from loopback import Server
from rerank_integrations import RerankClient, RerankError, RerankResponse
from rerank_integrations._rate_limit import Availability, RateLimiter
from rerank_integrations._sender import _ssl_context

COOLDOWN = 30.0  # seconds for which a circuit breaker is open
IN_A_ROW = 5  # failures, before it opens
_INSIDES = {
    "sleep": "_engine._sleep",
    "start_thread": "_engine.threading.Thread.start",
    "async_sleep": "_engine.asyncio.sleep",
    "wait": "_engine.wait",
    "max_connections": "_pool.MAX_CONNECTIONS",
    "max_idle": "_pool.MAX_IDLE",
    "idle_seconds": "_pool.IDLE_SECONDS",
    "largest_body": "_http_result._LARGEST",
    "find_spec": "_sender.find_spec",
    "begin_request": "_pool._Connection.begin",
    "count_bytes": "_pool._Connection.count",
    "had_stale_bytes": "_pool._Connection.had_stale_bytes",
    "ended_exactly": "_pool._Connection.ended_exactly",
    "make_reader": "_http_result.BodyReader.__init__",
    "read_body": "_http_result.BodyReader.add",
    "end_body": "_http_result.BodyReader.response",
}


def override(patch: pytest.MonkeyPatch, **values: object) -> None:
    """Set insides of the package by what they are; tests do it here alone."""
    if "sleep" in values:
        sleep: Any = values["sleep"]
        values["sleep"] = lambda seconds, _: sleep(seconds)
    for name, value in values.items():
        patch.setattr(f"rerank_integrations.{_INSIDES[name]}", value)


class Clock:
    """Time that passes only when somebody sleeps, or when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.meanwhile: list[Callable[[], None]] = []
        self.is_frozen = False
        self._taking = threading.Lock()

    def reset(self) -> None:
        """Forget what was slept."""
        self.slept.clear()
        self.meanwhile.clear()
        self.is_frozen = False

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass, and do what was to happen meanwhile."""
        with self._taking:
            self.slept.append(seconds)
            happens, self.meanwhile = self.meanwhile, []
            if not self.is_frozen:
                self.now += seconds
        for step in happens:
            step()

    async def asleep(self, seconds: float) -> None:
        """The same, on an event loop."""
        self.sleep(seconds)
        await asyncio.sleep(0)


def forget_certificates() -> None:
    """Read the trusted certificates anew at the next connection."""
    _ssl_context.cache_clear()


def use_clock(patch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Let every call, and every client that is made from now on, use a clock."""
    slow = SimpleNamespace(**{name: getattr(asyncio, name) for name in asyncio.__all__})
    slow.sleep = clock.asleep
    for module in ("_engine", "_pool"):
        patch.setattr(f"rerank_integrations.{module}.time", clock)
    patch.setattr("rerank_integrations._engine.asyncio", slow)
    patch.setattr("rerank_integrations._engine._sleep", lambda seconds, _: clock.sleep(seconds))
    patch.setattr(RateLimiter.__init__, "__defaults__", (clock.monotonic,))
    patch.setattr(Availability.__init__, "__defaults__", (clock.monotonic, lambda: 0.0))


def sleepless(patch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that clients would have slept, which they do not, without the jitter."""
    slept: list[float] = []

    async def asleep(seconds: float) -> None:
        slept.append(seconds)

    override(patch, sleep=slept.append, async_sleep=asleep)
    patch.setattr(Availability.__init__, "__defaults__", (time.monotonic, lambda: 0.0))
    return slept


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


def attempts_of(outcome: RerankResponse | RerankError) -> Sequence[tuple[str, str]]:
    """The providers and what they gave: an error's name, "" for a response, or "not asked"."""
    return [(one.provider, (one.error or "").partition(":")[0]) for one in outcome.attempts]
