"""Providers that other packages register by an entry point."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from calls import TEXTS
from cases import cases
from loopback import Reply, Server, ranks_all
from rerank_integrations import ConfigurationError, RerankClient
from rerank_integrations.providers import known_names, provider_class

PROVIDER = '''
"""Acme's reranker."""

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations import Dialect, RemoteProvider


@dataclass(frozen=True, kw_only=True)
class Acme(RemoteProvider):
    """https://acme.example/rerank."""

    name: ClassVar[str] = "acme"
    api_key_env: ClassVar[str | None] = "ACME_API_KEY"
    base_url_env: ClassVar[str | None] = "ACME_BASE_URL"
    default_base_url: ClassVar[str] = "https://acme.example/v1"
    models_path: ClassVar[str | None] = "/models"
    dialect: ClassVar[Dialect] = Dialect(top_n="limit")

    level: int = 1

    def body(self) -> dict[str, object]:
        """How thorough it is."""
        return {"level": self.level}
'''
USE = """
import sys
from rerank_integrations import RerankClient
from rerank_integrations.providers import known_names
client = RerankClient("acme:m", api_key="the-key", base_url=sys.argv[1], fallbacks=["acme:n"])
response = client.rerank("a red bicycle", ["apple pie", "a red bicycle"], top_n=1)
print(response.provider, [r.index for r in response], [m.id for m in client.models()])
print("acme" in known_names(), "cohere" in known_names(), client.provider)
"""


def install(
    folder: Path, entry_points: str, modules: Mapping[str, str] | None = None, name: str = "acme"
) -> None:
    """Put a package into a folder, as an installer leaves it."""
    metadata = folder / f"{name}_rerank-1.2.dist-info"
    metadata.mkdir()
    described = f"Metadata-Version: 2.1\nName: {name}-rerank\nVersion: 1.2\n"
    (metadata / "METADATA").write_text(described, encoding="utf-8")
    (metadata / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    for module, code in (modules or {}).items():
        (folder / f"{module}.py").write_text(code, encoding="utf-8")


def group(*lines: str) -> str:
    """The file of entry points with these of our group."""
    return "\n".join(["[rerank_integrations.providers]", *lines, ""])


def test_a_package_brings_a_provider(server: Server, tmp_path: Path) -> None:
    """An installed package's provider is found by its prefix, for clients and for fallbacks."""
    install(tmp_path, group("acme = acme_rerank:Acme"), {"acme_rerank": PROVIDER})
    server.plays(Reply({}, 404), ranks_all, Reply({"data": [{"id": "m", "object": "model"}]}))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)]),
        "ACME_API_KEY": "the-key",
        "ACME_BASE_URL": server.url,
    }
    found = subprocess.run(
        [sys.executable, "-c", USE, server.url],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert found.stderr == ""
    answered, known = found.stdout.splitlines()
    assert known.startswith("True True Acme(")
    assert "the-key" not in known
    assert answered == "acme [1] ['m']"
    assert [received.path for received in server.received] == [
        "/v1/rerank",
        "/v1/rerank",
        "/v1/models",
    ]
    assert server.received[0].body["limit"] == 1
    assert server.received[0].body["level"] == 1
    assert server.received[0].headers["authorization"] == "Bearer the-key"


@cases(
    ("lines", "words"),
    [
        (["broken = no_such_module_of_acme"], "cannot be loaded: ModuleNotFoundError: No module"),
        (["broken = acme_rerank:Nothing"], "cannot be loaded: AttributeError"),
        (["broken = acme_bad"], "cannot be loaded: ZeroDivisionError: division by zero"),
        (["broken = acme_rerank"], "is not a subclass of rerank_integrations.Provider"),
        (["broken = acme_rerank:ClassVar"], "is not a subclass of rerank_integrations.Provider"),
        (["broken = acme_rerank:Acme"], "has name = 'acme'; it must be 'broken'"),
    ],
)
def test_a_broken_package_breaks_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], words: str
) -> None:
    """Who asks for a provider that cannot be used is told its package and the cause."""
    modules = {"acme_rerank": PROVIDER, "acme_bad": "1 / 0"}
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    install(tmp_path, group(*lines, "acme = acme_rerank:Acme"), modules)
    install(tmp_path, "[rerank_integrations.providers]\nno equals sign\n", name="worse")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigurationError, match=words) as caught:
        RerankClient("broken:m")
    assert "the provider 'broken' of acme-rerank 1.2 (" in str(caught.value)
    assert RerankClient("acme:m", api_key="k").provider.name == "acme"
    assert RerankClient("local:bm25").rerank("red", TEXTS)
    assert {"acme", "broken", "cohere"} <= set(known_names())
    with pytest.raises(ConfigurationError, match="did you mean 'broken'"):
        RerankClient("brokn:m")
    with pytest.raises(ConfigurationError, match=r"names another provider than local"):
        RerankClient("local:bm25").with_options(model="acme:m")
    monkeypatch.delitem(sys.modules, "acme_rerank", raising=False)


def test_a_name_that_is_taken_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of our own names our class is used, with a warning; of two packages' neither is guessed."""
    install(tmp_path, group("cohere = acme:Cohere", "twice = acme:A", "same = acme:A"))
    install(tmp_path, group("twice = other:B", "same = acme:A"), {"acme": "A = 1"}, name="other")
    (tmp_path / "again").mkdir()
    install(tmp_path / "again", group("twice = acme:Old"))
    monkeypatch.syspath_prepend(tmp_path / "again")
    monkeypatch.syspath_prepend(tmp_path)

    assert provider_class("cohere").__module__ == "rerank_integrations.providers.cohere"
    assert known_names().count("cohere") == 1
    assert "the provider 'cohere' of acme-rerank 1.2 is not used" in caplog.text
    with pytest.raises(ConfigurationError) as caught:
        provider_class("twice")
    told = str(caught.value)
    assert "is registered by" in told
    assert told.count("acme-rerank 1.2") == told.count("other-rerank 1.2") == 1
    with pytest.raises(ConfigurationError, match=r"'same' of .* is not a subclass"):
        provider_class("same")


def test_who_names_our_own_waits_for_no_packages(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of a provider of ours looks for no entry point, nor do its calls."""

    def looked() -> None:
        raise AssertionError("looked for packages")

    monkeypatch.syspath_prepend(tmp_path)  # nothing is known of this path yet
    monkeypatch.setattr(importlib.metadata, "distributions", looked)
    with RerankClient("together:m", api_key="k", base_url=server.url) as client:
        client.with_options(model="other").rerank("q", ["a"], model="another")
        RerankClient("local:bm25", fallbacks=[client])
        with pytest.raises(ConfigurationError, match="it is an argument of Portkey"):
            RerankClient("m", virtual_key="k")  # type: ignore[call-arg]
    with pytest.raises(AssertionError, match="looked"):
        known_names()
