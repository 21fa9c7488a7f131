"""The dataset of an evaluation: documents, queries, judgments and first-stage candidates."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

from rerank_integrations.errors import ConfigurationError, UnsupportedDocumentError
from rerank_integrations.evaluation._first_stage import bm25_candidates
from rerank_integrations.evaluation._labels import grade_of, read_csv_labels
from rerank_integrations.models import DocumentInput, RerankDocument, replace_surrogates

Judgments: TypeAlias = Mapping[str, Mapping[str, int]]
"""The relevance grade of each document, by query id and document id; 0 is not relevant."""

LAYOUT = "corpus.jsonl, queries.jsonl and qrels/test.tsv"
DEPTH = 100  # candidates of a query
_EXAMPLES = 5  # of a problem that are named
_SHOWN = 60  # characters of a line
_HIGHEST = 1_000_000  # grade: trec_eval has a counter for each one up to the highest


@dataclass(frozen=True)
class Problem:
    """A problem in the input, which was left out or corrected.

    Attributes:
        what: the problem, and what was done about it.
        count: how often it occurs.
        examples: up to five examples: ids, or lines of files.
    """

    what: str
    count: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        shown = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        return f"{self.count:,} {self.what}{shown}"


class Problems:
    """Collects problems while a dataset is read."""

    def __init__(self, known: Sequence[Problem] = ()) -> None:
        self._found = {one.what: one for one in known}

    def note(self, what: str, example: object) -> None:
        """Count a problem of a kind."""
        known = self._found.get(what, Problem(what, 0))
        examples = (*known.examples, str(example)[:_SHOWN])[:_EXAMPLES]
        self._found[what] = Problem(what, known.count + 1, examples)

    def listed(self) -> tuple[Problem, ...]:
        """Return all problems."""
        return tuple(self._found.values())


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Documents, queries, judgments and the candidates of a first stage.

    Attributes:
        documents: the documents by id.
        queries: the text of each query by id.
        judgments: the relevance grade of each document, by query id and document id: a whole
            number, 0 for not relevant.
        candidates: for each query the ids of the documents that the first stage found, best first.
        retrieval_scores: the first stage's score of each candidate, by query id and document id,
            if it returns scores.
        name: the name of the dataset in a report.
        first_stage: the name of the first stage in a report.
        is_complete: whether `documents` is the whole corpus, so that a judgment of another document
            is a mistake.
        problems: what was left out or corrected while the dataset was read.
    """

    documents: Mapping[str, DocumentInput]
    queries: Mapping[str, str]
    judgments: Judgments
    candidates: Mapping[str, Sequence[str]]
    retrieval_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    name: str = "dataset"
    first_stage: str = "candidates"
    is_complete: bool = True
    problems: tuple[Problem, ...] = ()

    @classmethod
    def read(
        cls,
        folder: str | PathLike[str],
        *,
        split: str | None = None,
        labels: str | PathLike[str] | None = None,
        depth: int = DEPTH,
        judged: bool = True,
    ) -> Dataset:
        """Read a folder in the layout of BEIR.

        Args:
            folder: a folder with `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`, which may
                also be in the TREC format; each file may be gzipped. Each line of an optional
                `candidates.jsonl` has `query_id`, `doc_ids` and optionally `scores`; without this
                file, a built-in BM25 finds the candidates.
            split: which judgments to read; None reads "test", or the only file in `qrels`.
            labels: a file that `sample` wrote and a person has filled in, in place of `qrels`.
            depth: the number of candidates that the built-in BM25 finds for a query.
            judged: whether to read judgments; False is for a folder without labels.

        Raises:
            ConfigurationError: a file is missing, or has no usable line.
        """
        folder = Path(folder)
        problems = Problems()
        documents = {
            name: _document(row, folder, where, problems)
            for name, row, where in _objects(folder / "corpus.jsonl", "documents", problems)
        }
        queries = {
            name: replace_surrogates(str(row.get("text") or ""))
            for name, row, _ in _objects(folder / "queries.jsonl", "queries", problems)
        }
        if not documents or not queries:
            empty = "corpus.jsonl" if not documents else "queries.jsonl"
            raise ConfigurationError(
                f'{folder / empty}: no line has a JSON object with an "_id" and a "text"; '
                "each line must have one"
            )
        judgments: Mapping[str, Mapping[str, int]] = {}
        if labels is not None:
            judgments = read_csv_labels(labels, problems.note)
        elif judged:
            judgments = _qrels(_qrels_file(folder, split), problems)
        stored = folder / "candidates.jsonl"
        scores: dict[str, dict[str, float]] = {}
        if stored.is_file() or _packed(stored).is_file():
            candidates, scores = _candidates(stored, problems)
            first_stage = "candidates.jsonl"
        else:
            asked = judgments or queries
            wanted = {name: text for name, text in queries.items() if name in asked}
            texts = {name: text_of(document) for name, document in documents.items()}
            scores = bm25_candidates(wanted, texts, depth)
            candidates = {name: list(found) for name, found in scores.items()}
            first_stage = "BM25"
        return cls(
            name=folder.resolve().name,
            documents=documents,
            queries=queries,
            judgments=judgments,
            candidates=candidates,
            retrieval_scores=scores,
            first_stage=first_stage,
            problems=problems.listed(),
        ).checked()

    @classmethod
    def from_retriever(
        cls,
        retriever: Any,
        queries: Mapping[str, str],
        judgments: Judgments,
        *,
        id_of: Callable[[Any], object] | str | None = None,
        document_to_input: Callable[[Any], DocumentInput] | None = None,
        name: str = "retriever",
    ) -> Dataset:
        """Create a dataset from the candidates that a retriever finds for each query.

        Args:
            retriever: a retriever of LangChain (`invoke`) or LlamaIndex (`retrieve`), or a function
                that takes a query and returns the same types.
            queries: the text of each query by id.
            judgments: the relevance grade of each document, by query id and document id.
            id_of: the metadata key of a document's id, or a function that returns the id of a
                document; None uses the document's or node's own id.
            document_to_input: a function that converts a document to rerank input; None uses the
                text.
            name: the name of the dataset in a report.

        Raises:
            ConfigurationError: a document has no id, or an id is not a `str`.
        """
        if not isinstance(queries, Mapping):
            raise ConfigurationError(
                "queries must be a mapping of ids to texts, such as {'q1': 'how to oil a chain'}, "
                f"not {type(queries).__name__}"
            )
        ask = getattr(retriever, "retrieve", None) or getattr(retriever, "invoke", retriever)
        documents: dict[str, DocumentInput] = {}
        candidates: dict[str, list[str]] = {}
        scores: dict[str, dict[str, float]] = {}
        for query, text in queries.items():
            if (judgments and query not in judgments) or not text.strip():
                continue  # it could not be measured, and `checked` says so
            for found in ask(text):
                held = getattr(found, "node", found)
                one = _id_of(found, held, id_of)
                if one not in documents:
                    documents[one] = (
                        RerankDocument(text=_content(held))
                        if document_to_input is None
                        else document_to_input(found)
                    )
                candidates.setdefault(query, []).append(one)
                score = getattr(found, "score", None)
                if score is not None:
                    scores.setdefault(query, {})[one] = float(score)
        return cls(
            name=name,
            documents=documents,
            queries=dict(queries),
            judgments=judgments,
            candidates=candidates,
            retrieval_scores=scores,
            first_stage=type(retriever).__name__,
            is_complete=False,  # it does not tell which other documents there are
        ).checked()

    def checked(self) -> Dataset:
        """Return a copy without unusable queries, judgments and candidates; see `problems`.

        Raises:
            ConfigurationError: an id is not a `str`.
        """
        for query, row in self.judgments.items():
            if not isinstance(row, Mapping):
                raise ConfigurationError(
                    f"the judgments of query {query!r} must be a mapping of document ids to "
                    f"grades, such as {{'d1': 1}}, not {type(row).__name__}"
                )
        judged_documents = (document for row in self.judgments.values() for document in row)
        for name in (*self.queries, *self.documents, *self.judgments, *judged_documents):
            if not isinstance(name, str):
                raise ConfigurationError(
                    f"ids must be str, not {name!r}; convert those of queries, documents and "
                    "judgments"
                )
        problems = Problems(self.problems)
        queries = {}
        for query, text in self.queries.items():
            if not text.strip():
                problems.note("queries are empty; left out", query)
                continue
            if self.judgments and query not in self.judgments:
                problems.note("queries have no judgments; left out", query)
                continue
            queries[query] = text
        judged = self._checked_judgments(problems)
        return replace(
            self,
            queries=queries,
            judgments={query: row for query, row in judged.items() if query in queries},
            candidates={query: self._checked_candidates(query, problems) for query in queries},
            problems=problems.listed(),
        )

    def _checked_judgments(self, problems: Problems) -> dict[str, dict[str, int]]:
        judged: dict[str, dict[str, int]] = {}
        for query, row in self.judgments.items():
            if query not in self.queries:
                problems.note("judged queries are not among the queries; left out", query)
                continue
            judged[query] = {}
            for document, grade in row.items():
                if self.is_complete and document not in self.documents:
                    what = "judgments are of documents that are not in the corpus; left out"
                    problems.note(what, f"{query} {document}")
                    continue
                whole = _whole(grade)
                if whole is None:
                    what = "grades are not whole numbers; left out"
                    problems.note(what, f"{query} {document}: {grade!r}")
                    continue
                if whole > _HIGHEST:
                    what = f"grades are above {_HIGHEST:,}; left out"
                    problems.note(what, f"{query} {document}")
                    continue
                if whole < 0:
                    problems.note("grades are below 0; taken as 0", f"{query} {document}")
                judged[query][document] = max(whole, 0)
        return judged

    def _checked_candidates(self, query: str, problems: Problems) -> list[str]:
        if query not in self.candidates:
            problems.note("queries have no list of candidates", query)
        kept: dict[str, None] = {}
        for document in self.candidates.get(query, ()):
            if document not in self.documents:
                problems.note("candidates are not in the corpus; left out", f"{query} {document}")
            elif document in kept:
                what = "candidates are twice in the list of a query; the first one is kept"
                problems.note(what, f"{query} {document}")
            kept[document] = None
        return [document for document in kept if document in self.documents]

    def inputs(self, query: str, depth: int) -> list[DocumentInput]:
        """Return the first candidates of a query as rerank input, with the first stage's scores.

        Args:
            query: the id of the query.
            depth: the maximum number of candidates.
        """
        found: list[DocumentInput] = []
        scores = self.retrieval_scores.get(query, {})
        for one in self.candidates[query][:depth]:
            document = self.documents[one]
            if one in scores and isinstance(document, RerankDocument):
                document = replace(document, retrieval_score=scores[one])
            found.append(document)
        return found


