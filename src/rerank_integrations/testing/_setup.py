"""What every rule starts from: the author's settings, and hooks for what frameworks call things."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias
from unittest import SkipTest

Reranker: TypeAlias = Any
"""What is tested: a compressor or a postprocessor."""

Found: TypeAlias = Any
"""What goes in and comes back: a document, or a node in its NodeWithScore."""


class Setup(ABC):
    """The settings that all suites share, and the hooks through which a rule meets a framework."""

    query: str = "a red bicycle"
    """What is asked."""

    texts: Sequence[str] = ("a blue car", "a red bicycle", "a red car", "two white horses")
    """At least two different texts; one fits `query` best, and not by a hair."""

    top_n_field: str | None = "top_n"
    """The field that says how many to keep, such as "top_k"; None where it has none."""

    native_async: bool = True
    """False where the work is computing in this process, which belongs in a thread."""

    secrets: Sequence[str] = ()
    """Texts that must appear nowhere, such as the key that `make` passes."""

    make: Callable[..., Reranker]

    # the words of the messages
    _kind: str
    _thing: str
    _ways: tuple[str, str]  # the two methods that are called
    _written: tuple[str, str]  # the two that an author writes
    _base: type
    _copy: str  # how to add a score to what is returned
    _keep_out: str  # how to keep what cannot be copied out of copies

    @abstractmethod
    def _input(
        self, text: str, id_: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Found:
        """One to be ranked by its text alone."""

    @abstractmethod
    def _of_own_class(self, text: str) -> Found:
        """One of a user's own class, with a field `number`."""

    @abstractmethod
    def _rank(
        self, reranker: Reranker, documents: Sequence[Found], query: str, **more: Any
    ) -> Sequence[Found]:
        """The answer of the sync method."""

    @abstractmethod
    async def _arank(
        self, reranker: Reranker, documents: Sequence[Found], query: str, **more: Any
    ) -> Sequence[Found]:
        """The answer of the async method."""

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
        """The score that was attached."""

    @abstractmethod
    def _why_no_score(self) -> str | None:
        """The setting that says that no score is attached; None where one is."""

    @abstractmethod
    def _scored_in(self, found: Found) -> dict[str, object]:
        """By name the objects that a score changes, which no two results may share."""

    @abstractmethod
    def _metadata(self, found: Found) -> dict[str, Any]:
        """The metadata without the score."""

    @abstractmethod
    def _shown(self, reranker: Reranker) -> Iterator[tuple[str, str]]:
        """The texts that show a reranker, each with how it was made."""

    def _keeping(self, count: int) -> Reranker:
        """A reranker that keeps this many."""
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
        """The answers of both methods, each with the method's name."""
        asked = self.query if query is None else query
        yield self._ways[0], self._rank(reranker, documents, asked, **more)
        yield self._ways[1], self._run(reranker, documents, asked, **more)

    def _run(
        self, reranker: Reranker, documents: Sequence[Found], query: str, **more: Any
    ) -> Sequence[Found]:
        """The async answer, on an event loop of its own."""
        return asyncio.run(self._arank(reranker, documents, query, **more))

    def _texts(self, documents: Sequence[Found]) -> list[str]:
        return [self._text(found) for found in documents]

    def _best(self, documents: Sequence[Found]) -> str:
        """The text that came first."""
        assert documents, f"nothing came back: make() must build a {self._kind} without a threshold"
        return self._text(documents[0])

    def _needs_score(self) -> None:
        if (setting := self._why_no_score()) is not None:
            raise SkipTest(f"{setting}: no score to check")

    def _needs_top_n(self) -> str:
        if self.top_n_field is None:
            raise SkipTest("top_n_field is None: nothing limits the answer")
        return self.top_n_field


@contextmanager
def cured_by(cure: str) -> Iterator[None]:
    """Adds the cure to whatever error comes up inside."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}. Cure: {cure}") from error
