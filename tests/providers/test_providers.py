"""Tests of what holds for every provider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from cases import cases
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers import known_names, provider_class
from rerank_integrations.providers.base import ErrorDetails, HTTPResponse, Provider, RemoteProvider
from rerank_integrations.providers.local import Local
from rerank_integrations.providers.openrouter import OpenRouter
from rerank_integrations.providers.portkey import Portkey
from rerank_integrations.providers.together import Together
from support import KEY, body_of, call, openrouter, portkey, together

REMOTE = [OpenRouter, Together, Portkey]
FAILURE = ErrorDetails(500, {"x-secret": KEY}, {"key": KEY}, KEY, None, None, is_retryable=True)


@dataclass(frozen=True, kw_only=True)
class Own(Provider):
    """A provider of a user's own, with as little as it needs."""

    name: ClassVar[str] = "own"

    @property
    def url(self) -> str:
        """Some address."""
        return "https://own.example/rerank"


def test_known_names() -> None:
    """The known providers are the modules of the folder, without its private ones."""
    assert set(known_names()) == {
        *("azureai", "cohere", "compatible", "contextualai", "dashscope", "deepinfra", "fireworks"),
        *("infinity", "isaacus", "jina", "litellm", "llamacpp", "local", "localai", "mixedbread"),
        *("novita", "nvidia", "openrouter", "pinecone", "portkey", "scaleway", "sglang"),
        *("siliconflow", "tei", "together", "vercelgateway", "vllm", "voyage", "xinference"),
        "zeroentropy",
    }


@cases(
    ("name", "kind"),
    [("local", Local), ("openrouter", OpenRouter), ("portkey", Portkey), ("together", Together)],
)
def test_class_of_a_name(name: str, kind: type[Provider]) -> None:
    """A name finds the class that bears it."""
    assert provider_class(name) is kind


@cases("name", ["cohere2", "base", "_settings", "", "OpenRouter", "os"])
def test_unknown_name(name: str) -> None:
    """An unknown name is refused with the known ones."""
    with pytest.raises(ConfigurationError, match="one of azureai, cohere, compatible"):
        provider_class(name)


@cases("kind", REMOTE)
def test_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, kind: type[RemoteProvider]
) -> None:
    """Without api_key the key comes from the provider's environment variable."""
    monkeypatch.setenv(str(kind.api_key_env), f" {KEY}\n")
    assert kind().api_key == SecretStr(KEY)


@cases("kind", REMOTE)
def test_given_key_wins(monkeypatch: pytest.MonkeyPatch, kind: type[RemoteProvider]) -> None:
    """A given key wins over the environment."""
    monkeypatch.setenv(str(kind.api_key_env), "another")
    assert kind(api_key=KEY).api_key == SecretStr(KEY)


@cases("kind", REMOTE)
@cases("given", [{"api_key": ""}, {"api_key": " "}, {"api_key": SecretStr("")}, {"base_url": ""}])
def test_empty_argument(
    monkeypatch: pytest.MonkeyPatch, kind: type[RemoteProvider], given: dict[str, Any]
) -> None:
    """An empty key or address is refused: nobody who passes one wants that of the environment."""
    monkeypatch.setenv(str(kind.api_key_env), KEY)
    (name,) = given
    with pytest.raises(ConfigurationError, match=rf"{name} is empty; pass .* leave {name}= out"):
        kind(**given)
    if kind.name == "openrouter":
        with pytest.raises(ConfigurationError, match=f"{name} is empty"):
            RerankClient("openrouter:m", **given)


@cases("kind", REMOTE)
@cases("key", ["", " "])
def test_no_key(monkeypatch: pytest.MonkeyPatch, kind: type[RemoteProvider], key: str) -> None:
    """Without a key the message names the variable and the argument."""
    monkeypatch.setenv(str(kind.api_key_env), key)
    with pytest.raises(ConfigurationError) as caught:
        kind()
    assert str(caught.value) == (
        f"{kind.__name__} has no key: set the environment variable {kind.api_key_env} "
        f"or pass api_key=..., or provider={kind.__name__}(api_key=...) with the model alone"
    )


