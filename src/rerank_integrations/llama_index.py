"""The adapter for LlamaIndex: `RerankPostprocessor`, a `BaseNodePostprocessor`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias

from pydantic import (
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    StrictBool,
    model_serializer,
)

from rerank_integrations._adapter import (
    LEFT_TO_CLIENT,
    NOT_GIVEN,
    Adapter,
    CacheSetting,
    ImageUrls,
    NotGiven,
    OnError,
    OnImage,
    OnInvalidDocument,
    OnPartial,
    Provider,
    Retry,
    ScoreTransform,
    Timeout,
    UnusableImage,
    checked_arguments,
    declared_init,
    end_metadata,
    error_metadata,
    given,
    inside_reranker,
    log_warnings,
    naming,
    shown_query,
    with_retrieval_scores,
)
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import (
    InvalidRequestError,
    RerankError,
    UnsupportedDocumentError,
)
from rerank_integrations.models import (
    DocumentInput,
    QueryInput,
    RerankDocument,
    RerankResponse,
    as_list,
)

try:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.callbacks.schema import CBEventType, EventPayload
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
    from llama_index.core.instrumentation.event_handlers import NullEventHandler
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import (
        BaseNode,
        ImageNode,
        MediaResource,
        MetadataMode,
        Node,
        NodeWithScore,
        QueryBundle,
        TextNode,
    )
except ImportError as cause:
    raise ImportError(
        "rerank_integrations.llama_index needs the extra 'llama-index': "
        "pip install 'rerank-integrations[llama-index]'"
    ) from cause

RETRIEVAL_SCORE = "retrieval_score"
FILE_PATH = "file_path"  # the metadata key in which LlamaIndex's readers store a node's file
_SCHEMES = ("data:", "http://", "https://")
dispatcher = get_dispatcher(__name__)

MetadataModeName: TypeAlias = Literal["all", "embed", "llm", "none"]

End = Callable[[list[NodeWithScore], dict[str, Any]], list[NodeWithScore]]
"""Emits the end events with the kept nodes and the trace metadata; returns the nodes."""


class RerankPostprocessor(Adapter, BaseNodePostprocessor):
    """Keeps the nodes that a rerank model finds most relevant, best first.

    Each result is a new `NodeWithScore` around the same node. Blank nodes are left out. A node's
    image (base64, URL or file) is ranked together with its text. Every call emits events on both
    event APIs; the tags of the instrumentation events hold provider, usage and request id. A pickle
    holds the key in clear text; other serialized forms do not hold it.

    Args:
        model: "provider:model", such as `"together:Salesforce/Llama-Rank-V1"`.
        client: a preconfigured RerankClient, in place of `model`, `provider`, `api_key`,
            `base_url` and `fallbacks`.
        provider: a provider object; `model` is then the model alone.
        api_key: the key for `model`. None reads the provider's environment variable.
        base_url: another address for the provider.
        fallbacks: models or clients to use when the provider fails.
        top_n: the maximum number of nodes to keep; by default the setting of the client.
        rank_fields: names of metadata fields to rank by, in order. `"text"` is the node's own
            text. By default the node's content in `metadata_mode` is ranked.
        metadata_mode: which metadata is part of the content that is ranked without `rank_fields`.
            EMBED omits absolute `file_path` values, to avoid leaking local paths; ALL sends them.
        allow_local_images: whether to read images of nodes that are local files: True, or the
            directory that they must be in. `file:` URLs and paths in the metadata are never read.
            The `image_path` of a query is read without it if the provider takes an image as the
            query; a directory applies to it too.
        keep_retrieval_score: whether to keep the score of the first stage in the metadata of a copy
            of the node, as `retrieval_score`. Language models and embeddings do not see it.
        instruction: what the model should look for. A model that takes no instruction raises a
            `ConfigurationError`.
        score_transform: "sigmoid" for logits, or a function of one score; applied before
            `score_threshold`.
        score_threshold: the minimum score of a node to keep. Score scales differ between models.
        on_error: "raise", or "passthrough" (graceful degradation): when the provider fails or no
            node can be ranked, the first `top_n` nodes are returned unchanged, with a log record.
            Other invalid arguments, such as an empty query, are always raised.
        on_image: what happens to an image if the provider takes only text: "raise" or "text"; by
            default the setting of the client.
        callback_manager: the manager for LlamaIndex's legacy callbacks; by default the global one.

    The other arguments are the settings of `RerankClient` for the calls of this adapter; by
    default the settings of the client apply.

    Raises:
        ConfigurationError: an argument is unknown (the message suggests the right one), a value is
            invalid, the key is missing, or not exactly one of `model` and `client` was passed.
        InvalidRequestError: `top_n` or `rank_fields` is invalid.
    """

    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)

    metadata_mode: MetadataMode = MetadataMode.EMBED
    keep_retrieval_score: bool = False
    allow_local_images: StrictBool | Annotated[Path, PlainSerializer(str)] = False

    @declared_init
    def __init__(
        self,
        model: str | None = None,
        *,
        client: RerankClient | None = None,
        provider: Provider | None = None,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        fallbacks: Sequence[str | RerankClient] = (),
        on_error: OnError = "raise",
        metadata_mode: MetadataMode | MetadataModeName = MetadataMode.EMBED,
        keep_retrieval_score: bool = False,
        allow_local_images: bool | str | PathLike[str] = False,
        callback_manager: CallbackManager | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        max_concurrency: int | NotGiven = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> None: ...

    @checked_arguments
    def with_options(
        self,
        *,
        model: str | NotGiven | None = NOT_GIVEN,
        client: RerankClient | NotGiven | None = NOT_GIVEN,
        provider: Provider | NotGiven | None = NOT_GIVEN,
        api_key: str | SecretStr | NotGiven | None = NOT_GIVEN,
        base_url: str | NotGiven | None = NOT_GIVEN,
        fallbacks: Sequence[str | RerankClient] | NotGiven = NOT_GIVEN,
        on_error: OnError | NotGiven = NOT_GIVEN,
        metadata_mode: MetadataMode | MetadataModeName | NotGiven = NOT_GIVEN,
        keep_retrieval_score: bool | NotGiven = NOT_GIVEN,
        allow_local_images: bool | str | PathLike[str] | NotGiven = NOT_GIVEN,
        callback_manager: CallbackManager | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        max_concurrency: int | NotGiven = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> Self:
        """Return a copy with other settings.

        The copy shares the connections, unless it has another model, client, provider, key,
        address or fallbacks. Headers and body keys are added to those of this adapter.

        Raises:
            ConfigurationError: an argument is unknown, a value is invalid, or the key is for
                another provider.
            InvalidRequestError: `top_n` or `rank_fields` is invalid.
        """
        return self._copy_with(given(locals()))

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which the class is serialized."""
        return "RerankPostprocessor"

    @model_serializer(mode="wrap")
    def custom_model_dump(self, handler: Any, info: SerializationInfo) -> dict[str, Any]:
        """Return the settings, without those that are left to the client."""
        written: dict[str, Any] = super().custom_model_dump(handler, info)
        options = self._options()
        return {k: v for k, v in written.items() if k in options or k not in LEFT_TO_CLIENT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # it marks every field as set
        object.__setattr__(self, "__pydantic_fields_set__", state["__pydantic_fields_set__"])

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        found = _checked(nodes)
        if not found:
            return []
        query = self._query(query_bundle)
        with self._instrument(found, query) as end:
            try:
                with naming(lambda index: f"node {found[index].node.node_id}"):
                    response = self._ranker().rerank(
                        query, self._inputs(found), **self._call_options()
                    )
            except RerankError as error:
                if not self._passes(error):
                    raise
                return end(
                    self._with_first_scores(self._unranked(found, error)), error_metadata(error)
                )
            log_warnings(response)
            return end(self._ranked(found, response), end_metadata(response))

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        found = _checked(nodes)
        if not found:
            return []
        query = await self._aquery(query_bundle)
        with self._instrument(found, query) as end:
            try:
                inputs = await self._ainputs(found)
                with naming(lambda index: f"node {found[index].node.node_id}"):
                    response = await self._ranker().arerank(query, inputs, **self._call_options())
            except RerankError as error:
                if not self._passes(error):
                    raise
                return end(
                    self._with_first_scores(self._unranked(found, error)), error_metadata(error)
                )
            log_warnings(response)
            return end(self._ranked(found, response), end_metadata(response))

    @contextmanager
    def _instrument(self, nodes: Sequence[NodeWithScore], query: QueryInput) -> Iterator[End]:
        """Emit events of a call on both APIs, with copies that later changes do not affect."""
        if not (_has_listeners() or self.callback_manager.handlers):
            yield lambda kept, _: kept
            return
        name, top_n = self._ranker().model, self._top_n() or len(nodes)
        start = ReRankStartEvent(
            query=shown_query(query),
            nodes=_copies(nodes),
            top_n=top_n,
            model_name=name,
            tags=self._start_metadata(len(nodes)),
        )
        dispatcher.event(start)
        payload: dict[str, Any] = {
            EventPayload.NODES: _copies(nodes),
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: shown_query(query),
            EventPayload.TOP_K: top_n,
        }
        event_of_call = self.callback_manager.event(CBEventType.RERANKING, payload=payload)
        with inside_reranker("llama_index"), event_of_call as event:

            def end(kept: list[NodeWithScore], tags: dict[str, Any]) -> list[NodeWithScore]:
                event.on_end(payload={EventPayload.NODES: _copies(kept)})
                dispatcher.event(ReRankEndEvent(nodes=_copies(kept), tags=tags))
                return kept

            yield end

    def _query(self, query_bundle: QueryBundle | None) -> QueryInput:
        """Return the query; the file of its image is read only if the image can be sent."""
        if isinstance(query_bundle, str):  # passed as the second positional argument
            return query_bundle
        if query_bundle is None:
            raise InvalidRequestError(
                "nodes are reranked by a query: pass query_str= or query_bundle="
            )
        text, image = query_bundle.query_str or None, query_bundle.image_path
        if not image:
            return query_bundle.query_str
        if image.startswith(_SCHEMES) or not self._ranker()._takes_image_query():  # noqa: SLF001
            return RerankDocument(text=text, image=image)
        try:
            is_anywhere = isinstance(self.allow_local_images, bool)
            path = Path(image) if is_anywhere else self._allowed(Path(image))
            return RerankDocument.from_file(path, text=text)
        except UnsupportedDocumentError as error:
            raise InvalidRequestError(f"the query: {error}") from error.__cause__

    async def _aquery(self, query_bundle: QueryBundle | None) -> QueryInput:
        """Async version of `_query`, which reads the file in a thread."""
        if getattr(query_bundle, "image_path", None):
            return await asyncio.to_thread(self._query, query_bundle)
        return self._query(query_bundle)

    async def _ainputs(self, nodes: Sequence[NodeWithScore]) -> list[DocumentInput]:
        """Async version of `_inputs`, which reads files in a thread."""
        if self.allow_local_images is False:
            return self._inputs(nodes)
        return await asyncio.to_thread(self._inputs, nodes)

    def _settings(self) -> dict[str, Any]:
        # each postprocessor has a manager of its own, and managers compare by identity
        return {**super()._settings(), "callback_manager": self.callback_manager.handlers}

    def _inputs(self, nodes: Sequence[NodeWithScore]) -> list[DocumentInput]:
        by_fields = self._options().get("rank_fields", self._ranker().rank_fields) is not None
        inputs = [
            {**node.metadata, "text": node.text}
            if by_fields and type(node) is TextNode and "image" not in node.metadata  # most nodes
            else self._input(node, by_fields=by_fields)
            for node in [found.node for found in nodes]
        ]
        return with_retrieval_scores(self._ranker(), inputs, (found.score for found in nodes))

    def _input(self, node: BaseNode, *, by_fields: bool) -> DocumentInput:
        image = _image(node)
        if image is None and not by_fields:
            return self._content(node)
        text = node.get_content(metadata_mode=MetadataMode.NONE)
        fields = None
        if by_fields:
            fields = {**node.metadata, "text": text}
            fields.pop("image", None)
            if image is None:
                return fields
        elif text:  # an image without text is sent without its metadata, such as the file name
            text = self._content(node)
        try:
            return self._with_image(image or _Image(), text=text, fields=fields)
        except UnsupportedDocumentError as error:  # the client raises it, or leaves out the image
            return RerankDocument(text=text, image=UnusableImage(str(error)), fields=fields)

    def _content(self, node: BaseNode) -> str:
        hides = self.metadata_mode is MetadataMode.EMBED and FILE_PATH in node.metadata
        if hides and Path(str(node.metadata[FILE_PATH])).is_absolute():
            hidden = [*node.excluded_embed_metadata_keys, FILE_PATH]
            node = node.model_copy(update={"excluded_embed_metadata_keys": hidden})
        return node.get_content(metadata_mode=self.metadata_mode)

    def _with_image(self, image: _Image, **parts: Any) -> RerankDocument:
        ranker = self._ranker()
        if not ranker.provider.takes_images(ranker.model):  # so the file need not be read
            return RerankDocument(image=next(filter(None, image)), **parts)
        if image.held and image.held.startswith(_SCHEMES):
            return RerankDocument(image=image.held, **parts)
        if image.held:
            return RerankDocument.from_base64(image.held, **parts)
        if image.path and (self.allow_local_images is not False or not image.url):
            return RerankDocument.from_file(self._allowed(Path(image.path)), **parts)
        if image.url.lower().startswith("file:"):
            raise UnsupportedDocumentError(
                "its image is a file: URL, and these are never read; set image_path of the node, "
                "and allow_local_images=True of the postprocessor"
            )
        return RerankDocument(image=image.url, **parts)

    def _allowed(self, path: Path) -> Path:
        """Return the resolved path of a file that may be read.

        Raises:
            UnsupportedDocumentError: it may not be read.
        """
        if self.allow_local_images is False:
            raise UnsupportedDocumentError(
                "its image is a local file, and these are read only with allow_local_images=True "
                "or allow_local_images=<the directory that they are in>"
            )
        try:
            real = path.resolve()
            inside = self.allow_local_images is True or real.is_relative_to(
                self.allow_local_images.resolve()
            )
        except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
            raise UnsupportedDocumentError(f"the path of its image is invalid: {cause}") from cause
        if not inside:
            raise UnsupportedDocumentError(
                f"its image is a local file outside of {str(self.allow_local_images)!r}, the only "
                "directory that allow_local_images allows"
            )
        return real

    def _ranked(
        self, nodes: Sequence[NodeWithScore], response: RerankResponse
    ) -> list[NodeWithScore]:
        kept = ((nodes[result.index], result.relevance_score) for result in response)
        return [
            NodeWithScore(node=self._node_of(found), score=score)
            if type(found) is NodeWithScore  # the constructor takes a third of the time of a copy
            else found.model_copy(update={"node": self._node_of(found), "score": score})
            for found, score in kept
        ]

    def _with_first_scores(self, nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
        """Return nodes with the score of the first stage, if it is to be kept in the metadata."""
        if not self.keep_retrieval_score:
            return list(nodes)
        return [one.model_copy(update={"node": self._node_of(one)}) for one in nodes]

    def _node_of(self, found: NodeWithScore) -> BaseNode:
        node = found.node
        if not self.keep_retrieval_score:
            return node
        hidden = [RETRIEVAL_SCORE]
        update = {
            "metadata": {**node.metadata, RETRIEVAL_SCORE: found.score},
            "excluded_embed_metadata_keys": node.excluded_embed_metadata_keys + hidden,
            "excluded_llm_metadata_keys": node.excluded_llm_metadata_keys + hidden,
        }
        return node.model_copy(update=update)


class _Image(NamedTuple):
    """Where a node's image is: in the node, in a file, or at a URL; "" for the others."""

    held: str = ""
    path: str = ""
    url: str = ""


def _image(node: BaseNode) -> _Image | None:
    """Return the image of a node of any type; None without an image."""
    if type(node) is TextNode:
        return None
    match node:
        case ImageNode():
            image = _Image(node.image or "", node.image_path or "", str(node.image_url or ""))
        case Node(image_resource=MediaResource() as resource):
            held = (resource.data or b"").decode("ascii", "replace")
            image = _Image(held, str(resource.path or ""), str(resource.url or ""))
        case _:
            return None
    return image if any(image) else None


def _checked(nodes: object) -> list[NodeWithScore]:
    found = [nodes] if isinstance(nodes, BaseNode | NodeWithScore) else as_list(nodes)
    for item in found:
        if not isinstance(item, NodeWithScore) or item is nodes:
            raise InvalidRequestError(
                "nodes must be a list of NodeWithScore, as retrievers return it, not "
                f"{'one' if item is nodes else 'a list of'} {type(item).__name__}"
            )
    return list(found)


def _has_listeners() -> bool:
    """Return whether the dispatcher has event handlers; copying nodes costs more than a call."""
    node: Any = dispatcher
    while node is not None:
        if any(not isinstance(handler, NullEventHandler) for handler in node.event_handlers):
            return True
        node = node.parent if node.propagate else None
    return False


def _copies(nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    return [found.model_copy() for found in nodes]


def _query_text(query_bundle: QueryBundle | None) -> str:
    if isinstance(query_bundle, str):  # passed as the second positional argument
        return query_bundle
    if query_bundle is None:
        raise InvalidRequestError("the query is missing: pass query_str= or query_bundle=")
    if query_bundle.image_path:
        raise InvalidRequestError(
            "the query has an image_path, but rerank endpoints take the query as text only; "
            "describe the image in query_str, and leave out image_path"
        )
    return query_bundle.query_str
