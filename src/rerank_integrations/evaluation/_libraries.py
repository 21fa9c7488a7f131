"""The libraries of the extra `evaluation`, which are loaded when something is measured."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rerank_integrations.errors import ConfigurationError


def library(name: str) -> Any:
    """A module of the extra.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as cause:
        raise ConfigurationError(
            "rerank_integrations.evaluation needs the extra 'evaluation': "
            "pip install 'rerank-integrations[evaluation]'"
        ) from cause
