"""One RerankPostprocessor on many event loops and in many threads, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

from cases import cases
from llama_index_support import QUERY, ids, openrouter, three
from loopback import Server


def test_loops_one_after_another(server: Server) -> None:
    """One postprocessor works on any number of event loops one after another, and between them."""
    reranker = openrouter(server, top_n=2)
    for _ in range(3):
        assert len(asyncio.run(reranker.apostprocess_nodes(three(), query_str=QUERY))) == 2
        assert len(reranker.postprocess_nodes(three(), query_str=QUERY)) == 2

    assert len(server.received) == 6


def test_loops_and_threads_at_once(server: Server) -> None:
    """One postprocessor works on loops and in threads at once, each call with its own result."""
    together = threading.Barrier(8)

    def call(number: int) -> list[str]:
        together.wait(10)
        query = ("a blue car", "a red bicycle", "a red van")[number % 3]
        if number % 2:
            return ids(reranker.postprocess_nodes(three(), query_str=query))
        return ids(asyncio.run(reranker.apostprocess_nodes(three(), query_str=query)))

    with (
        openrouter(server, top_n=1, rank_fields=["text"]) as reranker,
        ThreadPoolExecutor(8) as pool,
    ):
        found = list(pool.map(call, range(8)))

    assert found == [[("car", "bicycle", "van")[number % 3]] for number in range(8)]


async def test_the_sync_method_works_on_a_running_loop(server: Server) -> None:
    """Inside a running event loop the sync method works too, before and after the async one."""
    async with openrouter(server, top_n=2) as reranker:
        for _ in range(2):
            assert len(reranker.postprocess_nodes(three(), query_str=QUERY)) == 2
            assert len(await reranker.apostprocess_nodes(three(), query_str=QUERY)) == 2

    assert len(server.received) == 4


@cases("calls", [1, 5])
def test_one_that_is_dropped_leaves_no_socket_open(server: Server, calls: int) -> None:
    """A postprocessor made on an event loop and dropped there unclosed leaves no socket open."""

    async def use() -> None:
        reranker = openrouter(server)
        given = (reranker.apostprocess_nodes(three(), query_str=QUERY) for _ in range(calls))
        await asyncio.gather(*given)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(use())
        gc.collect()

    assert [str(warning.message) for warning in warned] == []
