"""Write docs/choose-a-model.md: the local engines as measured here, the others as published.

make models

No figure of a vendor stands here without the page that it is from, and the date of that page or of
its reading. What was not found says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rerank_integrations.evaluation import Evaluation, ModelResult, evaluate

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "choose-a-model.md"
COLLECTION = ROOT / "notebooks" / "data" / "python-faq"
ENGINES = {"local:bm25": "25 languages", "local:hybrid": "25 languages"}
CANDIDATES = 50
READ = "2026-11-26"
NOT_FOUND = "not found"


class Source(NamedTuple):
    """A page, and its own date; without one, the day on which it was read."""

    url: str
    date: str = ""

    def __str__(self) -> str:
        return f"[{self.date or f'read {READ}'}]({self.url})"


class Published(NamedTuple):
    """What is published about a model; each fact with its source."""

    model: str
    price: str
    context: str
    languages: str
    images: str
    quality: str


def fact(text: str, url: str, date: str = "") -> str:
    """A fact with its source."""
    return f"{text} ({Source(url, date)})"


COHERE = "https://docs.cohere.com/docs/rerank"
COHERE_PRICE = "https://developersdigest.tech/models/rerankers/cohere"
COHERE_5 = "https://docs.cohere.com/docs/cohere-on-openrouter"
VOYAGE = (
    "https://www.mongodb.com/company/blog/product-release-announcements/"
    "rerank-2-5-and-rerank-2-5-lite-instruction-following-rerankers"
)
JINA_35, JINA_M0 = (f"https://jina.ai/models/jina-reranker-{one}" for one in ("v3.5", "m0"))
JINA_TABLE = "https://gigarouter.ai/models/jinaai/jina-reranker-v3"
JINA_CARD = "https://huggingface.co/jinaai/jina-reranker-v3.5"
MIXEDBREAD = "https://www.mixedbread.com/docs/reranking/models/mxbai-rerank-large-v2"
ZEROENTROPY = "https://docs.zeroentropy.dev/models"
NEMOTRON = "https://deepinfra.com/nvidia/Nemotron-3.5-Rerank-8B-BF16/api"
PUBLISHED = [
    Published(
        "`cohere:rerank-v5.0-pro`",
        NOT_FOUND,
        fact("32,768", COHERE_5),
        NOT_FOUND,
        fact("no", COHERE_5),
        NOT_FOUND,
    ),
    Published(
        "`cohere:rerank-v3.5`",
        NOT_FOUND,
        fact("4,096", COHERE),
        fact("those of embed-multilingual-v3.0", COHERE),
        fact("no", COHERE),
        NOT_FOUND,
    ),
    Published(
        "`voyage:rerank-2.5`",
        fact(
            "$0.05 a million tokens at Vercel", "https://vercel.com/ai-gateway/models/rerank-2.5.md"
        ),
        fact("32,000", VOYAGE, "2025-09-09"),
        fact("multilingual", "https://vercel.com/ai-gateway/models/rerank-2.5.md"),
        NOT_FOUND,
        fact("7.94 % above Cohere Rerank v3.5 on 93 collections", VOYAGE, "2025-09-09"),
    ),
    Published(
        "`jina:jina-reranker-v3.5`",
        NOT_FOUND,
        fact("131,000, for the whole list", JINA_35, "2026-07-27"),
        fact("93", JINA_35, "2026-07-27"),
        fact("no", JINA_35, "2026-07-27"),
        fact("BEIR 63.20", JINA_CARD),
    ),
    Published(
        "`jina:jina-reranker-m0`",
        NOT_FOUND,
        fact("10,000", JINA_M0, "2025-04-08"),
        fact("29", JINA_M0, "2025-04-08"),
        fact("yes", JINA_M0, "2025-04-08"),
        fact("BEIR 58.95, in a copy of Jina's table", JINA_TABLE),
    ),
    Published(
        "`mixedbread:mixedbread-ai/mxbai-rerank-large-v2`",
        fact("$0.15 a million tokens", MIXEDBREAD, "2025-06-26"),
        fact("8,000; 32,000 possible", MIXEDBREAD, "2025-06-26"),
        fact("100+", MIXEDBREAD, "2025-06-26"),
        NOT_FOUND,
        fact("BEIR 57.49; Jina measures 62.45", MIXEDBREAD, "2025-06-26")
        + f" ({Source(JINA_CARD)})",
    ),
    Published(
        "`zeroentropy:zerank-2`",
        fact("$0.025 a million tokens", ZEROENTROPY),
        NOT_FOUND,
        fact(
            "100+",
            "https://www.zeroentropy.dev/articles/"
            "smarter-context-compression-for-llm-pipelines-zerank-2-as-a-calibrated-classifier",
        ),
        NOT_FOUND,
        fact("nDCG@10 0.78 on 29 collections", "https://zeroentropy.dev/rerankers/"),
    ),
    Published(
        "`deepinfra:nvidia/Nemotron-3.5-Rerank-8B-BF16`",
        fact("$0.05 a million tokens", NEMOTRON),
        fact("32,768", NEMOTRON),
        fact("multilingual", NEMOTRON),
        fact(
            "yes, in NVIDIA's NIM",
            "https://docs.nvidia.com/nim/nemo-retriever/reranking/2.4/use-the-api-openai.html",
        ),
        NOT_FOUND,
    ),
    Published(
        "Qwen/Qwen3-Reranker-0.6B, for [a server of your own](gateways/index.md)",
        "none: open weights",
        NOT_FOUND,
        NOT_FOUND,
        NOT_FOUND,
        fact("BEIR 56.94, as Jina measures", JINA_CARD),
    ),
]
HEADINGS = ("model", "price", "context, in tokens", "languages", "images", "quality")


_TEXT = """\
# Choose a model

