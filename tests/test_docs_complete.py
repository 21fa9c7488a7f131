"""The documentation names everything that can be set, and says of each what is true."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest
import yaml
from llama_index.core.schema import MetadataMode

import rerank_integrations
from cases import cases
from docs_support import CLASSES, DOCS, ROOT
from gateways.pages import pages
from gateways.table import PROVIDERS
from rerank_integrations import (
    NOT_GIVEN,
    RerankClient,
    RerankError,
    RerankResponse,
    RerankResult,
    ResultDetails,
    Usage,
    errors,
    testing,
)
from rerank_integrations.haystack import RerankRanker
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor
from rerank_integrations.providers import known_names, provider_class
from rerank_integrations.providers.base import RemoteProvider
from rerank_integrations.providers.openrouter import ProviderPreferences
from support import adapter_classes, settings

SETTINGS = {option.name for option in settings()}
REQUIRED: dict[str, dict[str, Any]] = {
    "azureai": {"base_url": "https://resource.example.org"},
    "compatible": {"base_url": "https://server.example.org", "api_key": "another-key"},
    "portkey": {"provider": "cohere"},  # custom_host needs it
}
GIVEN: dict[str, Any] = {
    "allow_http": True,
    "api_key": "the-key",
    "base_url": "https://example.org/rerank",
    "batch_size": 9,
    "api_version": "2025-01",
    "auth_header": "X-Api-Key",
    "categories": ["cli-agent"],
    "chunking_options": {"size": 512},
    "custom_host": "https://example.org",
    "document_as": "object",
    "extra_body": {"normalize": True},
    "extra_headers": {"X-Team": "search"},
    "extra_query": {"api-version": "2024-05-01"},
    "has_chat_template": False,
    "is_iql": True,
    "language": "de",
    "latency": "slow",
    "max_chunks_per_doc": 9,
    "max_length": 9,
    "max_tokens_per_doc": 9,
    "metadata": {"team": "search"},
    "native_rank_fields": True,
    "overlap_tokens": 9,
    "parameters": {"truncate": "END"},
    "path": "/rank",
    "retrieval_weight": 0.5,
    "score_kind": "logit",
    "priority": 2,
    "provider_preferences": {"zdr": True},
    "raw_scores": True,
    "relevant_spans": True,
    "return_documents": True,
    "return_documents_key": "return_documents",
    "rewrite_query": True,
    "scorer": lambda query, texts: [1.0 for _ in texts],
    "sees_images": True,
    "trace": {"trace_id": "42"},
    "truncate": {"nvidia": "END", "tei": True},
    "truncate_prompt_tokens": 9,
    "truncation": True,
}
ADAPTERS: dict[str, type[RerankCompressor | RerankPostprocessor]] = {
    "langchain": RerankCompressor,
    "llama-index": RerankPostprocessor,
}
OF_THE_FRAMEWORK = {"callback_manager", "name"}
ARGUMENTS = [
    (name, argument.name)
    for name in known_names()
    for argument in dataclasses.fields(provider_class(name))
]


def page(name: str) -> str:
    """The text of a page."""
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def rows(name: str, heading: str) -> dict[str, list[str]]:
    """The rows of the tables below a heading, by their first cell; several names make several."""
    text = re.split(rf"^{heading}$", page(name), maxsplit=1, flags=re.MULTILINE)[1]
    text = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells:
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[1:])
    return found


def spelling(provider: Any) -> Any:
    """How the keys that all requests have are written; an instruction is one of these."""
    return provider.dialect, getattr(provider, "instruction_key", None)


def places(provider: Any) -> set[tuple[str, Any]]:
    """What goes on the wire of a provider's own: headers and body keys, with their values."""
    body = {name: value for name, value in provider.body().items() if value is not None}
    headers = [(f"header `{name}`", value) for name, value in provider.headers().items()]
    return {(name, repr(value)) for name, value in headers} | {
        (f"body `{name}`", repr(value)) for name, value in body.items()
    }


