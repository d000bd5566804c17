"""The client learns once and classifies many times: photographs, files of what was learned, servers that do not fit."""

import contextlib
import copy
import csv
from pathlib import Path

import exported
import numpy as np
import pytest
import running
import serving_double
from conftest import draw_class
from PIL import Image
from serving_double import ServedModel
from test_cli import check_error

from export import learned_state, serving_calls, serving_client
from sib_tf import SIBClassifier
from sib_tf.errors import InputError
from sib_tf.estimator import saved_file
from sib_tf.pictures import picture_folders
from sib_tf.prediction.models import KerasModel
from train import predict

# The classes' names, and what `draw_class` draws of them: no answer is a near thing.
CLASSES = {"Äpfel": 3, "birds": 8, "日本": 11}
KINDS = (".jpg", ".png", ".webp", ".gif", ".bmp")
# Of probabilities: files are decoded and scaled to one grey level of what the runner sees.
TOLERANCE = 0.01


def draw(folder: Path, number: int, count: int) -> None:
    """Photographs of a class, larger than the model takes, of all kinds; some are turned by EXIF."""
    folder.mkdir(parents=True)
    random, exif = np.random.RandomState(len(folder.parts) + number), Image.Exif()
    exif[0x0112] = 6
    for place, pixels in enumerate(draw_class(number, count, random)):
        photo = Image.fromarray(pixels).resize((52, 40), Image.Resampling.BILINEAR)
        options = {"exif": exif} if place == 1 else {}
        photo.save(folder / f"{number}{place}{KINDS[(place + number) % len(KINDS)]}", **options)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    for place, (name, number) in enumerate(CLASSES.items()):
        draw(home / "support" / name, number, 3)
        draw(home / "query" / str(place), number, 3)
    (home / "query" / "broken.png").write_bytes(b"no picture")
    return home


@pytest.fixture(scope="module")
def model():
    return serving_double.general()


@pytest.fixture(scope="module")
def rest(model):
    with serving_double.rest(model) as address:
        yield address


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class Session:
    """The C++ session itself, with the methods of a model server."""

    def __init__(self, model: ServedModel):
        self._model, self.model, self.address = model, "sib", "session"

    def signatures(self) -> dict:
        return {
            name: {key: tuple(dim.size for dim in info.tensor_shape.dim) for key, info in signature.inputs.items()}
            for name, signature in self._model.signatures.items()
        }

    def predict(self, inputs: dict, signature: str = "serving_default") -> dict:
        # NumPy's own bytes would lose zeros at their end.
        found = self._model.predict(signature, inputs)
        return {name: np.array(value, object) if isinstance(value, bytes) else value for name, value in found.items()}


@pytest.fixture(params=["rest", "grpc", "session"])
def server(request, model, monkeypatch):
    """Flags that lead to a server."""
    if request.param == "session":
        monkeypatch.setattr(serving_client, "_connect", lambda: Session(model))
        yield {"server": "none"}
        return
    if request.param == "grpc":
        pytest.importorskip("tensorflow_serving", reason="no tensorflow-serving-api: pip install 'sib_tf[serve]'")
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(getattr(serving_double, request.param)(model))
        yield {"server": address, "protocol": request.param}


def call(**flags) -> int:
    return running.run(serving_client, None, **flags)


def answers(path: str) -> list[tuple[str, str, float]]:
    """(file, class, probability) of every picture, of either program's table."""
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["file"], row["class"], float(row.get("confidence") or row["probability"])) for row in rows]


def check_same(found: list, expected: list, tolerance: float = TOLERANCE) -> None:
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def expected(home, tmp_path_factory):
    """What train.predict says of the same photographs."""
    output = tmp_path_factory.mktemp("expected") / "predict.csv"
    folders = {"support": home / "support", "query": home / "query"}
    assert running.run(predict, folders, model=exported.general_saved_model(), output=output) == 0
    rows = answers(output)
    assert len(rows) == 9 and len({row[1] for row in rows}) == 3
    return rows


def test_one_folder_learned_once_classified_twice(capsys, home, server, expected):
    learning = {**server, "support": home / "support", "query": home / "query"}
    assert call(**learning, save="classes.sib", output="first.csv") == 0
    streams = capsys.readouterr()
    assert "Saved: classes.sib" in streams.out and "broken.png" in streams.err
    check_same(answers("first.csv"), expected)
    for name, rows in {"": expected, "1": [row for row in expected if row[0].startswith("1/")]}.items():
        assert call(**server, learned="classes.sib", query=home / "query" / name, output="again.csv") == 0
        rows = [(Path(file).name if name else file, *rest) for file, *rest in rows]
        check_same(answers("again.csv"), rows)
    assert call(**learning, output="whole.csv") == 0
    check_same(answers("whole.csv"), answers("first.csv"), 2e-4)
    assert call(**learning, support_rows=11, query_rows=12, save="padded.sib") == 0
    padded, plain = (saved_file.read(f"{name}.sib").weights for name in ("padded", "classes"))
    np.testing.assert_allclose(padded, plain, rtol=0, atol=1e-5)


