"""Draws queries to label into a table for a spreadsheet, and reads the labels back."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from rerank_integrations._cache import CacheSetting
from rerank_integrations._options import (
    NOT_GIVEN,
    AsyncHTTPClient,
    HTTPClient,
    NotGiven,
    OnImage,
    OnInvalidDocument,
    OnPartial,
    Retry,
    ScoreTransform,
    Timeout,
    checked_arguments,
    given,
)
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import ConfigurationError, InvalidRequestError
from rerank_integrations.evaluation._dataset import Dataset, Problems, image_of, text_of
from rerank_integrations.evaluation._labels import read_csv_labels, write_labels
from rerank_integrations.evaluation._run import SETTINGS, Budget, clients_of, run_model
from rerank_integrations.images import ImageUrls
from rerank_integrations.providers.base import Provider

_MOST_TEXT = 600  # characters of a document


@checked_arguments
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
    provider: Provider | NotGiven | None = NOT_GIVEN,
    api_key: str | SecretStr | NotGiven | None = NOT_GIVEN,
    base_url: str | NotGiven | None = NOT_GIVEN,
    http_client: HTTPClient | Callable[[], HTTPClient] | NotGiven | None = NOT_GIVEN,
    async_http_client: AsyncHTTPClient
    | Callable[[], AsyncHTTPClient]
    | NotGiven
    | None = NOT_GIVEN,
    fallbacks: Sequence[str | RerankClient] | NotGiven = NOT_GIVEN,
    top_n: int | NotGiven | None = NOT_GIVEN,
    rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
    instruction: str | NotGiven | None = NOT_GIVEN,
    score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
    score_threshold: float | NotGiven | None = NOT_GIVEN,
    timeout: Timeout | NotGiven = NOT_GIVEN,
    deadline: float | NotGiven | None = NOT_GIVEN,
    max_retries: int | NotGiven = NOT_GIVEN,
    retry_on_timeout: bool | NotGiven = NOT_GIVEN,
    retry: Retry | NotGiven | None = NOT_GIVEN,
    extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
    extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
    on_image: OnImage | NotGiven = NOT_GIVEN,
    on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
    max_document_chars: int | NotGiven | None = NOT_GIVEN,
    max_image_bytes: int | NotGiven | None = NOT_GIVEN,
    max_image_pixels: int | NotGiven | None = NOT_GIVEN,
    image_urls: ImageUrls | NotGiven = NOT_GIVEN,
    max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
    max_request_bytes: int | NotGiven | None = NOT_GIVEN,
    on_partial: OnPartial | NotGiven = NOT_GIVEN,
    requests_per_minute: int | NotGiven | None = NOT_GIVEN,
    documents_per_minute: int | NotGiven | None = NOT_GIVEN,
    keep_raw: bool | NotGiven = NOT_GIVEN,
    trace_content: bool | NotGiven = NOT_GIVEN,
    cache: CacheSetting | NotGiven | None = NOT_GIVEN,
) -> int:
    """Sample queries at random, and write their top documents to a CSV file for labelling.

    The documents of a query are in random order, so that their position does not bias the grades.
    Fill in the column `grade` with a whole number, 0 for not relevant; leave it empty for documents
    that you do not judge. Then read the grades with `Dataset.read(folder, labels=path)`.

    Args:
        dataset: a `Dataset`, or its folder; it needs no judgments.
        n: the number of queries.
        path: the file to write.
        depth: the number of documents from the top of each ranking.
        models: models whose top documents are added to those of the first stage. A document that
            is not in the file is not judged, and counts as not relevant.
        top_k: the number of candidates that these models rerank.
        seed: the seed of the random sample.
        overwrite: whether an existing file, with the grades in it, may be overwritten.

    The other arguments are the settings of the clients that are created for model names.

    Returns:
        The number of documents to label.

    Raises:
        InvalidRequestError: `n` or `depth` is below 1.
        ConfigurationError: no query has candidates, or the file exists.
    """
    settings = {name: value for name, value in given(locals()).items() if name in SETTINGS}
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
    """Read the grades in a file that `sample` wrote.

    Args:
        path: the file.

    Returns:
        The grades by query id and document id, without documents that have no grade.

    Raises:
        ConfigurationError: the file has another format, or a grade is not a whole number.
    """
    problems = Problems()
    found = read_csv_labels(path, problems.note)
    for problem in problems.listed():
        raise ConfigurationError(f"{fspath(path)!r}: {problem}")
    return found
