"""Execute every notebook in this folder from top to bottom, and store what it shows.

make notebooks
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import matplotlib.font_manager  # noqa: F401  # makes its cache now, and would tell the notebook
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).parent
# the version of Python and the time of a run are nothing that a notebook shows
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(path: Path) -> Any:
    """The notebook with the outputs of a new run, and nothing else that differs between runs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # a warning about loopback is none
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def problems(notebook: Any) -> list[str]:
    """What no reader should find in a stored notebook."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    noise = ["".join(o.text) for o in outputs if o.get("name") == "stderr"]
    text = nbformat.writes(notebook)
    return noise + [f"it names {root}" for root in (HERE.parent, Path.home()) if str(root) in text]


def main() -> None:
    """Run all, and fail where one fails or says what it should not."""
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # the kernel's debugger would warn
    failed = False
    for path in sorted(HERE.glob("*.ipynb")):
        try:
            notebook = executed(path)
            wrong = problems(notebook)
        except CellExecutionError as error:
            wrong = [str(error)]
        else:
            nbformat.write(notebook, path)
        failed = failed or bool(wrong)
        print(path.name, "failed:" if wrong else "ran", *wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
