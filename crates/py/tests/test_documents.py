"""What the documents show runs, and the notebooks give what they show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE.parents[1]
DOCUMENTS = [ROOT / "README.md", PACKAGE / "README.md", ROOT / "docs" / "python.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_blocks_run(document, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"{document.name}, block {number}", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.parametrize("notebook", sorted((PACKAGE / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_give_what_they_show(notebook):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    shown = nbformat.read(notebook, as_version=4)
    ran = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(ran, timeout=120, kernel_name="python3").execute()
    for before, after in zip(shown.cells, ran.cells):
        assert texts(before) == texts(after), before.source


def texts(cell):
    """What a cell shows as text; pictures of tables are not compared."""
    outputs = cell.get("outputs", [])
    return [output.get("text") or output.get("data", {}).get("text/plain") for output in outputs]


# `.ci/run` installs the data where it can; elsewhere there is nothing to train on, and 31 MB are not committed.
@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").exists(), reason="needs the Debian package dataset-fashion-mnist")
def test_the_example_trains_and_judges(tmp_path):
    """Both networks learn, and the campaigns of both are there; which one stands bit errors better shows with more images only."""
    command = [sys.executable, PACKAGE / "examples" / "fashion_randbet.py", "--small", "--dir", tmp_path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip().startswith(("normal", "RandBET"))}
    assert float(rows["normal"][0]) < 60 and float(rows["RandBET"][0]) < 60
    assert all((tmp_path / name / "report.html").exists() for name in rows)
