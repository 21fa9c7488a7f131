"""Tests of what Portkey is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from cases import cases
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers.portkey import Portkey
from support import KEY, body_of, call

UPSTREAM = "co-upstream-key"
CONFIG = {"provider": "cohere", "api_key": UPSTREAM}
OWN_GATEWAY = "http://localhost:8787"


def portkey(**arguments: Any) -> Portkey:
    """A Portkey with a key and nothing else."""
    return Portkey(**{"api_key": KEY, **arguments})


@cases(
    ("arguments", "expected"),
    [
        ({"virtual_key": "vk-1"}, {"x-portkey-virtual-key": "vk-1"}),
        ({"provider": "@cohere-prod"}, {"x-portkey-provider": "@cohere-prod"}),
        (
            {"provider": "cohere", "authorization": UPSTREAM},
            {"x-portkey-provider": "cohere", "Authorization": f"Bearer {UPSTREAM}"},
        ),
        (
            {
                "provider": "cohere",
                "authorization": SecretStr(UPSTREAM),
                "custom_host": "https://host.example/v2",
            },
            {
                "x-portkey-provider": "cohere",
                "Authorization": f"Bearer {UPSTREAM}",
                "x-portkey-custom-host": "https://host.example/v2",
            },
        ),
        ({"config": "pc-my-config"}, {"x-portkey-config": "pc-my-config"}),
        (
            {"config": CONFIG},
            {"x-portkey-config": '{"provider":"cohere","api_key":"co-upstream-key"}'},
        ),
    ],
)
def test_ways_in(arguments: dict[str, Any], expected: dict[str, str]) -> None:
    """Each way to say who serves goes out in its own headers, beside the key."""
    provider = portkey(**arguments)
    provider.check("rerank-v3.5")
    assert provider.headers() == {"x-portkey-api-key": KEY, **expected}


def test_slug_in_the_model() -> None:
    """A model that names a slug of the catalog is enough beside the key."""
    prepared = call("a", provider=portkey(), model="@cohere-prod/rerank-v3.5")
    assert body_of(prepared)["model"] == "@cohere-prod/rerank-v3.5"


def test_nobody_serves() -> None:
    """A setup that says nobody who could serve is refused with the ways to say it."""
    with pytest.raises(ConfigurationError, match="Portkey must be told who serves"):
        call("a", provider=portkey(), model="rerank-v3.5")


def test_name_without_key() -> None:
    """A bare provider name needs the key of that host."""
    with pytest.raises(ConfigurationError, match="'cohere' needs authorization="):
        portkey(provider="cohere").check("rerank-v3.5")


@cases("provider", ["bedrock", "vertex-ai", "azure-ai"])
def test_host_with_headers_of_its_own(provider: str) -> None:
    """A host that authorises with headers of its own needs no authorization."""
    portkey(provider=provider).check("arn:aws:bedrock:us-west-2::foundation-model/m:0")


def test_custom_host_without_key() -> None:
    """A host of the user's own may need no key."""
    portkey(provider="cohere", custom_host="http://localhost:9").check("rerank-v3.5")


def test_custom_host_needs_a_provider() -> None:
    """A custom host speaks some provider's dialect, which must be named."""
    with pytest.raises(ConfigurationError, match="custom_host needs provider="):
        portkey(custom_host="https://host.example")


@cases("host", ["host.example", "https://user:pw@host.example", ""])
def test_wrong_custom_host(host: str) -> None:
    """A custom host is a web address without a key in it."""
    with pytest.raises(ConfigurationError, match="custom_host must"):
        portkey(provider="cohere", custom_host=host)


@cases("base_url", [OWN_GATEWAY, f"{OWN_GATEWAY}/v1/", "https://aigw.portkey.ai/v1"])
def test_own_gateway_needs_no_key(base_url: str) -> None:
    """A gateway that is not Portkey's cloud needs no key of Portkey."""
    provider = Portkey(base_url=base_url, provider="cohere", authorization=UPSTREAM)
    assert provider.headers() == {
        "x-portkey-provider": "cohere",
        "Authorization": f"Bearer {UPSTREAM}",
    }


@cases("base_url", [None, "https://api.portkey.ai", "https://API.portkey.ai/v1/rerank"])
def test_cloud_needs_a_key(base_url: str | None) -> None:
    """Portkey's cloud needs a key, however its address is written."""
    with pytest.raises(ConfigurationError, match="PORTKEY_API_KEY"):
        Portkey(base_url=base_url, provider="@cohere-prod")


@cases(
    ("base_url", "expected"),
    [
        (None, "https://api.portkey.ai/v1/rerank"),
        (OWN_GATEWAY, f"{OWN_GATEWAY}/v1/rerank"),
        (f"{OWN_GATEWAY}/v1/", f"{OWN_GATEWAY}/v1/rerank"),
        (f"{OWN_GATEWAY}/v1/rerank", f"{OWN_GATEWAY}/v1/rerank"),
    ],
)
def test_address(base_url: str | None, expected: str) -> None:
    """A bare address gets the version, without which a gateway answers 404."""
    assert portkey(base_url=base_url).url == expected


