"""The web page in real headless Chromium, with real clicks, strokes, keys and files: against the Python runner, and
with whatever it is given."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import PIL
import pytest
from conftest import CHECKOUT
from exported import pictures, tflite
from PIL import Image
from web_visitor import PAGE, Visitor, served

from sib_tf.pictures.pixels import fit_picture
from sib_tf.prediction.litert import METADATA, LiteRTClassifier

pytestmark = pytest.mark.slow
WAY, MAX_SUPPORT, MAX_QUERY = 4, 7, 9
CROSS = [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)]]
BAR = [[(0.5, 0.1), (0.5, 0.9)]]


@pytest.fixture(scope="session")
def model(launch):
    return tflite(WAY, MAX_SUPPORT, MAX_QUERY)


@pytest.fixture
def visit(browser):
    """Opens the page with a model beside it; checks at the end that its scripts had no errors and asked for nothing
    but the page's own files."""
    visitors = []
    with contextlib.ExitStack() as stack:

        def open_page(model, browser=browser, **context):
            url = stack.enter_context(served(model))
            page = stack.enter_context(contextlib.closing(browser.new_context(**context))).new_page()
            visitors.append(Visitor(page, url))
            return visitors[-1]

        yield open_page
    for visitor in visitors:
        own = (f"{visitor.url}/", "data:", "blob:")
        assert visitor.errors == []
        assert [address for address in visitor.requests if not address.startswith(own)] == []


@pytest.fixture
def visitor(visit, model):
    return visit(model).wait_for_model()


def write_pictures(count: int, shape=(32, 32), seed: int = 0) -> list[Path]:
    """Writes PNG files of `shape` [height, width]: `<seed>_<number>.png`."""
    files = [Path(f"{seed}_{i}.png") for i in range(count)]
    for file, picture in zip(files, pictures(count, seed), strict=True):
        Image.fromarray(picture).resize(shape[::-1]).save(file)
    return files


def runner_logits(model, support, labels, query) -> np.ndarray:
    """`[K + 1, queries, way]` of the Python runner for picture files."""
    classifier = LiteRTClassifier(model).fit(support, labels, query)
    features = classifier.embed(query)
    return np.stack([classifier.model.classify(features, weights)[0] for weights in classifier.weights_by_step_])


def give(visitor, examples: list[list[Path]], pile: list[Path]) -> dict:
    """Gives each class its files, and the pile its own; returns the answers."""
    for number, files in enumerate(examples):
        if number >= 2:
            visitor.add_class(f"class {number}")
        visitor.give_files(visitor.card(number), files)
    visitor.give_files(visitor.pile(), pile)
    return visitor.wait_for_pile(len(pile))


def teach(visitor, classes: int = 2, queries: int = 4) -> dict:
    """Gives each of `classes` classes one file, and the pile `queries`; returns the answers."""
    examples = [write_pictures(1, seed=number) for number in range(classes)]
    return give(visitor, examples, write_pictures(queries, seed=50))


def check_logits(result, model, classes=(0, 1), queries=range(4)) -> None:
    """They are the Python runner's for what `teach` gave, or the `classes` and `queries` that are left of it."""
    support, query = [f"{number}_0.png" for number in classes], [f"50_{i}.png" for i in queries]
    expected = runner_logits(model, support, range(len(support)), query)
    np.testing.assert_allclose(result["logits"], expected, atol=1e-4)


def test_logits_are_those_of_the_python_runner(visitor, model):
    support, query = [], []
    for seed, shape in enumerate([(32, 32), (75, 130), (301, 97), (19, 27)]):
        support += write_pictures(1, shape, seed)
        query += write_pictures(2, shape, 10 + seed)
    result = give(visitor, [support[:1], support[1:3], support[3:]], query)
    expected = runner_logits(model, support, [0, 1, 1, 2], query)
    assert result["classes"] == ["Class A", "Class B", "class 2"]
    assert np.abs(expected[0] - expected[-1]).max() > 0.01  # The steps do something.
    np.testing.assert_allclose(result["logits"], expected, atol=1e-4)


