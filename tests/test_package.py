"""What the package says about itself: its version, its extras, its addresses."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from email import message_from_string
from email.message import Message
from functools import cache
from pathlib import Path

from hatch_build import absolute
from hatchling.metadata.core import ProjectMetadata
from hatchling.metadata.spec import get_core_metadata_constructors
from hatchling.plugin.manager import PluginManager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cases import cases
from docs_support import PAGES as DOCS_PAGES
from rerank_integrations import __version__

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
REPOSITORY = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS_PAGES]
NAMED_EXTRAS = re.compile(r"rerank-integrations\[([a-z,{}-]+)\]")


@cache
def metadata() -> Message:
    """The METADATA that a build of this tree writes."""
    version = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["core-metadata-version"]
    project = ProjectMetadata(str(ROOT), PluginManager())
    return message_from_string(get_core_metadata_constructors()[version](project))


def extras_named(path: Path) -> set[str]:
    """The extras that a file tells its readers to install."""
    text = path.read_text(encoding="utf-8")
    return {name for names in NAMED_EXTRAS.findall(text) for name in names.split(",")}


def test_one_version() -> None:
    """What is built has the version that the package says."""
    assert metadata()["Version"] == __version__


def test_the_changelog_knows_the_version() -> None:
    """The changelog opens with what is unreleased or with this version, and dates all others."""
    headings = re.findall(r"^## \[([^\]]+)\](?: - \d{4}-\d{2}-\d{2})?$", CHANGELOG, re.MULTILINE)
    dated = re.findall(r"^## \[([^\]]+)\] - \d{4}-\d{2}-\d{2}$", CHANGELOG, re.MULTILINE)

    assert len(headings) == len(re.findall(r"^## ", CHANGELOG, re.MULTILINE))
    assert headings[0] in {"Unreleased", __version__}
    assert dated == headings[headings[0] == "Unreleased" :]
    assert len(set(headings)) == len(headings)


@cases("path", [*SOURCES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_an_extra_that_is_named_is_there(path: Path) -> None:
    """An error message, a docstring or a page names no extra that the package does not have."""
    assert extras_named(path) <= set(EXTRAS)


def test_each_extra_is_missed() -> None:
    """Each extra that the package imports is named by an error, where it is missing."""
    imported = set(EXTRAS) - {"all", "aiohttp", "tracing"}  # users import these themselves
    assert set().union(*map(extras_named, SOURCES)) == imported


def test_all_is_all() -> None:
    """The extra `all` holds every other one but the large one and one that lacks some wheels."""
    (all_of_them,) = EXTRAS["all"]
    assert set(NAMED_EXTRAS.findall(all_of_them)[0].split(",")) == set(EXTRAS) - {
        "all",
        "cross-encoder",
        "evaluation",
    }


def test_every_provided_extra_is_tried_when_installed() -> None:
    """The check of an installed wheel knows each extra."""
    text = (ROOT / "tests" / "installed.py").read_text(encoding="utf-8")
    known = re.findall(r'^    "([a-z-]+)": Extra\(', text, re.MULTILINE)
    assert set(known) == set(EXTRAS) - {"all"}


def test_the_lowest_versions_are_tested() -> None:
    """`make lowest` installs each lower bound of a dependency or an extra, and nothing older."""
    every = [*PYPROJECT["project"]["dependencies"], *(one for of in EXTRAS.values() for one in of)]
    required = [Requirement(one) for one in every if not one.startswith("rerank-integrations")]
    bounds = {
        (canonicalize_name(one.name), Version(part.version))
        for one in required
        for part in one.specifier
        if part.operator == ">="
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pins = re.findall(r"([\w-]+)(?:\[[\w,]+\])?==([\d.]+)(?![\d.*])", makefile)

    assert {(canonicalize_name(name), Version(version)) for name, version in pins} == bounds


# what is used if a user has it, and what only type checkers read, which bring it
NOT_NEEDED = {"loguru", "sentence_transformers", "torch", "tqdm", "typing_extensions"}
DISTRIBUTIONS = {
    "PIL": "pillow",
    "Stemmer": "pystemmer",
    "haystack": "haystack-ai",
    "llama_index": "llama-index-core",
    "opentelemetry": "opentelemetry-api",
}


def test_each_import_is_declared() -> None:
    """What the package imports is declared; that a dependency brings it is not enough."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    imported = {name.partition(".")[0] for name in names} - {"rerank_integrations"}
    used = imported - set(sys.stdlib_module_names) - NOT_NEEDED
    every = [*PYPROJECT["project"]["dependencies"], *(one for of in EXTRAS.values() for one in of)]
    declared = {canonicalize_name(Requirement(one).name) for one in every}

    assert {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in used} <= declared


