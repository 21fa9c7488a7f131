"""Rules about a compressor as an object: its arguments, its copies, its secrets."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from unittest import SkipTest

from langchain_core.documents import BaseDocumentCompressor
from langchain_core.load import dumpd, dumps

from rerank_integrations.testing._setup import Setup, contents, cured_by

_STATE = (
    "keep clients and locks in private attributes that are made when first needed, and leave them "
    "out in __getstate__ and __deepcopy__"
)
_HIDE = "hold it in a pydantic SecretStr field"


class ObjectRules(Setup):
    """A compressor can be set up safely, copied and shown."""

    def test_unknown_arguments_are_refused(self) -> None:
        """An argument that does not exist is an error, so that a typing mistake shows."""
        assert self._refusal() is not None, (
            "make(nonsense_argument=1) was accepted: set model_config = ConfigDict(extra='forbid'),"
            " and let make() pass **arguments to the constructor"
        )

    def test_pickles_work(self) -> None:
        """A pickle, made before or after use, answers as the original does."""
        self._check_copies(
            "pickle",
            lambda compressor: pickle.loads(pickle.dumps(compressor)),  # noqa: S301  # our own
        )

    def test_deep_copies_work(self) -> None:
        """A deep copy, made before or after use, answers as the original does."""
        self._check_copies("copy.deepcopy", copy.deepcopy)

    def test_model_copies_work(self) -> None:
        """The copy of model_copy, made before or after use, answers as the original does."""
        self._check_copies("model_copy", lambda compressor: compressor.model_copy())

    def test_a_copy_with_another_top_n_works(self) -> None:
        """The copy of model_copy(update={"top_n": 1}) keeps one document, the original as many."""
        field = self._needs_top_n()
        documents = self._documents()
        for used in (False, True):
            compressor = self._keeping(len(documents))
            if used:
                list(self._both(compressor, documents))
            changed = compressor.model_copy(update={field: 1})
            for way, kept in self._both(changed, documents):
                assert len(kept) == 1, (
                    f"{way} of model_copy(update={{{field!r}: 1}}) returned {len(kept)} documents: "
                    f"read self.{field} in each call, not once in the constructor"
                )
            for way, kept in self._both(compressor, documents):
                assert len(kept) == len(documents), (
                    f"model_copy(update={{{field!r}: 1}}) changed the original, whose {way} "
                    f"returned {len(kept)} documents: do not store {field} in a shared object"
                )

    def test_secrets_are_hidden(self) -> None:
        """No text that shows a compressor, as logs and traces do, holds a secret."""
        if not self.secrets:
            raise SkipTest("secrets is empty: name the key that make() passes")
        compressor = self.make()
        for used in (False, True):
            if used:
                list(self._both(compressor, self._documents()))
            for form, text in self._shown(compressor):
                for number, secret in enumerate(self.secrets):
                    # the message must not show it either
                    assert secret not in text, f"secrets[{number}] stands in {form}: {_HIDE}"

    def _shown(self, compressor: BaseDocumentCompressor) -> Iterator[tuple[str, str]]:
        yield "repr(compressor)", repr(compressor)
        yield "str(compressor)", str(compressor)
        yield "compressor.model_dump()", repr(compressor.model_dump())
        with suppress(ValueError, TypeError):  # not every object can be written as JSON
            yield "compressor.model_dump_json()", compressor.model_dump_json()
        yield "langchain_core.load.dumpd(compressor)", repr(dumpd(compressor))
        yield "langchain_core.load.dumps(compressor)", dumps(compressor)
        yield "the error about an unknown argument", repr(self._refusal())

    def _refusal(self) -> Exception | None:
        try:
            self.make(nonsense_argument=1)
        except Exception as error:  # noqa: BLE001  # whatever the author's base class raises
            return error
        return None

    def _check_copies(
        self, name: str, copied: Callable[[BaseDocumentCompressor], BaseDocumentCompressor]
    ) -> None:
        documents = self._documents()
        for used in (False, True):
            compressor = self.make()
            when = "after use" if used else "before use"
            if used:
                list(self._both(compressor, documents))
            with cured_by(f"{name} {when} must work; {_STATE}"):
                twin = dict(self._both(copied(compressor), documents))
            for way, kept in self._both(compressor, documents):
                assert contents(twin[way]) == contents(kept), (
                    f"{way} of the copy that {name} made {when} gave {contents(twin[way])} "
                    f"instead of {contents(kept)}: {_STATE}"
                )
