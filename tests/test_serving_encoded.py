"""Signatures for encoded pictures, in TensorFlow's C++ session: pixels, masks, broken files, learning, warm-up."""

import base64
import io
import json

import exported
import numpy as np
import pytest
import serving_double
import tensorflow as tf
from colour_profiles import P3, matrix_profile
from conftest import draw_class
from PIL import Image

from export import encoded_pictures, model_server, warm_up
from sib_tf import SIBClassifier
from sib_tf.errors import InputError
from sib_tf.pictures.pixels import read_picture
from sib_tf.pictures.plain_files import as_png, plain_file

SIZE, DIM = 32, 16
TOLERANCE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def served():
    return serving_double.general()


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours, somewhat noisy."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), int)
    return Image.fromarray((smooth + random.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8))


def encoded(form: str, image: Image.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (photo(61, 47) if image is None else image).save(file, form, **options)
    return file.getvalue()


def files(*contents: bytes) -> np.ndarray:
    array = np.empty(len(contents), object)
    array[:] = contents
    return array


def episode(queries: int = 4, seed: int = 0) -> tuple[dict, dict]:
    """The same episode for `serving_encoded` and `serving_default`: three classes of two pictures."""
    pixels = np.stack([draw_class(c % 3, 1, np.random.RandomState(seed + c))[0] for c in range(6 + queries)])
    labels, contents = np.arange(6, dtype=np.int32)[None] % 3, files(*map(as_png, pixels))[None]
    masks = {"support_mask": np.ones((1, 6), np.int32), "query_mask": np.ones((1, queries), np.int32)}
    of_files = {"support_image_bytes": contents[:, :6], "query_image_bytes": contents[:, 6:]}
    of_pixels = {"support_images": pixels[None, :6], "query_images": pixels[None, 6:]}
    as_bool = {name: mask.astype(bool) for name, mask in masks.items()}
    return {**of_files, "support_labels": labels, **masks}, {**of_pixels, "support_labels": labels, **as_bool}


def refused(message: str):
    return pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){message}")


PLAIN = {
    "JPEG": encoded("JPEG", quality=90),
    "progressive JPEG": encoded("JPEG", progressive=True, quality=70),
    "grey JPEG": encoded("JPEG", photo(61, 47).convert("L")),
    "PNG": encoded("PNG"),
    "palette PNG": encoded("PNG", photo(61, 47).quantize(50)),
    "GIF": encoded("GIF"),
    "BMP": encoded("BMP"),
    "WebP": encoded("WEBP", quality=80),
    "upright": encoded("JPEG", photo(20, 90)),
    "small": encoded("PNG", photo(17, 12)),
    "large": encoded("JPEG", photo(700, 500), quality=80),
}


def decoded(contents, size: int) -> np.ndarray:
    """`[pictures, size, size, 3]`, integers, as a server sees files."""
    places = np.zeros((len(contents), 1), np.int64)
    return encoded_pictures.decoded("x", files(*contents), places, size).numpy().astype(int)


@pytest.mark.parametrize("size", [SIZE, 84])
def test_pixels_are_those_of_the_python_runner(size):
    """To one grey level, in a few places: a JPEG of eight times the size is decoded at reduced size there."""
    for kind, found in zip(PLAIN, decoded(PLAIN.values(), size), strict=True):
        differences = np.abs(found - read_picture("x", size, PLAIN[kind]))
        assert differences.max() <= 1, kind
        assert (differences > 0).mean() < (0.5 if kind == "large" else 0.1), kind


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif, quality=90)


def half_clear() -> Image.Image:
    picture = photo(61, 47)
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


SPECIAL = {
    "turned by EXIF": turned(),
    "Display P3": encoded("JPEG", icc_profile=matrix_profile(P3), quality=90),
    "CMYK": encoded("JPEG", photo(61, 47).convert("CMYK"), quality=90),
    "16-bit grey": encoded("PNG", Image.fromarray((np.arange(3600).reshape(60, 60) * 18 + 130).astype(np.uint16))),
    "transparent": encoded("PNG", half_clear()),
    "transparent GIF": encoded("GIF", photo(61, 47).quantize(20), transparency=3),
}  # fmt: skip


@pytest.fixture(scope="module")
def special():
    """What a server would see of files that it should not be sent, by kind."""
    return dict(zip(SPECIAL, decoded(SPECIAL.values(), SIZE), strict=True))


