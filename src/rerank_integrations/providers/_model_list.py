"""The models that a provider offers, read from the forms in which servers list them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

MILLION = 1_000_000
_LONGEST_NUMBER = 40  # characters; no count or price has more
_CONTEXT = ("max_model_len", "context_length", "context_window")  # vLLM and SGLang; others


class ModelInfo(NamedTuple):
    """A rerank model that a provider offers; what it does not say is None, or is not there.

    Attributes:
        id: the name to pass as `model`.
        context_length: tokens of the query and one document together.
        takes_images: whether the model sees images.
        prices: US dollars by unit: `"million_tokens"`, `"request"` and `"image"`.
        raw: the provider's own entry, without keys.
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
        next_query: what to add to the query of the address for the next page; None on the last.
    """

    models: Sequence[ModelInfo]
    next_query: Mapping[str, str] | None = None


def listed(payload: object) -> list[Any] | None:
    """The entries: under `data` or `models`, or the whole body; None where there is no list."""
    if isinstance(payload, list):
        return payload
    found = (payload.get(key) for key in ("data", "models")) if isinstance(payload, Mapping) else ()
    return next((entries for entries in found if isinstance(entries, list)), None)


def openai_model(entry: Mapping[str, Any]) -> ModelInfo | None:
    """A model in the form of OpenAI's list, with the context length that some servers add."""
    counts = (whole(entry.get(key)) for key in _CONTEXT)
    return named_model(entry.get("id"), next(filter(None, counts), None))


def named_model(
    name: object,
    context_length: int | None = None,
    *,
    modalities: object = None,
    prices: Mapping[str, float | None] | None = None,
) -> ModelInfo | None:
    """A model; None without a name. Prices that are None are left out."""
    if not isinstance(name, str) or not name:
        return None
    sees = None
    if isinstance(modalities, list):
        sees = any("image" in str(one).lower() for one in modalities)
    said = {unit: price for unit, price in (prices or {}).items() if price is not None}
    return ModelInfo(name, context_length, sees, said)


def whole(value: object) -> int | None:
    """A count above 0, of a number or its digits."""
    number = _decimal(value)
    return int(number) if number is not None and number > 0 and number % 1 == 0 else None


def dollars(value: object, count: int = 1) -> float | None:
    """A price of one, times the count; a negative one stands for a price that varies."""
    number = _decimal(value)
    return float(number * count) if number is not None and number >= 0 else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value, or an empty mapping where it is none."""
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
