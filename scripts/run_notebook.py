"""Run a notebook from top to bottom, and keep its outputs.

    python scripts/run_notebook.py docs/tutorial.ipynb            runs it in place
    python scripts/run_notebook.py docs/tutorial.ipynb --check    runs it and writes nothing

Either fails when a cell does. It runs in an empty folder of its own. What differs from run to run (times, ids of the
kernel) is not kept.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run_notebook(path: Path, *, keep: bool) -> None:
    """Execute the notebook; write it back with its outputs where ``keep`` says so."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}, record_timing=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # log lines and progress bars are no part of the page
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    if keep:
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    run_notebook(options.notebook, keep=not options.check)