@cases(("name", "argument"), ARGUMENTS)
def test_each_argument_of_a_provider_stands_where_it_goes(
    name: str, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider's page has a row for each argument; it names the header or key that it sets."""
    kind = provider_class(name)
    if kind.api_key_env:
        monkeypatch.setenv(kind.api_key_env, "another-key")
    needed = REQUIRED.get(name, {})
    given = GIVEN.get(argument, "text")
    if argument == "truncate":
        given = given[name]
    before: Any = kind(**needed)
    after: Any = kind(**{**needed, argument: given})

    said = rows(f"gateways/{name}", "## Arguments")[argument][0]
    named = set(re.findall(r"(?:header|body) `[^`]+`", said))
    assert named == {place for place, _ in places(after) - places(before)}
    form = "the form of the body"
    assert (said == "the address") is (before.url != after.url)
    assert (said == form) is (spelling(before) != spelling(after))
    assert (said == "not sent") is not bool(named or said in {"the address", form})


@cases("name", known_names())
def test_a_page_knows_no_argument_that_is_gone(name: str) -> None:
    """A provider's page lists its arguments and no others."""
    known = {argument.name for argument in dataclasses.fields(provider_class(name))}
    assert set(rows(f"gateways/{name}", "## Arguments")) == known


@cases("name", known_names())
def test_a_page_says_address_and_variable(name: str) -> None:
    """A gateway's page says the address that it asks and where its key comes from."""
    kind = provider_class(name)
    if not issubclass(kind, RemoteProvider):
        return
    variables = [kind.api_key_env, kind.base_url_env, *kind.other_key_envs]
    for fact in filter(None, [kind.default_base_url, *variables]):
        assert f"`{fact}`" in page(f"gateways/{name}")


def test_each_preference_is_named() -> None:
    """OpenRouter's page names every key of the provider preferences."""
    named = rows("gateways/openrouter", "## Provider preferences")
    assert set(named) == set(ProviderPreferences.model_fields)


def test_each_setting_is_named() -> None:
    """The client's page lists every setting of a client and a call, and no others."""
    assert set(rows("client", "## Settings")) == SETTINGS


def test_each_argument_of_the_client_is_named() -> None:
    """The client's page lists what only the constructor takes."""
    named = set(inspect.signature(RerankClient).parameters) - SETTINGS
    assert set(rows("client", "## Model and provider")) == named


@cases("name", sorted(SETTINGS))
def test_a_default_is_the_real_one(name: str) -> None:
    """A default that stands in code style on the client's page is that of the client."""
    said = re.fullmatch(r"`(.+)`", rows("client", "## Settings")[name][0])
    fields = {option.name: option.default for option in settings()}
    default = None if name == "extra_headers" else fields[name]
    if said is None:
        assert default is NOT_GIVEN
        return
    assert eval(said[1], {}) == default  # noqa: S307


@cases("name", ADAPTERS)
def test_each_field_of_an_adapter_is_named(name: str) -> None:
    """An adapter's page lists its fields, each with its real default."""
    fields = ADAPTERS[name].model_fields
    named = rows(name, "## Arguments")
    assert set(named) == set(fields) - OF_THE_FRAMEWORK
    known = {"MetadataMode": MetadataMode}
    for field, (default, *_) in named.items():
        assert eval(default.strip("`"), known) == fields[field].default  # noqa: S307


def test_each_argument_of_the_haystack_component_is_named() -> None:
    """The component's page lists its arguments; one that is left to the client reads None."""
    takes = inspect.signature(RerankRanker.__init__).parameters
    named = rows("haystack", "## Arguments")
    assert set(named) == set(takes) - {"self"}
    for name, (default, *_) in named.items():
        real = None if takes[name].default is NOT_GIVEN else takes[name].default
        assert eval(default.strip("`"), {}) == real  # noqa: S307


@cases(
    ("heading", "known"),
    [
        ("## The response", {field.name for field in dataclasses.fields(RerankResponse)}),
        (
            "## A result",
            {*(field.name for field in dataclasses.fields(RerankResult)), *ResultDetails._fields},
        ),
        ("## Usage", {field.name for field in dataclasses.fields(Usage)}),
    ],
)
def test_each_attribute_of_an_answer_is_named(heading: str, known: set[str]) -> None:
    """The client's page lists what a response, a result and the usage hold."""
    assert set(rows("client", heading)) == known


def test_each_error_is_explained() -> None:
    """The page about errors names every error, and each status beside its own."""
    text = page("errors")
    for name in rerank_integrations.__all__:
        kind = getattr(rerank_integrations, name)
        if isinstance(kind, type) and issubclass(kind, RerankError):
            assert f"`{name}`" in text
    for status, kind in errors._BY_STATUS.items():
        [row] = [line for line in text.splitlines() if re.match(rf"\|[ \d,]*\b{status}\b", line)]
        assert f"`{kind.__name__}`" in row


def test_the_reference_has_every_public_name() -> None:
    """The reference shows what the package, the adapters and the tests for authors offer."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    shown = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    names = {f"rerank_integrations.{name}" for name in rerank_integrations.__all__}
    names |= {f"rerank_integrations.testing.{name}" for name in testing.__all__}
    names.add("rerank_integrations.haystack.RerankRanker")
    adapters = {kind.__module__ + "." + kind.__name__ for kind in adapter_classes()}
    assert names | adapters <= set(shown)
    assert len(shown) == len(set(shown))


def test_every_page_has_a_place() -> None:
    """The navigation of the site has every page of docs/, and none twice."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    found = re.findall(r"[\w/.-]+\.md", str(config["nav"]))
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert sorted(found) == sorted(set(found))
    assert pages <= set(found)


def test_the_pages_of_providers_are_up_to_date() -> None:
    """What `make providers` would write is what there is."""
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `make providers`"
    assert set(PROVIDERS) == {kind.name for kind in CLASSES if kind.name != "compatible"}
