"""`rerank doctor`: checks this installation, and whether it can reach a provider."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from rerank_integrations import __version__
from rerank_integrations.cli._client import (
    COMMON_KEY,
    has_key,
    key_variables,
    model_options,
    open_client,
)
from rerank_integrations.cli._command import CREDENTIALS, FAILED, Command, exit_code, plural, spoken

_NEEDED = ("httpx", "pydantic", "orjson", "click", "rich")
_OPTIONAL = {  # by the extra that brings it
    "langchain": "langchain-core",
    "llama-index": "llama-index-core",
    "haystack": "haystack-ai",
    "local": "bm25s",
    "cross-encoder": "fastembed",
    "images": "pillow",
    "aiohttp": "httpx-aiohttp",
    "evaluation": "ir-measures",
}
_NOT_READ = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # by other programs
_PROXIED = ("http", "https", "all")  # those of other schemes are not used
_AT_ONCE: dict[str, Any] = {"deadline": 15.0, "max_retries": 0}
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


class Finding(NamedTuple):
    """A line of the report."""

    status: str
    subject: str
    said: str
    fix: str = ""
    code: int = FAILED  # the exit code of a failure


_EXAMPLES = """\b
Examples:
  rerank doctor
  rerank doctor --model cohere:rerank-v3.5
  rerank doctor --no-network
