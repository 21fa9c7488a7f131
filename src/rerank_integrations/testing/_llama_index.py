"""The hooks of the rules for LlamaIndex and its postprocessors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, TextNode

from rerank_integrations.testing._setup import Setup


class Page(TextNode):
    """A node of a user-defined class."""

    number: int = 0


class LlamaIndex(Setup):
    """The hooks for LlamaIndex."""

    attaches_score: bool

    _kind = "postprocessor"
    _thing = "node"
    _ways = ("postprocess_nodes", "apostprocess_nodes")
    _written = ("_postprocess_nodes", "_apostprocess_nodes")
    _base = BaseNodePostprocessor
    _copy = (
        "return given.model_copy(update={'score': score}) of the NodeWithScore that was given, "
        "which keeps its node and does not change the input"
    )
    _keep_out = (
        "keep clients and locks in private attributes that are created at first use, and exclude "
        "them in __deepcopy__; let __init__ take every field, callback_manager too, because "
        "BaseComponent calls it to unpickle"
    )

    def _input(
        self, text: str, id_: str | None = None, metadata: dict[str, Any] | None = None
    ) -> NodeWithScore:
        node = TextNode(
            text=text,
            id_=id_ or str(uuid4()),
            metadata=metadata or {},
            excluded_embed_metadata_keys=list(metadata or {}),
            excluded_llm_metadata_keys=list(metadata or {}),
        )
        return NodeWithScore(node=node, score=0.5)

    def _of_own_class(self, text: str) -> NodeWithScore:
        return NodeWithScore(node=Page(text=text, number=7), score=0.5)

    def _rank(
        self, reranker: BaseNodePostprocessor, documents: Any, query: str, **more: Any
    ) -> Sequence[NodeWithScore]:
        return reranker.postprocess_nodes(documents, query_str=query, **more)

    async def _arank(
        self, reranker: BaseNodePostprocessor, documents: Any, query: str, **more: Any
    ) -> Sequence[NodeWithScore]:
        return await reranker.apostprocess_nodes(documents, query_str=query, **more)

    def _inside(self, found: NodeWithScore) -> BaseNode:
        return found.node

    def _text(self, found: NodeWithScore) -> str:
        return found.node.get_content(metadata_mode=MetadataMode.NONE)

    def _id(self, found: NodeWithScore) -> str:
        return found.node.node_id

    def _score(self, found: NodeWithScore) -> Any:
        assert found.score is not None, (
            "a result has no score: set it, or set attaches_score = False if the postprocessor "
            "attaches none"
        )
        return found.score

    def _why_no_score(self) -> str | None:
        return None if self.attaches_score else "attaches_score is False"

    def _scored_in(self, found: NodeWithScore) -> dict[str, object]:
        return {"NodeWithScore": found}  # around the same node, which holds no score

    def _metadata(self, found: NodeWithScore) -> dict[str, Any]:
        return found.node.metadata

    def _shown(self, reranker: BaseNodePostprocessor) -> Iterator[tuple[str, str]]:
        yield "repr(postprocessor)", repr(reranker)
        yield "str(postprocessor)", str(reranker)
        yield "postprocessor.to_dict()", repr(reranker.to_dict())
        with suppress(ValueError, TypeError):  # a rule of its own says that it must work
            yield "postprocessor.to_json()", reranker.to_json()
        with suppress(ValueError, TypeError):
            yield "postprocessor.model_dump_json()", reranker.model_dump_json()
