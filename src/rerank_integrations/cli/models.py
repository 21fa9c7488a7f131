"""`rerank models`: lists the providers, or the models of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rerank_integrations.cli._client import (
    COMMON_KEY,
    allow_http_option,
    base_url_option,
    complete_provider,
    has_key,
    key_variables,
    make_provider,
)
from rerank_integrations.cli._command import Command, CredentialsError
from rerank_integrations.cli._output import (
    cell,
    format_for,
    format_options,
    new_table,
    write_json,
    write_lines,
    write_table,
)

if TYPE_CHECKING:
    from rerank_integrations.providers._model_list import ModelInfo


_EXAMPLES = """\b
Examples:
  rerank models
  rerank models openrouter
  rerank models vllm --base-url http://localhost:8000
  rerank models openrouter --jsonl | jq -r .id
"""


@click.command(
    "models", cls=Command, short_help="List the providers, or the models of one.", epilog=_EXAMPLES
)
@click.argument("provider", required=False, shell_complete=complete_provider())
@base_url_option
@allow_http_option
@format_options
def command(
    provider: str | None, *, base_url: str | None, allow_http: bool, form: str | None
) -> None:
    """List the providers and whether their key is set, or the rerank models of one PROVIDER.

    With PROVIDER, its list of models is requested with your key. If a provider has no list, the
    message names the page of its models.
    """
    from rerank_integrations.errors import ConfigurationError

    if provider is None:
        rows = _providers()
    else:
        try:
            found = list_models(provider, base_url, allow_http=allow_http)
        except ConfigurationError as error:
            if "no endpoint that lists" not in str(error):
                raise
            raise click.ClickException(str(error)) from error  # not wrong usage
        rows = [{k: v for k, v in one._asdict().items() if k != "raw"} for one in found]
    form = format_for(form)
    if form == "jsonl":
        write_lines(rows)
    elif form == "json":
        write_json(rows)
    elif provider is None:
        table = new_table("provider", "environment variable", "key")
        for row in rows:
            state = "not set" if row["key_needed"] else "optional" if row["key_variables"] else ""
            key = cell("set", "green") if row["key_set"] else cell(state)
            table.add_row(row["provider"], cell(" or ".join(row["key_variables"])), key)
        write_table(
            table,
            f"{COMMON_KEY} is used for a provider whose own variable is not set",
            "list the models of a provider: rerank models PROVIDER",
        )
    else:
        table = new_table("model", "context", "images", "US dollars", right=("context",))
        for row in rows:
            images = {True: "yes", False: "no", None: ""}[row["takes_images"]]
            prices = ", ".join(f"{price:g} per {unit}" for unit, price in row["prices"].items())
            name = cell(f"{provider}:{row['id']}")
            table.add_row(name, str(row["context_length"] or ""), images, prices.replace("_", " "))
        write_table(table)


def _providers() -> list[dict[str, Any]]:
    from rerank_integrations.providers import known_names, provider_class

    return [
        {
            "provider": name,
            "key_variables": key_variables(kind),
            "key_needed": bool(key_variables(kind)) and getattr(kind, "needs_key", True),
            "key_set": has_key(kind),
        }
        for name in known_names()
        for kind in [provider_class(name)]
    ]


def list_models(
    name: str, base_url: str | None, *, allow_http: bool, **settings: Any
) -> Sequence[ModelInfo]:
    """The rerank models of a provider.

    Raises:
        CredentialsError: there is no key.
        RerankError: the provider has no list, or could not be asked.
    """
    from rerank_integrations.client import RerankClient
    from rerank_integrations.providers import provider_class

    kind: Any = provider_class(name)
    try:
        provider = make_provider(kind, base_url, allow_http=allow_http)
    except CredentialsError:
        # where there is no list a key is of no use, and this says so
        kind(api_key="none", base_url=base_url, allow_http=allow_http).models_address({})
        raise
    found = provider.own_models()
    if found is None:
        # the list does not depend on the model, which a client must have
        with RerankClient("@any/model", provider=provider, **settings) as client:
            found = client.models()
    return found
