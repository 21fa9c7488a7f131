"""Fixtures for all tests."""

from __future__ import annotations

import pytest

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