def _whole(grade: Any) -> int | None:
    """Return a grade as an int, also from a float of pandas; None if it is not a whole number."""
    try:
        whole = int(grade)
    except (TypeError, ValueError, OverflowError):
        return None
    return whole if whole == grade else None


def text_of(document: DocumentInput) -> str:
    """Return the text of a document, including its fields."""
    match document:
        case str():
            return document
        case RerankDocument():
            own = [] if document.text is None else [document.text]
            return "\n".join([*own, *(text_of(document.fields) for _ in (1,) if document.fields)])
        case _:
            named = {key: value for key, value in document.items() if key != "image"}
            return "\n".join(str(value) for value in named.values() if value is not None)


def image_of(document: DocumentInput) -> Any:
    """Return the image of a document; None without one."""
    if isinstance(document, str):
        return None
    return document.image if isinstance(document, RerankDocument) else document.get("image")


def _document(
    row: Mapping[str, Any], folder: Path, where: str, problems: Problems
) -> RerankDocument:
    """Return a document of a corpus, with its title and text as one text, and its image."""
    title, text = (replace_surrogates(str(row.get(key) or "")) for key in ("title", "text"))
    whole = f"{title}\n{text}" if title else text
    image = row.get("image")
    if isinstance(image, str) and not image.startswith(("http://", "https://", "data:")):
        inside = (folder / image).resolve()
        if not inside.is_relative_to(folder.resolve()):
            problems.note("images are outside of the folder; left out", where)
            image = None
        else:
            try:
                return RerankDocument.from_file(inside, text=whole or None)
            except UnsupportedDocumentError:
                problems.note("images cannot be read; left out", where)
                image = None
    return RerankDocument(text=whole if whole or image is None else None, image=image)


