"""Rules about a reranker as an object: its arguments, its copies, its secrets."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from unittest import SkipTest

from rerank_integrations.testing._setup import Reranker, Setup, with_fix

_HIDE = "hold it in a pydantic SecretStr field"


class ObjectRules(Setup):
    """A reranker rejects unknown arguments, can be copied, and hides secrets."""

    def test_unknown_arguments_are_refused(self) -> None:
        """An argument that does not exist is an error, so a typing mistake is found."""
        assert self._refusal() is not None, (
            "make(nonsense_argument=1) was accepted: set model_config = ConfigDict(extra='forbid'),"
            " and let make() pass **arguments to the constructor"
        )

    def test_pickles_work(self) -> None:
        """A pickle, made before or after use, works as the original."""
        self._check_copies(
            "pickle",
            lambda reranker: pickle.loads(pickle.dumps(reranker)),  # noqa: S301  # our own
        )

    def test_deep_copies_work(self) -> None:
        """A deep copy, made before or after use, works as the original."""
        self._check_copies("copy.deepcopy", copy.deepcopy)

    def test_model_copies_work(self) -> None:
        """A copy from model_copy, made before or after use, works as the original."""
        self._check_copies("model_copy", lambda reranker: reranker.model_copy())

    def test_a_copy_with_another_top_n_works(self) -> None:
        """A copy by model_copy(update={"top_n": 1}) has one result, and the original has all."""
        field = self._needs_top_n()
        documents = self._documents()
        for used in (False, True):
            reranker = self._keeping(len(documents))
            if used:
                list(self._both(reranker, documents))
            changed = reranker.model_copy(update={field: 1})
            for way, kept in self._both(changed, documents):
                assert len(kept) == 1, (
                    f"{way} of model_copy(update={{{field!r}: 1}}) returned {len(kept)} "
                    f"{self._thing}s: read self.{field} in each call, not once in the constructor"
                )
            for way, kept in self._both(reranker, documents):
                assert len(kept) == len(documents), (
                    f"model_copy(update={{{field!r}: 1}}) changed the original, whose {way} "
                    f"returned {len(kept)} {self._thing}s: do not store {field} in a shared object"
                )

    def test_secrets_are_hidden(self) -> None:
        """No text form of a reranker, as in logs and traces, contains a secret."""
        if not self.secrets:
            raise SkipTest("secrets is empty: name the key that make() passes")
        reranker = self.make()
        for used in (False, True):
            if used:
                list(self._both(reranker, self._documents()))
            shown = [
                *self._shown(reranker),
                ("the error about an unknown argument", repr(self._refusal())),
            ]
            for form, text in shown:
                for number, secret in enumerate(self.secrets):
                    # the message must not show it either
                    assert secret not in text, f"secrets[{number}] is in {form}: {_HIDE}"

    def _refusal(self) -> Exception | None:
        try:
            self.make(nonsense_argument=1)
        except Exception as error:  # noqa: BLE001  # whatever the author's base class raises
            return error
        return None

    def _check_copies(self, name: str, copied: Callable[[Reranker], Reranker]) -> None:
        documents = self._documents()
        for used in (False, True):
            reranker = self._keeping(len(documents) - 1)  # copies keep settings too
            when = "after use" if used else "before use"
            if used:
                list(self._both(reranker, documents))
            with with_fix(f"{name} {when} must work; {self._keep_out}"):
                twin = dict(self._both(copied(reranker), documents))
            for way, kept in self._both(reranker, documents):
                assert self._texts(twin[way]) == self._texts(kept), (
                    f"{way} of the copy that {name} made {when} gave {self._texts(twin[way])} "
                    f"instead of {self._texts(kept)}: {self._keep_out}"
                )
