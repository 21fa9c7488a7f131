"""Options for the model and the ranking, and the client that is created from them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rerank_integrations.cli._command import Amount, CredentialsError, options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from rerank_integrations.client import RerankClient
    from rerank_integrations.providers.base import Provider


def complete_provider(ending: str = "") -> Callable[..., list[CompletionItem]]:
    """Completes the name of a provider of this package, without importing any of them."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        del ctx, param
        from pkgutil import iter_modules

        from click.shell_completion import CompletionItem

        folder = Path(__file__).parents[1] / "providers"
        found = [module.name for module in iter_modules([str(folder)])]
        names = sorted(name for name in found if not name.startswith("_") and name != "base")
        return [CompletionItem(f"{n}{ending}") for n in names if n.startswith(incomplete)]

    return complete


def _names(ctx: click.Context, param: click.Parameter, given: Sequence[str]) -> Sequence[str]:
    del ctx, param
    return [name.strip() for part in given for name in part.split(",") if name.strip()]


def _object(ctx: click.Context, param: click.Parameter, given: str | None) -> Any:
    """The JSON object that an option holds."""
    if given is None:
        return None
    try:
        found = json.loads(given)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter("it must be a JSON object, such as '{\"a\": 1}'", ctx, param)
    return found


base_url_option = click.option(
    "--base-url", metavar="URL", help="Base URL of the server, if it is not the default one."
)
allow_http_option = click.option(
    "--allow-http", is_flag=True, help="Allow unencrypted http:// to another machine."
)
model_options = options(
    click.option(
        "-m",
        "--model",
        envvar="RERANK_MODEL",
        show_envvar=True,
        metavar="PROVIDER:MODEL",
        shell_complete=complete_provider(":"),
        help="The model, such as cohere:rerank-v3.5. The default, local:hybrid, compares words on "
        "this machine and sends nothing.",
    ),
    base_url_option,
    allow_http_option,
)
# what decides how documents are sent, in `evaluate` too
sending_options = options(
    click.option(
        "--instruction",
        metavar="TEXT",
        help="Tell the model what counts as relevant; not all models support this.",
    ),
    click.option(
        "--on-image",
        type=click.Choice(["raise", "text"]),
        help="For a model of text only: text ranks a document with an image by its text.",
    ),
    click.option(
        "--on-invalid-document",
        type=click.Choice(["raise", "skip", "text"]),
        help="A document that cannot be sent: raise fails the call, skip leaves it out, text "
        "leaves its image out.  [default: raise]",
    ),
    click.option(
        "--max-document-chars",
        type=click.IntRange(1),
        metavar="N",
        help="Cut longer texts before they are sent.",
    ),
    click.option(
        "--extra-body",
        callback=_object,
        metavar="JSON",
        help="Keys to add to the body of each request, as an object.",
    ),
    click.option(
        "--cache",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Keep scores in this SQLite file, and take known ones from it.",
    ),
    click.option(
        "--timeout",
        type=Amount(0, min_open=True),
        metavar="SECONDS",
        help="Time limit of a call, including its retries.  [default: 60]",
    ),
    click.option(
        "--max-retries",
        type=click.IntRange(0),
        metavar="N",
        help="How often a failed request is retried.  [default: 2]",
    ),
)
rate_option = click.option(
    "--requests-per-minute", type=click.IntRange(1), metavar="N", help="Rate limit."
)
ranking_options = options(
    model_options,
    click.option(
        "--fallback",
        "fallbacks",
        multiple=True,
        metavar="PROVIDER:MODEL",
        shell_complete=complete_provider(":"),
        help="Ranks if the model fails; several are asked in order.",
    ),
    click.option(
        "-n",
        "--top-n",
        type=click.IntRange(1),
        metavar="N",
        help="Return only the N best results.  [default: all]",
    ),
    click.option(
        "-f",
        "--fields",
        "rank_fields",
        multiple=True,
        callback=_names,
        metavar="NAME,...",
        help="Fields to rank objects by, in this order; a.b is field b in field a.  [default: all]",
    ),
    click.option(
        "--threshold",
        "score_threshold",
        type=float,
        metavar="SCORE",
        help="Omit results with a lower score; not supported by local:hybrid.",
    ),
    click.option(
        "--score-transform",
        type=click.Choice(["sigmoid"]),
        help="Make a probability of a logit, before --threshold.",
    ),
    sending_options,
)
# for the provider of --model, where the variable of that provider is not set or does not exist
COMMON_KEY = "RERANK_API_KEY"
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show only results and errors.")


