"""Execute every notebook in this folder from top to bottom, and store what it shows.

make notebooks

What a notebook asks of gateways is answered from its cassette, in the folder `cassettes`: no key
and no network is needed, and a cassette that does not fit is a failure. The first picture of
notebook 02 is stored beside the documentation's pictures, too, and once more for dark pages.
"""

from __future__ import annotations

import os
import sys
from base64 import b64decode, b64encode
from colorsys import hls_to_rgb, rgb_to_hls
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.font_manager  # noqa: F401  # makes its cache now, and would tell the notebook
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

HERE = Path(__file__).parent
CASSETTES = HERE / "cassettes"
KEYS = ("OPENROUTER_API_KEY", "TOGETHER_API_KEY", "PORTKEY_API_KEY")
KEY = "key-of-nobody"
# the first picture of a notebook, for README and the site
EXPORTED = {"02_langchain_rag": HERE.parent / "docs" / "img" / "movement.png"}
COLOURS = 128  # enough for a chart, whose file is then a third
# the version of Python and the time of a run are nothing that a notebook shows
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def cassette_of(path: Path) -> Path:
    """Where the recorded calls of a notebook are, if it makes any."""
    return CASSETTES / f"{path.stem}.yaml"


def executed(path: Path, extension: str = "", **environment: str) -> tuple[Any, list[str]]:
    """The notebook with the outputs of a new run, and nothing else that differs between runs.

    Args:
        path: the notebook.
        extension: what the kernel loads first; it says at its end what it has to complain of.
        environment: what the extension is told.

    Returns:
        The notebook, and the complaints.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        said = Path(folder) / "said"
        found = {name: v for name, v in os.environ.items() if not name.lower().endswith("_proxy")}
        found |= {
            "IPYTHONDIR": folder,  # nobody's own settings, and nobody's history
            "PYTHONPATH": str(HERE.parent),
            "HAYSTACK_TELEMETRY_ENABLED": "False",  # it calls out otherwise
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the kernel's debugger would warn
        }
        arguments = ["--log-level=ERROR"]  # a warning about loopback is none
        if extension:
            found |= dict.fromkeys(KEYS, KEY)
            found |= {"NOTEBOOK_CASSETTE": str(cassette_of(path)), "NOTEBOOK_SAID": str(said)}
            arguments.append(f"--IPKernelApp.extra_extensions={extension}")
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,  # a bar of progress is stored as it ends
            extra_arguments=arguments,
            resources={"metadata": {"path": str(path.parent)}},
        )
        client.execute(env={**found, **environment})
        complaints = _read(said) if extension else ""
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
    for output in _figures(notebook):
        output.data["image/png"] = _with_a_palette(output.data["image/png"])
    return notebook, [complaints] if complaints else []


def problems(notebook: Any) -> list[str]:
    """What no reader should find in a stored notebook."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    noise = ["".join(o.text) for o in outputs if o.get("name") == "stderr"]
    text = nbformat.writes(notebook)
    return noise + [f"it names {root}" for root in (HERE.parent, Path.home()) if str(root) in text]


def run(path: Path, extension: str = "", **environment: str) -> list[str]:
    """Execute a notebook, and store it where nothing is wrong; what is, else."""
    try:
        notebook, complaints = executed(path, extension, **environment)
    except CellExecutionError as error:
        wrong = [str(error)]
    else:
        wrong = complaints + problems(notebook)
        if not wrong:
            nbformat.write(notebook, path)
            if path.stem in EXPORTED:
                first, *_ = _figures(notebook)
                picture, target = b64decode(first.data["image/png"]), EXPORTED[path.stem]
                target.write_bytes(picture)
                target.with_stem(f"{target.stem}-dark").write_bytes(for_dark(picture))
    print(path.name, "failed:" if wrong else "ran", *wrong)
    return wrong


def main() -> None:
    """Run all, and fail where one fails or says what it should not."""
    paths = sorted(HERE.glob("*.ipynb"))
    failed = [path for path in paths if run(path, "recorded" if cassette_of(path).exists() else "")]
    left = {path.name for path in CASSETTES.iterdir()} - {cassette_of(p).name for p in paths}
    for name in sorted(left):
        print(f"{name}: no notebook has this name; delete it")
    sys.exit(bool(failed or left))


def for_dark(png: bytes) -> bytes:
    """A picture that has a palette, for a dark page: white is clear, and what was dark is light."""
    picture, held = Image.open(BytesIO(png)), BytesIO()
    whole = picture.getpalette() or []
    colours = list(zip(*[iter(whole)] * 3, strict=True))
    turned: list[int] = []
    for colour in colours:
        hue, lightness, saturation = rgb_to_hls(*(part / 255 for part in colour))
        turned += (round(255 * part) for part in hls_to_rgb(hue, 1 - lightness, saturation))
    picture.putpalette(turned)
    picture.save(held, "PNG", transparency=colours.index((255, 255, 255)), optimize=True)
    return held.getvalue()


def _figures(notebook: Any) -> list[Any]:
    """The outputs that are charts."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [o for o in outputs if o.output_type == "display_data" and "image/png" in o.data]


def _with_a_palette(encoded: str) -> str:
    """The same picture on white with few colours, as base64."""
    picture, held = Image.open(BytesIO(b64decode(encoded))), BytesIO()
    picture.convert("RGB").quantize(COLOURS).save(held, "PNG", optimize=True)
    return b64encode(held.getvalue()).decode()


def _read(said: Path) -> str:
    """What the kernel had to say at its end."""
    if not said.exists():
        return "the kernel did not load its extension, or ended before it could say what it played"
    return said.read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
