"""The notebooks as they are stored: run from top to bottom, and fit to be read."""

from __future__ import annotations

import ast
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from PIL import Image

import rerank_integrations
from cases import cases
from rerank_integrations import evaluation

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOVEMENT = FOLDER / "02_langchain_rag.ipynb"
CASSETTES = FOLDER / "cassettes"
GATEWAY = re.compile("(openrouter|together|portkey|jina|vllm):.")
PACKAGE = "rerank_integrations"
EVALUATION = f"{PACKAGE}.evaluation"
ADAPTERS = {
    f"{PACKAGE}.haystack": "RerankRanker",
    f"{PACKAGE}.langchain": "RerankCompressor",
    f"{PACKAGE}.llama_index": "RerankPostprocessor",
}
LARGEST = 500_000  # bytes; more is no picture that a page needs

Node = TypeVar("Node", bound=ast.AST)

each = cases("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_of(path: Path) -> list[dict[str, Any]]:
    """The cells of code."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def outputs_of(path: Path) -> list[dict[str, Any]]:
    """All outputs, in order."""
    return [output for cell in code_of(path) for output in cell["outputs"]]


def nodes_of(path: Path, kind: type[Node]) -> list[Node]:
    """The parts of one kind in the code of all cells; a cell may wait at its top level."""
    code = "\n".join("".join(cell["source"]) for cell in code_of(path))
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree: ast.AST = compile(code, path.name, "exec", flags)
    return [node for node in ast.walk(tree) if isinstance(node, kind)]


def imported_by(path: Path) -> dict[str, set[str]]:
    """What is taken from which module; nothing, where the module is imported as a whole."""
    found: dict[str, set[str]] = {}
    for whole in nodes_of(path, ast.Import):
        found |= {name.name: found.get(name.name, set()) for name in whole.names}
    for part in nodes_of(path, ast.ImportFrom):
        names = found.setdefault(part.module or "", set())
        names.update(name.name for name in part.names)
    return found


def texts_of(path: Path) -> list[str]:
    """The texts in the code, docstrings too."""
    values = [node.value for node in nodes_of(path, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def prose_of(path: Path) -> str:
    """What stands between the cells of code."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def asks_gateways(path: Path) -> bool:
    """Whether a call in the code has the name of a gateway's model as an argument."""
    calls = nodes_of(path, ast.Call)
    given = [one for c in calls for one in (*c.args, *(keyword.value for keyword in c.keywords))]
    texts = [one.value for one in given if isinstance(one, ast.Constant)]
    return any(isinstance(text, str) and GATEWAY.match(text) for text in texts)


@cases(
    ("name", "pictures"),
    {
        "01_quickstart": 2,
        "02_langchain_rag": 2,
        "03_llama_index_rag": 2,
        "04_multimodal": 1,
        "05_does_it_help": 2,
        "06_batch": 2,
        "07_haystack": 1,
        "08_tracing": 1,
    }.items(),
)
def test_there_is_something_to_look_at(name: str, pictures: int) -> None:
    """Each notebook is there and has its pictures."""
    shown = [output for output in outputs_of(FOLDER / f"{name}.ipynb") if "data" in output]
    assert len([output for output in shown if "image/png" in output["data"]]) == pictures


def test_the_movement_chart_is_that_of_the_notebook() -> None:
    """The picture that README and the site show is the first one of notebook 02, and small.

    So is the picture for dark pages, which is made from it.
    """
    path = FOLDER.parent / "docs" / "img" / "movement.png"
    chart = path.read_bytes()
    first = next(o["data"]["image/png"] for o in outputs_of(MOVEMENT) if o.get("data"))
    assert b64decode("".join(first)) == chart
    assert len(chart) < 120_000

    light, dark = (
        np.asarray(Image.open(file).convert("RGBA"), int)
        for file in (path, path.with_stem("movement-dark"))
    )
    white = (light == 255).all(axis=2)
    assert ((dark[..., 3] == 0) == white).all()
    lightness = [each[..., :3].max(axis=2) + each[..., :3].min(axis=2) for each in (light, dark)]
    assert abs(sum(lightness) - 510).max() <= 2  # rounding


def test_each_notebook_is_a_page_of_the_site() -> None:
    """The navigation has a page for each notebook; `make docs` writes it."""
    config = yaml.safe_load((FOLDER.parent / "mkdocs.yml").read_text(encoding="utf-8"))
    (pages,) = (entry["Notebooks"] for entry in config["nav"] if "Notebooks" in entry)
    assert pages == [f"notebooks/{path.stem}.md" for path in NOTEBOOKS]


@each
def test_only_public_names_are_used(path: Path) -> None:
    """A notebook takes public names from the package, and nothing private from anything."""
    private = [n.attr for n in nodes_of(path, ast.Attribute) if re.match("_(?!_)", n.attr)]
    assert private == []
    taken = imported_by(path)
    ours = {module: names for module, names in taken.items() if module.startswith("rerank_")}
    assert ours.keys() <= {PACKAGE, EVALUATION, *ADAPTERS}
    assert ours.get(EVALUATION, set()) <= set(evaluation.__all__)
    assert ours.get(PACKAGE, set()) <= set(rerank_integrations.__all__)
    for adapter, name in ADAPTERS.items():
        assert ours.get(adapter, set()) <= {name}


@each
def test_the_cells_are_what_a_user_would_write(path: Path) -> None:
    """No cell replaces a part, plays a recording, sets a key or uses magic."""
    names = {node.id for node in nodes_of(path, ast.Name)}
    names |= {node.attr for node in nodes_of(path, ast.Attribute)}
    names |= {node.arg for node in nodes_of(path, ast.keyword) if node.arg}
    assert not names & {"setattr", "patch", "base_url", "http_client", "api_key"}
    modules = {module.partition(".")[0] for module in imported_by(path)}
    assert not modules & {"vcr", "cassettes", "recorded", "record", "run", "httpx", "unittest"}
    source = "\n".join("".join(cell["source"]) for cell in code_of(path))
    assert not re.search(r"environ\S* *=|environ\.(setdefault|update)|putenv", source)
    assert not [text for text in texts_of(path) if re.search("_API_KEY|NOTEBOOK_|CI$", text)]


@each
def test_where_gateways_are_asked_it_is_said_who_answered(path: Path) -> None:
    """A notebook that asks gateways has a cassette, and says that its answers are recordings."""
    cassette = CASSETTES / f"{path.stem}.yaml"
    assert asks_gateways(path) is cassette.exists()
    if cassette.exists():
        assert re.search(r"recordings?\s+of\s+the\s+examples?\s+in", prose_of(path))


@each
def test_no_link_is_broken(path: Path) -> None:
    """A link to another notebook leads to one."""
    names = re.findall(r"\]\(([^):#]+)\)", prose_of(path))
    assert [name for name in names if not (FOLDER / name).exists()] == []


@each
def test_it_ran_from_top_to_bottom(path: Path) -> None:
    """Every cell was executed, once and in order, and the notebook shows something."""
    counts = [cell["execution_count"] for cell in code_of(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert outputs_of(path)


@each
def test_it_shows_no_error_and_no_warning(path: Path) -> None:
    """No output is an error, or was written where warnings go."""
    assert [o for o in outputs_of(path) if o["output_type"] == "error"] == []
    assert [o for o in outputs_of(path) if o.get("name") == "stderr"] == []


@each
def test_it_is_the_same_after_each_run(path: Path) -> None:
    """No time, version or machine is stored, and no output has an address of memory."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert [cell["metadata"] for cell in notebook["cells"] if cell["metadata"]] == []
    texts = [o.get("text") or o["data"].get("text/plain", []) for o in outputs_of(path)]
    shown = "".join("".join(text) for text in texts)
    assert re.findall(r"0x[0-9a-f]{6,}|(?:/home|/root|/Users|/tmp|/var)/\w+", shown) == []


@each
def test_it_is_small(path: Path) -> None:
    """The file with its pictures is quickly loaded, and no output is a wall of text."""
    assert path.stat().st_size < LARGEST
    assert max(len(o.get("text", [])) for o in outputs_of(path)) <= 20


def test_the_gain_that_pages_tell_is_the_measured_one() -> None:
    """What README, docs and notebooks say of `local:hybrid` is the stored output of a run."""
    (shown,) = [
        line
        for output in outputs_of(FOLDER / "05_does_it_help.ipynb")
        for line in output.get("text", [])
        if line.startswith("nDCG@10")
    ]
    before, after, gain, low, high = re.findall(r"[-+]?\d\.\d{3}", shown)
    root = FOLDER.parent
    readme = (root / "README.md").read_text(encoding="utf-8")
    interval = f"by {gain[1:]} (95 % interval {low[1:]} to {high[1:]})"
    assert f"from {before} (BM25) to {after}, {interval}" in readme
    page = (root / "docs" / "gateways" / "local.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| first stage \| [\d.]+ \| {before} \|", page, re.MULTILINE)
    assert re.search(rf"^\| `local:hybrid` \| [\d.]+ \| {after} \|", page, re.MULTILINE)
    for name in ("02_langchain_rag", "03_llama_index_rag"):
        assert f"from {before} to {after}" in prose_of(FOLDER / f"{name}.ipynb")
