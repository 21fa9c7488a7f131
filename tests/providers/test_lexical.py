"""Tests of the lexical engines: languages, ties, odd texts, memory, and what they are worth."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cases import cases
from rerank_integrations import Local, RerankClient
from rerank_integrations.evaluation import Dataset
from rerank_integrations.evaluation._dataset import text_of
from rerank_integrations.providers.local import bm25, hybrid

FAQ = Path(__file__).parents[2] / "notebooks" / "data" / "python-faq"
ENGINES = ("bm25", "hybrid")
QUIET = """
import logging, socket, sys, warnings
def refuse(*args, **given):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
warnings.simplefilter("error")
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("rerank_integrations").setLevel(logging.WARNING)
logging.getLogger("asyncio").setLevel(logging.WARNING)
from rerank_integrations import RerankClient
for engine in ("bm25", "hybrid"):
    response = RerankClient(f"local:{engine}").rerank("two cats", ["a dog", "a cat", "\u732b"])
    assert response[0].index == 1, response
assert "scipy" not in sys.modules
"""


def ranked(engine: str, query: str, texts: list[str], **given: Any) -> list[int]:
    """The indexes, best first."""
    client = RerankClient(engine, provider=Local(**given))
    return [result.index for result in client.rerank(query, texts)]


@cases(
    ("query", "texts", "language"),
    [
        # by script
        ("книга", ["он читает газету в саду", "на столе лежат две книги"], None),
        ("猫", ["犬が公園を走る", "うちの猫は窓辺で眠る"], None),
        ("天気予報", ["会議の予定を確認する", "明日の天気は晴れ"], None),
        ("北京天气", ["上海的经济发展", "今天北京很冷"], None),
        ("แมว", ["สุนัขวิ่งเร็ว", "แมวนอนอยู่"], None),
        ("पानी", ["नीला आसमान", "नल का पानी"], None),
        ("고양이", ["개가 짖는다", "검은 고양이"], None),
        # by stop words
        ("Häuser", ["die Straße ist nicht breit und der Weg ist lang", "das Haus ist alt"], None),
        (
            "chevaux",
            ["le chien est dans la maison avec un chat", "un cheval est là"],
            None,
        ),
        # of the caller's
        ("Häuser", ["Wege", "Haus"], "de"),
        ("chevaux", ["chien", "cheval"], "fr"),
        ("running", ["walks", "runs"], "en"),
        # English wins where one word alone looks like another language
        ("the running man", ["o la la", "runs"], None),
        # signs that are parts of names
        ("C++", ["C for all", "C++ for all"], None),
        ("c#", ["C for all", "C# for all"], None),
        ("C++/C#", ["C for all", "C++, for all"], None),
        ("ﬁle ｃａｆé", ["a list", "a file"], None),
        ("café", ["cafe " + "é " * 600, "é " * 600 + "cafe\u0301"], "en"),
    ],
)
@cases("engine", ENGINES)
def test_languages(engine: str, query: str, texts: list[str], language: str | None) -> None:
    """The language is found by script, else by stop words, or given; its stems count as one."""
    assert ranked(engine, query, texts, language=language) == [1, 0]


ALIKE = ["a cat"] * 4
APART = [f"w{at} x{at}" for at in range(60)]


@cases(
    ("query", "texts"),
    [
        ("cat", ALIKE),
        ("cat", [""]),
        ("cat", ["a cat"]),
        ("cat", ["?!", "...", "\u0301", "\U0001f600"]),
        ("?!", ["a cat", "a dog", "a cow"]),
        ("the of", ["cats", "dogs"]),
        ("zebra", APART),
        ("w3 w40", [*APART[:3], "w3 x3", *APART[4:40], "w40 x40"]),
        ("cat", ["x" * 5000, ""]),
        # sorted at once, these accents would take seconds
        ("cat", ["a" + "\u0301\u0316" * 20_000, "a cat"]),
    ],
)
@cases("engine", ENGINES)
def test_ties(engine: str, query: str, texts: list[str]) -> None:
    """Texts of one score keep their order; a list of one score has 0 or what BM25 gives alone."""
    client = RerankClient(f"local:{engine}", on_invalid_document="skip")
    response = client.rerank(query, [*texts, "?"])
    scores = {result.index: result.relevance_score for result in response}
    ranking = list(scores)
    assert ranking == sorted(scores, key=lambda index: (-scores[index], index))
    assert all(score == score for score in scores.values())  # noqa: PLR0124  # no NaN
    every = hybrid(query, texts) if engine == "hybrid" else bm25(query, texts)
    if len(set(texts)) == 1 or query in ("zebra", "?!"):
        assert len(set(every)) == 1
        assert engine == "bm25" or every[0] == 0.0
    if query == "w3 w40":
        assert every[3] == every[40] == max(every)


def test_same_in_threads() -> None:
    """The same call gives the same scores, in other threads too, whatever was ranked before."""
    corpus = [text_of(row) for row in Dataset.read(FAQ, judged=False).documents.values()][:30]
    queries = ["How do I sort a list?", "pourquoi le chat est dans la maison", "猫と犬"]
    once = [hybrid(query, corpus) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda query: hybrid(query, corpus), queries * 4))
    assert again == once * 4


def test_quiet_and_offline() -> None:
    """With every connection refused the engines rank, and nothing is logged, warned or printed."""
    ran = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_memory_of_a_large_list() -> None:
    """Of 1,000 documents of 100 words there are never all words, nor all pairs, at once."""
    words = [f"w{number * number % 997}" for number in range(1000)]
    texts = [" ".join(words[at % 97 : at % 97 + 100]) for at in range(1000)]
    tracemalloc.start()
    try:
        scores = hybrid("w4 w9 w16", texts)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(scores) == len(texts)
    assert peak < 30e6
