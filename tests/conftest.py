"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a loaded machine is no failure
settings.load_profile("untimed")
_KEYS = (
    "OPENROUTER_API_KEY",
    "TOGETHER_API_KEY",
    "TOGETHER_BASE_URL",
    "PORTKEY_API_KEY",
    "JINA_API_KEY",
    "VLLM_API_KEY",
)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _KEYS:
        monkeypatch.delenv(name, raising=False)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Any]:
    """Each async test runs on asyncio's event loop and on uvloop's."""
    from server import LOOPS  # with the paths that pytest has set

    return LOOPS


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(vcr: Any) -> None:
    """Cassettes are read, matched and scrubbed as `make record` writes them."""
    from cassettes.replay import prepared  # for the tests that have a cassette

    prepared(vcr)