"""


@click.command(
    "doctor",
    cls=Command,
    short_help="Check keys, proxies, certificates and the network.",
    epilog=_EXAMPLES,
)
@model_options
@click.option("--no-network", is_flag=True, help="Send nothing.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    model: str | None,
    base_url: str | None,
    allow_http: bool,
    no_network: bool,
) -> None:
    """Check versions, keys, proxies and certificates, and whether the provider can be reached.

    With --model, two short documents are ranked, which may be billed. Without it, the list of
    models is requested from each provider whose key is set. Some providers have no list, and some
    return it without checking the key: to verify a key, use --model. Keys are never shown.
    """
    if model is None and base_url is not None:
        raise click.UsageError("--base-url needs --model, such as --model vllm:MODEL")
    failures = []
    for finding in _findings(model, base_url, allow_http=allow_http, no_network=no_network):
        _show(finding)
        if finding.status == "fail":
            failures.append(finding.code)
    ctx.exit(max(failures, default=0))


def _show(finding: Finding) -> None:
    said, fix = f"{finding.subject}: {finding.said}", f"fix: {finding.fix}"
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from rerank_integrations.cli._output import cell

        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(finding.status.ljust(4), _STYLES[finding.status]), cell(said))
        if finding.fix:
            grid.add_row("", cell(fix))
        Console(highlight=False, file=sys.stdout).print(grid)
        return
    click.echo(f"{finding.status:4} {said}")
    if finding.fix:
        click.echo(f"     {fix}")


def _findings(
    model: str | None, base_url: str | None, *, allow_http: bool, no_network: bool
) -> Iterator[Finding]:
    yield from _versions()
    yield from _keys()
    yield from _proxies()
    yield from _certificates()
    if model is not None:
        sends = not no_network or model.startswith(f"{_local()}:")
        yield _rank(model, base_url, allow_http=allow_http, sends=sends)
        return
    if _version(_OPTIONAL["local"]):
        yield _rank(f"{_local()}:hybrid", None, allow_http=False)
    if not no_network:
        yield from _lists()


def _local() -> str:
    from rerank_integrations.providers.local import Local

    return Local.name


def _versions() -> Iterator[Finding]:
    import platform

    yield Finding("ok", "rerank-integrations", __version__)
    yield Finding("ok", "python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("ok", "system", f"{platform.system()} {platform.machine()}")
    yield Finding("ok", "packages", ", ".join(f"{name} {_version(name)}" for name in _NEEDED))
    there = [f"{name} {_version(name)}" for name in _OPTIONAL.values() if _version(name)]
    yield Finding("ok", "optional", ", ".join(there) or "none")
    missing = [extra for extra, name in _OPTIONAL.items() if not _version(name)]
    if missing:
        how = "pip install 'rerank-integrations[NAME]'"
        yield Finding("ok", "extras not installed", f"{', '.join(missing)}; {how}")


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # slow to load

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _kinds() -> list[Any]:
    from rerank_integrations.providers import known_names, provider_class

    return [provider_class(name) for name in known_names()]


def _keys() -> Iterator[Finding]:
    variables = {name: kind.name for kind in _kinds() for name in key_variables(kind)}
    variables[COMMON_KEY] = "a --model whose own variable is not set"
    found = [name for name in variables if os.environ.get(name, "").strip()]
    for name in found:
        value = os.environ[name]
        odd = value[0] in "'\"" or not value.isascii() or any(map(str.isspace, value))
        if odd and not name.endswith("_PATH"):
            fix = f"set {name} without quotes, spaces and non-ASCII characters"
            yield Finding("warn", name, f"is set, for {variables[name]}, but looks wrong", fix)
        else:
            yield Finding("ok", name, f"is set, for {variables[name]}")
    for kind in _kinds():
        variable = getattr(kind, "base_url_env", None)
        if variable and os.environ.get(variable):
            yield Finding("ok", variable, _shown(os.environ[variable]))
    if not found:
        fix = "export the variable of your provider; `rerank models` lists them"
        said = "none is set: only local models and servers without a key can be used"
        yield Finding("warn", "keys", said, fix)


def _proxies() -> Iterator[Finding]:
    from urllib.request import getproxies

    from rerank_integrations._sender import proxy_problem

    found = getproxies()
    for scheme, address in sorted(found.items()):
        if scheme == "no":
            yield Finding("ok", "no proxy for", address)
        elif scheme in _PROXIED and (problem := proxy_problem(_with_scheme(address))):
            fix = "correct the variable; write / as %2F in a user name or password"
            yield Finding("fail", f"{scheme} proxy", problem, fix)
        else:
            yield Finding("ok", f"{scheme} proxy", _shown(_with_scheme(address)))
    if not found:
        yield Finding("ok", "proxy", "none is set")


def _shown(address: str) -> str:
    """A URL without secrets, also if a password has an unescaped `/`, `?` or `#`."""
    from rerank_integrations.providers._validation import shown_address

    head, slashes, rest = address.partition("//")
    before, at, host = rest.rpartition("@")
    return shown_address(f"{head}{slashes}{'***' if before else ''}{at}{host}")


def _with_scheme(address: str) -> str:
    return address if "://" in address else f"http://{address}"


def _certificates() -> Iterator[Finding]:
    from rerank_integrations._sender import ssl_context
    from rerank_integrations.errors import ConfigurationError

    names = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    where = ", ".join(f"{name}={os.environ[name]}" for name in names) or "from certifi"
    try:
        count = ssl_context().cert_store_stats()["x509_ca"]
    except ConfigurationError as error:
        yield Finding("fail", "certificates", str(error), "correct or unset the variable")
    else:
        yield Finding("ok", "certificates", f"{where} ({count})" if count else where)
    for name in _NOT_READ:
        if os.environ.get(name) and not names:
            fix = f"export SSL_CERT_FILE=${name}"
            yield Finding("warn", name, "is set, but this package does not read it", fix)


def _rank(model: str, base_url: str | None, *, allow_http: bool, sends: bool = True) -> Finding:
    """Rank two documents, or check only the name, the key and the base URL."""
    try:
        with open_client(model, base_url=base_url, allow_http=allow_http, **_AT_ONCE) as client:
            if not sends:
                return Finding("ok", model, "is configured; nothing was sent")
            response = client.rerank("ping", ["ping", "pong"], top_n=1)
    except Exception as error:  # noqa: BLE001  # every failure is a finding
        return _problem(model, error)
    return Finding("ok", model, f"works (model {response.model})")


def _lists() -> Iterator[Finding]:
    """Request the models of each provider that has a key."""
    from rerank_integrations.cli.models import list_models
    from rerank_integrations.errors import ConfigurationError

    for kind in _kinds():
        if not has_key(kind):
            continue
        try:
            count = len(list_models(kind.name, None, allow_http=False, **_AT_ONCE))
        except ConfigurationError as error:
            fix = f"rerank doctor --model {kind.name}:MODEL"
            yield Finding("warn", kind.name, f"not checked: {spoken(error)}", fix)
        except Exception as error:  # noqa: BLE001  # as above
            yield _problem(kind.name, error)
        else:
            yield Finding("ok", kind.name, f"reachable, {plural(count, 'model')}")


def _problem(subject: str, error: Exception) -> Finding:
    """A failure to reach a provider, with its fix."""
    from rerank_integrations import errors

    if isinstance(error, click.ClickException):
        return Finding("fail", subject, error.message, "set the variable", error.exit_code)
    said, code = spoken(error), exit_code(error)
    match error:
        case errors.AuthenticationError() | errors.PermissionDeniedError():
            fix = "check that the key is complete, not revoked and of this provider"
        case errors.PaymentRequiredError():
            fix = "add credit to the account"
        case errors.NotFoundError():
            fix = f"check the model and the base URL: rerank models {subject.partition(':')[0]}"
        case errors.RateLimitError():
            fix = "wait and try again; the key is valid"
        case errors.TransportError():
            fix = "check the base URL, the proxy and the certificates above, and the firewall"
        case _:
            fix = "see the message"
    return Finding("fail", subject, said, fix, code if code == CREDENTIALS else FAILED)
