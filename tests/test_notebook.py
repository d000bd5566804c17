"""The notebook runs, and what is stored in it is what comes; test_readme.py has the commands of pages."""

import base64
import importlib.util
import json
import re

import pytest
from conftest import CHECKOUT

FOLDER = CHECKOUT / "docs/notebooks"
NOTEBOOK = FOLDER / "embeddings.ipynb"
STORED = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in STORED if cell["cell_type"] == "code"]
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# In points: other versions of libraries answer a few rows in another way, and the text is made of their descriptions.
_TOLERANCE, _TOLERANCE_OF_TEXT = 2, 10


def printed(cell: dict) -> str:
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def figures(cell: dict) -> list[str]:
    return [output["data"]["image/png"] for output in cell["outputs"] if output["output_type"] == "display_data"]


@pytest.fixture(scope="module")
def fresh():
    """The cells of a run of today, by name."""
    pytest.importorskip("nbclient", reason="extra dev")
    pytest.importorskip("ipykernel", reason="extra dev")
    spec = importlib.util.spec_from_file_location("run_notebooks", FOLDER / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(CHECKOUT))
        return {cell.id: cell for cell in run.executed(NOTEBOOK).cells}


@pytest.mark.slow
@pytest.mark.parametrize("stored", CODE, ids=lambda cell: cell["id"])
def test_a_cell_gives_what_is_stored(stored, fresh):
    new, old = printed(fresh[stored["id"]]), printed(stored)
    # Tables keep their columns whatever the numbers' lengths.
    assert re.sub(r"\s+", " ", _NUMBER.sub("#", new)) == re.sub(r"\s+", " ", _NUMBER.sub("#", old))
    numbers = [[float(number) for number in _NUMBER.findall(text)] for text in (new, old)]
    of_text = "versions" in stored["metadata"].get("tags", ()) or stored["id"] == "reliability"
    assert numbers[0] == pytest.approx(numbers[1], abs=_TOLERANCE_OF_TEXT if of_text else _TOLERANCE)
    assert len(figures(fresh[stored["id"]])) == len(figures(stored))


def test_it_was_run_from_top_to_bottom():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert all(output["output_type"] in ("stream", "display_data") for cell in CODE for output in cell["outputs"])


def test_it_is_short_and_light():
    assert len(STORED) <= 20
    assert NOTEBOOK.stat().st_size < 150_000
    drawn = [figure for cell in CODE for figure in figures(cell)]
    assert len(drawn) == 3
    assert all(base64.b64decode(figure).startswith(b"\x89PNG") for figure in drawn)


def test_sib_is_ahead_of_prototypes_in_every_row():
    rows = [line for cell in CODE for line in printed(cell).splitlines() if re.match(r"\d label\(s\)", line)]
    assert len(rows) == 4
    for row in rows:
        sib, prototypes = [float(number) for number in re.findall(r"(\d+\.\d) \+-", row)][:2]
        assert sib > prototypes


@pytest.mark.parametrize(
    "link", [link for cell in STORED for link in re.findall(r"\]\((?!http)([^)#]+)\)", "".join(cell["source"]))]
)
def test_what_it_links_to_is_there(link):
    assert (FOLDER / link).exists()


def test_nothing_in_it_names_this_machine():
    assert not re.search(r"/(home|root|tmp|mnt)/|[Cc]:\\\\", NOTEBOOK.read_text(encoding="utf-8"))
