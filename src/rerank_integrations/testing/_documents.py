"""Rules about the documents or nodes that a reranker gets and returns."""

from __future__ import annotations

import copy
import threading
from typing import Any

from pydantic import BaseModel

from rerank_integrations.testing._setup import Setup, with_fix

_TWINS = 4


class Author(BaseModel):
    """A pydantic model in the metadata of a user."""

    name: str


class DocumentRules(Setup):
    """Inputs come back unchanged, with a score added to a copy."""

    def test_inputs_are_left_alone(self) -> None:
        """The inputs, their metadata, nested values and the list do not change."""
        documents = self._documents()
        before, order = copy.deepcopy(documents), list(documents)

        for way, _ in self._both(self.make(), documents):
            assert list(map(id, documents)) == list(map(id, order)), (
                f"{way} changed the list of inputs: work on list({self._thing}s)"
            )
            for number, document in enumerate(documents):
                assert document == before[number], (
                    f"input {self._thing} {number} was changed by {way}: {self._copy}"
                )

    def test_results_are_copies(self) -> None:
        """A score is attached to a new object."""
        self._needs_score()
        documents = self._documents()
        given = {id(part) for found in documents for part in self._scored_in(found).values()}

        for way, kept in self._both(self._keeping(len(documents)), documents):
            for found in kept:
                for name, part in self._scored_in(found).items():
                    assert id(part) not in given, (
                        f"{way} returned the {name} of the input, so a change of one changes the "
                        f"other: {self._copy}"
                    )

    def test_ids_are_kept(self) -> None:
        """A result has the ID of its input."""
        documents = self._documents()
        ids = {self._text(document): self._id(document) for document in documents}

        for way, kept in self._both(self._keeping(len(documents)), documents):
            for found in kept:
                came_with = ids.get(self._text(found), self._id(found))
                assert self._id(found) == came_with, (
                    f"{way} returned id {self._id(found)!r} for a {self._thing} with id "
                    f"{came_with!r}: {self._copy}"
                )

    def test_subclasses_are_kept(self) -> None:
        """An input of a user-defined class comes back with its class and its fields."""
        given = self._of_own_class(self.query)
        own: Any = self._inside(given)

        for way, kept in self._both(self.make(), [given]):
            for found in map(self._inside, kept):
                assert type(found) is type(own), (
                    f"{way} returned a {type(found).__name__} for a {type(own).__name__}, which is "
                    f"a {self._thing} of a user-defined class: {self._copy}"
                )
                assert found.number == own.number, f"{way} lost the field 'number': {self._copy}"

    def test_metadata_is_kept(self) -> None:
        """A result has all the metadata of its input."""
        documents = self._documents()
        metadata = {self._text(found): self._inside(found).metadata for found in documents}

        for way, kept in self._both(self._keeping(len(documents)), documents):
            for found in kept:
                for key, value in metadata.get(self._text(found), {}).items():
                    assert self._inside(found).metadata.get(key) == value, (
                        f"{way} lost or changed metadata[{key!r}] of a {self._thing}: {self._copy}"
                    )

    def test_metadata_that_cannot_be_copied_is_kept(self) -> None:
        """A lock in the metadata comes back as the same object."""
        lock = threading.Lock()
        document = self._input(self.query, metadata={"lock": lock})
        fix = f"do not deep-copy or serialize metadata; {self._copy}"

        with with_fix(fix):
            for way, kept in self._both(self.make(), [document]):
                for found in map(self._inside, kept):
                    assert found.metadata.get("lock") is lock, (
                        f"{way} replaced a lock in the metadata: {fix}"
                    )

    def test_models_in_metadata_stay_models(self) -> None:
        """A pydantic model in the metadata comes back as that model, not as a dict."""
        author = Author(name="Ada")
        document = self._input(self.query, metadata={"author": author})

        for way, kept in self._both(self.make(), [document]):
            for found in map(self._inside, kept):
                value = found.metadata.get("author")
                assert type(value) is Author, (
                    f"{way} turned a pydantic model in the metadata into a {type(value).__name__}: "
                    f"do not rebuild the {self._thing} from a dump; {self._copy}"
                )
                assert value == author, (
                    f"{way} changed a pydantic model in the metadata: {self._copy}"
                )

    def test_every_result_is_an_input(self) -> None:
        """Every result has the text and the ID of one input, and no input comes back twice."""
        documents = self._documents()
        known = {(self._text(document), self._id(document)) for document in documents}
        texts = set(self._texts(documents))

        for way, kept in self._both(self._keeping(len(documents)), documents):
            for found in kept:
                text, id_ = self._text(found), self._id(found)
                assert text in texts, (
                    f"{way} returned the text {text!r}, which was not given: return the caller's "
                    f"{self._thing}s, not the server's echo of them"
                )
                assert id_ is None or (text, id_) in known, (
                    f"{way} returned id {id_!r} with the text of another {self._thing}: "
                    f"{self._copy}"
                )
            assert len(kept) == len(set(self._texts(kept))), (
                f"{way} returned a {self._thing} more often than it was given: reject an index "
                "that the server repeats"
            )

    def test_equal_documents_come_back_each_once(self) -> None:
        """Inputs with equal text and ID are distinguished by their position in the list."""
        documents = [self._input(self.query, "same", {"place": place}) for place in range(_TWINS)]

        for way, kept in self._both(self._keeping(_TWINS), documents):
            places = sorted(self._inside(found).metadata.get("place", -1) for found in kept)
            assert places == list(range(_TWINS)), (
                f"{way} got {_TWINS} {self._thing}s with equal text and ID, and returned those "
                f"at {places}: find a {self._thing} by its index in the list, not by its text or id"
            )

    def test_a_document_given_twice_comes_back_twice(self) -> None:
        """An object that is in the list twice comes back twice."""
        twin = self._input(self.query, "twin")

        for way, kept in self._both(self._keeping(2), [twin, twin]):
            assert len(kept) == 2, (
                f"{way} returned {len(kept)} {self._thing}s for one that is in the list twice: "
                "find it by its index in the list, not by equality"
            )
            if self._why_no_score() is None:
                one, other = map(self._scored_in, kept)
                for name, part in one.items():
                    assert part is not other[name], (
                        f"{way} returned one {name} for both positions of a {self._thing}: make a "
                        "copy for each result"
                    )