def test_a_gpu_gives_the_same_logits(launch, visit, model):
    visitor = visit(model, launch(gpu=True)).wait_for_model()
    if visitor.page.locator("#accelerator-field").is_hidden():
        pytest.skip("this Chromium offers no software WebGPU")
    on_cpu = teach(visitor)
    visitor.page.select_option("#accelerator", "webgpu")
    visitor.page.wait_for_selector("#model-status:has-text('WebGPU')")
    np.testing.assert_allclose(visitor.wait_for_answers()["logits"], on_cpu["logits"], atol=1e-4)


def test_other_formats_than_png(visitor, model):
    # Decoders of JPEG may differ by a grey level; transparent parts show white; EXIF turns pictures.
    [source] = write_pictures(1, (60, 80), 3)
    picture = Image.open(source)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save("turned.jpg", quality=95, exif=exif)
    picture.save("lossless.webp", lossless=True)
    picture.convert("L").save("grey.bmp")
    alpha = np.zeros((60, 80), np.uint8)
    alpha[:, 30:] = 255
    picture.putalpha(Image.fromarray(alpha))
    picture.save("transparent.png")
    query = [Path(name) for name in ("turned.jpg", "lossless.webp", "grey.bmp", "transparent.png")]
    support = write_pictures(2, seed=4)
    result = give(visitor, [support[:1], support[1:]], query)
    np.testing.assert_allclose(result["logits"], runner_logits(model, support, [0, 1], query), atol=0.02)


def test_pixels_are_exactly_those_of_pillow(visitor):
    visitor.page.route("**/noise.png", lambda route: route.fulfill(path="noise.png"))
    for shape in ((1, 1), (2, 900), (33, 31), (64, 64), (300, 50), (2200, 1500)):
        picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (*shape, 3), np.uint8))
        picture.save("noise.png", compress_level=1)
        found = visitor.page.evaluate(
            """async () => {
              const {readPicture} = await import('./picture.js');
              const file = await (await fetch('noise.png')).blob();
              return [[...await readPicture(file, 32)], [...await readPicture(file, 84)]];
            }"""
        )
        # Before 13, Pillow filtered tall pictures along the rows first, too.
        tolerance = 0 if int(PIL.__version__.split(".")[0]) >= 13 or shape[0] <= shape[1] else 1
        for size, pixels in zip((32, 84), found, strict=True):
            expected = fit_picture(picture, size).astype(int)
            assert np.abs(np.reshape(pixels, (size, size, 3)) - expected).max() <= tolerance, shape


def test_strokes_make_examples(visitor):
    for number, strokes in enumerate((CROSS, BAR)):
        visitor.card(number).locator("[data-way=draw]").click()
        assert visitor.page.is_disabled("#draw-add")
        visitor.draw(*strokes, BAR[0])
        visitor.page.click("#draw-undo")
        visitor.page.click("#draw-add")
        assert visitor.text("draw-status") == "Added."
        visitor.page.click("#draw-close")
        assert visitor.card(number).locator(".thumb").count() == 1
    visitor.page.click("#pile-ways [data-way=draw]")
    for strokes in (CROSS, BAR, CROSS):
        visitor.draw(*strokes)
        visitor.page.click("#draw-add")
    visitor.page.keyboard.press("Escape")
    result = visitor.wait_for_pile(3)
    # The same strokes are the same pictures: they get the class whose example is the same.
    assert np.argmax(result["logits"][0], axis=1).tolist() == [0, 1, 0]
    np.testing.assert_array_equal(result["logits"][0][0], result["logits"][0][2])


def test_touch_draws(visit, model):
    visitor = visit(model, has_touch=True, viewport={"width": 390, "height": 800}).wait_for_model()
    visitor.card(0).locator("[data-way=draw]").tap()
    visitor.page.tap("#draw-canvas")
    visitor.page.tap("#draw-add")
    assert visitor.card(0).locator(".thumb").count() == 1


