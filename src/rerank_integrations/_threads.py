"""Several flows of one call at once, each in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeAlias

from rerank_integrations._flow import Fork, PartFlow
from rerank_integrations.errors import RerankError
from rerank_integrations.models import RerankResponse

Driven: TypeAlias = Callable[[PartFlow, threading.Event], RerankResponse]
"""Takes a flow through its steps, and sends nothing more when the event is set."""


class StoppedError(Exception):
    """The call has failed in another thread."""


def forked(fork: Fork, driven: Driven) -> list[RerankResponse | RerankError]:
    """What came of each flow, in order.

    Raises:
        RerankError: the first, unless errors are to be kept.
    """
    pool = ThreadPoolExecutor(min(fork.at_once, len(fork.flows)), "rerank")
    stop = threading.Event()

    def in_turn(flow: PartFlow) -> RerankResponse:
        try:
            return driven(flow, stop)
        except BaseException:
            if not fork.keep_errors:
                stop.set()
            raise

    try:
        futures = [pool.submit(in_turn, flow) for flow in fork.flows]
        if fork.keep_errors:
            return [_kept(future) for future in futures]
        ended = wait(futures, return_when=FIRST_EXCEPTION).done
        failed = [f for f in futures if f in ended and not f.cancelled() and f.exception()]
        own = [f for f in failed if not isinstance(f.exception(), StoppedError)]
        return [future.result() for future in own or futures]
    finally:  # after a failure nobody waits for what is on its way
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _kept(future: Future[RerankResponse]) -> RerankResponse | RerankError:
    try:
        return future.result()
    except RerankError as error:
        return error
