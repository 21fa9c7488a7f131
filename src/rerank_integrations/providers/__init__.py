"""The providers, one module each, found by the name before the `:` of a model."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers.base import Provider


def known_names() -> list[str]:
    """The names of all providers: those of the public modules in this folder."""
    names = [module.name for module in iter_modules(__path__)]
    return sorted(name for name in names if not name.startswith("_") and name != "base")


def provider_class(name: str) -> type[Provider]:
    """The provider class of that name, loaded now.

    Raises:
        ConfigurationError: there is none; the message lists the known names.
    """
    if name not in known_names():
        close = get_close_matches(name, known_names(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigurationError(
            f"unknown provider {name!r}; {hint}a model is written 'provider:model' with one of "
            f"{', '.join(known_names())}"
        )
    module = import_module(f"{__name__}.{name}")
    return next(
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, Provider)
        and found.__module__ == module.__name__
        and getattr(found, "name", None) == name
    )
