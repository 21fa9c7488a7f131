"""Cost, time and requests of a large run, from published prices and limits.

    python -m benchmarks.scale --pairs 1e6 --documents 100   # one table, for a run of yours
    make scale                                               # writes the tables of docs/scale.md

A pair is a query and one document. Times are arithmetic on the numbers below;
`benchmarks.scale_check` compares them with the real client.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from rerank_integrations import Price, Usage

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
SIZES = tuple(10**power for power in range(3, 10))
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
IN_FLIGHT = 64  # what `rerank_many` has without `max_concurrency`
MORE_IN_FLIGHT = 256
# seconds of CPU of one call with 20 or 100 documents of 200 characters, by `scale_check`
CPU = 0.0019
LATENCY = 0.39  # median of cohere/rerank-5-fast on OpenRouter's page of it, 2026-11-03
CORES = 2
CHARACTERS_PER_TOKEN = 4
UNIT_DOCUMENTS, UNIT_TOKENS = 100, 500  # of one search unit
MOST_DOCUMENTS = 1000  # `max_documents_per_request`
OVERHEAD = 150  # bytes that ZeroEntropy adds to each document
_BLOCK = re.compile(r"(<!-- make scale: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Workload:
    """What is ranked.

    Attributes:
        documents: of each query.
        characters, query_characters: of a document and of a query.
    """

    pairs: int
    documents: int = 20
    characters: int = 200
    query_characters: int = 40

    @property
    def per_request(self) -> int:
        """Documents in one request; a longer list is split."""
        return min(self.documents, MOST_DOCUMENTS)

    @property
    def requests(self) -> int:
        """How many are sent."""
        queries, rest = divmod(self.pairs, self.documents)
        return queries * -(-self.documents // MOST_DOCUMENTS) + -(-rest // MOST_DOCUMENTS)

    @property
    def tokens(self) -> int:
        """Tokens of one request: the query counts once for each document."""
        document, query = _tokens(self.characters), _tokens(self.query_characters)
        return (query + document) * self.per_request

    @property
    def size(self) -> int:
        """Bytes of one request as ZeroEntropy counts them."""
        return (OVERHEAD + self.query_characters + self.characters) * self.per_request

    @property
    def search_units(self) -> int:
        """Search units of one request: 100 documents each, a long one counted by its parts."""
        parts = max(1, -(-_tokens(self.characters) // UNIT_TOKENS))
        return -(-self.per_request * parts // UNIT_DOCUMENTS)


@dataclass(frozen=True)
class Machine:
    """How much one process and one machine can send.

    Attributes:
        latency: seconds until a response.
        cpu: seconds of CPU for one call.
        in_flight: concurrent calls in one process.
    """

    latency: float = LATENCY
    cpu: float = CPU
    in_flight: int = IN_FLIGHT
    cores: int = CORES

    @property
    def rate(self) -> float:
        """Requests per second of one process."""
        # responses come in waves, and what a wave costs is spent between two waves
        return 1 / (self.latency / self.in_flight + self.cpu)

    def processes(self, rate: float) -> int:
        """How many processes send so many requests per second."""
        return math.ceil(rate / self.rate)

    def machines(self, rate: float) -> int:
        """How many machines send so many requests per second."""
        return math.ceil(rate * self.cpu / self.cores)


@dataclass(frozen=True)
class Limits:
    """What a vendor allows in a minute; None for no limit of this kind."""

    requests: int | None = None
    tokens: int | None = None
    size: int | None = None

    def binding(self, work: Workload) -> tuple[float, str]:
        """Requests per minute, and the limit that is reached first."""
        per_request = (1, work.tokens, work.size)
        given = zip(
            (self.requests, self.tokens, self.size),
            per_request,
            ("requests", "tokens", "bytes"),
            strict=True,
        )
        return min((limit / each, name) for limit, each, name in given if limit is not None)


@dataclass(frozen=True)
class Offer:
    """A model at a gateway or vendor: its price and limits, with sources and dates.

    Attributes:
        gateway: the name of its page in docs/gateways/.
        price: None where none was found.
        limits: None where none was found.
    """

    gateway: str
    model: str
    price: Price | None
    price_source: str
    limits: Limits | None
    limit_source: str

    def cost(self, work: Workload) -> float | None:
        """US dollars for all requests; None where no price is known."""
        usage = Usage(search_units=work.search_units, total_tokens=work.tokens)
        each = None if self.price is None else self.price.of(usage)
        return None if each is None else each * work.requests

    def plan(self, work: Workload, machine: Machine) -> Plan:
        """Cost, time, the limit that is reached first, and processes."""
        alone = seconds_of(work.requests, None, machine)
        if self.limits is None:
            return Plan(work.requests, self.cost(work), alone, "one process", None)
        limit, name = self.limits.binding(work)
        seconds = seconds_of(work.requests, limit, machine)
        binds = name if seconds > alone else "one process"
        return Plan(
            work.requests, self.cost(work), seconds, binds, machine.processes(limit / MINUTE)
        )


class Plan(NamedTuple):
    """The estimate of a run.

    Attributes:
        binds: the limit that decides the time, or "one process".
        processes: how many reach the limit; more are not faster. None if no limit is known.
    """

    requests: int
    cost: float | None
    seconds: float
    binds: str
    processes: int | None


def seconds_of(
    requests: int, limit: float | None, machine: Machine, *, evenly: bool = False
) -> float:
    """Seconds of a run of one process.

    A minute's worth of requests goes out as fast as the process can send it, then the next minute
    begins. With `rate_limit=` the slots are evenly spaced.

    Args:
        limit: requests per minute.
    """
    alone = max(requests / machine.rate, machine.latency)
    if limit is None or limit / MINUTE >= machine.rate:
        return alone
    if evenly:
        return (requests - 1) / limit * MINUTE + machine.latency
    full = math.ceil(requests / limit) - 1
    return full * MINUTE + max((requests - full * limit) / machine.rate, machine.latency)


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


UNDATED = "undated"
NOT_FOUND = "not found"
OFFERS = (
    Offer(
        "openrouter",
        "cohere/rerank-5-fast",
        Price(per_million_tokens=0.02),
        "[model page](https://openrouter.ai/models/cohere/rerank-5-fast-20261028), 2026-11-03",
        None,
        "none published for paid models; in-flight spending has a cap: "
        f"[limits](https://openrouter.ai/docs/use-cases/limits), {UNDATED}",
    ),
    Offer(
        "openrouter",
        "voyageai/rerank-2.5",
        Price(per_million_tokens=0.05),
        "[Voyage models](https://openrouter.ai/voyageai), 2026-07-27",
        None,
        "as above",
    ),
    Offer(
        "openrouter",
        "cohere/rerank-4-pro",
        Price(per_1000_search_units=2.5),
        "[model page](https://openrouter.ai/cohere/rerank-4-pro), 2026-04-06",
        None,
        "as above",
    ),
    Offer(
        "together",
        "mxbai-rerank-large-v2",
        None,
        f"dedicated endpoint, billed by the hour; price {NOT_FOUND}. `Llama-Rank-V1` ($0.10 per "
        "million tokens) has been deprecated since 2026-02-06, according to LiteLLM's price list",
        None,
        "no fixed number; it grows with steady use: "
        f"[rate limits](https://docs.together.ai/docs/rate-limits), {UNDATED}",
    ),
    Offer(
        "portkey",
        "any",
        None,
        "that of the provider that serves the model",
        None,
        "that of the provider that serves the model",
    ),
    Offer(
        "cohere",
        "rerank-v4.0-fast",
        Price(per_1000_search_units=2.0),
        "[Puter's guide](https://developer.puter.com/tutorials/cohere-api-pricing/), 2026-06; "
        "Cohere's own page gave no price per search on 2026-10-18, according to "
        "[Developers Digest](https://www.developersdigest.tech/models/rerankers/cohere)",
        Limits(requests=1000),
        "production key: "
        f"[rate limits](https://docs.cohere.com/docs/rate-limits), {UNDATED}; a trial key has 10",
    ),
    Offer(
        "voyage",
        "rerank-2.5",
        Price(per_million_tokens=0.05),
        "[a copy of Voyage's prices](https://usagepricing.com/blueprint/voyage-ai), 2026; "
        "the first 200 million tokens are free",
        Limits(requests=2000, tokens=2_000_000),
        "tier 1; twice that from $100 paid, three times from $1,000: "
        f"[rate limits](https://docs.voyageai.com/docs/rate-limits), {UNDATED}",
    ),
    Offer(
        "jina",
        "jina-reranker-m0",
        Price(per_million_tokens=0.05),
        "third party: [Bifrost's list]"
        "(https://www.getmaxim.ai/bifrost/llm-cost-calculator/provider/jina_ai/model/jina-reranker-m0.md)"
        f", {UNDATED}",
        Limits(requests=500, tokens=2_000_000),
        "paid key; premium has 5,000 and 50 million: "
        "[APIs.io](https://apis.io/rate-limits/jina-ai/jina-ai-rate-limits/), 2026-05-05",
    ),
    Offer(
        "pinecone",
        "cohere-rerank-4-fast",
        None,
        f"{NOT_FOUND}; billed by rerank units of 100 documents: "
        f"[model page](https://docs.pinecone.io/models/cohere-rerank-4-fast), {UNDATED}",
        None,
        f"depends on the model, numbers {NOT_FOUND}",
    ),
    Offer(
        "mixedbread",
        "mxbai-rerank-large-v2",
        Price(per_million_tokens=0.15),
        "[model page](https://www.mixedbread.com/docs/reranking/models/mxbai-rerank-large-v2), "
        "2025-06-26; another copy of it, undated, says $0.00",
        Limits(requests=1200),
        "plan Scale: [API Evangelist](https://raw.githubusercontent.com/api-evangelist/"
        "mixedbread-ai/refs/heads/main/rate-limits/mixedbread-ai-rate-limits.yml), 2026-05-25",
    ),
    Offer(
        "zeroentropy",
        "zerank-2",
        Price(per_million_tokens=0.025),
        "[pricing](https://www.zeroentropy.dev/pricing), 2026-10-07",
        Limits(requests=1000, size=500_000),
        "fast; above this limit, requests are slow, up to 5,000,000 bytes a minute: "
        f"[API](https://docs.zeroentropy.dev/api-reference), {UNDATED}",
    ),
    Offer(
        "deepinfra",
        "Qwen/Qwen3-Reranker-8B",
        Price(per_million_tokens=0.05),
        f"[model page](https://deepinfra.com/Qwen/Qwen3-Reranker-8B/api), {UNDATED}",
        None,
        NOT_FOUND,
    ),
    Offer(
        "contextualai",
        "ctxl-rerank-v2-instruct-multilingual",
        Price(per_million_tokens=0.05),
        "[pricing](https://contextual.ai/platform/pricing/), 2026-06-20",
        None,
        NOT_FOUND,
    ),
    Offer(
        "dashscope",
        "qwen3-rerank",
        Price(per_million_tokens=0.069),
        "Beijing; Singapore $0.10: "
        f"[model page](https://www.alibabacloud.com/help/en/model-studio/qwen3-rerank), {UNDATED}",
        Limits(requests=5400, tokens=5_000_000_000),
        "Beijing: the same page; may also be enforced for each second (90)",
    ),
    Offer(
        "vercelgateway",
        "voyage/rerank-2.5",
        Price(per_million_tokens=0.05),
        f"[model page](https://vercel.com/ai-gateway/models/rerank-2.5.md), {UNDATED}",
        None,
        NOT_FOUND,
    ),
    Offer(
        "fireworks",
        "qwen3-reranker-8b",
        Price(per_million_tokens=0.20),
        "third party: [Bifrost's list]"
        "(https://www.getmaxim.ai/bifrost/llm-cost-calculator/provider/fireworks_ai/model/qwen3-reranker-8b.md)"
        f", {UNDATED}",
        None,
        NOT_FOUND,
    ),
)
# neither a price nor a limit of the vendor was found
UNPRICED = ("azureai", "isaacus", "litellm", "novita", "nvidia", "scaleway", "siliconflow")


def _named(offer: Offer) -> str:
    return f"[{offer.gateway}](gateways/{offer.gateway}.md) `{offer.model}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _count(number: float) -> str:
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def _dollars(cost: float | None) -> str:
    if cost is None:
        return NOT_FOUND
    if cost < 1:
        return "$" + max(f"{cost:.2f}", f"{cost:.3g}", key=len)
    return f"${cost:,.0f}" if cost >= 100 else f"${cost:.2f}"


def _time(seconds: float) -> str:
    units = ((365 * DAY, "years"), (DAY, "days"), (HOUR, "h"), (MINUTE, "min"), (1.0, "s"))
    size, name = next((unit for unit in units if seconds >= unit[0]), units[-1])
    number = seconds / size
    return f"{number:.1f} {name}" if number < 10 else f"{number:.0f} {name}"


def _priced(work: Workload) -> list[Offer]:
    costs = [(offer.cost(work), place) for place, offer in enumerate(OFFERS)]
    return [OFFERS[place] for cost, place in sorted((c, p) for c, p in costs if c is not None)]


def costs() -> str:
    """The cost of runs of all sizes, the cheapest model first."""
    rows: list[list[str]] = [
        ["requests", *(_count(Workload(size).requests) for size in SIZES)],
        *(
            [_named(offer), *(_dollars(offer.cost(Workload(size))) for size in SIZES)]
            for offer in _priced(Workload(SIZES[-1]))
        ),
    ]
    return _table(["pairs", *map(_count, SIZES)], rows)


def times() -> str:
    """How long runs of all sizes take at the published limits."""
    machine, rows = Machine(), []
    for offer in OFFERS:
        if offer.limits is not None:
            limit, name = offer.limits.binding(Workload(SIZES[0]))
            plans = [offer.plan(Workload(size), machine) for size in SIZES]
            found = (_time(plan.seconds) for plan in plans)
            bound = f"{limit:,.0f}" if name == "requests" else f"{limit:,.0f} (limit of {name})"
            rows.append([_named(offer), bound, *found])
    alone = [_time(seconds_of(Workload(size).requests, None, machine)) for size in SIZES]
    rows.append(["no limit", f"{machine.rate * MINUTE:,.0f} (one process)", *alone])
    return _table(["pairs", "requests per minute", *map(_count, SIZES)], rows)


def machines() -> str:
    """How long one process takes, and what is needed to finish in a day and in an hour."""
    first, more = Machine(), Machine(in_flight=MORE_IN_FLIGHT)
    rows = []
    for size in SIZES:
        requests = Workload(size).requests
        row = [_count(size), *(_time(seconds_of(requests, None, one)) for one in (first, more))]
        for span in (DAY, HOUR):
            rate = requests / span
            row += [f"{math.ceil(rate * MINUTE):,}", str(more.processes(rate))]
        rows.append([*row, str(more.machines(requests / HOUR))])
    head = ["pairs", f"{IN_FLIGHT} in flight", f"{MORE_IN_FLIGHT} in flight"]
    head += ["1 day: requests per minute", "workers"]
    head += ["1 hour: requests per minute", "workers", "machines"]
    return _table(head, rows)


def lists() -> str:
    """The cost of a million pairs with other list lengths and longer documents."""
    works = [Workload(10**6, documents) for documents in (10, 20, 100, 1000)]
    works.append(replace(works[2], characters=4000))
    rows = []
    for gateway, model in (("cohere", "rerank-v4.0-fast"), ("voyage", "rerank-2.5")):
        [offer] = [one for one in OFFERS if (one.gateway, one.model) == (gateway, model)]
        rows.append([_named(offer), *(_dollars(offer.cost(work)) for work in works)])
    names = [f"{work.documents} per query" for work in works[:-1]]
    return _table(["1 million pairs", *names, "100 per query, 4,000 characters each"], rows)


def sources() -> str:
    """Each price and limit, with its source and date."""
    rows = []
    for offer in OFFERS:
        if offer.price is None:
            price = offer.price_source
        else:
            tokens = offer.price.per_million_tokens
            amount = offer.price.per_1000_search_units if tokens is None else tokens
            unit = "1,000 search units" if tokens is None else "million tokens"
            price = f"${amount:g} per {unit}: {offer.price_source}"
        limit = offer.limit_source
        if offer.limits is not None:
            named = {"requests": offer.limits.requests, "tokens": offer.limits.tokens}
            named["bytes"] = offer.limits.size
            said = " and ".join(f"{n:,} {name}" for name, n in named.items() if n is not None)
            limit = f"{said}; {limit}"
        rows.append([_named(offer), price, limit])
    named_pages = ", ".join(f"[{name}](gateways/{name}.md)" for name in UNPRICED)
    return (
        _table(["model", "price", "limit per minute"], rows)
        + f"\nNeither a price nor a limit published by the vendor was found for {named_pages}.\n"
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "costs": costs,
    "times": times,
    "machines": machines,
    "lists": lists,
    "sources": sources,
}


def page() -> str:
    """The page about scale, with its tables as they should be."""
    text = PAGE.read_text(encoding="utf-8")
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n{found[3]}", text)


def table(work: Workload, machine: Machine, limit: int | None = None) -> str:
    """One run with every model.

    Args:
        limit: requests per minute of your account, in place of the published limits.
    """
    rows = []
    for offer in OFFERS:
        mine = offer if limit is None else replace(offer, limits=Limits(requests=limit))
        plan = mine.plan(work, machine)
        last = (_time(plan.seconds), plan.binds, plan.processes or NOT_FOUND)
        rows.append([f"{offer.gateway}:{offer.model}", _dollars(plan.cost), *last])
    alone = _time(seconds_of(work.requests, None, machine))
    title = f"{work.pairs:,} pairs, {work.requests:,} requests"
    return f"{title}; one process without a limit: {alone}\n\n" + _table(
        ["model", "cost", "time", "limited by", "processes to reach the limit"], rows
    )


def count(text: str) -> int:
    """A whole number above 0, `1e6` too."""
    number = float(text)
    if not 1 <= number < math.inf or number != int(number):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(number)


def seconds(text: str) -> float:
    """A number above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of a run, or write the tables of the page."""
    parser = argparse.ArgumentParser(description="Estimate the cost and time of a large run.")
    parser.add_argument(
        "--pairs", type=count, default=10**6, help="pairs of a query and a document, such as 1e6"
    )
    parser.add_argument("--documents", type=count, default=20, help="documents per query")
    parser.add_argument("--characters", type=count, default=200, help="characters of a document")
    parser.add_argument("--query-characters", type=count, default=40, help="characters of a query")
    parser.add_argument("--requests-per-minute", type=count, help="the limit of your account")
    parser.add_argument("--in-flight", type=count, default=IN_FLIGHT, help="concurrent calls")
    parser.add_argument("--latency", type=seconds, default=LATENCY, help="seconds until a response")
    parser.add_argument("--write", action="store_true", help="write the tables of docs/scale.md")
    given = parser.parse_args(arguments)
    if given.write:
        PAGE.write_text(page(), encoding="utf-8")
        return
    work = Workload(given.pairs, given.documents, given.characters, given.query_characters)
    machine = Machine(latency=given.latency, in_flight=given.in_flight)
    print(table(work, machine, given.requests_per_minute), end="")


if __name__ == "__main__":
    main()
