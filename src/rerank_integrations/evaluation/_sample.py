"""Queries to label: drawn into a table for a spreadsheet, and read back as judgments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from rerank_integrations.client import RerankClient
from rerank_integrations.errors import ConfigurationError, InvalidRequestError
from rerank_integrations.evaluation._dataset import Dataset, Problems, image_of, text_of
from rerank_integrations.evaluation._labels import read_csv_labels, write_labels
from rerank_integrations.evaluation._run import Budget, clients_of, run_model

_MOST_TEXT = 600  # characters of a document


def sample(
    dataset: Dataset | str | PathLike[str],
    n: int,
    path: str | PathLike[str],
    *,
    depth: int = 10,
    models: Sequence[str | RerankClient] = (),
    top_k: int = 100,
    seed: int = 0,
    overwrite: bool = False,
    **settings: Any,
) -> int:
    """Draw queries at random, and write their first candidates into a CSV file to label.

    The documents of a query come in random order, so that their place says nothing. Give the column
    `grade` a whole number, 0 for not relevant; leave it empty for what you do not judge. Then
    `Dataset.read(folder, labels=path)` reads them.

    Args:
        dataset: a `Dataset`, or the folder of one; it needs no judgments.
        n: how many queries.
        path: the file to write.
        depth: how many documents of each ranking.
        models: besides the first candidates, the first ones of these models are drawn too. Without
            them, a document that only a model puts first is not judged, and counts as wrong.
        top_k: how many candidates these models rerank.
        seed: another one draws other queries.
        overwrite: whether a file that is there may be overwritten, with the grades in it.
        settings: of the clients that are made for names.

    Returns:
        How many documents there are to label.

    Raises:
        InvalidRequestError: `n` or `depth` is below 1.
        ConfigurationError: there are no queries with candidates, or the file is there.
    """
    for name, value in (("n", n), ("depth", depth)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(f"{name} must be an int of at least 1, not {value!r}")
    if Path(path).exists() and not overwrite:
        raise ConfigurationError(
            f"{fspath(path)!r} is there, perhaps with grades in it; overwrite=True replaces it"
        )
    if not isinstance(dataset, Dataset):
        dataset = Dataset.read(dataset, judged=False)
    draw = random.Random(seed)  # noqa: S311  # it is no secret
    able = [query for query in dataset.queries if dataset.candidates.get(query)]
    if not able:
        raise ConfigurationError(f"no query of {dataset.name} has candidates")
    queries = draw.sample(able, min(n, len(able)))
    pools = {query: dict.fromkeys(dataset.candidates[query][:depth]) for query in queries}
    clients = clients_of(models, settings) if models else {}
    for label, (client, is_own) in clients.items():
        try:
            run = run_model(label, client, dataset, queries, top_k, budget=Budget(None))
        finally:
            if is_own:
                client.close()
        for query, pool in pools.items():
            pool.update(dict.fromkeys(run.rankings[query][:depth]))
    rows = []
    for query, pool in pools.items():
        for one in draw.sample(list(pool), len(pool)):
            document = dataset.documents[one]
            shown = text_of(document)[:_MOST_TEXT]
            if image_of(document) is not None:
                shown = f"{shown} [with an image]".strip()
            rows.append((query, dataset.queries[query], one, shown))
    write_labels(path, rows)
    return len(rows)


def read_labels(path: str | PathLike[str]) -> dict[str, dict[str, int]]:
    """The grades that were filled into a file that `sample` wrote, by query and document.

    Raises:
        ConfigurationError: it is not such a file, or a grade is not a whole number.
    """
    problems = Problems()
    found = read_csv_labels(path, problems.note)
    for problem in problems.listed():
        raise ConfigurationError(f"{fspath(path)!r}: {problem}")
    return found