def test_the_slider_changes_the_answers(visitor):
    result = teach(visitor, classes=4, queries=9)
    names = np.array(result["classes"])
    by_step = names[np.argmax(result["logits"], axis=2)]
    assert (by_step[0] != by_step[-1]).any()  # The seeds are such that steps change answers.
    assert visitor.answers() == by_step[-1].tolist()
    marked = visitor.page.locator("#pile > li.changed")
    assert marked.count() == (by_step[0] != by_step[-1]).sum()
    assert "changed; before" in marked.first.inner_text()
    visitor.page.focus("#step")
    for step in (2, 1, 0):
        visitor.page.keyboard.press("ArrowLeft")
        assert visitor.answers() == by_step[step].tolist()
    assert marked.count() == 0
    assert visitor.page.get_attribute("#step", "aria-valuetext") == "k = 0: prototypes, before adaptation"
    assert "nearest examples" in visitor.text("summary")
    shown = visitor.page.locator("#pile .percent").all_text_contents()
    assert shown == [f"{round(max(row) * 100)} %" for row in result["probabilities"][0]]


def test_classes_without_examples_are_left_out(visitor):
    visitor.add_class("idle")
    result = teach(visitor)
    assert result["classes"] == ["Class A", "Class B"]
    assert np.shape(result["logits"]) == (4, 4, 2)
    np.testing.assert_allclose(np.sum(result["probabilities"], axis=-1), 1, atol=1e-5)
    assert "left out: idle" in visitor.text("summary")


def test_answers_follow_what_is_removed_and_renamed(visitor, model):
    teach(visitor, classes=3)
    visitor.card(0).locator(".name").fill("renamed")
    assert visitor.wait_for_answers()["classes"][0] == "renamed"
    visitor.page.locator("#pile > li").first.locator(".remove").click()
    visitor.card(1).locator(".class-head .remove").click()
    check_logits(visitor.wait_for_answers(), model, classes=(0, 2), queries=(1, 2, 3))
    visitor.card(0).locator(".thumb .remove").click()
    assert visitor.wait_for_answers() is None
    assert visitor.text("summary") == "Give examples of 1 more class."
    assert visitor.page.locator("#stepper").is_hidden()


def test_more_than_the_file_takes_is_sampled_and_all_answered(visitor, model):
    assert visitor.text("summary") == "Give examples of 2 more classes."
    result = give(visitor, [write_pictures(6, seed=1), write_pictures(3, seed=2)], write_pictures(11, seed=3))
    assert result["pictures"] == len(visitor.answers()) == 11
    assert visitor.text("pile-hint") == "11 pictures; the model learns from 9 of them, and answers all."
    # Of seven labelled pictures the smaller class has all three, the other four; of the pile nine, spread over it.
    support = [f"1_{i}.png" for i in (0, 1, 3, 4)] + [f"2_{i}.png" for i in range(3)]
    labels = [0] * 4 + [1] * 3
    classifier = LiteRTClassifier(model).fit(support, labels, [f"3_{i * 11 // 9}.png" for i in range(9)])
    features = classifier.embed([f"3_{i}.png" for i in range(11)])
    expected = classifier.model.classify(features, classifier.weights_by_step_[-1])[0]
    np.testing.assert_allclose(result["logits"][-1], expected, atol=1e-4)


def test_classes_are_limited(visitor):
    for _ in range(WAY - 2):
        visitor.page.click("#add-class")
    assert visitor.page.is_disabled("#add-class")
    assert visitor.text("classes-hint") == "This model takes at most 4 classes."


def test_a_joint_model_takes_exactly_its_way(visit):
    joint_model = tflite(None, 10, 12, gradient_network="joint", num_steps=1)
    visitor = visit(joint_model).wait_for_model()
    assert "exactly 5 classes" in visitor.text("model-status")
    assert visitor.text("summary") == "Give examples of 5 more classes (this joint model takes exactly 5)."
    check_logits(teach(visitor, classes=5), joint_model, classes=range(5))


