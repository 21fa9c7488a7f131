"""Azure AI Foundry: Cohere's models on your Azure resource."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.cohere import Cohere


@dataclass(frozen=True, kw_only=True)
class AzureAI(Cohere):
    """Cohere's models, deployed on your Azure AI Foundry resource.

    API documentation: https://learn.microsoft.com/azure/ai-foundry

    The model is the name of your deployment.

    Args:
        api_key: the API key; from `AZURE_AI_API_KEY` when None.
        base_url: the address of your resource, such as `https://NAME.services.ai.azure.com`; from
            `AZURE_AI_API_BASE` when None. If the model has an endpoint of its own, end it with
            `/v1`.
        allow_http: as in `RemoteProvider`.
        max_tokens_per_doc: as in `Cohere`.
        priority: as in `Cohere`.
        relevant_spans: as in `Cohere`.

    Raises:
        ConfigurationError: there is no key or no address, or an argument is invalid.
    """

    name: ClassVar[str] = "azureai"
    api_key_env: ClassVar[str | None] = "AZURE_AI_API_KEY"
    base_url_env: ClassVar[str | None] = "AZURE_AI_API_BASE"
    other_key_envs: ClassVar[tuple[str, ...]] = ()
    default_base_url: ClassVar[str] = "https://RESOURCE.services.ai.azure.com/providers/cohere/v2"
    has_default: ClassVar[bool] = False
    models_path: ClassVar[str | None] = None  # deployments are listed elsewhere
