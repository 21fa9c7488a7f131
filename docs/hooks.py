"""What MkDocs cannot do by itself: pages from outside docs/, and what each page has in common."""

from __future__ import annotations

import html
import logging
import posixpath
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
# they stand in the repository's root, where its readers look for them
OUTSIDE = ("CHANGELOG.md", "SECURITY.md", "benchmarks/RESULTS.md", "benchmarks/cpu.png")
# a make target writes it, and a page that links to it must not wait for that
UNWRITTEN = {"benchmarks/RESULTS.md": "# Benchmarks\n\nNothing was measured here: `make bench`.\n"}
_HATCH = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
REPOSITORY = _HATCH["metadata"]["hooks"]["custom"]["repository"]
NOTEBOOKS = "notebooks"  # of the repository; their pages have the same place in docs/
# the search counts a hit so often: a page that explains goes before those that mention or list
WEIGHTS = {
    "CHANGELOG.md": 0.2,
    "faq.md": 0.5,
    "faults.md": 0.3,
    "getting-started.md": 1.5,
    "glossary.md": 0.3,
    "images.md": 2,
    "index.md": 0.2,
    "migrate/": 0.3,
    "notebooks/": 0.3,
    "proxies.md": 2,
    "reference/": 0.3,
}
DESCRIPTION = 160  # characters; search engines show no more
log = logging.getLogger("mkdocs.hooks.docs")
_LINK = re.compile(r"(?<=]\()([^)#:\s]+)")
_PICTURE = re.compile(r"^!\[.*\]\((\S+)\)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"^[\w`*\[].*(?:\n.+)*", re.MULTILINE)
_LABEL = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_CELL = re.compile(r"<td\b.*?</td>", re.DOTALL)
_NAME = re.compile(r"(?<=<code>)[^<]{14,}")  # a short one stays whole
_OPTION = re.compile(r"<code>(?=--?[\w-]+</code>)")
_PART = re.compile(r"(?<=[_/(=])|(?<=[a-z])(?=[A-Z])")  # where a name may break
_LOADED = re.compile(
    r"""(?:\bsrc=|<link\b[^>]*\bhref=|@import\s*(?:url\()?|\burl\()["']?(?:https?:)?//""",
    re.IGNORECASE,
)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand outside of docs/."""
    for name in OUTSIDE:
        if (ROOT / name).exists():
            files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
        elif name in UNWRITTEN:
            files.append(File.generated(config, name, content=UNWRITTEN[name]))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Let links that are right in the repository be right on the site, and describe the page."""
    del config, files
    place = page.file.src_uri
    here = posixpath.dirname(place)
    outside = place in OUTSIDE or here == NOTEBOOKS
    in_repository = here if outside else posixpath.join("docs", here)

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(in_repository, link[1]))
        if posixpath.dirname(target) == NOTEBOOKS and target.endswith(".ipynb"):
            return posixpath.relpath(f"{target.removesuffix('ipynb')}md", here)
        inside = target.removeprefix("docs/")
        if inside == target and target not in OUTSIDE:
            there = (ROOT / target).exists()  # where it is not, MkDocs says so
            return f"{REPOSITORY}/blob/main/{target}" if there else link[1]
        return posixpath.relpath(inside, here)

    text = _LINK.sub(moved, markdown).replace("![png](", "![What the code above draws](")
    source = posixpath.join(in_repository, posixpath.basename(place))
    if here == NOTEBOOKS:
        source = f"{source.removesuffix('md')}ipynb"
        notebook = f"{REPOSITORY}/blob/main/{source}"
        text += f"\nThis page is made from [a notebook]({notebook}), which runs offline.\n"
    page.edit_url = f"{REPOSITORY}/edit/main/{source}"
    page.meta["description"] = _first_words(text)
    for start, weight in WEIGHTS.items():
        if place.startswith(start):
            page.meta["search"] = {"boost": weight}
    return _PICTURE.sub(r"[\g<0>](\1)", text)  # a picture opens in its full size


def on_page_content(content: str, **_: Any) -> str:
    """Let a long name in a table break at its words on a narrow screen, and no option at all."""

    def parted(cell: re.Match[str]) -> str:
        return _NAME.sub(lambda name: _PART.sub("<wbr>", name[0]), cell[0])

    broken = _CELL.sub(parted, content)
    return _OPTION.sub('<code class="option">', broken)


def on_post_build(config: Any) -> None:
    """Warn of what a page would load from elsewhere; `--strict` makes that an error."""
    for path in Path(config.site_dir).rglob("*"):
        if path.suffix in (".html", ".css") and _LOADED.search(path.read_text(encoding="utf-8")):
            log.warning("%s loads something from another server", path.name)


def _first_words(markdown: str) -> str:
    """How the first paragraph of a page begins, as the value of an attribute; empty if none."""
    paragraph = _PARAGRAPH.search(_CODE.sub("", markdown))
    plain = re.sub("[`*]", "", _LABEL.sub(r"\1", paragraph[0])) if paragraph else ""
    return html.escape(
        textwrap.shorten(plain, DESCRIPTION, placeholder=" ...", break_on_hyphens=False)
    )
