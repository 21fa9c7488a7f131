"""Tests of what Portkey is sent."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from cases import cases
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers.portkey import Portkey
from support import KEY, bodies_of, body_of, call, failed

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
    with pytest.raises(ConfigurationError, match="Portkey needs a host"):
        call("a", provider=portkey(), model="rerank-v3.5")


def test_name_without_key() -> None:
    """A bare provider name needs the key of that host."""
    with pytest.raises(ConfigurationError, match="'cohere' needs authorization="):
        portkey(provider="cohere").check("rerank-v3.5")


@cases("provider", ["bedrock", "vertex-ai", "azure-ai"])
def test_host_with_headers_of_its_own(provider: str) -> None:
    """A host that authorises with headers of its own needs no authorization."""
    portkey(provider=provider).check("arn:aws:bedrock:us-west-2::foundation-model/m:0")


@cases(
    ("arguments", "model"),
    [
        ({"provider": "cohere"}, "rerank-v3.5"),
        ({"virtual_key": "vk-1"}, "rerank-v3.5"),
        ({"config": "pc-my-config"}, "rerank-v3.5"),
        ({}, "@cohere-prod/rerank-v3.5"),
    ],
)
def test_custom_host_without_key(arguments: dict[str, Any], model: str) -> None:
    """A host of the user's own may need no key, and its dialect is named in any of the ways."""
    provider = portkey(custom_host="http://localhost:9", **arguments)
    provider.check(model)
    assert provider.headers()["x-portkey-custom-host"] == "http://localhost:9"


def test_custom_host_needs_a_provider() -> None:
    """A custom host speaks some provider's dialect, which must be named."""
    with pytest.raises(ConfigurationError, match="custom_host needs provider="):
        portkey(custom_host="https://host.example").check("rerank-v3.5")


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


@cases(
    ("value", "why"),
    [
        ("x" * 129, "has 129 characters; Portkey takes 128"),
        (10**200, "has 201 characters; Portkey takes 128"),
        (None, "must be a str, a finite number or a bool, not NoneType; leave it out"),
        (["a"], "not list"),
        ({"a": "b"}, "not dict"),
        (float("nan"), "not the number nan"),
        (float("inf"), "not the number inf"),
    ],
)
def test_wrong_metadata(value: object, why: str) -> None:
    """A value of metadata is a text, a number or a boolean, of at most 128 characters."""
    with pytest.raises(ConfigurationError, match=rf"metadata\['_user'\] .*{why}"):
        portkey(metadata={"_user": value})


@cases(
    ("value", "expected"),
    [
        ("x" * 128, "x" * 128),
        ("x\ny", "x\ny"),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (-0.5, "-0.5"),
        (np.int64(7), "7"),
        (np.float32(0.5), "0.5"),
        (np.bool_(1), "true"),
    ],
)
def test_metadata(value: Any, expected: str) -> None:
    """A text of 128 characters is taken, on one line; numbers and booleans are sent as strings."""
    header = portkey(metadata={"_user": value}).headers()["x-portkey-metadata"]
    assert json.loads(header) == {"_user": expected}
    assert "\n" not in header


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


@cases(
    "arguments",
    [
        {"config": CONFIG},
        *(
            {name: form(UPSTREAM)}
            for name in ("virtual_key", "authorization", "config")
            for form in (str, SecretStr)
        ),
    ],
)
def test_secrets_are_never_shown(arguments: dict[str, Any]) -> None:
    """No secret of any kind is in the repr, nor a config, which may hold keys."""
    assert UPSTREAM not in repr(portkey(**arguments))


@cases("name", ["virtual_key", "authorization", "config", "provider", "trace_id", "span_name"])
def test_line_break_in_a_header(name: str) -> None:
    """A value with a line break inside is refused without repeating it."""
    with pytest.raises(ConfigurationError, match="has a line break") as caught:
        portkey(**{name: f"{UPSTREAM}\nx"})
    assert UPSTREAM not in str(caught.value)