def test_tracing_headers() -> None:
    """What places a call in Portkey's logs goes out in headers."""
    given = {"trace_id": "t", "span_id": "s", "parent_span_id": "p", "span_name": "n"}
    headers = portkey(provider="@a", metadata={"_user": "Zoë"}, **given).headers()
    tracing = {name: value for name, value in headers.items() if value not in (KEY, "@a")}
    assert tracing == {
        "x-portkey-trace-id": "t",
        "x-portkey-span-id": "s",
        "x-portkey-parent-span-id": "p",
        "x-portkey-span-name": "n",
        "x-portkey-metadata": '{"_user": "Zo\\u00eb"}',
    }


@cases("metadata", [None, {}])
def test_no_metadata(metadata: dict[str, str] | None) -> None:
    """Without metadata there is no such header."""
    assert "x-portkey-metadata" not in portkey(metadata=metadata).headers()


def test_metadata_with_a_line_break() -> None:
    """A line break in metadata is escaped, so the header stays one line."""
    headers = portkey(metadata={"a": "x\ny"}).headers()
    assert json.loads(headers["x-portkey-metadata"]) == {"a": "x\ny"}


@cases("value", ["x" * 129, 5, None, ["a"]])
def test_wrong_metadata(value: object) -> None:
    """A value of metadata is a text of at most 128 characters."""
    with pytest.raises(ConfigurationError, match=r"metadata\['_user'\]"):
        portkey(metadata={"_user": value})


def test_longest_metadata() -> None:
    """A text of 128 characters is taken."""
    assert portkey(metadata={"_user": "x" * 128}).metadata == {"_user": "x" * 128}


@cases("config", ["", " ", 5, ["a"], {"a": object()}])
def test_wrong_config(config: object) -> None:
    """A config is an id or a mapping of JSON values."""
    with pytest.raises(ConfigurationError, match="config"):
        portkey(config=config)


def test_config_in_any_script() -> None:
    """A config's text is escaped to ASCII, which a header needs."""
    header = portkey(config={"name": "Zoë"}).headers()["x-portkey-config"]
    assert (header.isascii(), json.loads(header)) == (True, {"name": "Zoë"})


def test_body() -> None:
    """What Portkey hands to a host goes out in the body."""
    given = {
        "return_documents": False,
        "max_tokens_per_doc": 512,
        "priority": 1,
        "truncation": True,
        "parameters": {"truncate": "END"},
    }
    body = body_of(call("a", provider=portkey(virtual_key="vk", **given)))
    assert {name: body[name] for name in given} == given


def test_body_that_nobody_set() -> None:
    """What is not set is not sent."""
    body = body_of(call("a", provider=portkey(virtual_key="vk")))
    assert set(body) == {"model", "query", "documents"}


@cases("number", [0, -1])
def test_wrong_max_tokens(number: int) -> None:
    """max_tokens_per_doc is at least 1."""
    with pytest.raises(ConfigurationError, match="max_tokens_per_doc"):
        portkey(max_tokens_per_doc=number)


@cases("name", ["virtual_key", "authorization", "config"])
@cases("form", [str, SecretStr])
def test_secrets_are_never_shown(name: str, form: Any) -> None:
    """No secret of any kind is in the repr."""
    assert UPSTREAM not in repr(portkey(**{name: form(UPSTREAM)}))


def test_config_is_never_shown() -> None:
    """A config may hold keys, so it is not in the repr."""
    assert UPSTREAM not in repr(portkey(config=CONFIG))


@cases("name", ["virtual_key", "authorization", "config", "provider", "trace_id", "span_name"])
def test_line_break_in_a_header(name: str) -> None:
    """A value with a line break inside is refused without repeating it."""
    with pytest.raises(ConfigurationError, match="has a line break") as caught:
        portkey(**{name: f"{UPSTREAM}\nx"})
    assert UPSTREAM not in str(caught.value)


@cases(
    ("arguments", "model", "expected"),
    [
        ({"provider": "@pinecone-prod"}, "any", True),
        ({"provider": "pinecone"}, "any", True),
        ({}, "@my-pinecone/any", True),
        ({"virtual_key": "vk"}, "bge-reranker-v2-m3", True),
        ({"virtual_key": "vk"}, "pinecone-rerank-v0", True),
        ({}, "@prod/cohere-rerank-3.5", True),
        ({"provider": "@cohere-prod"}, "rerank-v3.5", False),
        ({}, "@cohere-prod/rerank-v3.5", False),
        ({"provider": "cohere"}, "Salesforce/Llama-Rank-V1", False),
        ({"provider": "@pinecone", "native_rank_fields": False}, "any", False),
        ({"provider": "cohere", "native_rank_fields": True}, "any", True),
    ],
)
def test_ranks_fields(arguments: dict[str, Any], model: str, expected: bool) -> None:  # noqa: FBT001
    """Through Portkey only Pinecone ranks fields itself, unless the caller says otherwise."""
    assert (portkey(**arguments).max_rank_fields(model) is None) is expected


def test_text_only() -> None:
    """Portkey takes no images: it would send null in their place."""
    assert portkey().takes_images("some/model") is False
