"""Rerank what two frameworks retrieve from Python's own documentation, and measure the gain.

make demo
make demo QUESTION="how do I run a command and read its output"
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from corpus import Entry, entries
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.schema import TextNode
from retrieval import WordCounts, WordCountsForLlamaIndex
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rerank_integrations.evaluation import evaluate
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

JUDGED = Path(__file__).resolve().parents[1] / "notebooks" / "data" / "python-faq"
MODEL = "local:hybrid"
QUESTION = "walk through all files of a directory tree"
CANDIDATES = 50
KEPT = 8

Ranking = list[tuple[str, str, float]]
"""Name, text and score of each, best first."""


def with_langchain(corpus: list[Entry], question: str) -> tuple[Ranking, Ranking]:
    """The candidates of a vector store, and what a ContextualCompressionRetriever keeps."""
    store = InMemoryVectorStore(WordCounts())
    store.add_documents([Document(entry.text, metadata={"name": entry.name}) for entry in corpus])
    retriever = store.as_retriever(search_kwargs={"k": CANDIDATES})
    reranked = ContextualCompressionRetriever(
        base_retriever=retriever,
        base_compressor=RerankCompressor(model=MODEL, top_n=KEPT, rank_fields=["name", "text"]),
    )

    def ranking(documents: list[Document]) -> Ranking:
        return [
            (found.metadata["name"], found.page_content, found.metadata.get("relevance_score", 0.0))
            for found in documents
        ]

    return ranking(retriever.invoke(question)), ranking(reranked.invoke(question))


def with_llama_index(corpus: list[Entry], question: str) -> tuple[Ranking, Ranking]:
    """The candidates of an index, and the source nodes of a query engine that reranks."""
    index = VectorStoreIndex(
        [TextNode(text=entry.text, metadata={"name": entry.name}) for entry in corpus],
        embed_model=WordCountsForLlamaIndex(),
    )
    engine = index.as_query_engine(
        llm=MockLLM(),
        similarity_top_k=CANDIDATES,
        node_postprocessors=[
            RerankPostprocessor(model=MODEL, top_n=KEPT, rank_fields=["name", "text"])
        ],
    )
    before = index.as_retriever(similarity_top_k=CANDIDATES).retrieve(question)
    after = engine.query(question).source_nodes
    return (
        [(n.node.metadata["name"], n.node.get_content(), n.score or 0.0) for n in before],
        [(n.node.metadata["name"], n.node.get_content(), n.score or 0.0) for n in after],
    )


def table(title: str, before: Ranking, after: Ranking) -> Table:
    """What was kept, best first, with its place before and how far it moved."""
    shown = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        expand=True,
        collapse_padding=True,
        pad_edge=False,
    )
    for heading, style in (("now", "bold"), ("before", ""), ("moved", ""), ("score", "")):
        shown.add_column(heading, style=style, justify="right", no_wrap=True, width=6)
    shown.add_column("name", style="cyan", no_wrap=True, width=24)
    shown.add_column("what it says", overflow="ellipsis", no_wrap=True, ratio=1)
    places = {name: place for place, (name, _, _) in enumerate(before, 1)}
    for now, (name, text, score) in enumerate(after, 1):
        moved = places[name] - now
        arrow = f"[green]▲ {moved}" if moved > 0 else f"[red]▼ {-moved}" if moved else "="
        first_line = text.strip().splitlines()[0]
        shown.add_row(str(now), str(places[name]), arrow, f"{score:.2f}", name, first_line)
    return shown


def main() -> None:
    """Ask one question of both frameworks, and many judged ones of the model alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", nargs="?", default=os.environ.get("QUESTION") or QUESTION)
    question = parser.parse_args().question
    console = Console(width=None if Console().is_terminal else 110)
    corpus = entries()
    console.print(
        f"[bold]{question}[/bold]\n{len(corpus)} docstrings of Python's standard library; "
        f"{CANDIDATES} candidates retrieved, {KEPT} kept by {MODEL}\n"
    )
    before, after = with_langchain(corpus, question)
    console.print("Retrieved first, before reranking:")
    for place, (name, text, _) in enumerate(before[:3], 1):
        console.print(f"  {place}  [cyan]{name}[/cyan]  {text.strip().splitlines()[0]}")
    console.print()
    console.print(table("LangChain: ContextualCompressionRetriever", before, after))
    console.print()
    console.print(table("LlamaIndex: query engine", *with_llama_index(corpus, question)))
    console.print()
    found = evaluate(JUDGED, [MODEL], top_k=CANDIDATES, curve=False)
    first, last = found.first_stage.means["nDCG@10"], found.models[MODEL].decides.mean
    console.print(
        f"[bold]On {found.queries} judged questions of Python's FAQ[/bold]\n"
        f"nDCG@10 {first:.3f} before, {last:.3f} after. {found.verdict}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
