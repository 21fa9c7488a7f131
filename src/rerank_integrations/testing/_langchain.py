"""The hooks for LangChain, and the rules that are only for its compressors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load import dumpd, dumps

from rerank_integrations.testing._setup import Setup, with_fix


class Page(Document):
    """A document of a user-defined class."""

    number: int = 0


class LangChain(Setup):
    """The hooks for LangChain."""

    score_key: str | None

    _kind = "compressor"
    _thing = "document"
    _ways = _written = ("compress_documents", "acompress_documents")
    _base = BaseDocumentCompressor
    _copy = (
        "return document.model_copy(update={'metadata': {**document.metadata, 'relevance_score': "
        "score}}), which keeps ID, class and fields and does not change the input"
    )
    _keep_out = (
        "keep clients and locks in private attributes that are created at first use, and exclude "
        "them in __getstate__ and __deepcopy__"
    )

    def _input(
        self, text: str, id_: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Document:
        return Document(page_content=text, id=id_, metadata=metadata or {})

    def _of_own_class(self, text: str) -> Page:
        return Page(page_content=text, number=7)

    def _rank(
        self,
        reranker: BaseDocumentCompressor,
        documents: Sequence[Document],
        query: str,
        **more: Any,
    ) -> Sequence[Document]:
        return reranker.compress_documents(documents, query, **more)

    async def _arank(
        self,
        reranker: BaseDocumentCompressor,
        documents: Sequence[Document],
        query: str,
        **more: Any,
    ) -> Sequence[Document]:
        return await reranker.acompress_documents(documents, query, **more)

    def _inside(self, found: Document) -> Document:
        return found

    def _text(self, found: Document) -> str:
        return found.page_content

    def _id(self, found: Document) -> str | None:
        return found.id

    def _score(self, found: Document) -> Any:
        assert self.score_key in found.metadata, (
            f"no score under metadata[{self.score_key!r}]: write it there, set score_key to the "
            "key that you use, or to None if the compressor attaches no score"
        )
        return found.metadata[self.score_key]

    def _why_no_score(self) -> str | None:
        return "score_key is None" if self.score_key is None else None

    def _scored_in(self, found: Document) -> dict[str, object]:
        return {"document": found, "metadata dict": found.metadata}

    def _metadata(self, found: Document) -> dict[str, Any]:
        return {key: value for key, value in found.metadata.items() if key != self.score_key}

    def _shown(self, reranker: BaseDocumentCompressor) -> Iterator[tuple[str, str]]:
        yield "repr(compressor)", repr(reranker)
        yield "str(compressor)", str(reranker)
        yield "compressor.model_dump()", repr(reranker.model_dump())
        with suppress(ValueError, TypeError):  # not every object can be written as JSON
            yield "compressor.model_dump_json()", reranker.model_dump_json()
        yield "langchain_core.load.dumpd(compressor)", repr(dumpd(reranker))
        yield "langchain_core.load.dumps(compressor)", dumps(reranker)


class LangChainRules(LangChain):
    """Sequences and callbacks work as retrievers and pipelines pass them."""

    def test_the_answer_is_a_sequence(self) -> None:
        """The results are a sequence: they have a length and can be read twice."""
        for way, kept in self._both(self.make(), self._documents()):
            assert isinstance(kept, Sequence), (
                f"{way} returned a {type(kept).__name__}: return a list, as the signature promises"
            )

    def test_a_tuple_of_documents_works(self) -> None:
        """A tuple of documents works, because the signature has a Sequence."""
        documents = self._documents()
        compressor = self.make()
        expected = dict(self._both(self.make(), documents))
        fix = "begin with list(documents)"
        with with_fix(fix):
            for way, kept in self._both(compressor, tuple(documents)):
                assert self._texts(kept) == self._texts(expected[way]), (
                    f"{way} returned other results for a tuple than for a list: {fix}"
                )

    def test_callbacks_is_a_parameter(self) -> None:
        """Both methods have a parameter named callbacks, with None as its default."""
        compressor = self.make()
        for method in (compressor.compress_documents, compressor.acompress_documents):
            way = method.__name__
            found = inspect.signature(method).parameters.get("callbacks")
            fix = "write callbacks: Callbacks | None = None as the third parameter"
            assert found is not None, (
                f"{way} has no parameter named callbacks, so DocumentCompressorPipeline passes "
                f"none: {fix}; a decorator around it needs functools.wraps"
            )
            assert found.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD, (
                f"callbacks of {way} must be accepted by position and by name: {fix}"
            )
            assert found.default is None, f"callbacks of {way} must default to None: {fix}"

    def test_every_kind_of_callbacks_is_accepted(self) -> None:
        """Both methods take None, handlers, a CallbackManager and an AsyncCallbackManager."""
        documents = self._documents()
        handlers: list[BaseCallbackHandler] = [BaseCallbackHandler()]
        kinds: list[Any] = [
            None,
            handlers,
            CallbackManager.configure(inheritable_callbacks=handlers),
            AsyncCallbackManager.configure(inheritable_callbacks=handlers),
        ]
        expected = dict(self._both(self.make(), documents))
        for callbacks in kinds:
            kind = type(callbacks).__name__
            fix = (
                f"the {kind} was not accepted; pass callbacks through CallbackManager.configure("
                "inheritable_callbacks=callbacks), in the async method AsyncCallbackManager's, "
                "which take every kind"
            )
            with with_fix(fix):
                for way, kept in self._both(self.make(), documents, callbacks=callbacks):
                    assert self._texts(kept) == self._texts(expected[way]), (
                        f"{way} returned other results with callbacks of type {kind}: {fix}"
                    )
