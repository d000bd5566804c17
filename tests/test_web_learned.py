"""What the page learned: saved to a file that Python reads, opened from one that Python wrote, kept over a reload,
corrected, and added to; in headless Chromium."""

import contextlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from exported import load_run, pictures, run_folder, tflite
from PIL import Image
from web_visitor import Visitor, served

from export import conversion
from sib_tf import SIBClassifier
from sib_tf.prediction import next_labels, trained_run
from sib_tf.prediction.litert import METADATA, LiteRTClassifier

pytestmark = pytest.mark.slow
WAY, MAX_SUPPORT, MAX_QUERY = 4, 7, 9
BACKBONE = "conv4"


@pytest.fixture(scope="module")
def model(browser):
    return tflite(WAY, MAX_SUPPORT, MAX_QUERY)


@pytest.fixture(scope="module")
def head(model, tmp_path_factory):
    """The head of `model` alone, for any number of rows."""
    path = tmp_path_factory.mktemp("head") / "head.tflite"
    dim = load_run(run_folder()).sib.config.feature_dim
    run = trained_run.load_head(run_folder() / "sib", dim)
    conversion.write(path, run, dict.fromkeys(("way", "max_support", "max_query")))
    return path


@pytest.fixture
def visit(browser, model, head):
    """Opens the page in a new profile; its scripts must have no errors at the end."""
    visitors = []
    with contextlib.ExitStack() as stack:

        def open_page(head=head, **context):
            url = stack.enter_context(served(model, head))
            page = stack.enter_context(contextlib.closing(browser.new_context(**context))).new_page()
            page.on("dialog", lambda dialog: dialog.accept())
            visitors.append(Visitor(page, url))
            return visitors[-1].wait_for_model()

        yield open_page
    for visitor in visitors:
        assert visitor.errors == []


@pytest.fixture
def visitor(visit):
    return visit()


def write(name: str, count: int, seed: int) -> list[Path]:
    files = [Path(f"{name}_{i}.png") for i in range(count)]
    for file, picture in zip(files, pictures(count, seed), strict=True):
        Image.fromarray(picture).save(file)
    return files


def teach(visitor, names: list[str], pile: list[Path]) -> dict:
    """Gives each class two files, its own name, and the pile; returns the answers."""
    for number, name in enumerate(names):
        if number >= 2:
            visitor.page.click("#add-class")
        visitor.card(number).locator(".name").fill(name)
        visitor.give_files(visitor.card(number), write(f"class{number}", 2, number))
    visitor.give_files(visitor.pile(), pile)
    return visitor.wait_for_pile(len(pile))


def features_of(model, files) -> np.ndarray:
    return LiteRTClassifier(model).embed(files)


def logits_of(classifier: SIBClassifier, features: np.ndarray) -> np.ndarray:
    """`[rows, way]` after the steps, in the order of `classes_`."""
    return np.concatenate([logits for _, logits, _ in classifier._head.blocks(features, classifier._weights[1])])


def check_same(result: dict, classifier: SIBClassifier, features: np.ndarray) -> None:
    order = [result["classes"].index(str(name)) for name in classifier.classes_]
    found = np.asarray(result["logits"][-1])[:, order]
    np.testing.assert_allclose(found, logits_of(classifier, features), atol=1e-4)
    probabilities = np.asarray(result["probabilities"][-1])[:, order]
    np.testing.assert_allclose(probabilities, classifier.predict_proba(features), atol=1e-4)


def test_a_file_goes_from_the_page_to_python_and_back(visit, model):
    # Names that JavaScript would sort otherwise: by halves of letters.
    names = ["\N{GRINNING FACE}", "\ufb01sh", "Zoë"]
    pile = write("pile", 7, 50)
    features = features_of(model, pile)
    result = teach(visitor := visit(), names, pile)
    classifier = SIBClassifier.load(visitor.save(Path("page.sib")), backbone=BACKBONE)
    assert classifier.classes_.tolist() == sorted(names)
    assert classifier.labelled_seen_ == 6
    check_same(result, classifier, features)

    more = np.concatenate([features_of(model, write("more", 2, 60)), features])
    classifier.add(more, np.array(["added"] * 2 + [None] * len(features), object)).save("python.sib")
    visitor = visit()
    visitor.open(Path("python.sib"))
    visitor.page.wait_for_selector("#classes > li:nth-child(4)")
    visitor.give_files(visitor.pile(), pile)
    result = visitor.wait_for_pile(len(pile))
    assert "by what was learned before" in visitor.text("summary")
    check_same(result, SIBClassifier.load("python.sib"), features)

    again = SIBClassifier.load(visitor.save(Path("again.sib")), backbone=BACKBONE)
    assert again.labelled_seen_ == classifier.labelled_seen_
    np.testing.assert_array_equal(again._rows.unlabelled, classifier._rows.unlabelled)
    check_same(result, again, features)
    # What the page saves when it has learned the same rows anew is what Python learns of them.
    visitor.page.click("#learn-anew")
    result = visitor.wait_for_answers()
    assert len(result["logits"]) == 4
    check_same(result, SIBClassifier.load(visitor.save(Path("anew.sib"))), features)


