"""The arithmetic of `benchmarks.scale`, and the tables that it writes into docs/scale.md."""

from __future__ import annotations

import re
from typing import Any

import pytest
from benchmarks import scale
from benchmarks.scale import Limits, Machine, Offer, Workload

from cases import cases
from gateways.table import PROVIDERS
from rerank_integrations import Price

SEARCHES = Price(per_1000_search_units=2.0)
TOKENS = Price(per_million_tokens=0.05)
MILLION = 10**6


def planned(
    price: Price, work: Workload, *, machine: Machine | None = None, **limits: int
) -> dict[str, Any]:
    """The plan of a run, rounded."""
    offer = Offer("cohere", "m", price, "", Limits(**limits) if limits else None, "")
    plan = offer.plan(work, machine or Machine(latency=0.5, cpu=0.0, in_flight=50))
    assert plan.cost is not None
    return {**plan._asdict(), "cost": round(plan.cost, 6), "seconds": round(plan.seconds, 3)}


@cases(
    ("plan", "expected"),
    [
        # a search unit is a query with up to 100 documents
        (planned(SEARCHES, Workload(MILLION, 100)), {"requests": 10_000, "cost": 20}),
        (planned(SEARCHES, Workload(MILLION, 20)), {"requests": 50_000, "cost": 100}),
        (planned(SEARCHES, Workload(MILLION, 101)), {"cost": 39.604}),
        # a document of more than 500 tokens counts by its parts
        (planned(SEARCHES, Workload(MILLION, 100, characters=2000)), {"cost": 20}),
        (planned(SEARCHES, Workload(MILLION, 100, characters=2001)), {"cost": 40}),
        # lists of more than 1,000 documents go out in parts
        (planned(SEARCHES, Workload(10_000, 2500)), {"requests": 12, "cost": 0.24}),
        # the query counts once for each document
        (planned(TOKENS, Workload(MILLION, 100)), {"cost": 3}),
        (planned(TOKENS, Workload(MILLION, 20, query_characters=80)), {"cost": 3.5}),
        # 100 a second is what the process sends
        (planned(TOKENS, Workload(MILLION)), {"seconds": 500, "binds": "one process"}),
        # 49 whole minutes, and the last 1,000 requests at the speed of the process
        (
            planned(TOKENS, Workload(MILLION), requests=1000),
            {"seconds": 2950, "binds": "requests", "processes": 1},
        ),
        # 1,200 tokens each leave 500 requests a minute
        (
            planned(TOKENS, Workload(MILLION), requests=2000, tokens=600_000),
            {"seconds": 5945, "binds": "tokens"},
        ),
        # a limit that one process does not reach, and those that do
        (
            planned(TOKENS, Workload(MILLION), requests=15_000),
            {"seconds": 500, "binds": "one process", "processes": 3},
        ),
        # CPU bounds a process where latency does not
        (
            planned(TOKENS, Workload(MILLION), machine=Machine(0.5, 0.01, 50)),
            {"seconds": 1000},
        ),
        # what fits into a minute's limit does not wait
        (planned(TOKENS, Workload(1000), requests=1000), {"seconds": 0.5}),
    ],
)
def test_a_run_costs_and_takes_what_the_vendors_count(
    plan: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Requests, cost and time are those that were worked out by hand."""
    assert {name: plan[name] for name in expected} == expected


def test_the_page_about_scale_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """`make scale` changes nothing; numbers have sources, vendors rows, and the text agrees."""
    text = scale.PAGE.read_text(encoding="utf-8")
    assert scale.page() == text, "run `make scale`"
    assert set(re.findall(r"<!-- make scale: (\w+) -->", text)) == set(scale.BLOCKS)
    assert f"{scale.CPU * 1000:.1f} ms" in text
    assert f"after {scale.LATENCY} s" in text
    reached = {offer.plan(Workload(MILLION), Machine()).processes for offer in scale.OFFERS}
    assert ("One process reaches every limit here." in text) == (reached == {1, None})
    for name, block in scale.BLOCKS.items():
        assert len({line.count("|") for line in block().splitlines() if "|" in line}) == 1, name
    for offer in scale.OFFERS:
        for number, source in (
            (offer.price, offer.price_source),
            (offer.limits, offer.limit_source),
        ):
            dated = re.search(rf"\b20\d\d\b|{scale.UNDATED}|the same page", source)
            assert number is None or dated, f"{offer.gateway}: {source}"
    remote = {name for name, facts in PROVIDERS.items() if facts.group != "server"}
    assert {offer.gateway for offer in scale.OFFERS} | set(scale.UNPRICED) == remote
    scale.main(["--pairs", "1e4", "--documents", "100", "--requests-per-minute", "10"])
    printed = capsys.readouterr().out
    assert printed.startswith("10,000 pairs, 100 requests; one process without a limit: ")
    assert "| cohere:rerank-v4.0-fast | $0.20 | 9.0 min | requests | 1 |" in printed