def features(home: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the served backbone, of the queries and of the labelled pictures; and these ones' labels."""
    model = KerasModel(exported.general_run())
    support, query = picture_folders.read_support(home / "support", 32), picture_folders.read_query(home / "query", 32)
    return model.embed(query.pictures), model.embed(support.pictures), np.array(support.labels, object)


def test_the_classifier_reads_what_the_server_learned_and_the_other_way_round(home, rest, expected):
    assert call(server=rest, support=home / "support", query=home / "query", save="theirs.sib") == 0
    backbone = f"conv4-{exported.general_run().origin['weights'][:12]}"
    theirs, (query, support, labels) = SIBClassifier.load("theirs.sib", backbone=backbone), features(home)
    found = theirs.predict_proba(query)
    check_same(list(zip([row[0] for row in expected], theirs.predict(query), found.max(axis=1), strict=True)), expected)
    with pytest.raises(ValueError, match="backbone must be conv4-"):
        SIBClassifier.load("theirs.sib", backbone="another")
    theirs.add(query[:1] + 1, ["new"])  # It goes on learning without the server.
    assert theirs.classes_.tolist() == sorted([*CLASSES, "new"])
    ours = SIBClassifier(backbone=backbone, class_prior=[0.4, 0.3, 0.3])
    ours.fit(np.concatenate([support, query]), [*labels, *[None] * len(query)]).save("ours.sib")
    assert call(server=rest, learned="ours.sib", query=home / "query", output="ours.csv") == 0
    own = list(zip([row[0] for row in expected], ours.predict(query), ours.predict_proba(query).max(1), strict=True))
    check_same(answers("ours.csv"), own)


def test_a_large_pile_is_learned_from_by_a_sample_and_answered_in_parts(home, rest, expected, monkeypatch):
    monkeypatch.setattr(serving_calls, "MOST_UNLABELLED", 6)
    monkeypatch.setattr(serving_calls, "_AT_ONCE", 4)
    flags = {"server": rest, "support": home / "support", "query": home / "query", "save": "some.sib"}
    assert call(**flags, output="out.csv") == 0
    rows = saved_file.read("some.sib").rows
    assert rows.unlabelled.shape == (6, 16) and rows.unlabelled_seen == 9
    assert call(server=rest, learned="some.sib", query=home / "query", output="again.csv", query_rows=2) == 0
    check_same(answers("again.csv"), answers("out.csv"), 1e-4)
    assert [row[:2] for row in answers("out.csv")] == [row[:2] for row in expected]


def test_files_that_do_not_fit_the_server_are_refused(capsys, home, rest):
    _, support, labels = features(home)
    flags = {"server": rest, "query": home / "query", "learned": "other.sib"}
    SIBClassifier(backbone="clip").fit(support, labels).save("other.sib")
    check_error(capsys, call(**flags), r"learned must be of backbone conv4-.*; other\.sib is of clip\. Learn again")
    SIBClassifier(balanced=True).fit(support, labels).save("other.sib")
    check_error(capsys, call(**flags), r"learned must be of the server's head; that in other\.sib answers otherwise")
    SIBClassifier().fit(support[:, :5], labels).save("other.sib")
    check_error(capsys, call(**flags), r"learned must fit the server's model, with features of length 16 .* has 5 and")
    Path("other.sib").write_bytes(b"nothing")
    check_error(capsys, call(**flags), r"other\.sib")


def test_older_exports_get_pixels_and_cannot_be_learned_from(capsys, home, model):
    older = copy.copy(model)
    older.signatures = {name: older.signatures[name] for name in ("serving_default", "embed", "adapt", "classify")}
    flags = {"support": home / "support", "query": home / "query"}
    tables = []
    for each in (older, model):
        with serving_double.rest(each) as address:
            assert call(**flags, server=address, output="out.csv") == 0
            assert call(**flags, server=address, output="pixels.csv", pictures="pixels") == 0
            tables.append((answers("out.csv"), answers("pixels.csv")))
    assert tables[0][0] == tables[0][1] == tables[1][1]
    check_same(tables[1][0], tables[0][0])
    with serving_double.rest(older) as address:
        capsys.readouterr()
        code = call(**flags, server=address, save="out.sib")
    check_error(capsys, code, r"model 'sib' must have the signatures .*learn_encoded.*export it again")


class Saying:
    """A server that gives one answer to all calls."""

    address, model = "nowhere", "sib"

    def __init__(self, outputs: dict, signatures: dict):
        self._outputs, self._signatures = outputs, signatures

    def signatures(self) -> dict:
        return self._signatures

    def predict(self, inputs: dict, signature: str = "serving_default") -> dict:
        return {
            name: np.array(value, object if name == "head_bytes" else None) for name, value in self._outputs.items()
        }


@pytest.mark.parametrize(
    "outputs",
    [{"head_bytes": [b"a", b"b"], "backbone": "a"}, {"head_bytes": [], "backbone": "a"}, {"head_bytes": b"a"}],
)
def test_answers_without_a_head(outputs):
    with pytest.raises(InputError, match="server nowhere has no head in its answer"):
        learned_state.Head.of(Saying(outputs, {}))


def test_a_backbone_of_another_encoding():
    assert learned_state.Head.of(Saying({"head_bytes": b"a", "backbone": b"\xff"}, {})).backbone == "\ufffd"


@pytest.mark.parametrize("probabilities", [None, [[["0.5", "0.5"]]], [[[0.5, 0.3, 0.2]]], [[0.5, 0.5]]])
def test_a_shift_is_never_left_out(probabilities):
    """The answers beside the probabilities are those before it."""
    outputs = {"predicted_class": np.array([[0]]), "confidence": np.array([[0.5]])}
    if probabilities is not None:
        outputs["probabilities"] = np.array(probabilities)
    learned = learned_state.Learned(np.array(["a", "b"]), np.zeros((2, 4), np.float32), np.array([0.0, 3.0]))
    with pytest.raises(InputError, match="answer lacks probabilities of 2 classes"):
        learned.answers(outputs)
    assert learned._replace(log_shift=None).answers(outputs) is outputs


def test_numbers_of_another_kind_are_no_answer_of_the_head():
    support = np.random.RandomState(0).normal(size=(6, 16)).astype("f")
    SIBClassifier().fit(support, list("abcabc")).save("own.sib")
    shapes = {"classify": {"query": (-1, -1, 16), "weights": (-1, -1, 32)}}
    with pytest.raises(InputError, match="learned must be of the server's head"):
        learned_state.load("own.sib", Saying({"probabilities": [[["1", "0", "0"]] * 3]}, shapes), shapes)


@pytest.mark.parametrize("classify", [None, {}, {"query": (-1, 16), "weights": (-1, -1, 32)}])
def test_models_whose_classify_is_another_cannot_be_learned_from(classify):
    pixels = {name: (-1,) * axes for name, axes in serving_calls._INPUTS.items()}
    of_pixels = {**pixels, "query_images": (-1, -1, 32, 32, 3), "support_images": (-1, -1, 32, 32, 3)}
    signatures = {name: {} for name in (*serving_calls._ENCODED, "head")}
    signatures |= {"serving_default": of_pixels} | ({} if classify is None else {"classify": classify})
    served = serving_calls.ServedModel(Saying({}, signatures), True)
    with pytest.raises(InputError, match="model 'sib' must have the signature classify with query and weights"):
        served.require_learning()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"query": "q"}, "support, or learned in its place, must be named, and not both"),
        ({"query": "q", "support": "s", "learned": "a.sib"}, "support, or learned in its place, must be named"),
        ({"support": "s"}, "query must be named, the folder of pictures to classify; or save alone"),
        ({"support": "s", "save": "a.sib", "output": "a.csv"}, "query must be named"),
        ({"query": "q", "learned": "a.sib", "save": "b.sib"}, "save must be left out with learned"),
        ({"query": "q", "support": "s", "save": "a.npz"}, r"save must end in \.sib; got a\.npz"),
        ({"query": "q", "learned": "a"}, r"learned must end in \.sib; got a\."),
        ({"query": "q", "learned": "a.sib", "pictures": "pixels"}, "pictures must be encoded with save and learned"),
    ],
)
def test_flags_that_do_not_go_together(capsys, flags, message):
    check_error(capsys, call(server="http://127.0.0.1:1", **flags), message)


def test_learning_without_unlabelled_pictures(home, rest):
    assert call(server=rest, support=home / "support", save="alone.sib") == 0
    classifier = SIBClassifier.load("alone.sib")
    assert classifier.classes_.tolist() == sorted(CLASSES) and classifier.labelled_seen_ == 9
    assert classifier.head == "general"  # Its file is the one that ships.
    assert call(server=rest, learned="alone.sib", query=home / "query", output="out.csv") == 0
    assert len(answers("out.csv")) == 9