@cases("key", [KEY, SecretStr(KEY), f" {KEY}\n"])
@cases("kind", [OpenRouter, Together])
def test_bearer_token(kind: type[RemoteProvider], key: str | SecretStr) -> None:
    """The key goes out as a bearer token, without spaces around it."""
    assert kind(api_key=key).headers()["Authorization"] == f"Bearer {KEY}"


@cases("provider", [openrouter, together, portkey])
@cases("form", [repr, str, "{}".format])
def test_key_is_never_shown(provider: Callable[[], Provider], form: Callable[..., str]) -> None:
    """No form of a provider as text shows its key."""
    assert KEY not in form(provider())


@cases("kind", REMOTE)
def test_key_with_a_line_break(kind: type[RemoteProvider]) -> None:
    """A key with a line break inside is refused, and the message does not repeat it."""
    with pytest.raises(ConfigurationError, match="has a line break") as caught:
        kind(api_key=f"{KEY}\n{KEY}")
    assert KEY not in str(caught.value)


@cases("kind", REMOTE)
def test_key_of_another_type(kind: type[RemoteProvider]) -> None:
    """A key that is no text is refused."""
    key: Any = KEY.encode()
    with pytest.raises(ConfigurationError, match="a key is a str or a SecretStr, not bytes"):
        kind(api_key=key)


@cases(
    ("kind", "given", "meant"),
    [
        (OpenRouter, "api_kye", "api_key"),
        (OpenRouter, "preferences", "provider_preferences"),
        (Together, "return_document", "return_documents"),
        (Portkey, "virtualkey", "virtual_key"),
        (Local, "score", "scorer"),
    ],
)
def test_unknown_argument(kind: type[Provider], given: str, meant: str) -> None:
    """An unknown argument is refused with the one that was probably meant."""
    arguments: dict[str, Any] = {given: KEY}
    message = f"{kind.__name__} has no argument '{given}'; did you mean '{meant}'"
    with pytest.raises(ConfigurationError, match=message) as caught:
        kind(**arguments)
    assert KEY not in str(caught.value)


def test_unknown_argument_like_no_other() -> None:
    """An argument that resembles none is refused with the list of all."""
    arguments: dict[str, Any] = {"zzz": 1}
    with pytest.raises(ConfigurationError, match=r"no argument 'zzz'; it takes .*scorer, sees"):
        Local(**arguments)


@cases("provider", [openrouter(), together(), portkey(), Local()])
def test_provider_does_not_change(provider: Provider) -> None:
    """A provider cannot be changed."""
    with pytest.raises(FrozenInstanceError):
        provider.base_url = "https://elsewhere.example"  # type: ignore[attr-defined]


@cases("kind", REMOTE)
def test_own_address(kind: type[RemoteProvider]) -> None:
    """An address without a path gets the vendor's own path."""
    path = kind.default_base_url.partition("://")[2].partition("/")[2]
    url = kind(api_key=KEY, base_url="http://localhost:8080/").url
    assert url == f"http://localhost:8080/{path}/rerank"


@cases("kind", REMOTE)
def test_wrong_address(kind: type[RemoteProvider]) -> None:
    """An address that is none is refused when the provider is made."""
    with pytest.raises(ConfigurationError, match="base_url must be an address"):
        kind(api_key=KEY, base_url="localhost:8080")


def test_own_provider() -> None:
    """A provider of a user's own needs a name and an address, and speaks the common dialect."""
    prepared = call("a", {"title": "t", "text": "x"}, provider=Own())
    assert body_of(prepared)["documents"] == ["a", "title: t\ntext: x"]


