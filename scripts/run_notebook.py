"""Run a notebook from top to bottom and save its outputs.

    python scripts/run_notebook.py docs/tutorial.ipynb            runs the notebook and replaces it
    python scripts/run_notebook.py docs/tutorial.ipynb --check    runs the notebook and writes nothing

Both fail if a cell fails. The notebook runs in an empty temporary folder. What differs between runs (times, ids of the
kernel, log lines) is not saved.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run_notebook(path: Path, *, save: bool) -> None:
    """Run the notebook; write it back with its outputs if ``save`` is true."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat is untyped
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}, record_timing=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # stderr has log lines and progress bars
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    if save:
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]  # nbformat is untyped


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    run_notebook(options.notebook, save=not options.check)
