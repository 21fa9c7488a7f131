"""A judged collection in the layout of BEIR, and what an order of its documents is worth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import ir_measures
import numpy as np

from rerank_integrations import RerankResponse

Judgments: TypeAlias = Mapping[str, Mapping[str, int]]
"""By query and document, how relevant it is; 0 and what is absent is not."""
Rankings: TypeAlias = Mapping[str, Sequence[str]]
"""By query, the documents, best first."""

LAYOUT = "corpus.jsonl, queries.jsonl and qrels/test.tsv"
_HEADER = ["query-id", "corpus-id", "score"]


class CollectionError(ValueError):
    """The folder is not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Collection:
    """Documents, queries, and which documents a query wants.

    Attributes:
        corpus: the fields `title` and `text` of each document, either may be empty.
        queries: the text of each query that has a relevant document.
        judgments: for these queries, what was judged.
    """

    corpus: Mapping[str, Mapping[str, str]]
    queries: Mapping[str, str]
    judgments: Judgments

    def first(self, count: int | None) -> Collection:
        """With so many of its queries, to try a thing at less cost; all for None."""
        kept = list(self.queries)[:count]
        return Collection(
            self.corpus,
            {query: self.queries[query] for query in kept},
            {query: self.judgments[query] for query in kept},
        )


def read(folder: str | Path, split: str = "test", *, partial: bool = False) -> Collection:
    """Read a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv.

    Args:
        folder: the folder.
        split: which judgments to read, the name of a file in qrels.
        partial: whether the corpus may lack documents that were judged; what was said of them is
            left out then.

    Raises:
        CollectionError: the message says what to do.
    """
    folder = Path(folder)
    corpus = {
        name: {key: _text(row, key, where) for key in ("title", "text")}
        for name, row, where in _rows(folder / "corpus.jsonl")
    }
    queries = {
        name: _text(row, "text", where) for name, row, where in _rows(folder / "queries.jsonl")
    }
    judged = _judgments(folder / "qrels" / f"{split}.tsv")
    lost = [query for query in judged if query not in queries]
    if lost:
        raise CollectionError(
            f"{len(lost)} judged queries are not in {folder / 'queries.jsonl'}, such as "
            f"{lost[0]!r}; take both files from one release of the collection"
        )
    absent = {document for row in judged.values() for document in row if document not in corpus}
    if absent and not partial:
        raise CollectionError(
            f"{len(absent)} judged documents are not in {folder / 'corpus.jsonl'}, such as "
            f"{min(absent)!r}; take the whole corpus, or pass partial=True to go without them"
        )
    kept = {
        query: {document: grade for document, grade in row.items() if document not in absent}
        for query, row in judged.items()
    }
    wanted = {query: row for query, row in kept.items() if max(row.values(), default=0) > 0}
    if not wanted:
        raise CollectionError(f"no query of the split {split!r} has a relevant document")
    return Collection(corpus, {query: queries[query] for query in wanted}, wanted)


def ranking(candidates: Sequence[str], response: RerankResponse) -> list[str]:
    """The candidates in the response's order; those that it leaves out follow as they were."""
    ranked = dict.fromkeys(candidates[result.index] for result in response)
    return list(ranked | dict.fromkeys(candidates))


def to_depth(before: Rankings, after: Rankings, depth: int) -> Rankings:
    """What reranking only the first so many candidates gives; the rest stays as it was.

    True of a model that scores each document by itself, as most do.
    """
    return {
        query: [one for one in after[query] if one in set(found[:depth])] + list(found[depth:])
        for query, found in before.items()
    }