def test_broken_pictures_are_named_and_the_others_taken(visitor):
    [good] = write_pictures(1)
    Path("text.png").write_text("not a picture")
    Path("cut.png").write_bytes(good.read_bytes()[:60])
    Path("empty.jpg").touch()
    visitor.give_files(visitor.pile(), ["text.png", good, "cut.png", "empty.jpg"])
    visitor.wait_for_pile(1)
    lines = visitor.notice().splitlines()
    assert [line.split()[0] for line in lines] == ["text.png", "cut.png", "empty.jpg"]
    assert all("cannot be read as a picture" in line for line in lines)
    assert visitor.pile_size() == 1


def damaged_models(model) -> list[tuple[bytes, str]]:
    """What may stand in a model file's place, and what the page says of it."""
    data = model.read_bytes()
    with zipfile.ZipFile(model) as archive:
        size, description = archive.infolist()[0].header_offset, json.loads(archive.read(METADATA))

    def described(body: bytes, **changes) -> bytes:
        file = io.BytesIO(body)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(METADATA, json.dumps(description | changes))
        return file.getvalue()

    flipped = bytearray(data)
    flipped[len(data) // 3] ^= 0xFF
    return [
        (data[: len(data) // 2], "holds no sib_tf.json"),
        (b"<!doctype html><title>Not found</title>" * 20, "not a .tflite file"),
        (b"", "not a .tflite file"),
        (bytes(flipped), "checksum differs"),
        (described(data[:8] + b"\xff" * (size - 8), model_sha256=None), "damaged"),
        (described(data[:size], format=99), "format 99; this page reads 1"),
        (described(data[:size], max_query=None), "--shapes=static"),
    ]


def test_a_model_that_cannot_be_used_is_named_and_another_taken(visitor, model):
    visitor.page.route("**/model.tflite*", lambda route: route.fulfill(path="damaged.tflite"))
    for content, reason in damaged_models(model):
        Path("damaged.tflite").write_bytes(content)
        visitor.page.reload()
        notice = visitor.notice()
        assert notice.startswith("model.tflite cannot be used. ")
        assert reason in notice
        assert visitor.text("model-status") == "No model is loaded."
    visitor.page.set_input_files("#model-file", model)
    visitor.wait_for_model()
    assert visitor.page.locator("#notice").is_hidden()
    assert teach(visitor)["pictures"] == 4


def test_a_missing_model_is_named(visit):
    visitor = visit(Path("missing.tflite"))
    assert "the server answers 404" in visitor.notice()
    assert "make web" in visitor.notice()


def test_another_model_adapts_to_the_same_pictures(visitor, model):
    teach(visitor)
    Path("broken.tflite").write_bytes(b"nothing")
    visitor.page.set_input_files("#model-file", "broken.tflite")
    assert "goes on with the model that it had" in visitor.notice()
    other = tflite(WAY, MAX_SUPPORT, MAX_QUERY, num_steps=0)
    visitor.page.set_input_files("#model-file", other)
    visitor.page.wait_for_selector("#model-status:has-text('K = 0')")
    # Another number of steps: the page starts anew and says so.
    assert "the page was cleared" in visitor.notice()
    check_logits(teach(visitor), other)


def test_a_change_while_it_learns_makes_another_round(visitor, model):
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.click("#choose-model")
    visitor.page.evaluate("document.querySelector('#example').click()")
    chooser.value.set_files(model)  # The model is replaced, the pictures stay.
    visitor.page.locator("#pile > li").first.locator(".remove").click()
    visitor.page.locator("#pile > li").first.locator(".remove").click()
    visitor.page.wait_for_selector(f"#model-status:has-text('{model.name}: conv4')")
    result = visitor.wait_for_answers()
    assert result["pictures"] == len(visitor.answers()) == 6
    assert np.isfinite(result["logits"]).all()
    assert visitor.page.inner_text("#notice-list") == ""


def drop(visitor, selector: str, *files) -> None:
    """Drops files on an element, as the file manager does."""
    given = [{"name": file.name, "data": list(file.read_bytes())} for file in files]
    transfer = visitor.page.evaluate_handle(
        """(files) => {
          const transfer = new DataTransfer();
          for (const {name, data} of files) transfer.items.add(new File([Uint8Array.from(data)], name));
          return transfer;
        }""",
        given,
    )
    visitor.page.dispatch_event(selector, "drop", {"dataTransfer": transfer})


def test_files_are_dropped(visitor, model):
    drop(visitor, "#classes > li:nth-child(1)", *write_pictures(2, seed=1))
    visitor.page.wait_for_selector("#classes > li:nth-child(1) .thumb:nth-child(2)")
    drop(visitor, "#pile-panel", *write_pictures(3, seed=2))
    visitor.wait_for_pile(3)
    drop(visitor, "body", *write_pictures(1))
    assert visitor.notice() == "Drop pictures on a class or on the unlabelled ones."
    drop(visitor, "body", model)
    visitor.page.wait_for_selector(f"#model-status:has-text('{model.name}: conv4')")
    assert visitor.card(0).locator(".thumb").count() == 2


def test_keys_alone_are_enough(visitor):
    def tab_to(selector: str) -> None:
        for _ in range(60):
            visitor.page.keyboard.press("Tab")
            if visitor.page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"{selector} cannot be reached with Tab")

    def draw(arrow: str) -> None:
        press = visitor.page.keyboard.press
        press("Enter")
        press(" ")
        for _ in range(6):
            press(arrow)
        assert visitor.text("draw-status").startswith("Pen down, ")
        press("Enter")
        press("Escape")

    tab_to("#classes > li:nth-child(1) [data-way=draw]")
    draw("ArrowRight")
    # The window gives the focus back to the button that opened it.
    assert visitor.page.evaluate("document.activeElement.ariaLabel") == "Draw an example of Class A"
    tab_to("#classes > li:nth-child(2) [data-way=draw]")
    draw("ArrowUp")
    tab_to("#pile-ways [data-way=draw]")
    draw("ArrowRight")
    result = visitor.wait_for_pile(1)
    assert np.argmax(result["logits"][0][0]) == 0
    tab_to("#step")
    visitor.page.keyboard.press("Home")
    assert visitor.text("step-value") == "k = 0: prototypes, before adaptation"
    tab_to("#pile .remove")
    visitor.page.keyboard.press("Enter")
    assert visitor.pile_size() == 0
    # Where the focused picture was there is nothing left; the focus does not fall off the page.
    assert visitor.page.evaluate("document.activeElement !== document.body")


def test_everything_has_a_name_for_screen_readers(visitor):
    teach(visitor)
    nameless = visitor.page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas, video, ul, ol')]
          .filter((e) => !e.closest('dialog:not([open])') && e.checkVisibility())
          .filter((e) => !e.matches('#classes, #notice-list'))
          .filter((e) => !(e.ariaLabel || e.innerText?.trim() || e.labels?.length))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    names = visitor.page.evaluate("[...document.querySelectorAll('button')].map((b) => b.ariaLabel ?? b.innerText)")
    visible = [name for name in names if name]
    assert {"Draw an example of Class A", "Remove unlabelled picture 4", "+ Add a class"} <= set(visible)
    assert visitor.page.get_attribute("#summary", "role") == "status"


def test_the_camera_takes_a_picture(visitor):
    visitor.page.click("#pile-ways [data-way=camera]")
    visitor.page.click("#camera-take:not(:disabled)")
    assert visitor.text("camera-status") == "Added."
    visitor.page.click("#camera-close")
    assert visitor.pile_size() == 1
    # Its light goes out; closing is told to the page a moment later.
    visitor.page.wait_for_timeout(200)
    assert visitor.page.evaluate("document.querySelector('#camera-video').srcObject") is None
    # The test picture is not black: a frame was there.
    pixels = visitor.page.evaluate(
        "[...document.querySelector('#pile canvas').getContext('2d').getImageData(0, 0, 32, 32).data]"
    )
    assert np.std(np.reshape(pixels, (-1, 4))[:, :3]) > 5


def test_without_a_camera_the_page_says_why(visitor):
    visitor.page.add_init_script("delete Navigator.prototype.mediaDevices")
    visitor.page.reload()
    visitor.wait_for_model()
    assert visitor.page.locator("[data-way=camera]").first.is_hidden()
    assert visitor.text("camera-note") == "No camera: the browser allows it only on https or localhost."


def test_nothing_overflows(visitor):
    visitor.page.click("#example")
    visitor.wait_for_answers()
    visitor.card(0).locator(".name").fill("a name as long as people give to classes")
    visitor.page.click("#classes [data-way=draw] >> nth=0")
    for width in (320, 390, 768, 1280, 1920):
        visitor.page.set_viewport_size({"width": width, "height": 800})
        inner = visitor.page.evaluate("document.documentElement.scrollWidth")
        assert inner <= width
        boxes = visitor.page.evaluate(
            "[...document.querySelectorAll('main *, dialog[open] *')].map((e) => e.getBoundingClientRect().right)"
        )
        assert max(boxes) <= width


def test_the_example_fills_the_page(visitor):
    visitor.page.click("#example")
    result = visitor.wait_for_answers()
    assert len(result["classes"]) == WAY
    assert result["pictures"] == 8  # Two of each class: the file takes nine.
    assert "of 8 are right" in visitor.text("summary")
    assert "Adapted in" in visitor.text("timing")
    visitor.page.once("dialog", lambda dialog: dialog.dismiss())
    visitor.page.click("#reset")
    assert visitor.pile_size() == 8
    visitor.page.once("dialog", lambda dialog: dialog.accept())
    visitor.page.click("#reset")
    assert visitor.pile_size() == 0


def test_the_policy_lets_nothing_out(visitor):
    refused = visitor.page.evaluate(
        """async () => {
          const tries = [
            fetch('https://example.org/'),
            new Promise((done, failed) => {
              Object.assign(new Image(), {onload: done, onerror: failed, src: 'https://example.org/x.png'});
            }),
            import('https://example.org/x.js'),
          ];
          return (await Promise.allSettled(tries)).map(({status}) => status);
        }"""
    )
    assert refused == ["rejected"] * 3
    assert len(visitor.errors) >= 3  # Chromium says that the policy refused them.
    visitor.errors.clear()
    # Attempts are events, too.
    visitor.requests.clear()


def test_packages_are_pinned_and_from_the_public_registry():
    lock = json.loads((PAGE / "package-lock.json").read_text())
    package = json.loads((PAGE / "package.json").read_text())
    assert all(version[0].isdigit() for version in package["dependencies"].values())
    packages = [entry for name, entry in lock["packages"].items() if name]
    assert all(entry["integrity"].startswith("sha512-") for entry in packages)
    # Without an address npm asks the registry that it is set to, and checks what comes by the hash.
    addresses = [entry["resolved"] for entry in packages if "resolved" in entry]
    assert all(address.startswith("https://registry.npmjs.org/") for address in addresses)


def test_make_web_names_npm_where_it_is_missing(tmp_path):
    shutil.copy(PAGE / "package-lock.json", tmp_path)
    overrides = ["NPM=npm-that-is-not-there", f"WEB={tmp_path}", f"RUN={tmp_path}"]
    result = subprocess.run(
        ["make", "-j1", "-C", str(CHECKOUT), "web", *overrides],
        env={name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode != 0
    assert result.stderr.splitlines()[0].startswith("make web needs npm")
    assert list(tmp_path.iterdir()) == [tmp_path / "package-lock.json"]
