"""The base class of all rules: the author's settings, and hooks for the two frameworks."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias
from unittest import SkipTest

Reranker: TypeAlias = Any
"""The reranker under test: a compressor or a postprocessor."""

Found: TypeAlias = Any
"""The inputs and the results: a document, or a NodeWithScore."""


class Setup(ABC):
    """The settings of all suites, and the hooks that adapt a rule to a framework."""

    query: str = "a red bicycle"
    """The query of the tests."""

    texts: Sequence[str] = ("a blue car", "a red bicycle", "a red car", "two white horses")
    """At least two different texts; one of them is clearly the best for `query`."""

    top_n_field: str | None = "top_n"
    """The field that limits the number of results, such as "top_k"; None if there is none."""

    native_async: bool = True
    """False if the work is computation in this process, which belongs in a thread."""

    secrets: Sequence[str] = ()
    """Texts that must not appear anywhere, such as the key that `make` passes."""

    make: Callable[..., Any]

    # the words of the messages
    _kind: str
    _thing: str
    _ways: tuple[str, str]  # the two methods that the tests call
    _written: tuple[str, str]  # the two that an author writes
    _base: type
    _copy: str  # how to add a score to what is returned
    _keep_out: str  # how to keep what cannot be copied out of copies

    @abstractmethod
    def _input(
        self, text: str, id_: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Found:
        """An input that is ranked by its text only."""

    @abstractmethod
    def _of_own_class(self, text: str) -> Found:
        """An input of a user-defined class with a field `number`."""

    @abstractmethod
    def _rank(
        self, reranker: Reranker, documents: Sequence[Found], query: str, **more: Any
    ) -> Sequence[Found]:
        """The results of the sync method."""

    @abstractmethod
    async def _arank(
        self, reranker: Reranker, documents: Sequence[Found], query: str, **more: Any
    ) -> Sequence[Found]:
        """The results of the async method."""

    @abstractmethod
    def _inside(self, found: Found) -> Any:
        """The object that has the text and the metadata."""

    @abstractmethod
    def _text(self, found: Found) -> str:
        """The text."""

    @abstractmethod
    def _id(self, found: Found) -> str | None:
        """The id."""

    @abstractmethod
    def _score(self, found: Found) -> Any:
        """The attached score."""

    @abstractmethod
    def _why_no_score(self) -> str | None:
        """The setting that turns scores off; None if there is a score."""

    @abstractmethod
    def _scored_in(self, found: Found) -> dict[str, object]:
        """The objects that hold the score, by name; no two results may share them."""

    @abstractmethod
    def _metadata(self, found: Found) -> dict[str, Any]:
        """The metadata without the score."""

    @abstractmethod
    def _shown(self, reranker: Reranker) -> Iterator[tuple[str, str]]:
        """The texts that show a reranker, each with the call that made it."""

    def _keeping(self, count: int) -> Reranker:
        """A reranker that returns at most this number of results."""
        return self.make(**({self.top_n_field: count} if self.top_n_field else {}))

    def _documents(self, suffix: str = "") -> list[Found]:
        return [
            self._input(
                text + suffix,
                f"id-{number}",
                {"source": f"page {number}", "nested": {"tags": ["a", "b"]}},
            )
            for number, text in enumerate(self.texts)
        ]

    def _both(
        self,
        reranker: Reranker,
        documents: Sequence[Found],
        query: str | None = None,
        **more: Any,
    ) -> Iterator[tuple[str, Sequence[Found]]]:
        """The results of both methods, each with the name of the method."""
        asked = self.query if query is None else query
        yield self._ways[0], self._rank(reranker, documents, asked, **more)
        yield self._ways[1], self._run(reranker, documents, asked, **more)

    def _run(
        self, reranker: Reranker, documents: Sequence[Found], query: str, **more: Any
    ) -> Sequence[Found]:
        """The results of the async method, on a new event loop."""
        return asyncio.run(self._arank(reranker, documents, query, **more))

    def _texts(self, documents: Sequence[Found]) -> list[str]:
        return [self._text(found) for found in documents]

    def _best(self, documents: Sequence[Found]) -> str:
        """The text of the first result."""
        assert documents, f"no results: make() must build a {self._kind} without a threshold"
        return self._text(documents[0])

    def _needs_score(self) -> None:
        if (setting := self._why_no_score()) is not None:
            raise SkipTest(f"{setting}: no score to check")

    def _needs_top_n(self) -> str:
        if self.top_n_field is None:
            raise SkipTest("top_n_field is None: nothing limits the number of results")
        return self.top_n_field


@contextmanager
def with_fix(fix: str) -> Iterator[None]:
    """Add the fix to the message of any error raised inside."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}. Fix: {fix}") from error
