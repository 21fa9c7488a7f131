"""Runs all benchmarks against a loopback server, and writes RESULTS.md and its picture.

    python -m benchmarks.run [--quick] [--only cpu at_once threads parts start growth]

Every client's response is checked before it is timed. All clients take turns in each round. Only
ratios are written, since times depend on the machine.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import at_once, clients, start
from benchmarks.measure import Ratio, cpu_in_turn, ratios
from benchmarks.server import serving

HERE = Path(__file__).parent
ROUNDS = 18
Lines = list[str]


def cpu(quick: int) -> Lines:
    """CPU time of the client for each call, one call after another."""
    goals = {
        (10, 10, 0): {"RerankClient": 0.97},
        (100, 10, 0): {
            "RerankClient": 0.78,
            "RerankCompressor": 1.0,
            "RerankPostprocessor": 1.25,
        },
        (1000, 10, 0): {"RerankClient": 0.36},
        (1000, 1000, 800): {},
    }
    lines, columns = [], {}
    for (count, top_n, echo), wanted in goals.items():
        documents = clients.texts(count)
        with serving(top_n, echo=echo) as url:
            calls = {}
            for name, maker in clients.ALL.items():
                try:
                    call = maker(url, documents, top_n)
                    assert call() == list(range(top_n)), f"{name} answered {call()[:20]}"
                except Exception as error:  # noqa: BLE001  # a peer may lack what this asks for
                    print(f"  {name} left out: {type(error).__name__}: {error}"[:200])
                    continue
                calls[name] = call
            rounds = cpu_in_turn(
                calls, rounds=ROUNDS // quick, each=max(10, 4000 // count // quick)
            )
        title = f"{count} documents, top {top_n}" + (", echoed" if echo else "")
        columns[title] = (ratios(rounds, clients.PLAIN), wanted)
        print(title, {n: str(r) for n, r in columns[title][0].items() if n.startswith("Rerank")})
    lines += [
        "## CPU time of one call",
        "",
        (
            "CPU time of one call, divided by that of plain `httpx` in the same round: the median "
            f"of {ROUNDS // quick} interleaved rounds, and the interquartile range in parentheses. "
            'Columns give the number of documents and `top_n`; "echoed" means that the response '
            "repeats the documents. Rows in bold are this package. LlamaIndex rows include the "
            'cost of the framework, which the row "LlamaIndex, no-op" shows alone.'
        ),
        "",
        "| client | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name in clients.ALL:
        cells = []
        for found, wanted in columns.values():
            goal = f" [{wanted[name]:.2f}]" if name in wanted else ""
            cells.append(f"{found[name]}{goal}" if name in found else "")
        shown = f"**{name}**" if name.startswith("Rerank") else name
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    _draw({title: found for title, (found, _) in columns.items()})
    return [*lines, "", "![CPU time of one call](cpu.png)", ""]


def many(quick: int) -> Lines:
    """Concurrent async calls."""
    documents = clients.texts(100)
    rounds, bursts = max(2, 5 // quick), max(1, 3 // quick)
    lines = [
        "## Concurrent calls on one event loop",
        "",
        (
            "100 documents, top 10, and a server that responds after 20 ms: the median of "
            f"{rounds} interleaved rounds."
        ),
        "",
        "| client | calls in flight | CPU time (bare aiohttp = 1) | throughput (plain httpx = 1) |",
        "|---|---|---|---|",
    ]
    goals = {
        ("RerankClient.arerank", 32): ("[4]", ""),
        ("RerankClient.arerank", 256): ("[3.4]", "[10]"),
        ("RerankClient.arerank, extra aiohttp", 32): ("[2.8]", ""),
        ("RerankClient.arerank, extra aiohttp", 256): ("[2.7]", "[13]"),
    }
    with serving(10, latency=0.02) as url:
        for in_flight in (32, 256):
            found: dict[str, list[at_once.Cost]] = {}
            everyone: dict[str, at_once.Opened] = {
                "bare aiohttp": at_once.bare_aiohttp,
                "plain httpx": at_once.plain_httpx,
                "raw streams (limit)": at_once.raw_streams,
                "RerankClient.arerank": at_once.ours,
                "RerankClient.arerank, extra aiohttp": at_once.ours_on_aiohttp,
                "RerankCompressor": at_once.ours_langchain,
                "RerankPostprocessor": at_once.ours_llama_index,
            }
            for _ in range(rounds):
                for name, opened in everyone.items():
                    calls = 8 * in_flight if quick == 1 else 3 * in_flight
                    one = at_once.cost(opened, url, documents, calls=calls, at_once=in_flight)
                    found.setdefault(name, []).append(one)
            for name, costs in found.items():
                cpu_ratio = _middle(costs, found["bare aiohttp"], lambda cost: cost.cpu)
                faster = _middle(found["plain httpx"], costs, lambda cost: cost.wall)
                goal, faster_goal = goals.get((name, in_flight), ("", ""))
                lines.append(
                    f"| {name} | {in_flight} | {cpu_ratio:.2f} {goal} "
                    f"| {faster:.1f} {faster_goal} |"
                )
                print(lines[-1])
    with serving(10, latency=0.7) as url:
        everyone = {
            "limit": at_once.raw_streams,
            "aiohttp": at_once.bare_aiohttp,
            "ours": at_once.ours,
        }
        turns = [
            {
                name: at_once.cost(opened, url, documents, calls=1000, at_once=1000)
                for name, opened in everyone.items()
            }
            for _ in range(bursts)
        ]
    cpu = statistics.median(one["ours"].cpu / one["aiohttp"].cpu for one in turns)
    wall = statistics.median(one["ours"].wall / one["limit"].wall for one in turns)
    lines += [
        "",
        (
            "1000 calls in flight, and a server that responds after 700 ms: `RerankClient.arerank` "
            f"takes {cpu:.2f} [3.1] times the CPU time of bare aiohttp, and {wall:.2f} times the "
            f"wall time of raw streams (the median of {bursts} rounds)."
        ),
        "",
    ]
    return lines


def threads(quick: int) -> Lines:
    """Sync calls from many threads."""
    documents = clients.texts(100)
    with serving(10, latency=0.02) as url:
        pairs = [
            at_once.our_threads(url, documents) / at_once.httpx_threads(url, documents)
            for _ in range(max(2, 5 // quick))
        ]
    return [
        "## Threads",
        "",
        (
            "128 threads, 100 documents, and a server that responds after 20 ms: "
            f"`RerankClient.rerank` takes {statistics.median(pairs):.2f} [0.5] times the CPU time "
            "of one `httpx.Client` with up to 1000 connections."
        ),
        "",
    ]


def parts(quick: int) -> Lines:
    """A large list in several requests."""
    documents = clients.texts(10_000)
    with serving(1000, latency=0.1) as url:
        pairs = [
            at_once.our_parts(url, documents, 1000) / at_once.sequential_parts(url, documents, 1000)
            for _ in range(max(2, 5 // quick))
        ]
    return [
        "## A list of 10,000 documents",
        "",
        (
            "In requests of 1000 documents, and a server that responds after 100 ms: "
            "`RerankClient.arerank`, with 10 requests in flight, takes "
            f"{statistics.median(pairs):.3f} [0.11] times the wall time of plain `httpx`, with one "
            "request at a time."
        ),
        "",
    ]


def beginnings(quick: int) -> Lines:
    """Imports and memory."""
    goals = {"import rerank_integrations": " [0.05]"}
    lines = [
        "## Imports",
        "",
        (
            "Wall time of an import in a new process, less that of an empty program, divided by "
            "the same for `import httpx`: the median, and the interquartile range in parentheses."
        ),
        "",
        "| program | ratio |",
        "|---|---|",
    ]
    for name, ratio in start.imports(max(3, 8 // quick)).items():
        lines.append(f"| {name} | {ratio}{goals.get(name, '')} |")
    with serving(200) as url:
        peak = start.images_in_memory(url)
    return [
        *lines,
        "",
        "## Memory",
        "",
        (
            "One request with 200 documents, each with an image of 1 MB: the peak memory of the "
            f"call, without the documents, is {peak:.3f} [1.05] times the size of the request body."
        ),
        "",
    ]


def growth(quick: int) -> Lines:
    """CPU time per document, in lists of growing length."""
    each = {}
    for count in (100, 1000, 10_000):
        documents = clients.texts(count)
        with serving(10) as url:
            call = clients.ours(url, documents, 10)
            rounds = cpu_in_turn({"ours": call}, rounds=12 // quick, each=max(1, 2000 // count))
        each[count] = (
            statistics.median(one["ours"] for one in rounds) / max(1, 2000 // count) / count
        )
    base = each[100]
    shown = ", ".join(f"{seconds / base:.2f} for {count:,}" for count, seconds in each.items())
    return [
        "## Growth",
        "",
        f"CPU time per document, relative to a list of 100 documents: {shown}.",
        "",
    ]


def _middle(
    those: list[at_once.Cost], reference: list[at_once.Cost], what: Callable[[at_once.Cost], float]
) -> float:
    pairs = zip(those, reference, strict=True)
    return statistics.median(what(one) / what(other) for one, other in pairs)


def _draw(columns: dict[str, dict[str, Ratio]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, every = plt.subplots(1, len(columns), figsize=(3.4 * len(columns), 4.6), sharey=True)
    names = list(reversed(list(clients.ALL)))
    for axes, (title, found) in zip(every, columns.items(), strict=True):
        for place, name in enumerate(names):
            if name not in found:
                continue
            ratio = found[name]
            colour = "#2f9e5b" if name.startswith("Rerank") else "#9aa4ad"
            axes.barh(place, ratio.median, color=colour)
            axes.plot([ratio.low, ratio.high], [place, place], color="#333333", linewidth=1.5)
            axes.text(ratio.high + 0.08, place, f"{ratio.median:.2f}", va="center", fontsize=8)
        axes.axvline(1, color="#b0553a", linewidth=1)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, max(ratio.high for ratio in found.values()) * 1.2)
        axes.set_yticks(range(len(names)), names)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("CPU time of one call (plain httpx = 1)")
    figure.tight_layout()
    figure.savefig(HERE / "cpu.png", dpi=90)


SECTIONS = {
    "cpu": cpu,
    "at_once": many,
    "threads": threads,
    "parts": parts,
    "start": beginnings,
    "growth": growth,
}


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and so wider ranges")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    given = parser.parse_args()
    quick = 3 if given.quick else 1
    lines = [
        "# Benchmarks",
        "",
        (
            f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {platform.system()}, Python "
            f"{platform.python_version()}. All figures are ratios within this run. Do not compare "
            "them with those of another run or machine. Targets are in brackets."
        ),
        "",
    ]
    for name in given.only:
        print(f"-- {name}")
        lines += SECTIONS[name](quick)
    if set(given.only) == set(SECTIONS):
        (HERE / "RESULTS.md").write_text("\n".join(lines))
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
