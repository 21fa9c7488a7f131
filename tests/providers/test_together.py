"""Tests of what Together is sent."""

from __future__ import annotations

import pytest

from cases import cases
from rerank_integrations.errors import ConfigurationError
from support import KEY, together


def test_headers() -> None:
    """Together is sent the key, and nothing else."""
    assert together().headers() == {"Authorization": f"Bearer {KEY}"}


@cases("return_documents", [None, True, False])
def test_body(return_documents: bool | None) -> None:  # noqa: FBT001
    """The schema allows no key besides the common ones but return_documents."""
    body = together(return_documents=return_documents).body()
    assert body == {"return_documents": return_documents}


@cases(
    ("base_url", "expected"),
    [
        (None, "https://api.together.ai/v1/rerank"),
        ("https://api.together.ai", "https://api.together.ai/v1/rerank"),
        ("https://api.together.ai/v1", "https://api.together.ai/v1/rerank"),
        ("https://api.together.xyz", "https://api.together.xyz/v1/rerank"),
        ("https://api.together.xyz/v1/", "https://api.together.xyz/v1/rerank"),
    ],
)
def test_address(base_url: str | None, expected: str) -> None:
    """Both hosts are taken, with and without the version."""
    assert together(base_url=base_url).url == expected


def test_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without base_url the address comes from the environment."""
    monkeypatch.setenv("TOGETHER_BASE_URL", "https://api.together.xyz/")
    assert together().url == "https://api.together.xyz/v1/rerank"


def test_given_address_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A given base_url wins over the environment."""
    monkeypatch.setenv("TOGETHER_BASE_URL", "https://elsewhere.example")
    assert together(base_url="http://localhost:1").url == "http://localhost:1/v1/rerank"


def test_empty_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as none."""
    monkeypatch.setenv("TOGETHER_BASE_URL", "")
    assert together().url == "https://api.together.ai/v1/rerank"


def test_wrong_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that holds no address is refused."""
    monkeypatch.setenv("TOGETHER_BASE_URL", "api.together.ai")
    with pytest.raises(ConfigurationError, match="must be an address"):
        together()


@cases(
    ("model", "expected"),
    [
        ("Salesforce/Llama-Rank-V1", True),
        ("Salesforce/Llama-Rank-v1", True),
        ("my-account/salesforce/llama-rank-v1-abc123", True),
        ("mixedbread-ai/Mxbai-Rerank-Large-V2", False),
        ("nvidia/llama-nemotron-rerank", False),
    ],
)
@cases("said", [None, True, False])
def test_ranks_fields(model: str, expected: bool, said: bool | None) -> None:  # noqa: FBT001
    """The Llama-Rank family ranks fields itself, unless the caller says otherwise."""
    found = together(native_rank_fields=said).max_rank_fields(model) is None
    assert found is (expected if said is None else said)


def test_text_only() -> None:
    """Together takes no images."""
    assert together().takes_images("some/model") is False