@pytest.mark.parametrize("kind", [*SPECIAL, "JPEG", "grey JPEG"])
def test_the_client_sends_what_the_server_sees_as_the_python_runner_does(served, special, tmp_path, kind):
    """Features within 1e-5 of those of the runner's pixels; the files alone would give others, or none."""
    content, plain = {**PLAIN, **SPECIAL}[kind], kind in PLAIN
    (tmp_path / "picture").write_bytes(content)
    pixels = read_picture(tmp_path / "picture", SIZE)
    # As if the model took larger pictures: files that are larger than their pixels are not sent anyhow.
    sent = plain_file(tmp_path / "picture", np.broadcast_to(pixels, (99, *pixels.shape)) if plain else pixels)
    assert (sent == content) == plain
    expected = served.predict("embed", {"images": pixels[None]})["features"]
    found = served.predict("embed_encoded", {"image_bytes": files(sent)})["features"]
    np.testing.assert_allclose(found, expected, **(TOLERANCE if not plain else {"rtol": 0, "atol": 5e-3}))
    if not plain:
        # Without a profile Pillow and TensorFlow convert CMYK alike.
        assert kind in ("16-bit grey", "CMYK") or np.abs(special[kind] - pixels).max() > 20


def test_files_and_pixels_get_the_same_answers(served):
    of_files, of_pixels = episode()
    found, expected = served.predict("serving_encoded", of_files), served.predict("serving_default", of_pixels)
    assert expected["probabilities"].max() > 0.5
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, **TOLERANCE, err_msg=name)


def test_masked_rows_may_hold_anything_and_count_for_nothing(served):
    of_files, _ = episode()
    expected = served.predict("serving_encoded", of_files)
    more = {
        "support_image_bytes": files(b"", b"no picture"),
        "support_labels": np.array([9, -4]),
        "query_image_bytes": files(b"no", PLAIN["JPEG"]),
        "support_mask": np.zeros(2, int),
        "query_mask": np.zeros(2, int),
    }
    padded = {name: np.concatenate([more[name].astype(v.dtype)[None], v], axis=1) for name, v in of_files.items()}
    found = served.predict("serving_encoded", padded)
    assert found["predicted_class"][0].tolist() == [-1, -1, *expected["predicted_class"][0]]
    np.testing.assert_allclose(found["probabilities"][:, 2:], expected["probabilities"], **TOLERANCE)


def test_broken_files_are_named_by_their_places(served):
    of_files, _ = episode()
    of_files["query_image_bytes"][0, [1, 3]] = files(b"no picture", of_files["query_image_bytes"][0, 0][:200])
    with refused(r"query_image_bytes must be whole JPEG, .* counted from 0:\] \[\[0 1\]\[0 3\]\]"):
        served.predict("serving_encoded", of_files)
    with refused(r"image_bytes must be whole .* from 0:\] \[\[2\]\]"):
        served.predict("embed_encoded", {"image_bytes": files(PLAIN["GIF"], PLAIN["WebP"], b"")})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"support_mask": np.full((1, 6), 2)},
            r"support_mask must be 0 or 1; lowest and highest given:\] \[?2\]? \[?2",
        ),
        ({"query_mask": np.ones((1, 5))}, r"query_mask must have the shape .* of query_image_bytes"),
        ({"support_labels": np.full((1, 6), 7)}, r"support_labels must be in \[0, way\)"),
        ({"support_mask": np.zeros((1, 6))}, "every episode, at least one, must have at least one row"),
    ],
)
def test_episodes_that_cannot_be_answered(served, changes, message):
    of_files, _ = episode()
    with refused(message):
        served.predict("serving_encoded", {**of_files, **{k: v.astype(np.int32) for k, v in changes.items()}})


def test_weights_of_no_class_and_formats_that_are_no_number(served):
    of_files, _ = episode()
    weights = np.zeros((1, 0, 2 * DIM), np.float32)
    queries = {name: of_files[name] for name in ("query_image_bytes", "query_mask")}
    for name, inputs in {"classify_encoded": queries, "classify": {"query": np.ones((1, 4, DIM), np.float32)}}.items():
        with refused(r"weights must have at least one class; got the shape:\] \[1 0 32\]"):
            served.predict(name, {**inputs, "weights": weights})
    with refused("not compatible with expected shape"):
        served.predict("head", {"sib_format": np.array([1], np.int32)})


