"""The models that a provider offers, parsed from the lists of its server."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

MILLION = 1_000_000
_LONGEST_NUMBER = 40  # characters; no count or price has more
_CONTEXT = ("max_model_len", "context_length", "context_window")  # vLLM and SGLang; others


class ModelInfo(NamedTuple):
    """A rerank model that a provider offers.

    A value that the provider does not report is None; a price that it does not report is absent.

    Attributes:
        id: the name to pass as `model`.
        context_length: the maximum number of tokens of the query and one document together.
        takes_images: whether the model takes images.
        prices: US dollars by unit: `"million_tokens"`, `"request"` and `"image"`.
        raw: the entry as the provider sent it, with secrets redacted.
    """

    id: str
    context_length: int | None = None
    takes_images: bool | None = None
    prices: Mapping[str, float] = {}
    raw: Mapping[str, Any] = {}

    def __repr__(self) -> str:  # without `raw`, which may fill a screen
        said = [
            f"{name}={value!r}"
            for name, value in self._asdict().items()
            if name not in ("id", "raw") and value not in (None, {})
        ]
        return f"ModelInfo({', '.join([repr(self.id), *said])})"


class ModelsPage(NamedTuple):
    """One page of a list of models.

    Attributes:
        models: the rerank models on it.
        next_query: parameters to add to the query string for the next page; None on the last.
    """

    models: Sequence[ModelInfo]
    next_query: Mapping[str, str] | None = None


def listed(payload: object) -> list[Any] | None:
    """The entries in `data`, in `models`, or in a body that is a list; None if there is no list."""
    if isinstance(payload, list):
        return payload
    found = (payload.get(key) for key in ("data", "models")) if isinstance(payload, Mapping) else ()
    return next((entries for entries in found if isinstance(entries, list)), None)


def openai_model(entry: Mapping[str, Any]) -> ModelInfo | None:
    """Parse an entry of an OpenAI list, with the context length that some servers add."""
    counts = (whole(entry.get(key)) for key in _CONTEXT)
    return named_model(entry.get("id"), next(filter(None, counts), None))


def named_model(
    name: object,
    context_length: int | None = None,
    *,
    modalities: object = None,
    prices: Mapping[str, float | None] | None = None,
) -> ModelInfo | None:
    """A model, or None if the name is not a string or is empty.

    Prices that are None are left out.
    """
    if not isinstance(name, str) or not name:
        return None
    sees = None
    if isinstance(modalities, list):
        sees = any("image" in str(one).lower() for one in modalities)
    said = {unit: price for unit, price in (prices or {}).items() if price is not None}
    return ModelInfo(name, context_length, sees, said)


def whole(value: object) -> int | None:
    """A positive whole number, from a number or a string of digits; None for anything else."""
    number = _decimal(value)
    return int(number) if number is not None and number > 0 and number % 1 == 0 else None


def dollars(value: object, count: int = 1) -> float | None:
    """The price of `count` units; None for a negative price, which means that it varies."""
    number = _decimal(value)
    return float(number * count) if number is not None and number >= 0 else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value, or an empty mapping if it is not a mapping."""
    return value if isinstance(value, Mapping) else {}


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_NUMBER:
        return None
    text = str(value)
    try:
        number = Decimal(text) if len(text) <= _LONGEST_NUMBER else None
    except InvalidOperation:
        return None
    usable = number is not None and number.is_finite() and math.isfinite(float(number * MILLION))
    return number if usable and abs(number or 0) < 10**_LONGEST_NUMBER else None