def test_numbers_stay_numbers_and_known_shares_count(visitor, model, head):
    pile = write("pile", 5, 50)
    features = features_of(model, pile)
    rows = np.concatenate([features_of(model, write("class", 4, 1)), features])
    classifier = SIBClassifier(head, class_prior=[0.00005, 0.99995], backbone=BACKBONE)
    classifier.fit(rows, np.array([10, 9, 10, 9] + [-1] * 5)).save("numbers.sib")
    visitor.open(Path("numbers.sib"))
    visitor.page.wait_for_selector("#classes .more")
    visitor.give_files(visitor.pile(), pile)
    result = visitor.wait_for_pile(len(pile))
    check_same(result, SIBClassifier.load("numbers.sib"), features)
    again = SIBClassifier.load(visitor.save(Path("again.sib")))
    assert again.classes_.tolist() == [9, 10]
    assert again.class_prior == classifier.class_prior
    np.testing.assert_allclose(again.predict_proba(features), classifier.predict_proba(features), atol=1e-6)


def test_files_that_do_not_fit_are_refused(visitor, model, head):
    rows, labels = features_of(model, write("class", 4, 1)), np.array(["a", "b", "a", "b"])
    SIBClassifier(head, backbone="other").fit(rows, labels).save("other.sib")
    visitor.open(Path("other.sib"))
    assert "from features of other; this page's are of conv4" in visitor.notice()
    SIBClassifier("general", backbone=BACKBONE).fit(rows[:, :-1], labels).save("short.sib")
    visitor.open(Path("short.sib"))
    visitor.page.wait_for_selector("#notice-list:has-text('Its features have')")
    SIBClassifier(head).fit(np.repeat(rows, 2, axis=0)[:5], np.arange(5)).save("many.sib")
    visitor.open(Path("many.sib"))
    visitor.page.wait_for_selector("#notice-list:has-text('It knows 5 classes; this model takes at most 4')")
    for place in (100, 3000):
        broken = bytearray(Path("many.sib").read_bytes())
        broken[place] ^= 1
        Path(f"{place}.sib").write_bytes(broken)
        visitor.open(Path(f"{place}.sib"))
        visitor.page.wait_for_selector(f"#notice-list:has-text('{place}.sib cannot be opened'):has-text('damaged')")
    assert visitor.page.locator("#classes > li").count() == 2


def test_rows_of_another_head_are_learned_anew(visitor, model):
    rows = features_of(model, write("class", 4, 1))
    SIBClassifier("general", backbone=BACKBONE).fit(rows, np.array(["a", "b", "a", "b"])).save("general.sib")
    visitor.open(Path("general.sib"))
    assert "was learned with another head" in visitor.notice()
    pile = write("pile", 3, 50)
    visitor.give_files(visitor.pile(), pile)
    result = visitor.wait_for_pile(3)
    path = LiteRTClassifier(model).model.adapt(rows, np.array([0, 1, 0, 1]), features_of(model, pile))
    expected = LiteRTClassifier(model).model.classify(features_of(model, pile), path[-1])[0]
    np.testing.assert_allclose(result["logits"][-1], expected, atol=1e-4)


def test_without_the_head_nothing_is_saved_and_the_way_out_is_said(visit):
    visitor = visit(head=None)
    teach(visitor, ["a", "a"], write("pile", 3, 50))
    visitor.page.click("#save")
    assert visitor.notice() == "Two classes are called a; give one another name, and save again."
    visitor.card(1).locator(".name").fill("b")
    visitor.page.click("#save")
    assert 'no head.tflite beside this page, which a saved file needs. Run "make web".' in visitor.notice()


def test_what_was_learned_survives_a_reload_until_it_is_forgotten(visitor):
    result = teach(visitor, ["a", "b", "c"], write("pile", 5, 50))
    visitor.wait_until_kept()
    visitor.page.reload()
    visitor.wait_for_model()
    again = visitor.wait_for_pile(5)
    assert again["classes"] == ["a", "b", "c"]
    np.testing.assert_allclose(again["logits"], result["logits"], atol=1e-6)
    # Pictures are shown, which are not there any more, and can be labelled and learned from.
    pixels = "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 32, 32).data]"
    assert np.std(visitor.page.locator("#pile canvas").first.evaluate(pixels)) > 5
    visitor.page.locator("#pile .correct").first.click()
    visitor.page.locator("#label-classes button").nth(2).click()
    assert visitor.wait_for_answers()["pictures"] == 4
    visitor.page.click("#reset")
    visitor.wait_until_kept()
    visitor.page.reload()
    visitor.wait_for_model()
    assert visitor.pile_size() == 0
    assert visitor.page.locator(".thumb").count() == 0