def chosen_model(model: str | None, base_url: str | None, *, quiet: bool) -> str:
    """The model; if none is given, a local one, with a note on stderr.

    Raises:
        UsageError: a base URL without a model.
    """
    if model:
        return model
    if base_url:
        raise click.UsageError("--base-url needs --model, such as --model vllm:MODEL")
    model = "local:hybrid" if find_spec("numpy") else "local:bm25"
    if not quiet:
        click.echo(f"ranking with {model}; to use another model: --model or RERANK_MODEL", err=True)
    return model


def open_client(
    model: str, *, base_url: str | None = None, allow_http: bool = False, **settings: Any
) -> RerankClient:
    """Create the client of a model, with the given settings.

    Raises:
        CredentialsError: there is no key.
        RerankError: another invalid setting.
    """
    from rerank_integrations._options import named
    from rerank_integrations.client import RerankClient

    own, kind = named(model, None)
    timeout, cache = settings.pop("timeout", None), settings.pop("cache", None)
    if timeout is not None:
        settings |= {"timeout": timeout, "deadline": timeout}
    if cache is not None:
        settings["cache"] = f"sqlite:///{cache}"
    wanted = {name: value for name, value in settings.items() if value not in (None, [], ())}
    for other in wanted.get("fallbacks", ()):
        theirs = named(other, None)[1]
        if theirs.name != kind.name:  # another model of the same provider has the model's key
            _check_key(theirs)
    return RerankClient(
        own, provider=make_provider(kind, base_url, allow_http=allow_http), **wanted
    )


def make_provider(kind: Any, base_url: str | None, *, allow_http: bool) -> Provider:
    """Create a provider, with its key from the environment.

    The key is in its own variable, or in `COMMON_KEY`.

    Raises:
        CredentialsError: there is no key.
        ConfigurationError: the base URL is invalid.
    """
    from rerank_integrations.errors import ConfigurationError

    given: dict[str, Any] = {"base_url": base_url} if base_url else {}
    if allow_http:
        given["allow_http"] = True
    if takes_key(kind):
        others = (*kind.other_key_envs, COMMON_KEY)
        kind = type(kind)(kind.__name__, (kind,), {"other_key_envs": others})
    try:
        provider: Provider = kind(**given)
    except ConfigurationError as error:
        if "has no key" not in str(error):
            raise
        raise CredentialsError(
            f"{kind.name} needs a key: export {kind.api_key_env}=... or {COMMON_KEY}=... "
            "(`rerank models` lists all)"
        ) from error
    return provider


def _check_key(kind: Any) -> None:
    """Refuse a fallback whose key is not in its own variable: the common one is the model's.

    Raises:
        CredentialsError: there is none.
    """
    if takes_key(kind) and kind.needs_key and not has_key(kind):
        raise CredentialsError(
            f"the fallback {kind.name} needs a key: export {kind.api_key_env}=..."
        )


def takes_key(kind: Any) -> bool:
    """Whether a provider's class can send a key."""
    return hasattr(kind, "other_key_envs")


def key_variables(kind: Any) -> list[str]:
    """The environment variables that may hold the key of a provider's class."""
    names = (kind.api_key_env, *getattr(kind, "other_key_envs", ()))
    return [name for name in names if name]


def has_key(kind: Any) -> bool:
    """Whether the environment has the key of a provider's class."""
    return any(os.environ.get(name, "").strip() for name in key_variables(kind))