def test_own_provider_defaults() -> None:
    """A provider of a user's own has no headers, no engine, no warnings and no key to name."""
    own = Own()
    answer = HTTPResponse(200, {}, b"")
    assert (own.headers(), own.handler, own.warnings(answer), own.key_hint) == (
        {},
        None,
        (),
        "the key",
    )


def test_own_provider_explains_nothing() -> None:
    """A provider without documentation of its errors leaves a failure as it was read."""
    assert Own().parse_error(FAILURE) is FAILURE


def test_own_provider_with_fields() -> None:
    """An endpoint that ranks fields is sent them as they are."""
    assert Own().document({"title": "t"}, "t") == {"title": "t"}


def _own(base: type[Provider] = RemoteProvider, **body: Any) -> type[Provider]:
    """A class of a user's own."""
    return type("Acme", (base,), body)


_WITH_FIELD: dict[str, Any] = {"__annotations__": {"region": "str"}, "region": "eu", "name": "acme"}


@cases(
    ("kind", "words"),
    [
        (_own(), "the class Acme has no name; write in it: name: ClassVar"),
        (_own(default_base_url="https://host"), "the class Acme has no name; write in it"),
        (
            _own(name="acme"),
            'no default_base_url; write in it: default_base_url: ClassVar[str] = "',
        ),
        (_own(Provider, name="acme"), "has no url; derive it from RemoteProvider, or override"),
        (_own(default_base_url="https://host", **_WITH_FIELD), "has the arguments region, but no"),
        (_own(_own(default_base_url="https://h", **_WITH_FIELD)), "write @dataclass(frozen=True"),
        (_own(default_base_url="https://h", name="acme"), "Acme has no key: pass api_key=..., or "),
    ],
    ids=range(7),
)
def test_own_provider_that_is_incomplete(kind: type[Provider], words: str) -> None:
    """What the class of an own provider lacks is said at its construction, with the fix."""
    with pytest.raises(ConfigurationError) as caught:
        kind(**({} if "no key" in words else {"api_key": KEY}))
    assert words in str(caught.value)


def test_repr_of_a_failure() -> None:
    """A failure's repr shows its status only."""
    assert repr(FAILURE) == "<failure 500>"


@cases(
    ("provider", "name", "value", "wanted"),
    [
        (OpenRouter, "session_id", 5, "str"),
        (OpenRouter, "categories", 5, "Sequence"),
        (OpenRouter, "trace", "t", "Mapping"),
        (OpenRouter, "provider_preferences", ["cohere"], "Mapping"),
        (Together, "return_documents", "yes", "bool"),
        (Portkey, "metadata", "x", "Mapping"),
        (Portkey, "max_tokens_per_doc", "9", "int"),
        (Portkey, "max_tokens_per_doc", True, "int"),
        (Portkey, "priority", "high", "float"),
    ],
)
def test_wrong_type(provider: type[Provider], name: str, value: object, wanted: str) -> None:
    """An argument of the wrong type is refused with the types that it takes."""
    with pytest.raises(ConfigurationError, match=rf"{name} must be .*{wanted}.*, not "):
        provider(**{"api_key": "key-123456", name: value})


def test_a_whole_number_is_a_number() -> None:
    """An int is taken where a float is asked for."""
    assert Portkey(api_key="key-123456", priority=3).priority == 3


@cases(
    "address",
    ["http://gateway.example/v1", "http://10.0.0.5:8000", "http://192.168.1.1", "http://[fe80::1]"],
)
def test_an_open_address_needs_a_yes(address: str) -> None:
    """http:// to another machine is refused with the cure, and taken with allow_http=True."""
    with pytest.raises(ConfigurationError, match="allow_http=True"):
        together(base_url=address)
    assert together(base_url=address, allow_http=True).url.startswith(address)


@cases(
    "address", ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "http://a.localhost"]
)
def test_this_machine_needs_none(address: str) -> None:
    """http:// to this machine is taken as it is."""
    assert together(base_url=address).url.startswith(address)
