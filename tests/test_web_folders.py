"""Whole folders and many pictures on the page: chosen, dropped, stopped, shown in parts, while the page stays alive; on
a phone's screen too. In headless Chromium."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from exported import pictures, tflite
from PIL import Image
from web_visitor import Visitor, served

pytestmark = pytest.mark.slow
PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True}


@pytest.fixture
def visit(browser):
    """Opens the page in a new profile; its scripts must have no errors at the end."""
    visitors = []
    with contextlib.ExitStack() as stack:

        def open_page(**context):
            url = stack.enter_context(served(tflite(4, 7, 9)))
            page = stack.enter_context(contextlib.closing(browser.new_context(**context))).new_page()
            visitors.append(Visitor(page, url))
            return visitors[-1].wait_for_model()

        yield open_page
    for visitor in visitors:
        assert visitor.errors == []


def write(folder: str, count: int, seed: int) -> Path:
    """Writes `count` pictures to a folder, and what systems leave there; returns it."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures(count, seed)):
        Image.fromarray(picture).save(f"{folder}/{i}.png")
    for name in (".DS_Store", "Thumbs.db", "._0.png"):
        Path(folder, name).write_text("a system's")
    return Path(folder)


def album() -> Path:
    """Two classes with a folder in one of them, one folder of unlabelled pictures, and some beside."""
    write("album/cats", 2, 1)
    write("album/dogs/old ones", 1, 2)
    write("album/new", 3, 3)
    return write("album", 2, 4)


def drop(visitor, selector: str, *paths: Path) -> None:
    """Drops files and folders of the disk, as the file manager does."""
    box = visitor.page.locator(selector).bounding_box()
    data = {"items": [], "files": [str(path.resolve()) for path in paths], "dragOperationsMask": 1}
    session = visitor.page.context.new_cdp_session(visitor.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 10}
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def choose_folder(visitor, selector: str, folder: Path) -> None:
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.click(selector)
    chooser.value.set_files(folder)


def check_album(visitor) -> None:
    result = visitor.wait_for_pile(5)
    assert result["classes"] == ["cats", "old ones"]
    assert [visitor.card(i).locator(".thumb").count() for i in (0, 1)] == [2, 1]
    assert visitor.page.locator("#notice").is_hidden()


def test_a_folder_of_classes_is_chosen(visit):
    visitor = visit()
    choose_folder(visitor, "#folder-of-classes", album())
    check_album(visitor)


def test_folders_are_dropped_where_they_belong(visit):
    visitor = visit()
    drop(visitor, "header", album())
    check_album(visitor)
    # On a panel what is inside is the panel's, whatever the folders are called.
    drop(visitor, "#pile-title", Path("album/cats"))
    visitor.wait_for_pile(7)
    drop(visitor, "#classes > li:nth-child(2)", Path("album/dogs"), Path("album/cats/0.png"))
    visitor.page.wait_for_selector("#classes > li:nth-child(2) .thumb:nth-child(3)")
    # Several folders at once are classes of their names.
    drop(visitor, "header", write("birds", 1, 5), write("trees", 1, 6))
    visitor.page.wait_for_selector("#classes > li:nth-child(4)")
    assert visitor.wait_for_answers()["classes"] == ["cats", "old ones", "birds", "trees"]
    drop(visitor, "header", write("more/one too many", 1, 7), write("more/cats", 1, 8))
    assert visitor.notice() == "This model takes at most 4 classes. The folders after it were left out."


def test_the_page_is_alive_while_it_looks_at_pictures_and_stops(visit):
    visitor = visit()
    # The longest time that the page did nothing else.
    visitor.page.evaluate(
        """() => {
          window.longest = 0;
          let last = performance.now();
          setInterval(() => {
            window.longest = Math.max(window.longest, performance.now() - last);
            last = performance.now();
          }, 5);
        }"""
    )
    # Embedding waits here, so that there is something to stop.
    visitor.page.evaluate(
        """() => {
          const post = Worker.prototype.postMessage;
          Worker.prototype.postMessage = function (message) {
            setTimeout(() => post.call(this, message), message.call === 'embedFile' ? 30 : 0);
          };
        }"""
    )
    choose_folder(visitor, "#pile-ways [data-way=folder]", write("many", 150, 1))
    visitor.page.wait_for_selector("#progress-text:has-text(' of 150 …')")
    visitor.page.evaluate(
        """async () => {
          while (document.querySelector('#progress-bar').value < 4) await new Promise((done) => setTimeout(done, 5));
        }"""
    )
    visitor.page.click("#stop")
    visitor.page.wait_for_selector("#results[aria-busy=false]")
    left = visitor.pile_size()
    assert 3 < left < 150
    assert visitor.notice() == f"Stopped: {150 - left} pictures were left out."
    assert visitor.page.locator("#progress").is_hidden()
    assert visitor.page.evaluate("window.longest") < 1000


@pytest.mark.parametrize("context", [{}, PHONE], ids=["desktop", "phone"])
def test_of_many_pictures_a_part_is_shown(visit, context):
    visitor = visit(**context)
    for number in (0, 1):
        visitor.give_files(visitor.card(number), [write(f"class{number}", 1, number) / "0.png"])
    choose_folder(visitor, "#pile-ways [data-way=folder]", write("many", 230, 9))
    visitor.page.wait_for_selector("#more:not([hidden])")
    result = visitor.wait_for_answers()
    assert result["pictures"] == 230
    assert visitor.pile_size() == 100
    visitor.page.click("#more")
    assert visitor.pile_size() == 200
    assert visitor.text("more") == "Show 30 more of 30"
    assert visitor.page.evaluate("document.activeElement === document.querySelectorAll('#pile .correct')[100]")

    last = np.asarray(result["probabilities"][-1])
    of_first = np.flatnonzero(last.argmax(axis=1) == 0)
    visitor.page.select_option("#pile-filter", label=f"Class A ({len(of_first)})")
    assert set(visitor.answers()) == {"Class A"}
    assert visitor.pile_size() == min(100, len(of_first))
    visitor.page.select_option("#pile-order", "doubt")
    shown = visitor.page.locator("#pile .percent").all_text_contents()
    expected = np.sort(last[of_first, 0])[: len(shown)]
    assert shown == [f"{int(100 * p + 0.5)} %" for p in expected]
    overflow = visitor.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0