No table can say which model is best on your data: vendors measure on other collections, with other
first stages, and some collections are in the training data of some models. Take two or three that
fit your documents and your budget, and [measure them](evaluation.md):

```sh
rerank evaluate my-data --model local:hybrid --model cohere:rerank-v3.5 --max-cost 2
```

## Engines in your own process

Measured on {queries} judged questions of Python's FAQ, {candidates} candidates of a plain BM25
(nDCG@10 {first:.3f}). In brackets is the 95 % interval of the gain.

{heading}
{engines}

They improve a lexical first stage; after a dense retriever they can make the order worse
([when](gateways/local.md#what-they-are-for)).

## Models of vendors

As their own pages say, unless another one is named. The link is the source, and its text the date
of that page, or the day on which a stored copy of it was read. Prices and models change: look
before you decide. Figures in different rows do not compare.

{heading}
{published}

BEIR is the mean nDCG@10 over its collections, in percent, with the vendor's own first stage.
Cohere's page named no price for a single search ({cohere}).

[Providers](gateways/index.md) lists all that this package can call.

<!-- written by `make models` from scripts/choose_a_model.py -->
"""


def row(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def local_row(engine: str, model: ModelResult) -> str:
    """A row about an engine of this package."""
    own = model.decides
    gain = f"+{own.gain:.3f} [{own.ci_low:.3f}, {own.ci_high:.3f}]"
    quality = f"nDCG@10 {own.mean:.3f}, {gain}"
    return row(f"`{engine}`", "none", "no limit", ENGINES[engine], "no", quality)


def page_of(found: Evaluation) -> str:
    """The page."""
    return _TEXT.format(
        queries=found.queries,
        candidates=CANDIDATES,
        first=found.first_stage.means[found.decides],
        heading=f"{row(*HEADINGS)}\n{row(*['---'] * len(HEADINGS))}",
        engines="\n".join(local_row(name, model) for name, model in found.models.items()),
        published="\n".join(row(*one) for one in PUBLISHED),
        cohere=Source(COHERE_PRICE, "2026-10-18"),
    )


def main() -> None:
    """Measure, and write the page."""
    found = evaluate(COLLECTION, list(ENGINES), top_k=CANDIDATES, curve=False)
    PAGE.write_text(page_of(found), encoding="utf-8")


if __name__ == "__main__":
    main()
