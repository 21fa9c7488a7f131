"""Rules about what happens to documents on their way through a compressor."""

from __future__ import annotations

import copy
import threading

from langchain_core.documents import Document
from pydantic import BaseModel

from rerank_integrations.testing._setup import COPY, Setup, contents, cured_by

_TWINS = 4


class Page(Document):
    """A document of a user's own kind."""

    number: int = 0


class Author(BaseModel):
    """A model that a user keeps in metadata."""

    name: str


class DocumentRules(Setup):
    """Documents come back as they went in, with a score added to a copy."""

    def test_inputs_are_left_alone(self) -> None:
        """Input documents, their metadata, what is nested in it and their list do not change."""
        documents = self._documents()
        before, order = copy.deepcopy(documents), list(documents)

        for way, _ in self._both(self.make(), documents):
            assert list(map(id, documents)) == list(map(id, order)), (
                f"{way} changed the list that it was given: work on list(documents)"
            )
            for number, document in enumerate(documents):
                assert document == before[number], (
                    f"input document {number} was changed by {way}: {COPY}"
                )

    def test_results_are_copies(self) -> None:
        """A document that got a score is a new object, and so is its metadata."""
        self._needs_score()
        documents = self._documents()
        objects = {id(document) for document in documents}
        dicts = {id(document.metadata) for document in documents}

        for way, kept in self._both(self._keeping(len(documents)), documents):
            for document in kept:
                assert id(document) not in objects, f"{way} returned an input document: {COPY}"
                assert id(document.metadata) not in dicts, (
                    f"{way} returned a document that shares its metadata dict with the input's, "
                    f"so that a change of one changes the other: {COPY}"
                )

    def test_ids_are_kept(self) -> None:
        """A returned document has the id that it came with."""
        documents = self._documents()
        ids = {document.page_content: document.id for document in documents}

        for way, kept in self._both(self._keeping(len(documents)), documents):
            for document in kept:
                assert document.id == ids.get(document.page_content, document.id), (
                    f"{way} returned id {document.id!r} for a document with id "
                    f"{ids[document.page_content]!r}: {COPY}"
                )

    def test_subclasses_are_kept(self) -> None:
        """A document of a subclass comes back as one, with its fields."""
        page = Page(page_content=self.query, number=7)

        for way, kept in self._both(self.make(), [page]):
            for document in kept:
                assert type(document) is Page, (
                    f"{way} returned a {type(document).__name__} for a Page(Document): {COPY}"
                )
                assert document.number == page.number, f"{way} lost the field 'number': {COPY}"

    def test_metadata_is_kept(self) -> None:
        """A returned document has all the metadata that it came with."""
        documents = self._documents()
        metadata = {document.page_content: document.metadata for document in documents}

        for way, kept in self._both(self._keeping(len(documents)), documents):
            for document in kept:
                for key, value in metadata.get(document.page_content, {}).items():
                    assert document.metadata.get(key) == value, (
                        f"{way} lost or changed metadata[{key!r}] of a document: {COPY}"
                    )

    def test_metadata_that_cannot_be_copied_is_kept(self) -> None:
        """A lock in the metadata comes through, as the same object."""
        lock = threading.Lock()
        document = Document(page_content=self.query, metadata={"lock": lock})
        cure = f"do not deep-copy or serialize metadata; {COPY}"

        with cured_by(cure):
            for way, kept in self._both(self.make(), [document]):
                for found in kept:
                    assert found.metadata.get("lock") is lock, (
                        f"{way} put something else in place of a lock in the metadata: {cure}"
                    )

    def test_models_in_metadata_stay_models(self) -> None:
        """A pydantic model in the metadata comes back as that model, not as a dict."""
        author = Author(name="Ada")
        document = Document(page_content=self.query, metadata={"author": author})

        for way, kept in self._both(self.make(), [document]):
            for found in kept:
                value = found.metadata.get("author")
                assert type(value) is Author, (
                    f"{way} made a {type(value).__name__} of a pydantic model in the metadata: "
                    f"do not rebuild the document from model_dump(); {COPY}"
                )
                assert value == author, f"{way} changed a pydantic model in the metadata: {COPY}"

    def test_every_result_is_an_input(self) -> None:
        """Every returned document has the text and the id of one input, and none is invented."""
        documents = self._documents()
        known = {(document.page_content, document.id) for document in documents}
        texts = set(contents(documents))

        for way, kept in self._both(self._keeping(len(documents)), documents):
            for found in kept:
                assert found.page_content in texts, (
                    f"{way} returned the text {found.page_content!r}, which was not given: return "
                    "the caller's documents, not the server's echo of them"
                )
                assert found.id is None or (found.page_content, found.id) in known, (
                    f"{way} returned id {found.id!r} with the text of another document: {COPY}"
                )
            assert len(kept) == len(set(contents(kept))), (
                f"{way} returned a document more often than it was given: refuse an index that "
                "the server repeats"
            )

    def test_equal_documents_come_back_each_once(self) -> None:
        """Documents of equal text and id are told apart by their place in the list."""
        documents = [
            Document(page_content=self.query, id="same", metadata={"place": place})
            for place in range(_TWINS)
        ]

        for way, kept in self._both(self._keeping(_TWINS), documents):
            places = sorted(document.metadata.get("place", -1) for document in kept)
            assert places == list(range(_TWINS)), (
                f"{way} was given {_TWINS} documents of equal text and id, and returned those at "
                f"{places}: find a document by its index in the list, not by its text or id"
            )

    def test_a_document_given_twice_comes_back_twice(self) -> None:
        """One object that stands in the list twice comes back as two."""
        twin = Document(page_content=self.query, id="twin")

        for way, kept in self._both(self._keeping(2), [twin, twin]):
            assert len(kept) == 2, (
                f"{way} returned {len(kept)} documents for one that stands in the list twice: "
                "find a document by its index in the list, not by equality"
            )
            assert self.score_key is None or kept[0].metadata is not kept[1].metadata, (
                f"{way} returned two documents with one metadata dict: make a copy for each result"
            )
