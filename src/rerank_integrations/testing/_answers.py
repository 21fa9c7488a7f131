"""Rules about the results: scores, order and number."""

from __future__ import annotations

import json
import math
from unittest import SkipTest

from rerank_integrations.testing._setup import Setup, with_fix


class AnswerRules(Setup):
    """The best results come first, each with a plain float as its score."""

    def test_sync_and_async_agree(self) -> None:
        """Both methods return the same texts in the same order with the same scores."""
        documents = self._documents()
        (sync, first), (other_way, second) = self._both(self._keeping(len(documents)), documents)

        fix = "let both methods share all code but the request itself"
        assert self._texts(first) == self._texts(second), (
            f"{sync} gave {self._texts(first)}, {other_way} {self._texts(second)}: {fix}"
        )
        if self._why_no_score() is None:
            for one, other in zip(map(self._score, first), map(self._score, second), strict=True):
                # a server's scores differ in their last digits from call to call
                assert math.isclose(float(one), float(other), rel_tol=1e-3, abs_tol=1e-9), (
                    f"{sync} scored {one}, {other_way} {other}: {fix}"
                )

    def test_scores_are_plain_floats(self) -> None:
        """A score is a finite float: not a numpy number, int, bool or text, and never NaN."""
        self._needs_score()
        for way, kept in self._both(self.make(), self._documents()):
            for score in map(self._score, kept):
                assert type(score) is float, (
                    f"{way} gave a score of type {type(score).__name__}, which breaks JSON, "
                    "traces or comparisons: write float(score)"
                )
                assert math.isfinite(score), (
                    f"{way} gave the score {score}, which cannot be sorted and is not "
                    "valid JSON: raise an error when the server sends one"
                )

    def test_what_is_added_can_be_written_as_json(self) -> None:
        """Metadata that can be written as JSON before the call can be written as JSON after it."""
        for way, kept in self._both(self.make(), self._documents()):
            for found in kept:
                with with_fix(
                    f"{way} must add only plain numbers, texts, lists and dicts to metadata"
                ):
                    json.dumps(self._metadata(found))

    def test_best_comes_first(self) -> None:
        """Scores descend."""
        self._needs_score()
        documents = self._documents()
        for way, kept in self._both(self._keeping(len(documents)), documents):
            scores = list(map(self._score, kept))
            assert scores == sorted(scores, reverse=True), (
                f"{way} returned the scores {scores}: sort the results by score, highest first, "
                "even if the server sends another order"
            )

    def test_the_order_of_the_input_does_not_decide(self) -> None:
        """The same text is best if the input is reversed."""
        documents = self._documents()
        forwards = dict(self._both(self._keeping(len(documents)), documents))
        for way, kept in self._both(self._keeping(len(documents)), documents[::-1]):
            assert self._best(kept) == self._best(forwards[way]), (
                f"{way} ranked {self._best(forwards[way])!r} first, and {self._best(kept)!r} when "
                f"the input was reversed: give each score to the {self._thing} at the result's "
                f"index; if the {self._kind} is correct, set `query` and `texts` so that one text "
                "is clearly best"
            )

    def test_a_blank_document_shifts_nothing(self) -> None:
        """An input without text does not move scores to other inputs."""
        documents = self._documents()
        reranker = self._keeping(len(documents))
        without = dict(self._both(self._keeping(len(documents)), documents))
        fix = (
            f"do not send blank {self._thing}s, keep the position of each that is sent, and find "
            "each result by its position"
        )
        with with_fix(fix):
            for way, kept in self._both(reranker, [self._input(""), *documents]):
                found = self._best([found for found in kept if self._text(found)])
                assert found == self._best(without[way]), (
                    f"{way} ranked {self._best(without[way])!r} first, and {found!r} with a blank "
                    f"{self._thing} at the start: {fix}"
                )

    def test_top_n_keeps_the_best(self) -> None:
        """With top_n=1 the only result is the best one, not the first input."""
        self._needs_top_n()
        documents = self._documents()
        everything = dict(self._both(self._keeping(len(documents)), documents))
        for way, kept in self._both(self._keeping(1), documents):
            assert len(kept) == 1, (
                f"{way} returned {len(kept)} {self._thing}s with {self.top_n_field}=1: cut the "
                "results after sorting, even if the server ignores the limit"
            )
            assert self._best(kept) == self._best(everything[way]), (
                f"{way} kept {self._best(kept)!r} with {self.top_n_field}=1, while "
                f"{self._best(everything[way])!r} is best: rank all {self._thing}s, then cut"
            )

    def test_top_n_may_exceed_the_list(self) -> None:
        """A top_n larger than the list is not an error: all inputs come back."""
        self._needs_top_n()
        documents = self._documents()
        fix = f"send min({self.top_n_field}, len({self._thing}s))"
        with with_fix(fix):
            for way, kept in self._both(self._keeping(len(documents) + 10), documents):
                assert len(kept) == len(documents), (
                    f"{way} returned {len(kept)} of {len(documents)} {self._thing}s with "
                    f"{self.top_n_field}={len(documents) + 10}: {fix}"
                )

    def test_top_n_may_be_none(self) -> None:
        """A top_n of None returns everything, if the constructor accepts None."""
        field = self._needs_top_n()
        try:
            reranker = self.make(**{field: None})
        except Exception as error:
            raise SkipTest(f"top_n_field: the constructor rejects {field}=None") from error
        documents = self._documents()
        fix = f"without a limit use len({self._thing}s), or reject {field}=None"
        with with_fix(fix):
            for way, kept in self._both(reranker, documents):
                assert len(kept) == len(documents), (
                    f"{way} returned {len(kept)} of {len(documents)} {self._thing}s with "
                    f"{field}=None: {fix}"
                )

    def test_an_empty_list_gives_an_empty_list(self) -> None:
        """An empty list gives an empty list and no error, because pipelines pass empty lists."""
        fix = f"begin with `if not {self._thing}s: return []`, before anything is sent"
        with with_fix(fix):
            for way, kept in self._both(self.make(), []):
                assert list(kept) == [], f"{way} returned {self._thing}s for an empty list: {fix}"