def test_what_another_backbone_learned_stays_until_something_else_is(visitor, model):
    teach(visitor, ["a", "b"], write("pile", 3, 50))
    visitor.wait_until_kept()
    Path("other.tflite").write_bytes(of_other_weights(model))
    visitor.page.route("**/model.tflite", lambda route: route.fulfill(path="other.tflite"))
    visitor.page.reload()
    visitor.wait_for_model()
    assert "keeps was learned with conv4, not with this model" in visitor.notice()
    assert visitor.pile_size() == 0
    visitor.page.unroute("**/model.tflite")
    visitor.page.reload()
    visitor.wait_for_model()
    assert visitor.wait_for_pile(3)["classes"] == ["a", "b"]


def of_other_weights(model: Path) -> bytes:
    """A file that says that its backbone is another of the same name."""
    with zipfile.ZipFile(model) as archive:
        size, description = archive.infolist()[0].header_offset, json.loads(archive.read(METADATA))
    description["backbone"]["weights"] = "0" * 64
    file = io.BytesIO(model.read_bytes()[:size])
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(METADATA, json.dumps(description))
    return file.getvalue()


def test_a_click_corrects_an_answer_and_adds_a_class(visitor, model):
    pile = write("pile", 6, 50)
    teach(visitor, ["a", "b"], pile)
    visitor.page.locator("#pile .correct").nth(1).click()
    visitor.page.click("#label-classes button:has-text('b')")
    result = visitor.wait_for_answers()
    assert result["pictures"] == 5
    assert visitor.card(1).locator(".thumb").count() == 3
    visitor.page.locator("#pile .correct").nth(3).click()
    visitor.page.fill("#label-name", "c")
    visitor.page.keyboard.press("Enter")
    result = visitor.wait_for_answers()
    assert result["classes"] == ["a", "b", "c"]
    support = ["class0_0.png", "class0_1.png", "class1_0.png", "class1_1.png", "pile_1.png", "pile_4.png"]
    query = [f"pile_{i}.png" for i in (0, 2, 3, 5)]
    classifier = LiteRTClassifier(model).fit(support, [0, 0, 1, 1, 1, 2], query)
    expected = classifier.model.classify(classifier.embed(query), classifier.weights_by_step_[-1])[0]
    np.testing.assert_allclose(result["logits"][-1], expected, atol=1e-4)


def test_pictures_are_labelled_by_keys_before_anything_is_learned(visitor):
    visitor.give_files(visitor.pile(), write("pile", 4, 50))
    visitor.wait_for_pile(4)
    press = visitor.page.keyboard.press
    visitor.page.locator("#pile .correct").first.focus()
    assert "Label unlabelled picture 1" in visitor.page.evaluate("document.activeElement.ariaLabel")
    for digit in ("1", "2"):
        press("Enter")
        press(digit)
        visitor.page.wait_for_selector("#label-dialog", state="hidden")
        # The focus goes to the picture in the place of the one that left.
        visitor.page.wait_for_selector("#pile :focus")
    assert visitor.wait_for_answers()["pictures"] == 2


def test_the_pictures_to_label_next_are_those_of_python(visitor, model):
    pile = write("pile", 12, 50)
    result = teach(visitor, ["a", "b"], pile)
    top = np.sort(result["probabilities"][-1], axis=1)
    expected = next_labels.choose(top[:, -1] - top[:, -2], features_of(model, pile).__getitem__, 10)
    visitor.page.click("#label-next")
    pixels = """() => {
      const canvas = new OffscreenCanvas(32, 32);
      canvas.getContext('2d').drawImage(document.querySelector('#label-picture'), 0, 0);
      return [...canvas.getContext('2d').getImageData(0, 0, 32, 32).data];
    }"""
    visitor.page.wait_for_selector("#label-dialog[open]")
    for i in expected:
        visitor.page.evaluate("document.querySelector('#label-picture').decode()")
        shown = np.reshape(visitor.page.evaluate(pixels), (32, 32, 4))[..., :3]
        np.testing.assert_array_equal(shown, Image.open(pile[i]))
        visitor.page.click("#label-skip")
    assert not visitor.page.locator("#label-dialog").is_visible()
