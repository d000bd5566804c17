"""A person's whole way through the page, in every browser that is installed, on a desktop's and a phone's screen: from
photographs that nobody has labelled to a file that Python reads, over a reload, to one class more."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import people_pictures
import pytest
from conftest import draw_class
from exported import load_run, run_folder, tflite
from PIL import Image
from web_tab import PageError, Tab
from web_visitor import served

from export import conversion
from sib_tf import SIBClassifier
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import LiteRTClassifier

pytestmark = pytest.mark.slow
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}
CLASSES, ADDED, EACH = ["Class A", "Class B"], "sea", 4
CLOSE = 2e-3
READY = "() => !document.querySelector('#main').inert"


@pytest.fixture(scope="module")
def model():
    return tflite(4, 7, 9)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """The head of `model` alone, which the page saves with what it learned."""
    path = tmp_path_factory.mktemp("head") / "head.tflite"
    dim = load_run(run_folder()).sib.config.feature_dim
    run = trained_run.load_head(run_folder() / "sib", dim)
    conversion.write(path, run, dict.fromkeys(("way", "max_support", "max_query")))
    return path


def click(tab: Tab, selector: str) -> None:
    tab.click(selector)


def press(tab: Tab, selector: str) -> None:
    """Reaches a button by the Tab key, and presses it."""
    for _ in range(150):
        tab.press("Tab")
        if tab.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            tab.press("Enter")
            return
    raise PageError(f"{selector} cannot be reached by the Tab key")


@dataclasses.dataclass
class Journey:
    """What a person has done.

    Attributes:
        act: how buttons are used: `click` or `press`.
        left: photographs without a class, in the page's order.
        given: photographs by class.
    """

    tab: Tab
    model: Path
    act: Callable[[Tab, str], None]
    left: list[Path]
    given: dict[str, list[Path]] = dataclasses.field(default_factory=dict)

    def use(self, selector: str) -> None:
        """Uses a button."""
        self.act(self.tab, selector)

    def label(self, file: Path, name: str) -> None:
        """Gives a photograph of the pile its class, in the window that opens for it."""
        self.use(f"#pile > li:nth-child({self.left.index(file) + 1}) .correct")
        self.use(f"#label-classes > button:nth-child({[*self.given, name].index(name) + 1})")
        self.left.remove(file)
        self.given.setdefault(name, []).append(file)
        self.wait()

    def wait(self) -> None:
        """Waits until the page is done with the photographs."""
        done = """(count) => document.querySelector('#results').getAttribute('aria-busy') === 'false'
          && document.querySelectorAll('#pile > li').length === count"""
        self.tab.wait_for(done, len(self.left))

    def check_answers(self) -> dict:
        """What the page shows is what the Python runner says, to a rounding; returns the page's answers."""
        found = self.tab.evaluate("() => window.sib.result")
        assert found["classes"] == list(self.given)
        files = [file for own in self.given.values() for file in own]
        names = [name for name, own in self.given.items() for _ in own]
        runner = LiteRTClassifier(self.model).fit(files, names, self.left)
        order = [found["classes"].index(name) for name in runner.classes_]
        for step, probabilities in enumerate(found["probabilities"]):
            expected = runner.predict_proba(self.left, step)
            np.testing.assert_allclose(np.asarray(probabilities)[:, order], expected, atol=CLOSE)
        best = np.argmax(found["probabilities"][-1], axis=1)
        assert self.shown() == [found["classes"][number] for number in best]
        return found

    def shown(self) -> list[str]:
        """The class that each photograph of the pile is shown with."""
        return self.tab.evaluate("() => [...document.querySelectorAll('#pile .label')].map((one) => one.textContent)")

    def check_cards(self) -> None:
        """Each class has its photographs on its card."""
        cards = """() => [...document.querySelectorAll('#classes > li')].map((card) =>
          [card.querySelector('.name').value, card.querySelectorAll('.thumb').length])"""
        assert dict(self.tab.evaluate(cards)) == {name: len(files) for name, files in self.given.items()}


