"""Rules about the answer of a compressor: scores, order and how many."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from langchain_core.documents import Document

from rerank_integrations.testing._setup import Setup, best, contents, cured_by


class AnswerRules(Setup):
    """The best documents come first, with a plain number each."""

    def test_sync_and_async_agree(self) -> None:
        """Both methods return the same documents in the same order with the same scores."""
        documents = self._documents()
        (_, first), (_, second) = self._both(self._keeping(len(documents)), documents)

        cure = "let both methods share all code but the request itself"
        assert contents(first) == contents(second), (
            f"compress_documents gave {contents(first)}, acompress_documents "
            f"{contents(second)}: {cure}"
        )
        if self.score_key is not None:
            for one, other in zip(map(self._score, first), map(self._score, second), strict=True):
                # a server's scores differ in their last digits from call to call
                assert math.isclose(float(one), float(other), rel_tol=1e-3, abs_tol=1e-9), (
                    f"compress_documents scored {one}, acompress_documents {other}: {cure}"
                )

    def test_the_answer_is_a_sequence(self) -> None:
        """The answer has a length and can be read twice."""
        for way, kept in self._both(self.make(), self._documents()):
            assert isinstance(kept, Sequence), (
                f"{way} returned a {type(kept).__name__}: return a list, as the signature promises"
            )

    def test_scores_are_plain_floats(self) -> None:
        """A score is a finite float: no numpy number, int, bool or text, and never NaN."""
        self._needs_score()
        for way, kept in self._both(self.make(), self._documents()):
            for score in map(self._score, kept):
                assert type(score) is float, (
                    f"{way} gave a score of type {type(score).__name__}, which breaks JSON, "
                    "traces or comparisons: write float(score)"
                )
                assert math.isfinite(score), (
                    f"{way} gave the score {score}, which is no number to sort by and not valid "
                    "JSON: raise an error when the server sends one"
                )

    def test_what_is_added_can_be_written_as_json(self) -> None:
        """Metadata that was JSON before is JSON after."""
        for way, kept in self._both(self.make(), self._documents()):
            for document in kept:
                added = {k: v for k, v in document.metadata.items() if k != self.score_key}
                with cured_by(f"{way} must add plain numbers, texts, lists and dicts to metadata"):
                    json.dumps(added)

    def test_best_comes_first(self) -> None:
        """Scores descend."""
        self._needs_score()
        documents = self._documents()
        for way, kept in self._both(self._keeping(len(documents)), documents):
            scores = list(map(self._score, kept))
            assert scores == sorted(scores, reverse=True), (
                f"{way} returned the scores {scores}: sort the results by score, highest first, "
                "whatever order the server sends"
            )

    def test_the_order_of_the_input_does_not_decide(self) -> None:
        """The same document is best when the input is turned round."""
        documents = self._documents()
        forwards = dict(self._both(self._keeping(len(documents)), documents))
        for way, kept in self._both(self._keeping(len(documents)), documents[::-1]):
            assert best(kept) == best(forwards[way]), (
                f"{way} found {best(forwards[way])!r} best, and {best(kept)!r} when the input was "
                "turned round: give each score to the document at the result's index; if the "
                "compressor is right, set `query` and `texts` so that one text is clearly best"
            )

    def test_a_blank_document_shifts_nothing(self) -> None:
        """A document without text, kept or left out, does not move scores to its neighbours."""
        documents = self._documents()
        compressor = self._keeping(len(documents))
        without = dict(self._both(self._keeping(len(documents)), documents))
        cure = (
            "leave blank documents out of what is sent, remember the place of each that is "
            "sent, and look results up by it"
        )
        with cured_by(cure):
            for way, kept in self._both(compressor, [Document(page_content=""), *documents]):
                found = best([document for document in kept if document.page_content])
                assert found == best(without[way]), (
                    f"{way} found {best(without[way])!r} best, and {found!r} with a blank document "
                    f"in front: {cure}"
                )

    def test_top_n_keeps_the_best(self) -> None:
        """With top_n=1 the one document is the best of all, not the first of the input."""
        self._needs_top_n()
        documents = self._documents()
        everything = dict(self._both(self._keeping(len(documents)), documents))
        for way, kept in self._both(self._keeping(1), documents):
            assert len(kept) == 1, (
                f"{way} returned {len(kept)} documents with {self.top_n_field}=1: cut the results "
                "after sorting, also where the server ignores the limit"
            )
            assert best(kept) == best(everything[way]), (
                f"{way} kept {best(kept)!r} with {self.top_n_field}=1, while "
                f"{best(everything[way])!r} is best: rank all documents, then cut"
            )

    def test_top_n_may_exceed_the_list(self) -> None:
        """A top_n larger than the list is no error, and all documents come back."""
        self._needs_top_n()
        documents = self._documents()
        cure = f"send min({self.top_n_field}, len(documents))"
        with cured_by(cure):
            for way, kept in self._both(self._keeping(len(documents) + 10), documents):
                assert len(kept) == len(documents), (
                    f"{way} returned {len(kept)} of {len(documents)} documents with "
                    f"{self.top_n_field}={len(documents) + 10}: {cure}"
                )

    def test_an_empty_list_gives_an_empty_list(self) -> None:
        """Without documents nothing comes back and nothing fails, as pipelines do call it so."""
        cure = "begin with `if not documents: return []`, before anything is sent"
        with cured_by(cure):
            for way, kept in self._both(self.make(), []):
                assert list(kept) == [], f"{way} made documents out of an empty list: {cure}"

    def test_a_tuple_of_documents_works(self) -> None:
        """Any sequence of documents will do, for the signature says Sequence."""
        documents = self._documents()
        compressor = self.make()
        expected = dict(self._both(self.make(), documents))
        cure = "take list(documents) before anything else"
        with cured_by(cure):
            for way, kept in self._both(compressor, tuple(documents)):
                assert contents(kept) == contents(expected[way]), (
                    f"{way} answered otherwise to a tuple than to a list: {cure}"
                )
