"""OpenRouter's provider preferences: which of its hosts may serve a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rerank_integrations.errors import ConfigurationError

Sort = Literal["price", "throughput", "latency", "exacto"]
Quantization = Literal[
    "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32",
    "unknown",
]  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SortConfig(_Strict):
    """How to sort endpoints, and whether each model is sorted by itself."""

    by: Sort | None = None
    partition: Literal["model", "none"] | None = None


class MaxPrice(_Strict):
    """The most to pay, in US dollars, each as a string of digits such as "0.5"."""

    prompt: str | None = None
    completion: str | None = None
    request: str | None = None
    image: str | None = None
    audio: str | None = None


class Percentiles(_Strict):
    """A limit for each percentile."""

    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p99: float | None = None


class ProviderPreferences(_Strict):
    """Which of OpenRouter's hosts may serve the call, as its API spells it.

    https://openrouter.ai/docs/features/provider-routing. Latency is in seconds, throughput in
    tokens per second, prices in US dollars. Unknown keys are refused.
    """

    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None
    enforce_distillable_text: bool | None = None
    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    quantizations: list[Quantization] | None = None
    sort: Sort | SortConfig | None = None
    max_price: MaxPrice | None = None
    preferred_max_latency: float | Percentiles | None = None
    preferred_min_throughput: float | Percentiles | None = None
    options: dict[str, dict[str, Any]] | None = None


def checked(given: ProviderPreferences | Mapping[str, Any]) -> ProviderPreferences:
    """The preferences, if OpenRouter knows all of them.

    Raises:
        ConfigurationError: what is wrong, and the keys that there are.
    """
    if isinstance(given, ProviderPreferences):
        return given
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise ConfigurationError(
            f"OpenRouter: provider_preferences must be Mapping or ProviderPreferences, not {kind}"
        )
    try:
        return ProviderPreferences.model_validate(given)
    except ValidationError as cause:
        problems = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in cause.errors()
        )
        raise ConfigurationError(
            f"provider_preferences: {problems}. Known keys: "
            f"{', '.join(ProviderPreferences.model_fields)}"
        ) from None
