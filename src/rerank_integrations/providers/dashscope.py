"""Alibaba Cloud Model Studio (DashScope): Qwen3 and GTE rerankers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class DashScope(RemoteProvider):
    """Qwen3 and GTE rerankers of Alibaba Cloud Model Studio (DashScope).

    API documentation: https://help.aliyun.com/zh/model-studio/text-rerank-api

    An instruction is sent as `instruct`.

    Args:
        api_key: the API key; from `DASHSCOPE_API_KEY` when None.
        base_url: the base URL; `https://dashscope.aliyuncs.com/compatible-api/v1` when None.
        allow_http: as in `RemoteProvider`.
        workspace: the ID of a workspace in Singapore, which has its own address; from
            `DASHSCOPE_WORKSPACE_ID` when None. `base_url` overrides it.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "dashscope"
    api_key_env: ClassVar[str | None] = "DASHSCOPE_API_KEY"
    default_base_url: ClassVar[str] = "https://dashscope.aliyuncs.com/compatible-api/v1"
    says_cost: ClassVar[bool] = False
    rerank_path: ClassVar[str] = "/reranks"
    instruction_key: ClassVar[str | None] = "instruct"
    max_documents: ClassVar[int | None] = 500
    score_kind: ClassVar[ScoreKind] = "probability"

    workspace: str | None = None

    def __post_init__(self) -> None:
        self._set("workspace", self.workspace or os.environ.get("DASHSCOPE_WORKSPACE_ID"))
        super().__post_init__()

    def _default_address(self) -> str:
        if not self.workspace:
            return self.default_base_url
        host = f"{self.workspace}.ap-southeast-1.maas.aliyuncs.com"
        return f"https://{host}/compatible-api/v1"