def _objects(
    path: Path, things: str, problems: Problems
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the objects of a JSONL file: the id, the object, and its file and line."""
    seen: set[str] = set()
    for where, line in _lines(path):
        try:
            row = json.loads(line)
            name = row["_id"]
        except (ValueError, TypeError, KeyError):
            name = None
        if not isinstance(name, str | int) or isinstance(name, bool):
            problems.note('lines have no JSON object with an "_id"; left out', where)
            continue
        own = replace_surrogates(str(name))
        if own in seen:
            problems.note(f"{things} have an id that was there before; left out", own)
        else:
            seen.add(own)
            yield own, row, where


def _qrels_file(folder: Path, split: str | None) -> Path | None:
    """Return the file of the judgments; None if there is none, as before labelling.

    Raises:
        ConfigurationError: there are several files, or the named one is missing.
    """
    there = sorted((folder / "qrels").glob("*.tsv*"))
    # without ".gz", which `_lines` finds
    tables = [path.with_suffix("") if path.suffix == ".gz" else path for path in there]
    files = {path.stem: path for path in tables if path.suffix == ".tsv"}
    if split is None:
        if not files or "test" in files or len(files) == 1:
            return files.get("test") or next(iter(files.values()), None)
        raise ConfigurationError(f"{folder / 'qrels'}: pass split= one of {', '.join(files)}")
    if split not in files:
        cure = f"pass split= one of {', '.join(files)}" if files else "there are no judgments"
        raise ConfigurationError(f"{folder / 'qrels' / split}.tsv is not there; {cure}")
    return files[split]


def _qrels(path: Path | None, problems: Problems) -> dict[str, dict[str, int]]:
    """Read the judgments of a table in the format of BEIR or TREC."""
    found: dict[str, dict[str, int]] = {}
    for number, (where, line) in enumerate([] if path is None else _lines(path)):
        read = _judgment(line)
        if read is None:
            if number:  # the first line is a heading
                problems.note(
                    "lines of qrels are neither query-id, corpus-id and a whole number, separated "
                    "by tabs, nor TREC's query, iteration, document and a whole number; left out",
                    where,
                )
            continue
        query, document, grade = read
        if document in found.setdefault(query, {}):
            problems.note("judgments are there twice; the last one counts", f"{query} {document}")
        found[query][document] = grade
    return found


def _judgment(line: str) -> tuple[str, str, int] | None:
    """Return query, document and grade: from three cells as in BEIR, or four words as in TREC."""
    match line.split("\t"), line.split():
        case ([query, document, given], _) | (_, [query, _, document, given]):
            grade = grade_of(given)
            return None if grade is None else (query, document, grade)
    return None


def _candidates(
    path: Path, problems: Problems
) -> tuple[dict[str, list[str]], dict[str, dict[str, float]]]:
    """Read the candidates of each query and their scores from a file."""
    lists: dict[str, list[str]] = {}
    scores: dict[str, dict[str, float]] = {}
    for where, line in _lines(path):
        try:
            row = json.loads(line)
            query, *found = (
                replace_surrogates(str(one)) for one in (row["query_id"], *row["doc_ids"])
            )
            if row.get("scores"):
                given = [float(score) for score in row["scores"]]
                scores[query] = dict(zip(found, given, strict=True))
        except (ValueError, TypeError, KeyError):
            what = "lines of candidates.jsonl are not query_id, doc_ids and scores; left out"
            problems.note(what, where)
            continue
        if query in lists:
            problems.note("queries have two lines in candidates.jsonl; the last one counts", query)
        lists[query] = found
    return lists, scores


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file that are not blank, each with its file and line number."""
    is_packed = not path.is_file() and _packed(path).is_file()
    if not is_packed and not path.is_file():
        raise ConfigurationError(f"{fspath(path)} is not there; choose a folder with {LAYOUT}")
    given: dict[str, Any] = {"mode": "rt", "encoding": "utf-8-sig", "errors": "replace"}
    with gzip.open(_packed(path), **given) if is_packed else path.open(**given) as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path.name}, line {number}", line.rstrip("\r\n")
        except (gzip.BadGzipFile, EOFError, zlib.error) as cause:
            raise ConfigurationError(f"cannot unpack {fspath(_packed(path))!r}: {cause}") from cause


def _packed(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def _id_of(found: Any, held: Any, id_of: Callable[[Any], object] | str | None) -> str:
    """Return the id of a document that a retriever found."""
    own: object
    if callable(id_of):
        own = id_of(found)
    elif id_of is not None:
        own = held.metadata.get(id_of)
    else:
        own = getattr(held, "node_id", None) or getattr(held, "id", None)
    if own is None:
        raise ConfigurationError(
            f"a {type(held).__name__} of the retriever has no id; pass id_of= the key of its "
            "metadata that the judgments name, or a function of the document"
        )
    return str(own)


def _content(held: Any) -> str:
    text = getattr(held, "page_content", None)
    if isinstance(text, str):
        return text
    found: str = held if isinstance(held, str) else held.get_content()
    return found
