"""What all adapters can be set to and say about a call: the same words in every framework."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator
from pydantic.json_schema import SkipJsonSchema

from rerank_integrations._options import OnImage, hide_headers, resolved
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import ConfigurationError, InvalidRequestError, RerankError
from rerank_integrations.models import RerankResponse, RerankResult

# what the client says where the adapter does not
LEFT_TO_CLIENT = ("top_n", "rank_fields", "on_image")
_MAY_BE_NONE = ("top_n", "rank_fields")
log = logging.getLogger("rerank_integrations")


class Adapter(BaseModel):
    """The settings that adapters share, and the client that they lead to."""

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    model: str | None = None
    client: SkipJsonSchema[RerankClient | None] = Field(default=None, exclude=True, repr=False)
    api_key: SecretStr | None = Field(default=None, repr=False)
    base_url: str | None = None
    top_n: int | None = Field(default=None, ge=1, strict=True)
    rank_fields: Sequence[str] | None = Field(default=None, min_length=1)
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    on_error: Literal["raise", "passthrough"] = "raise"
    on_image: OnImage | None = None

    _made: tuple[object, RerankClient] | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:  # type checkers read the fields

        def __init__(self, **settings: Any) -> None:
            # a ValidationError keeps its input, and so do frames that raise
            _hide_secrets(settings)
            super().__init__(**settings)

    @model_validator(mode="after")
    def _check_client(self) -> Self:
        self._ranker().with_options(**self._options())  # checks them now, not at the first call
        return self

    def with_options(self, **changes: Any) -> Self:
        """A copy with other settings, checked; it shares the connections where they still fit."""
        _hide_secrets(changes)
        given = {name: getattr(self, name) for name in self.model_fields_set}
        checked = type(self)(**{**given, **changes})
        return self.model_copy(update={name: getattr(checked, name) for name in changes})

    def close(self) -> None:
        """Close the client's connections, those of copies that share them included."""
        self._ranker().close()

    async def aclose(self) -> None:
        """The same, and those of the running event loop."""
        await self._ranker().aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _ranker(self) -> RerankClient:
        """The client, made anew where `model_copy` has changed what it was made from."""
        source = (self.model, self.client, self.api_key, self.base_url)
        made = self._made
        if made is None or made[0] != source:
            self._made = made = (source, _client_of(*source))
        return made[1]

    def _options(self) -> dict[str, Any]:
        """What a call overrides: what was set here, or in a subclass; else the client's holds."""
        own = {name: getattr(self, name) for name in LEFT_TO_CLIENT}
        return {
            name: value
            for name, value in own.items()
            if value is not None or (name in self.model_fields_set and name in _MAY_BE_NONE)
        }

    def _call_options(self, given: Any) -> dict[str, Any]:
        """What a call overrides: what was set here, then what was given for the call."""
        hide_headers(given)
        return {**self._options(), **given}

    def _top_n(self) -> int | None:
        return self._options().get("top_n", self._ranker().top_n)

    def _kept(self, response: RerankResponse) -> list[RerankResult]:
        """The results that reach the threshold."""
        least = self.score_threshold
        return [r for r in response if least is None or r.relevance_score >= least]

    def _passes(self, error: RerankError) -> bool:
        """Whether to go on without scores: never for a mistake that was made on this side."""
        own_mistake = isinstance(error, ConfigurationError | InvalidRequestError)
        if self.on_error == "raise" or own_mistake:
            return False
        log.warning("reranking failed, the documents keep their order: %s", error)
        return True

    def _asked(self, count: int) -> dict[str, Any]:
        """What a trace says of a call when it begins."""
        ranker = self._ranker()
        return {
            "rerank_provider": ranker.provider.name,
            "rerank_model": ranker.model,
            "rerank_documents": count,
            "rerank_top_n": self._top_n(),
        }


def _hide_secrets(settings: dict[str, Any]) -> None:
    """Hide what is secret in the settings themselves: no frame that raises may hold it."""
    if isinstance(settings.get("api_key"), str):
        settings["api_key"] = SecretStr(settings["api_key"])
    if isinstance(settings.get("base_url"), str):
        # a password is refused all the same, but the frames that refuse it show their variables
        settings["base_url"] = re.sub(r"//[^/]*@", "//***@", settings["base_url"])


def answered(response: RerankResponse) -> dict[str, Any]:
    """What a trace says of a call when it has succeeded."""
    warnings = {"rerank_warnings": list(response.warnings)} if response.warnings else {}
    usage = {f"rerank_{name}": value for name, value in response.usage.counts().items()}
    return {
        "rerank_served_by": response.provider,
        "rerank_request_id": response.request_id,
        "rerank_retries": response.retries,
        **usage,
        **warnings,
    }


def failed(error: RerankError) -> dict[str, Any]:
    """What a trace says of a call when it has failed."""
    return {
        "rerank_request_id": getattr(error, "request_id", None),
        "rerank_retries": error.retries,
    }


def _client_of(
    model: str | None, client: RerankClient | None, api_key: SecretStr | None, base_url: str | None
) -> RerankClient:
    given = {"api_key": api_key, "base_url": base_url}
    arguments = {name: value for name, value in given.items() if value is not None}
    if (model is None) == (client is None):
        raise ConfigurationError(
            "pass either model='provider:model', such as 'openrouter:cohere/rerank-v3.5', "
            "or client=RerankClient(...)"
        )
    if client is not None:
        if arguments:
            raise ConfigurationError(
                f"{' and '.join(arguments)} must be given to the client's provider, not beside it"
            )
        return client
    model, provider = resolved(model, None, **arguments)
    return RerankClient(model, provider=provider)
