"""What spans and metrics of a call cost: `python -m benchmarks.tracing`, run by hand.

CPU time of the calling thread for what tracing adds to a call with 100 documents of 500 characters
and 10 results, as a part of what a bare call through httpx takes. All states take turns.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from benchmarks.clients import plain_httpx, texts
from benchmarks.server import serving
from rerank_integrations import OpenRouter, RerankClient
from rerank_integrations._tracing import begin

DOCUMENTS, CHARACTERS, TOP_N = 100, 500, 10
ROUNDS, CALLS = 40, 25
BARS = {
    "no provider": 1,
    "sampled out": 2,
    "no content": 8,
    "outputs": 12,
    "what fits 128 attributes": 25,
    "all contents": 25,
}

Provider = Any


class Nowhere(SpanExporter):
    """Takes spans and drops them."""

    def export(self, spans: Sequence[Any]) -> SpanExportResult:  # noqa: ARG002  # its signature
        """Take spans."""
        return SpanExportResult.SUCCESS


def provider(limit: int = 128, *, sampled: bool = True) -> TracerProvider:
    """A provider of the SDK, which exports nowhere."""
    made = TracerProvider(
        sampler=ALWAYS_ON if sampled else ALWAYS_OFF,
        span_limits=SpanLimits(max_span_attributes=limit),
    )
    made.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=2**16))
    return made


@contextmanager
def in_force(of_traces: Provider) -> Iterator[None]:
    """Have the process use a provider."""
    before = trace._TRACER_PROVIDER  # noqa: SLF001  # it can be set once only
    trace._TRACER_PROVIDER = of_traces  # noqa: SLF001
    try:
        yield
    finally:
        trace._TRACER_PROVIDER = before  # noqa: SLF001


def traced(client: RerankClient, documents: Sequence[str]) -> Callable[[], None]:
    """What tracing adds to a call, with the answer that the call had."""
    response = client.rerank("query", documents)
    _, subject = client._prepare("query", documents, {})  # noqa: SLF001  # of this package

    def call() -> None:
        record = begin(subject)
        assert record is not None
        record.end(response)

    return call


def seconds(call: Callable[[], object]) -> float:
    """CPU of one call in this thread."""
    gc.collect()
    call()  # the first one after a change of provider makes a tracer
    started = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - started) / CALLS


def main() -> None:
    """Measure and print."""
    documents = [one.ljust(CHARACTERS, "x")[:CHARACTERS] for one in texts(DOCUMENTS)]
    room_for_outputs = 28 + 2 * TOP_N
    states = {
        "no provider": (None, True),
        "sampled out": (provider(sampled=False), True),
        "no content": (provider(), False),
        "outputs": (provider(room_for_outputs), True),
        "what fits 128 attributes": (provider(), True),
        "all contents": (provider(room_for_outputs + DOCUMENTS), True),
    }
    with serving(TOP_N) as url:
        bare = plain_httpx(url, documents, TOP_N)
        own = OpenRouter(api_key="k", base_url=url)
        with RerankClient("m", provider=own, top_n=TOP_N) as client:
            calls = {
                name: traced(client.with_options(trace_content=shown), documents)
                for name, (_, shown) in states.items()
            }
            rounds: list[dict[str, float]] = []
            for _ in range(ROUNDS):
                one = {"bare": seconds(bare)}
                for name, call in calls.items():
                    with in_force(states[name][0]):
                        one[name] = seconds(call)
                rounds.append(one)
    print(f"metrics without a provider: {type(metrics.get_meter_provider()).__name__}")
    print(f"a bare call: {statistics.median(one['bare'] for one in rounds) * 1e6:.0f} us")
    for name, bar in BARS.items():
        middle = statistics.median(one[name] for one in rounds) * 1e6
        share = statistics.median(one[name] / one["bare"] for one in rounds)
        print(f"{name:26} {middle:7.1f} us  {share:6.1%}  (at most {bar} %)")


if __name__ == "__main__":
    main()
