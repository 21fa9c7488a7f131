"""The providers, one module each, found by the prefix before the `:` of a model.

Other packages add providers with the entry-point group `rerank_integrations.providers`.
"""

from __future__ import annotations

import logging
import sys
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers.base import Provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.metadata import EntryPoint

GROUP = "rerank_integrations.providers"
# the names that LiteLLM, rerankers, langchain-reranker and SDKs have for providers of this package
_ALIASES = {
    "azure": "azureai",
    "azure_ai": "azureai",
    "contextual": "contextualai",
    "custom": "compatible",
    "dashscope_ai": "dashscope",
    "fireworks_ai": "fireworks",
    "hosted_vllm": "vllm",
    "jina_ai": "jina",
    "jinaai": "jina",
    "litellm_proxy": "litellm",
    "llama_cpp": "llamacpp",
    "llama_server": "llamacpp",
    "mixedbread.ai": "mixedbread",
    "mxbai": "mixedbread",
    "nim": "nvidia",
    "nvidia_nim": "nvidia",
    "text-embeddings-inference": "tei",
    "together_ai": "together",
    "togetherai": "together",
    "vercel": "vercelgateway",
    "vercel_ai_gateway": "vercelgateway",
    "voyage_ai": "voyage",
    "voyageai": "voyage",
}
# hints for names of other packages that are not the name of a provider here
_HUGGING_FACE = (
    "'local:cross-encoder/{model}' runs a cross-encoder in this process, and 'tei:', 'infinity:' "
    "and 'vllm:' name a server that has the model; "
)
_A_GATEWAY = "use a LiteLLM proxy, 'litellm:<name in its configuration>'; "
_ELSEWHERE = {
    "bedrock": "use 'portkey:<model>', or a LiteLLM proxy with 'litellm:'; ",
    "ollama": "use provider=Compatible(base_url=...) if your server has a rerank endpoint; ",
    "flashrank": "use provider=Local(scorer=...); ",
    "huggingface": _HUGGING_FACE,
    "vertex_ai": _A_GATEWAY,
    "watsonx": _A_GATEWAY,
}
_log = logging.getLogger("rerank_integrations")


@cache
def own_names() -> Sequence[str]:
    """The names of the providers of this package: the public modules in this folder."""
    names = [module.name for module in iter_modules(__path__)]
    return sorted(name for name in names if not name.startswith("_") and name != "base")


def known_names() -> list[str]:
    """The names of all providers, including those of other packages, which are not loaded."""
    return sorted({*own_names(), *_plugins(tuple(sys.path))})


def provider_class(name: str) -> type[Provider]:
    """Load the provider class with this name.

    Raises:
        ConfigurationError: there is no such provider (the message lists the known names), or the
            provider of another package cannot be used (the message names the package).
    """
    if name in own_names():
        return _own_class(name)
    found = _plugins(tuple(sys.path)).get(name)
    if not found:  # it may have been installed since
        _plugins.cache_clear()
        found = _plugins(tuple(sys.path)).get(name)
    if not found:
        raise ConfigurationError(
            f"unknown provider {name!r}; {hint(name)}a model is written 'provider:model' with one "
            f"of {', '.join(known_names())}"
        )
    if len({entry.value for entry in found}) > 1:
        raise ConfigurationError(
            f"the provider {name!r} is registered by {' and by '.join(map(_package, found))}; "
            "uninstall all but one, or pass an object of the right class as provider="
        )
    return _loaded(found[0])


def hint(name: str, model: str = "") -> str:
    """A hint for an error about an unknown provider name; "" if there is none.

    Args:
        name: the unknown name, such as `voyage_ai` (LiteLLM's) or `coher`.
        model: the model that was given with it; "" for none.
    """
    if name in _ELSEWHERE:
        return _ELSEWHERE[name].format(model=model or "<model>")
    names = {known.lower(): known for known in known_names()} | _ALIASES
    close = get_close_matches(name.lower(), names, n=1)
    meant = f"{names[close[0]]}:{model}".removesuffix(":") if close else ""
    return f"did you mean {meant!r}? " if meant else ""


def hint_without_colon(model: str) -> str:
    """A hint for a model without a prefix, such as LiteLLM's `cohere/rerank-v3.5`; or ""."""
    vendor, slash, own = model.partition("/")
    if vendor in _ELSEWHERE or vendor in _ALIASES or vendor in known_names():
        return hint(vendor, own or "model")
    return _HUGGING_FACE.format(model=model) if slash else ""


def _own_class(name: str) -> type[Provider]:
    module = import_module(f"{__name__}.{name}")
    return next(
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, Provider)
        and found.__module__ == module.__name__
        and getattr(found, "name", None) == name
    )


@lru_cache(1)
def _plugins(_: tuple[str, ...]) -> Mapping[str, Sequence[EntryPoint]]:
    """The entry points of other packages by name, found once for each `sys.path`.

    The search takes milliseconds, so it is skipped for a provider of this package.
    """
    found: dict[str, dict[str, EntryPoint]] = {}  # by name, then by package
    for entry in _entries():
        if entry.name in own_names():
            _log.warning(
                "the provider %r of %s is not used: rerank_integrations has one with that name",
                entry.name,
                _package(entry),
            )
        else:  # of a package that is installed twice, the first one is imported
            found.setdefault(entry.name, {}).setdefault(
                entry.dist.name if entry.dist else "", entry
            )
    return {name: list(entries.values()) for name, entries in found.items()}


def _entries() -> Iterator[EntryPoint]:
    """The entry points of the group; a package with a broken file does not hide the others."""
    from importlib.metadata import distributions  # noqa: PLC0415  # slow to load

    for package in distributions():
        try:
            entries = list(package.entry_points.select(group=GROUP))
        except Exception as cause:  # noqa: BLE001  # whatever a broken file leads to
            _log.warning(
                "the entry points of a package in %s cannot be read: %r",
                package.locate_file(""),
                cause,
            )
        else:
            yield from entries


def _loaded(entry: EntryPoint) -> type[Provider]:
    """Load the class of an entry point.

    Raises:
        ConfigurationError: it cannot be loaded, or it is not a provider with that name.
    """
    try:
        found: Any = entry.load()
    except Exception as cause:  # the code of another package raises what it likes
        raise ConfigurationError(
            f"{_named(entry)} cannot be loaded: {type(cause).__name__}: {cause}"
        ) from cause
    if not isinstance(found, type) or not issubclass(found, Provider):
        raise ConfigurationError(
            f"{_named(entry)} is not a subclass of rerank_integrations.Provider"
        )
    said = getattr(found, "name", None)
    if said != entry.name:
        raise ConfigurationError(f"{_named(entry)} has name = {said!r}; it must be {entry.name!r}")
    return found


def _named(entry: EntryPoint) -> str:
    return f"the provider {entry.name!r} of {_package(entry)} ({entry.value})"


def _package(entry: EntryPoint) -> str:
    """The distribution of an entry point, with its version."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
