"""Rules about calling a compressor: several times, at once, from loops, and with callbacks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest import SkipTest
from unittest.mock import patch

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.documents import BaseDocumentCompressor, Document

from rerank_integrations.testing._setup import Setup, contents, cured_by, run

AT_ONCE = 6
# asyncio itself looks host names up in a thread
_OF_ASYNCIO = {"getaddrinfo", "getnameinfo", "_getaddrinfo_debug"}
_KEEP_APART = "keep what belongs to one call in local variables, not on self"


class CallRules(Setup):
    """A call depends on its own arguments alone, whoever else calls."""

    def test_a_later_call_leaves_earlier_results_alone(self) -> None:
        """A result stays as it was when the same documents are ranked for another query."""
        documents = self._documents()
        compressor = self._keeping(len(documents))

        for way, kept in self._both(compressor, documents):
            before = _snapshot(kept)
            list(self._both(compressor, documents, self.texts[-1]))
            assert _snapshot(kept) == before, (
                f"a second call changed what {way} had returned for the first query: return new "
                "documents with metadata of their own, in a new list"
            )

    def test_calls_on_one_loop_are_kept_apart(self) -> None:
        """Calls that run at once on one event loop answer as each does alone."""
        compressor = self.make()

        async def together() -> list[Sequence[Document]]:
            calls = (compressor.acompress_documents(*self._call(n)) for n in range(AT_ONCE))
            return await asyncio.gather(*calls)

        for number, kept in enumerate(asyncio.run(together())):
            alone = run(self.make(), *self._call(number))
            assert contents(kept) == contents(alone), (
                f"acompress_documents gave {contents(kept)} while other calls ran, and "
                f"{contents(alone)} alone: {_KEEP_APART}"
            )

    def test_calls_on_threads_are_kept_apart(self) -> None:
        """Calls that run at once on threads, each with its own event loop, answer as alone."""
        compressor = self.make()

        def answers(compressor: BaseDocumentCompressor, number: int) -> dict[str, list[str]]:
            documents, query = self._call(number)
            return {way: contents(kept) for way, kept in self._both(compressor, documents, query)}

        cure = f"{_KEEP_APART}, and keep one async client for each running event loop"
        with cured_by(cure), ThreadPoolExecutor(AT_ONCE) as pool:
            for number, kept in enumerate(pool.map(partial(answers, compressor), range(AT_ONCE))):
                alone = answers(self.make(), number)
                assert kept == alone, (
                    f"the answers were {kept} while other threads called, and {alone} alone: {cure}"
                )

    def test_event_loops_one_after_another_work(self) -> None:
        """A compressor that served one event loop serves the next."""
        documents, compressor = self._documents(), self.make()
        first = run(compressor, documents, self.query)
        cure = (
            "an async client belongs to the event loop that it was first used on; keep one for "
            "each running loop, or open one for each call"
        )
        with cured_by(cure):
            for _ in range(2):
                again = run(compressor, documents, self.query)
                assert contents(again) == contents(first), (
                    f"another event loop gave {contents(again)} instead of {contents(first)}: "
                    f"{cure}"
                )

    def test_async_is_native(self) -> None:
        """The async method waits on the event loop, and neither blocks it nor takes a thread."""
        if not self.native_async:
            raise SkipTest("native_async is False: the work is computing in this process")
        compressor = self.make()
        cure = (
            "write acompress_documents with an async client, or set native_async = False where "
            "the work is computing in this process"
        )
        inherited = BaseDocumentCompressor.acompress_documents
        assert type(compressor).acompress_documents is not inherited, (
            "acompress_documents is the inherited one, which runs compress_documents in one of "
            f"few threads: {cure}"
        )
        handed, calls = asyncio.run(_watched(compressor, self._documents(), self.query))
        assert not handed, f"acompress_documents ran {', '.join(handed)} in a thread: {cure}"
        assert not calls, (
            "acompress_documents calls compress_documents, during which no other task of the "
            f"event loop can run: {cure}"
        )

    def test_callbacks_is_a_parameter(self) -> None:
        """Both methods have a parameter of the very name callbacks, with None as its default."""
        compressor = self.make()
        for method in (compressor.compress_documents, compressor.acompress_documents):
            way = method.__name__
            found = inspect.signature(method).parameters.get("callbacks")
            cure = "write callbacks: Callbacks | None = None as the third parameter"
            assert found is not None, (
                f"{way} has no parameter named callbacks, so DocumentCompressorPipeline passes "
                f"none: {cure}; a decorator around it needs functools.wraps"
            )
            assert found.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD, (
                f"callbacks of {way} must be given by position and by name: {cure}"
            )
            assert found.default is None, f"callbacks of {way} must default to None: {cure}"

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
            cure = (
                f"the {kind} was not accepted; pass callbacks through CallbackManager.configure("
                "inheritable_callbacks=callbacks), in the async method AsyncCallbackManager's, "
                "which take every kind"
            )
            with cured_by(cure):
                for way, kept in self._both(self.make(), documents, callbacks=callbacks):
                    assert contents(kept) == contents(expected[way]), (
                        f"{way} answered otherwise with callbacks of type {kind}: {cure}"
                    )

    def _call(self, number: int) -> tuple[list[Document], str]:
        """Arguments of their own for each of several calls."""
        return self._documents(f" {number}"), (self.query, self.texts[-1])[number % 2]


def _snapshot(documents: Sequence[Document]) -> list[tuple[str, str | None, dict[str, Any]]]:
    return [(found.page_content, found.id, dict(found.metadata)) for found in documents]


async def _watched(
    compressor: BaseDocumentCompressor, documents: Sequence[Document], query: str
) -> tuple[list[str], int]:
    """What the async method runs in threads, and how often it calls the sync method."""
    loop, kind = asyncio.get_running_loop(), type(compressor)
    run_in_executor, compress = loop.run_in_executor, kind.compress_documents
    handed: list[str] = []

    def noting(executor: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        name = _name(function)
        if name not in _OF_ASYNCIO:
            handed.append(name)
        return run_in_executor(executor, function, *arguments)

    with (
        patch.object(loop, "run_in_executor", noting),
        patch.object(kind, "compress_documents", autospec=True, side_effect=compress) as sync,
    ):
        await compressor.acompress_documents(documents, query)
    return handed, sync.call_count


def _name(function: Any) -> str:
    while isinstance(function, partial):  # of a context's run(), with the function as an argument
        function = function.args[0] if function.args else function.func
    return getattr(function, "__name__", type(function).__name__)