def test_pythons() -> None:
    """The oldest Python in the classifiers is the oldest that the package installs on.

    The systems in the classifiers are those that the tests run on.
    """
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    on = {"ubuntu": "POSIX :: Linux", "macos": "MacOS", "windows": "Microsoft :: Windows"}
    systems = {on[name] for name in re.findall(r"runs-on: ([a-z]+)-", ci)}
    said = {
        name.removeprefix("Operating System :: ")
        for name in metadata().get_all("Classifier", [])
        if name.startswith("Operating System")
    }

    assert said == systems

    prefix = "Programming Language :: Python :: 3."
    classifiers = metadata().get_all("Classifier", [])
    found = [name.split()[-1] for name in classifiers if name.startswith(prefix)]

    assert metadata()["Requires-Python"] == f">={found[0]}"
    assert [f"3.{minor}" for minor in range(11, 11 + len(found))] == found


@cases("name", ["Homepage", "Documentation", "Repository", "Changelog", "Issues", "Security"])
def test_addresses(name: str) -> None:
    """The package's page links to the project's places, all in its repository."""
    urls = dict(url.split(", ") for url in metadata().get_all("Project-URL", []))
    path = urls[name].removeprefix(REPOSITORY)

    assert urls[name].startswith(REPOSITORY)
    for kind in ("/blob/main/", "/tree/main/"):
        assert not path.startswith(kind) or (ROOT / path.removeprefix(kind)).exists()


def test_one_place_says_where_the_project_lives() -> None:
    """The repository's address stands in pyproject.toml alone, so that it can be changed there."""
    files = [
        *PAGES,
        *SOURCES,
        *(ROOT / "examples").glob("*.py"),
        *(ROOT / ".github").rglob("*.yml"),
        *ROOT.glob("*.yml"),
        ROOT / "hatch_build.py",
    ]
    assert [path.name for path in files if REPOSITORY in path.read_text(encoding="utf-8")] == []


def test_readme_leads_on_from_an_index() -> None:
    """Each link of README into the tree leads, on an index, to that file at the version's tag."""
    page = str(metadata().get_payload())
    own = rf"\({re.escape(REPOSITORY)}/(?:blob|raw)/v{re.escape(__version__)}/([^)#]+)"
    linked = re.findall(own, page)
    relative = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)

    assert metadata()["Description-Content-Type"] == "text/markdown"
    assert linked == relative
    assert linked
    assert [path for path in linked if not (ROOT / path).exists()] == []
    assert re.findall(r"\]\((?!https?:|#)", page) == []


@cases(
    ("written", "becomes"),
    [
        ("[a](b.md)", "[a](R/blob/v1/b.md)"),
        ("[a](docs/b.md#c) [d](e)", "[a](R/blob/v1/docs/b.md#c) [d](R/blob/v1/e)"),
        ("![a](b.png)", "![a](R/raw/v1/b.png)"),
        ('[a](b.md "c")', '[a](R/blob/v1/b.md "c")'),
        ("[a]: b.md", "[a]: R/blob/v1/b.md"),
        ("[a](https://b.example/c)", "[a](https://b.example/c)"),
        ("[a](mailto:b@c.example)", "[a](mailto:b@c.example)"),
        ("[a](#b)", "[a](#b)"),
        ("[^a]: note", "[^a]: note"),
        ("`x[0](y)`", "`x[0](y)`"),
        ("[`a` b](c.md)", "[`a` b](R/blob/v1/c.md)"),
        ("```python\nx[0](y)\n```\n[a](b)", "```python\nx[0](y)\n```\n[a](R/blob/v1/b)"),
    ],
)
def test_links_of_a_page(written: str, becomes: str) -> None:
    """A relative link leads to the file in the repository, an image to its bytes; code stays."""
    assert absolute(written, "R", "1") == becomes
