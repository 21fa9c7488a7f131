"""What MkDocs cannot do by itself: pages from outside docs/, and a look at what is loaded."""

from __future__ import annotations

import logging
import posixpath
import re
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
log = logging.getLogger("mkdocs.hooks.docs")
_LINK = re.compile(r"(?<=]\()([^)#:\s]+)")
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
    """Let links that are right in the repository be right on the site."""
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
    if here == NOTEBOOKS:
        source = f"{REPOSITORY}/blob/main/{place.removesuffix('md')}ipynb"
        text += f"\nThis page is made from [a notebook]({source}), which runs offline.\n"
    return text


def on_post_build(config: Any) -> None:
    """Warn of what a page would load from elsewhere; `--strict` makes that an error."""
    for path in Path(config.site_dir).rglob("*"):
        if path.suffix in (".html", ".css") and _LOADED.search(path.read_text(encoding="utf-8")):
            log.warning("%s loads something from another server", path.name)
