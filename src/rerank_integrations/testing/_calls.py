"""Rules about several calls: one after another, concurrent, and from event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest import SkipTest
from unittest.mock import patch

from rerank_integrations.testing._setup import Found, Reranker, Setup, with_fix

AT_ONCE = 6
# asyncio itself looks host names up in a thread
_OF_ASYNCIO = {"getaddrinfo", "getnameinfo", "_getaddrinfo_debug"}
_KEEP_APART = "keep what belongs to one call in local variables, not on self"


class CallRules(Setup):
    """A call depends only on its own arguments, not on other calls."""

    def test_a_later_call_leaves_earlier_results_alone(self) -> None:
        """A result does not change when the same input is ranked for another query."""
        documents = self._documents()
        reranker = self._keeping(len(documents))

        for way, kept in self._both(reranker, documents):
            before = self._snapshot(kept)
            list(self._both(reranker, documents, self.texts[-1]))
            assert self._snapshot(kept) == before, (
                f"a second call changed what {way} had returned for the first query; return new "
                f"objects in a new list: {self._copy}"
            )

    def test_calls_on_one_loop_are_kept_apart(self) -> None:
        """Concurrent calls on one event loop return the same as each call alone."""
        reranker = self.make()

        async def together() -> list[Sequence[Found]]:
            calls = (self._arank(reranker, *self._arguments(n)) for n in range(AT_ONCE))
            return await asyncio.gather(*calls)

        for number, kept in enumerate(asyncio.run(together())):
            alone = self._run(self.make(), *self._arguments(number))
            assert self._texts(kept) == self._texts(alone), (
                f"{self._ways[1]} gave {self._texts(kept)} while other calls ran, and "
                f"{self._texts(alone)} alone: {_KEEP_APART}"
            )

    def test_calls_on_threads_are_kept_apart(self) -> None:
        """Concurrent calls in threads, each with its own event loop, return the same as alone."""
        reranker = self.make()

        def answers(reranker: Reranker, number: int) -> dict[str, list[str]]:
            documents, query = self._arguments(number)
            return {way: self._texts(kept) for way, kept in self._both(reranker, documents, query)}

        fix = f"{_KEEP_APART}, and keep one async client for each running event loop"
        with with_fix(fix), ThreadPoolExecutor(AT_ONCE) as pool:
            for number, kept in enumerate(pool.map(partial(answers, reranker), range(AT_ONCE))):
                alone = answers(self.make(), number)
                assert kept == alone, (
                    f"the results were {kept} while other threads called, and {alone} alone: {fix}"
                )

    def test_event_loops_one_after_another_work(self) -> None:
        """A reranker that was used on one event loop works on another one."""
        documents, reranker = self._documents(), self.make()
        first = self._texts(self._run(reranker, documents, self.query))
        fix = (
            "an async client belongs to the event loop that it was first used on; keep one for "
            "each running loop, or open one for each call"
        )
        with with_fix(fix):
            for _ in range(2):
                again = self._texts(self._run(reranker, documents, self.query))
                assert again == first, f"another event loop gave {again} instead of {first}: {fix}"

    def test_sync_works_inside_a_running_loop(self) -> None:
        """The sync method works while an event loop runs in the same thread."""
        documents, reranker = self._documents(), self.make()
        alone = self._texts(self._rank(reranker, documents, self.query))
        fix = (
            f"implement {self._written[0]} with a sync client, not with asyncio.run(); share the "
            "code before and after the request"
        )

        async def inside() -> list[str]:
            return self._texts(self._rank(reranker, documents, self.query))

        with with_fix(fix):
            kept = asyncio.run(inside())
            assert kept == alone, (
                f"{self._ways[0]} gave {kept} while an event loop ran, and {alone} alone: {fix}"
            )

    def test_async_is_native(self) -> None:
        """The async method awaits on the event loop; it neither blocks it nor uses a thread."""
        if not self.native_async:
            raise SkipTest("native_async is False: the work is computation in this process")
        reranker = self.make()
        sync, written = self._written
        fix = (
            f"implement {written} with an async client, or set native_async = False if the work is "
            "computation in this process"
        )
        own = {
            name
            for name in (self._ways[1], written)
            if getattr(type(reranker), name) is not getattr(self._base, name)
        }
        assert own, f"{written} is the inherited method, which runs {sync} in a thread pool: {fix}"
        handed, calls = asyncio.run(self._watched(reranker))
        assert not handed, f"{self._ways[1]} ran {', '.join(handed)} in a thread: {fix}"
        assert not calls, (
            f"{self._ways[1]} calls {sync}, during which no other task of the event loop can run: "
            f"{fix}"
        )

    async def _watched(self, reranker: Reranker) -> tuple[list[str], int]:
        """The functions that the async method runs in threads, and its calls of the sync method."""
        loop, kind, written = asyncio.get_running_loop(), type(reranker), self._written[0]
        run_in_executor, sync = loop.run_in_executor, getattr(kind, written)
        handed: list[str] = []

        def noting(executor: Any, function: Callable[..., Any], *arguments: Any) -> Any:
            name = _name(function)
            if name not in _OF_ASYNCIO:
                handed.append(name)
            return run_in_executor(executor, function, *arguments)

        with (
            patch.object(loop, "run_in_executor", noting),
            patch.object(kind, written, autospec=True, side_effect=sync) as called,
        ):
            await self._arank(reranker, self._documents(), self.query)
        return handed, called.call_count

    def _arguments(self, number: int) -> tuple[list[Found], str]:
        """Different arguments for each of several calls."""
        return self._documents(f" {number}"), (self.query, self.texts[-1])[number % 2]

    def _snapshot(self, documents: Sequence[Found]) -> list[tuple[object, ...]]:
        scored = self._why_no_score() is None
        return [
            (
                self._text(found),
                self._id(found),
                dict(self._inside(found).metadata),
                self._score(found) if scored else None,
            )
            for found in documents
        ]


def _name(function: Any) -> str:
    while isinstance(function, partial):  # of a context's run(), with the function as an argument
        function = function.args[0] if function.args else function.func
    return getattr(function, "__name__", type(function).__name__)
