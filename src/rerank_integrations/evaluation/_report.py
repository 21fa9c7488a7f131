"""The report as one HTML file, without network access; all texts are escaped."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rerank_integrations.errors import ConfigurationError, RerankError
from rerank_integrations.evaluation._dataset import Dataset, image_of, text_of
from rerank_integrations.evaluation._evaluation import Evaluation
from rerank_integrations.evaluation._libraries import library
from rerank_integrations.evaluation._markdown import about, sections_of
from rerank_integrations.evaluation._plots import plots_of
from rerank_integrations.images import ImageLimits, wire_image

_SNIPPET = 320  # characters of a document
_QUERIES = 600  # with more of them, documents are shorter
_LEAST_SNIPPET = 80
_THUMBNAIL = ImageLimits(max_pixels=160 * 160)
_SMALL = ImageLimits(max_bytes=30_000)  # what is shown as it is where Pillow is missing
_IMAGES = 400  # at most, for the size of the file


def html_of(evaluation: Evaluation) -> str:
    """Return the report as HTML.

    Raises:
        ConfigurationError: the evaluation was read from JSON, which has no texts.
    """
    if evaluation.detail is None:
        raise ConfigurationError(
            "an evaluation that was read from JSON has no texts and rankings, so it has no HTML "
            "report; use to_markdown()"
        )
    folder = Path(__file__).parent
    style, script = (
        (folder / f"report.{one}").read_text(encoding="utf-8") for one in ("css", "js")
    )
    jinja2 = library("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found: str = environment.get_template("report.html.j2").render(
        evaluation=evaluation,
        about=about(evaluation),
        sections=sections_of(evaluation),
        plots=plots_of(evaluation),
        style=library("markupsafe").Markup(style),  # files of this package
        script=library("markupsafe").Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_packed(_data(evaluation)),
    )
    return found


def _packed(data: Any) -> str:
    """JSON in few letters, none of which can end the element that holds them."""
    plain = json.dumps(data, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(plain, mtime=0)).decode()  # the same in each run


def _hash(text: str) -> str:
    """The hash of a script or style for the content security policy."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"


def _data(evaluation: Evaluation) -> dict[str, Any]:
    """The data of the table of queries: each text once, referred to by its number."""
    dataset: Dataset
    dataset, before, after = evaluation.detail
    documents: dict[str, int] = {}
    queries = []
    first = evaluation.first_stage.per_query[evaluation.decides]
    models = evaluation.models
    for query, value in first.items():
        lists = {name: after[name][query] for name in models}
        queries.append(
            {
                "id": query,
                "text": dataset.queries[query],
                "values": [
                    round(one, 4)
                    for one in (value, *(m.decides.per_query[query] for m in models.values()))
                ],
                **_rankings(
                    dataset.judgments[query], before[query], lists, evaluation.k, documents
                ),
            }
        )
    length = max(_LEAST_SNIPPET, _SNIPPET * _QUERIES // max(len(queries), _QUERIES))
    return {
        "k": evaluation.k,
        "models": list(models),
        "queries": queries,
        "documents": [
            [name, _shortened(text_of(dataset.documents[name]), length)] for name in documents
        ],
        "images": _thumbnails(dataset, documents),
    }


def _rankings(
    judged: Mapping[str, int],
    before: Sequence[str],
    after: Mapping[str, Sequence[str]],
    k: int,
    documents: dict[str, int],
) -> dict[str, Any]:
    """The first documents before and after, with their positions in the other list."""

    def number(name: str) -> int:
        return documents.setdefault(name, len(documents))

    places = {name: place for place, name in enumerate(before, 1)}
    shown = dict.fromkeys(before[:k])
    rankings = []
    for found in after.values():
        shown.update(dict.fromkeys(found[:k]))
        moved = {name: place for place, name in enumerate(found, 1)}
        rankings.append(
            {
                "after": [[number(name), places[name]] for name in found[:k]],
                "to": [moved[name] for name in before[:k]],
            }
        )
    return {
        "before": [number(name) for name in before[:k]],
        "models": rankings,
        "grades": {number(name): judged[name] for name in shown if name in judged},
        "relevant": sum(grade > 0 for grade in judged.values()),
        "found": sum(judged.get(name, 0) > 0 for name in before),
    }


def _shortened(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _thumbnails(dataset: Dataset, documents: Mapping[str, int]) -> dict[int, str]:
    """Thumbnails by document number; images at URLs are not fetched, so they are not shown."""
    found: dict[int, str] = {}
    for name, number in documents.items():
        image = image_of(dataset.documents[name])
        is_address = isinstance(image, str) and not image.startswith("data:")
        if image is None or is_address or len(found) == _IMAGES:
            continue
        for limits in (_THUMBNAIL, _SMALL):
            try:
                found[number] = wire_image(image, limits).uri()
            except RerankError:  # Pillow is missing, or it is too large without it
                continue
            break
    return found
