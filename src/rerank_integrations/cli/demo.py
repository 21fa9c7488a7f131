"""`rerank demo`: ranks a few documents in this process, and shows how their order changes."""

from __future__ import annotations

import click

from rerank_integrations.cli._client import chosen_model, open_client
from rerank_integrations.cli._command import Command
from rerank_integrations.cli._output import cell, new_table, write_table

_QUERY = "how to oil a bicycle chain"
_DOCUMENTS = (
    "Change the oil of a car once a year.",
    "The hotel rents a bicycle to each guest.",
    "Olive oil keeps for two years.",
    "How bright is a good bicycle light?",
    "Put oil on each link of a bicycle chain.",
    "The wet brakes of a bicycle squeak.",
    "A dry chain squeaks: oil it after rain.",
    "Pump up the tyres in spring.",
)


_EXAMPLES = """\b
Examples:
  rerank demo
  rerank demo "my brakes"
"""


@click.command(
    "demo", cls=Command, short_help="Rank built-in documents: no key, no network.", epilog=_EXAMPLES
)
@click.argument("query", default=_QUERY)
def command(query: str) -> None:
    """Rank eight built-in documents on this machine: no key, no network.

    QUERY can be any question about bicycles, cars or oil.
    """
    if not query.strip():
        raise click.UsageError("QUERY is empty")
    model = chosen_model(None, None, quiet=True)
    with open_client(model) as client:
        response = client.rerank(query, _DOCUMENTS)
    table = new_table(
        "now", "before", "moved", "score", "document",
        right=("now", "before", "score"), wide="document", title=query,
    )  # fmt: skip
    for now, result in enumerate(response, 1):
        before = result.index + 1
        moved = before - now
        arrow = cell(f"▲ {moved}", "green") if moved > 0 else cell(f"▼ {-moved}", "red")
        score = f"{result.relevance_score:.2f}"
        text = cell(result.document)
        table.add_row(str(now), str(before), arrow if moved else "=", score, text)
    write_table(
        table,
        f"ranked with {model}; to rank your own documents: rerank run QUERY FILES...",
    )