def write_photographs() -> dict[Path, str]:
    """Writes photographs as telephones do, some turned; returns their true classes, in the order of a folder."""
    random, folder = np.random.RandomState(0), Path("photographs")
    folder.mkdir()
    truths = random.permutation(np.repeat([*CLASSES, ADDED], EACH)).tolist()
    files = {folder / f"IMG_{i:04}.jpg": truth for i, truth in enumerate(truths)}
    for i, (file, truth) in enumerate(files.items()):
        [picture] = draw_class(1 + [*CLASSES, ADDED].index(truth), 1, random)
        # Of larger ones Python decodes a part of the pixels.
        large = Image.fromarray(picture).resize((160, 120), Image.Resampling.BICUBIC)
        large.save(file, quality=92, exif=people_pictures.turned((1, 6, 3)[i % 3]))
    return files


def sort_photographs(journey: Journey, truths: dict[Path, str]) -> None:
    """Gives the folder, labels two of each class, and corrects one answer."""
    journey.tab.choose_files("#picture-files", journey.left)
    journey.wait()
    for name in CLASSES:
        for file in [file for file, truth in truths.items() if truth == name][:2]:
            journey.label(file, name)
    journey.check_answers()
    [right] = set(CLASSES) - {journey.shown()[0]}
    journey.label(journey.left[0], right)
    journey.check_answers()


def check_saved(journey: Journey, found: dict) -> None:
    """The file that the page saves is what it learned: Python has its answers."""
    Path("saved.sib").write_bytes(journey.tab.download(lambda: journey.use("#save")))
    saved = SIBClassifier.load("saved.sib", backbone="conv4")
    assert saved.classes_.tolist() == CLASSES
    assert saved.labelled_seen_ == 5
    features = LiteRTClassifier(journey.model).embed(journey.left)
    np.testing.assert_allclose(found["probabilities"][-1], saved.predict_proba(features), atol=CLOSE)


def check_kept(journey: Journey, url: str, found: dict) -> None:
    """All is still there when the page is opened anew."""
    journey.tab.wait_for("() => document.documentElement.dataset.kept === 'yes'")
    journey.tab.open(url)
    journey.tab.wait_for(READY)
    journey.wait()
    again = journey.check_answers()
    journey.check_cards()
    np.testing.assert_allclose(again["probabilities"], found["probabilities"], atol=1e-6)


def add_class(journey: Journey, truths: dict[Path, str]) -> None:
    """Adds a class by its name, and gives it a photograph that was taken for something else."""
    journey.use("#add-class")
    journey.tab.wait_for("() => document.activeElement.matches('#classes > li:last-child .name')")
    for key in ADDED:
        journey.tab.press(key)
    journey.wait()
    journey.label(next(file for file in journey.left if truths[file] == ADDED), ADDED)
    journey.check_answers()
    journey.check_cards()


# Elements that end beyond the screen, and text that is cut.
OVERFLOWING = """() => {
  const all = [...document.querySelectorAll('header *, .model *, main *, footer *')];
  const shown = all.filter((e) => e.checkVisibility());
  const outside = shown.filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5);
  const cut = shown.filter((e) => e.matches('button, p, h1, h2') && e.scrollWidth > e.clientWidth + 1);
  return [...outside, ...cut].map((e) => e.outerHTML.slice(0, 200));
}"""


def go(tab: Tab, model: Path, head: Path, act: Callable, screen: str) -> None:
    """Goes the whole way; at its end nothing overflows, no script had an error, nothing was asked for elsewhere."""
    truths = write_photographs()
    del tab.errors[:], tab.requests[:]
    tab.resize(*SCREENS[screen])
    with served(model, head) as url:
        tab.open(url)
        tab.wait_for(READY)
        journey = Journey(tab, model, act, list(truths))
        sort_photographs(journey, truths)
        assert tab.evaluate(OVERFLOWING) == []
        found = journey.check_answers()
        check_saved(journey, found)
        check_kept(journey, url, found)
        add_class(journey, truths)
        assert tab.evaluate(OVERFLOWING) == []
        assert tab.text("#notice-list") == ""
        assert tab.errors == []
        assert [address for address in tab.requests if not address.startswith((f"{url}/", "data:", "blob:"))] == []
        tab.open("about:blank")


@pytest.mark.parametrize("screen", SCREENS)
def test_photographs_are_sorted_corrected_saved_kept_and_added_to(tab, model, head, screen):
    go(tab, model, head, click, screen)


def test_the_whole_way_is_gone_by_keys_alone(tab, model, head):
    if not tab.browser.startswith("Chromium"):
        pytest.skip("one browser is enough for the order of the focus")
    go(tab, model, head, press, "desktop")