def values(
    judgments: Judgments, rankings: Rankings, measures: Sequence[Any]
) -> dict[Any, dict[str, float]]:
    """By measure and query, the value; 0 for a query without a ranking.

    Args:
        judgments: what each query wants.
        rankings: what it got.
        measures: of `ir_measures`, such as `nDCG @ 10`.
    """
    found: dict[Any, dict[str, float]] = {one: dict.fromkeys(judgments, 0.0) for one in measures}
    # trec_eval sorts by score, and equal scores by name: so each place has a score of its own
    run = {
        query: {document: -float(place) for place, document in enumerate(rankings[query])}
        for query in judgments
        if rankings.get(query)
    }
    if run:
        grades = {query: dict(row) for query, row in judgments.items()}
        for value in ir_measures.iter_calc(list(measures), grades, run):
            found[value.measure][value.query_id] = value.value
    return found


def interval(differences: Sequence[float], *, resamples: int = 10_000) -> tuple[float, float]:
    """Where the mean lies with 95 % confidence: the paired bootstrap over queries."""
    drawn = np.random.default_rng(0).choice(differences, (resamples, len(differences)))
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


@dataclass
class Tally:
    """What calls took: counted here, and said by the provider.

    Attributes:
        seconds: how long each call took.
        requests: how many were sent, retries included.
        documents: how many were ranked.
        pairs: the characters that a model reads, the query once with each document.
    """

    seconds: list[float] = field(default_factory=list)
    requests: int = 0
    documents: int = 0
    pairs: int = 0
    _sums: Counter[str] = field(default_factory=Counter)
    _calls: Counter[str] = field(default_factory=Counter)

    def add(
        self, query: str, texts: Sequence[str], response: RerankResponse, seconds: float
    ) -> None:
        """Count one call."""
        self.seconds.append(seconds)
        self.requests += len(response.attempts)
        self.documents += len(texts)
        self.pairs += sum(len(query) + len(text) for text in texts)
        said = response.usage.counts()
        self._sums.update(said)
        self._calls.update(said.keys())

    def per_thousand(self, total: float) -> float:
        """A total of these calls as one of a thousand calls."""
        return 1000 * total / len(self.seconds)

    def said(self, name: str) -> float | None:
        """What the provider said of all calls together, such as `"cost"`; None if not of each."""
        return self._sums[name] if self._calls[name] == len(self.seconds) else None

    def within(self, seconds: float) -> float:
        """The share of calls that took no longer."""
        return sum(one <= seconds for one in self.seconds) / len(self.seconds)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The objects of a file, a line each: the id, the object, and where it stands."""
    seen: set[str] = set()
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as cause:
            raise CollectionError(f"{where}: not JSON ({cause}); put one object a line") from cause
        if not isinstance(row, dict) or not isinstance(row.get("_id"), str):
            raise CollectionError(f'{where}: give each object an "_id" that is a string')
        if row["_id"] in seen:
            raise CollectionError(f"{where}: {row['_id']!r} is there twice; give it another _id")
        seen.add(row["_id"])
        yield row["_id"], row, where


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if key == "text" and value is None:
        raise CollectionError(f'{where}: there is no "text"; it may be empty, but not absent')
    if not isinstance(value, str | None):
        raise CollectionError(f"{where}: {key} is a string, not {type(value).__name__}")
    return value or ""


def _judgments(path: Path) -> dict[str, dict[str, int]]:
    """The rows of a table with three columns."""
    found: dict[str, dict[str, int]] = {}
    for number, line in _lines(path):
        cells = line.split("\t")
        if number == 1 and cells == _HEADER:
            continue
        try:
            query, document, grade = cells
            found.setdefault(query, {})[document] = int(grade)
        except ValueError as cause:
            raise CollectionError(
                f"{path}, line {number}: {line[:60]!r} is not query-id, corpus-id and a whole "
                "number, with tabs between them"
            ) from cause
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not blank, with their numbers."""
    if not path.is_file():
        others = ", ".join(sorted(other.stem for other in path.parent.glob("*.tsv")))
        cure = f"pass split= one of {others}" if others else f"choose a folder with {LAYOUT}"
        raise CollectionError(f"{path} is not there; {cure}")
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip("\r\n")
