"""Imports the libraries of the extra `evaluation` when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rerank_integrations.errors import ConfigurationError


def library(name: str) -> Any:
    """Import a module of the extra.

    Raises:
        ConfigurationError: the module is not installed.
    """
    try:
        return import_module(name)
    except ImportError as cause:
        raise ConfigurationError(
            "rerank_integrations.evaluation needs the extra 'evaluation': "
            "pip install 'rerank-integrations[evaluation]'"
        ) from cause
