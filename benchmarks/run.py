"""Runs all benchmarks against a loopback server, and writes RESULTS.md and its picture.

    python -m benchmarks.run [--quick] [--only cpu at_once threads parts start growth]

Every client's answer is checked before it is timed, everyone takes turns within a round, and
only ratios are written: times would be this machine's.
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
    """Client CPU for each call, one after another."""
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
        title = f"{count}, top {top_n}" + (", echoed" if echo else "")
        columns[title] = (ratios(rounds, clients.PLAIN), wanted)
        print(title, {n: str(r) for n, r in columns[title][0].items() if n.startswith("Rerank")})
    lines += [
        "## CPU of one call",
        "",
        (
            "Against plain `httpx` in the same round; the median, and the middle half. In bold "
            "what is ours. Each row of LlamaIndex holds what it costs when nothing is ranked."
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
    return [*lines, "", "![CPU of one call](cpu.png)", ""]


def many(quick: int) -> Lines:
    """Async calls at once."""
    documents = clients.texts(100)
    lines = [
        "## At once, on one event loop",
        "",
        "A server that answers after 20 ms; 100 documents, top 10.",
        "",
        "| client | in flight | CPU against bare aiohttp | throughput against plain httpx |",
        "|---|---|---|---|",
    ]
    goals = {
        ("RerankClient.arerank", 32): ("[4]", ""),
        ("RerankClient.arerank", 256): ("[3.4]", "[10]"),
        ("the same, extra aiohttp", 32): ("[2.8]", ""),
        ("the same, extra aiohttp", 256): ("[2.7]", "[13]"),
    }
    with serving(10, latency=0.02) as url:
        for in_flight in (32, 256):
            found: dict[str, list[at_once.Cost]] = {}
            everyone: dict[str, at_once.Opened] = {
                "bare aiohttp": at_once.bare_aiohttp,
                "plain httpx": at_once.plain_httpx,
                "raw streams (limit)": at_once.raw_streams,
                "RerankClient.arerank": at_once.ours,
                "the same, extra aiohttp": at_once.ours_on_aiohttp,
                "RerankCompressor": at_once.ours_langchain,
                "RerankPostprocessor": at_once.ours_llama_index,
            }
            for _ in range(max(2, 5 // quick)):
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
            for _ in range(max(1, 3 // quick))
        ]
    cpu = statistics.median(one["ours"].cpu / one["aiohttp"].cpu for one in turns)
    wall = statistics.median(one["ours"].wall / one["limit"].wall for one in turns)
    lines += [
        "",
        (
            f"1000 calls at once, a server of 700 ms: {cpu:.2f} [3.1] of the CPU of bare aiohttp, "
            f"{wall:.2f} of the time that raw streams take."
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
            "128 threads, a server of 20 ms, 100 documents: "
            f"{statistics.median(pairs):.2f} [0.5] of the CPU of one `httpx.Client` whose pool "
            "takes 1000 connections."
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
        "## 10,000 documents in requests of 1000",
        "",
        (
            f"A server of 100 ms: {statistics.median(pairs):.3f} [0.11] of the time of `httpx`, "
            "one request after another."
        ),
        "",
    ]


def beginnings(quick: int) -> Lines:
    """Imports and memory."""
    goals = {"import rerank_integrations": " [0.05]"}
    lines = ["## Imports", "", "Wall time above an empty Python, against `import httpx`.", ""]
    lines += ["| | |", "|---|---|"]
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
            f"200 documents with a 1 MB image each in one request: the peak above the documents is "
            f"{peak:.3f} [1.05] of the body."
        ),
        "",
    ]


def growth(quick: int) -> Lines:
    """Whether a document costs the same in a long list."""
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
    shown = ", ".join(f"{count:,}: {seconds / base:.2f}" for count, seconds in each.items())
    return [
        "## Growth",
        "",
        f"CPU for each document of a list, against a list of 100: {shown}.",
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
    figure.suptitle("CPU of one call, plain httpx = 1")
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
    parser.add_argument("--quick", action="store_true", help="fewer rounds, wider spreads")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    given = parser.parse_args()
    quick = 3 if given.quick else 1
    lines = [
        "# Benchmarks",
        "",
        (
            f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {platform.system()}, Python "
            f"{platform.python_version()}. Ratios within one run: compare nothing else."
        ),
        f"{ROUNDS // quick} interleaved runs per client. Target in brackets.",
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