def test_what_is_learned_once_answers_as_the_whole_way_does(served):
    of_files, of_pixels = episode()
    expected = served.predict("serving_default", of_pixels)["probabilities"]
    learned = served.predict("learn_encoded", of_files)
    assert learned["weights"].shape == (1, 2, 3, 2 * DIM) and learned["query"].shape == (1, 4, DIM)
    rest = {name: of_files[name] for name in ("support_labels", "support_mask", "query_mask")}
    again = served.predict("learn", {"support": learned["support"], "query": learned["query"], **rest})
    np.testing.assert_allclose(again["weights"], learned["weights"], **TOLERANCE)
    queries = {name: of_files[name] for name in ("query_image_bytes", "query_mask")}
    for part in (slice(0, 4), slice(2, 3)):  # Whatever other pictures come with it.
        some = {name: value[:, part] for name, value in queries.items()}
        found = served.predict("classify_encoded", {**some, "weights": learned["weights"][:, 1]})
        np.testing.assert_allclose(found["probabilities"], expected[:, part], **TOLERANCE)
    none = {"query_image_bytes": files(b"")[None], "query_mask": np.zeros((1, 1), np.int32)}
    found = served.predict("classify_encoded", {**none, "weights": learned["weights"][:, 1]})
    assert found["predicted_class"].tolist() == [[-1]]
    with refused("weights must be finite"):
        served.predict("classify_encoded", {**queries, "weights": learned["weights"][:, 1] * np.float32("nan")})


def test_the_head_is_one_that_the_classifier_takes(served, tmp_path):
    head = served.predict("head", {"sib_format": np.array(1, np.int32)})
    (tmp_path / "head.tflite").write_bytes(head["head_bytes"])
    X = np.random.default_rng(0).normal(size=(6, DIM)).astype(np.float32)
    assert SIBClassifier(tmp_path / "head.tflite").fit(X, [0, 0, 1, 1, -1, -1]).predict(X).shape == (6,)
    assert head["backbone"] == b"conv4-" + exported.general_run().origin["weights"][:12].encode()
    with refused("sib_format must be 1, the format of saved classifiers that this model knows; got:.*2"):
        served.predict("head", {"sib_format": np.array(2, np.int32)})


def test_rest_takes_masks_of_0_and_1_and_truth_where_it_must_be(served, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    of_files, of_pixels = episode()
    with serving_double.rest(served) as address:
        server = model_server.RestServer(address, "sib", 10)
        found = server.predict(of_files, "serving_encoded")["probabilities"]
        np.testing.assert_allclose(found, served.predict("serving_encoded", of_files)["probabilities"], **TOLERANCE)
        with pytest.raises(InputError, match="JSON Value: 1 Type: Number is not of expected type: bool"):
            server.predict({**of_pixels, "query_mask": of_files["query_mask"]})


def test_a_hundred_pictures_of_84_pixels_are_half_a_megabyte():
    contents = files(*(encoded("JPEG", photo(84, 84, seed), quality=75) for seed in range(100)))[None]
    # With what was learned of five classes, under the longest features that a backbone here has.
    weights = np.random.default_rng(0).normal(0, 0.03, (1, 5, 2560)).astype(np.float32)
    inputs = {"query_image_bytes": contents, "query_mask": np.ones((1, 100), np.int32), "weights": weights}
    body = model_server.request_body(inputs, "classify_encoded")
    assert len(body) < 500_000
    sent = json.loads(body)["inputs"]
    np.testing.assert_array_equal(np.array(sent["weights"], np.float32), weights)
    assert base64.b64decode(sent["query_image_bytes"][0][7]["b64"]) == contents[0, 7]
    assert max(map(len, contents[0])) < 84 * 84 * 3  # The client sends them as they are.


def test_warm_up_requests_parse_and_run_every_signature(served):
    pytest.importorskip("tensorflow_serving", reason="no tensorflow-serving-api: pip install 'sib_tf[serve]'")
    requests = warm_up.read(exported.general_saved_model())
    assert sorted(name for name, _ in requests) == sorted(served.signatures)
    for name, inputs in requests:
        assert set(served.predict(name, inputs)) == set(served.signatures[name].outputs)


def test_without_the_package_there_are_no_warm_up_requests(monkeypatch, tmp_path):
    monkeypatch.setattr(warm_up, "prediction_log_pb2", None)
    assert warm_up.write(tmp_path, {"embed": [tf.TensorSpec((None, 4, 4, 3), tf.uint8, "images")]}, None) is False
    assert list(tmp_path.iterdir()) == []