@cases(
    ("arguments", "model", "expected"),
    [
        ({"provider": "@pinecone-prod"}, "any", (None, 1000)),
        ({"provider": "pinecone"}, "any", (None, 1000)),
        ({"provider": "pinecone"}, "bge-reranker-v2-m3", (1, 100)),
        ({}, "@my-pinecone/any", (None, 1000)),
        ({}, "@my-pinecone/pinecone-rerank-v0", (1, 100)),
        ({"virtual_key": "vk"}, "bge-reranker-v2-m3", (1, 100)),
        ({"virtual_key": "vk"}, "pinecone-rerank-v0", (1, 100)),
        ({}, "@prod/cohere-rerank-3.5", (None, 200)),
        ({"provider": "@prod"}, "cohere-rerank-4-fast", (None, 250)),
        ({"provider": "@cohere-prod"}, "rerank-v3.5", (0, 1000)),
        ({}, "@cohere-prod/rerank-v3.5", (0, 1000)),
        ({"provider": "cohere"}, "Salesforce/Llama-Rank-V1", (0, 1000)),
        (
            {"provider": "jina", "custom_host": "http://localhost:9"},
            "bge-reranker-v2-m3",
            (0, 1000),
        ),
        ({"provider": "vertex-ai"}, "semantic-ranker-default@latest", (0, 200)),
        ({"provider": "@pinecone", "native_rank_fields": False}, "any", (0, 1000)),
        ({"native_rank_fields": False}, "bge-reranker-v2-m3", (0, 100)),
        ({"native_rank_fields": True}, "bge-reranker-v2-m3", (1, 100)),
        ({"native_rank_fields": True}, "cohere-rerank-3.5", (None, 200)),
        ({"provider": "cohere", "native_rank_fields": True}, "any", (None, 1000)),
    ],
)
def test_limits(
    arguments: dict[str, Any], model: str, expected: tuple[int | None, int | None]
) -> None:
    """Through Portkey only Pinecone ranks fields itself, unless the caller says otherwise.

    Each of its models takes so many fields, whatever the caller says, and so many documents.
    """
    provider = portkey(**arguments)
    assert (provider.max_rank_fields(model), provider.most_documents(model)) == expected


def test_requests_within_the_limit() -> None:
    """More documents than Pinecone's model takes go in several requests."""
    provider = portkey(provider="@pinecone")
    prepared = call(*["a text"] * 250, provider=provider, model="bge-reranker-v2-m3")
    assert [len(body["documents"]) for body in bodies_of(prepared)] == [100, 100, 50]


@cases(
    ("fields", "expected"),
    [
        ({"text": "a", "year": 1999}, {"text": "a", "year": 1999}),
        ({"body": "a"}, {"text": "all of it", "body": "a"}),
        ({"text": ["a"], "tags": ["b"]}, {"text": "all of it", "tags": ["b"]}),
        ({"text": None}, {"text": "all of it"}),
    ],
)
def test_document(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """A document has a text, which is a str, beside its other values as they are."""
    assert portkey().document(fields, "all of it") == expected


@cases(
    ("arguments", "hint"),
    [
        ({"provider": "cohere", "authorization": UPSTREAM}, "authorization=, the key of the host"),
        ({"virtual_key": "vk-1"}, "stored at Portkey for virtual_key="),
        ({"config": "pc-my-config"}, "the key of the host in config="),
        ({"provider": "bedrock"}, "the credentials of bedrock in extra_headers="),
        ({"provider": "@cohere-prod"}, "stored at Portkey for the slug"),
    ],
)
@cases("status", [401, 403])
@cases(
    ("message", "headers"),
    [
        ("cohere error: invalid api token", {}),
        ("invalid api token", {"x-portkey-provider": "cohere"}),
    ],
)
def test_host_refuses_its_key(
    arguments: dict[str, Any], hint: str, status: int, message: str, headers: dict[str, str]
) -> None:
    """When the host behind Portkey refuses a key, the message does not blame Portkey's own."""
    body = {"error": {"message": message, "type": None, "param": None, "code": None}}
    error = failed({**body, "provider": "cohere"}, status, headers, portkey(**arguments))
    assert hint in str(error)
    assert "PORTKEY_API_KEY" not in str(error)
    assert UPSTREAM not in str(error)


@cases(
    "body",
    [
        {
            "status": "failure",
            "message": "Invalid API Key",
            "error": {"message": "x", "code": "03"},
        },
        {"status": "failure", "message": "Invalid API Key"},
        {"status": "failure", "message": "auth error: Invalid API Key"},
        {"error": {"message": "cohere error: Invalid API Key", "code": "03"}},
    ],
)
def test_gateway_refuses_its_key(body: dict[str, Any]) -> None:
    """When Portkey refuses its own key, the message says where that came from."""
    error = failed(body, 401, {}, portkey(provider="cohere", authorization=UPSTREAM))
    assert "check api_key= or the environment variable PORTKEY_API_KEY" in str(error)


@cases(
    ("headers", "expected"),
    [({"x-portkey-provider": "cohere"}, "cohere"), ({"x-portkey-provider": ""}, None), ({}, None)],
)
def test_served_by(headers: dict[str, str], expected: str | None) -> None:
    """Portkey's header names the host that served."""
    assert portkey().served_by(headers) == expected


def test_text_only() -> None:
    """Portkey takes no images: it would send null in their place."""
    assert portkey().takes_images("some/model") is False
