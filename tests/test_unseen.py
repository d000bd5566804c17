"""The comparison on unseen features: its cells and episodes, normalisers, the command on tiny data, and its page."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from running import run
from test_cli import check_error
from test_peers import random_episode

from benchmarks import results
from benchmarks.unseen import __main__ as unseen
from benchmarks.unseen import cells, data_sets, embeddings, entrants, measuring, normalizers, page
from benchmarks.unseen.data_sets import DataSet
from sib_tf import checkpoints
from sib_tf.config import SIBConfig
from sib_tf.episodes import Episode
from sib_tf.sib import SIB
from sib_tf.storage import atomic, run_records

WIDTH = 8


def cluster_rows(classes: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`[classes * size, 8]` rows around the classes' centres, above zero, and their labels."""
    random, labels = np.random.RandomState(seed), np.repeat(np.arange(classes), size)
    centres = np.random.RandomState(7).uniform(0, 1, (classes, WIDTH))
    return np.maximum(centres[labels] + random.normal(0, 0.3, (len(labels), WIDTH)), 0).astype("f"), labels


def data_set(classes: int, size: int) -> DataSet:
    return DataSet("some", *cluster_rows(classes, size), np.zeros(WIDTH, "f"))


def gap() -> DataSet:
    """Rows 0 to 299 may be labelled, rows 300 to 599 are queries."""
    rows, labels = cluster_rows(6, 50)
    other, _ = cluster_rows(6, 50, seed=1)
    nobody = np.full(300, -1)
    both = np.concatenate([rows, other])
    return DataSet(
        "d: a -> b", both, np.concatenate([labels, nobody]), np.zeros(WIDTH, "f"), np.concatenate([nobody, labels])
    )


def test_a_large_data_set_has_every_cell():
    found = list(cells.of_data_set(data_set(20, 100)))
    assert len({cell.name for cell in found}) == len(found) == 38
    columns = [cell.column for cell in found]
    assert {column: columns.count(column) for column in page.COLUMNS if column in columns} == {
        "balanced": 6, "Dirichlet(2)": 6, "Dirichlet(0.5)": 6, "5 of 20": 9, "2 ways": 9, "uneven": 2
    }  # fmt: skip
    assert {cell.spec.total_query for cell in found} == {75}
    assert len(list(cells.of_data_set(data_set(20, 100), quick=True))) == 9


def test_few_rows_leave_out_what_they_do_not_go_round_for():
    """20 rows a class: 20 shots leave none, and Dirichlet's queries may be 19 at most; five classes have no 20 ways."""
    found = list(cells.of_data_set(data_set(5, 20)))
    assert [cell.name for cell in found if cell.ways == "5 ways"] == [
        "some_5_ways_1shot_balanced", "some_5_ways_5shot_balanced"
    ]  # fmt: skip
    assert {cell.ways for cell in found} == {"2 ways", "5 ways"}
    # 26 go round for 25 queries at 1 shot.
    totals = {cell.name: cell.spec.total_query for cell in cells.of_data_set(data_set(5, 26))}
    assert totals["some_5_ways_1shot_dirichlet_2"] == 25
    assert "some_5_ways_5shot_dirichlet_2" not in totals


def test_classes_with_too_few_rows_are_not_drawn():
    rows, labels = cluster_rows(7, 40)
    labels[(labels == 3) & (np.arange(len(labels)) % 40 > 4)] = 4  # Class 3 has five rows.
    data = DataSet("some", rows, labels, np.zeros(WIDTH, "f"))
    cell = next(cell for cell in cells.of_data_set(data) if cell.shot == "5")
    drawn = cell.draw(64, seed=0)
    assert set(labels[drawn.support].ravel()) == {0, 1, 2, 4, 5, 6}
    # Labels are those of the classes: one of the data set for each of the episode.
    for support, own, query, asked in zip(drawn.support, drawn.support_labels, drawn.query, drawn.query_labels):  # noqa: B905
        of = dict(zip(own, labels[support], strict=True))
        assert [of[label] for label in asked] == list(labels[query])
        assert not set(support) & set(query)


def test_across_a_gap_both_sides_are_of_the_same_classes():
    data = gap()
    found = list(cells.of_data_set(data))
    assert [(cell.column, cell.shot, cell.distribution) for cell in found] == [
        ("gap", "1", "balanced"), ("gap", "5", "balanced"), ("gap", "20", "balanced"), ("gap", "5", "Dirichlet(0.5)")
    ]  # fmt: skip
    for cell in found:
        drawn = cell.draw(10, seed=3)
        assert drawn.support.max() < 300 <= drawn.query.min()
        for i in range(10):
            classes = dict(zip(drawn.support_labels[i], data.labels[drawn.support[i]], strict=True))
            mask = drawn.query_mask[i]
            of_queries = data.query_labels[drawn.query[i][mask]]
            assert [classes[label] for label in drawn.query_labels[i][mask]] == list(of_queries)


def test_the_normaliser_by_hand():
    """Support (1, 0), (0, 1), middle (0.5, 0.5); ten queries (1, 0): h = 0.25, centre (0.625, 0.375).

    Support less it: 0.375 (1, -1) and 0.625 (-1, 1).
    """
    rows = np.tile(np.array([3.0, 0.0], "f"), (1, 10, 1))
    episode = Episode(
        np.array([[[2, 0], [0, 5]]], "f"), np.array([[0, 1]]), np.ones((1, 2), bool),
        rows, np.zeros((1, 10), int), np.ones((1, 10), bool),
    )  # fmt: skip
    found = normalizers.shrunk_centre(episode, 3)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found.support[0], [[half, -half], [-half, half]], atol=1e-6)
    np.testing.assert_allclose(found.query[0], np.tile([half, -half], (10, 1)), atol=1e-6)


def test_masked_rows_do_not_move_the_normaliser():
    episode = random_episode()
    more = episode._replace(
        query=np.concatenate([episode.query, 9 * episode.query[:, :2]], axis=1),
        query_mask=np.concatenate([episode.query_mask, np.zeros((12, 2), bool)], axis=1),
    )
    found, alone = (normalizers.shrunk_centre(one, 4) for one in (more, episode))
    np.testing.assert_allclose(found.query[:, :9], alone.query, atol=1e-6)
    np.testing.assert_allclose(found.support, alone.support, atol=1e-6)


def test_a_head_of_one_length_goes_under_any_where_it_learned_nothing_of_it():
    model = SIB(SIBConfig(feature_dim=6, way=None, gradient_network="per_class", learned_initialization=False))
    model.build()
    model.logit_scale.assign(7.0)
    found = entrants.any_length(model)
    episode = random_episode()
    given = (tf.constant(episode.support), tf.constant(episode.support_labels), tf.constant(episode.query))
    assert found.config.feature_dim is None
    np.testing.assert_allclose(found(*given, way=4), model(*given, way=4), atol=1e-5)
    model.initialization.feature_scale.assign([1, 2, 1, 1, 1, 1])
    assert entrants.any_length(model) is model


def test_embeddings_are_the_same_each_time(monkeypatch):
    monkeypatch.setattr(embeddings, "_LEAST", 5)
    texts, labels = embeddings.documents(("jinja2", "no_such_package"))
    assert len(texts) == len(labels) >= 5
    assert not any(re.search(r"\bjinja2\b|>>>", text) for text in texts)
    monkeypatch.setattr(embeddings, "documents", lambda: (texts, labels))
    for make, dim in ((embeddings.docstrings_reduced, 4), (embeddings.docstrings_hashed, 16)):
        rows, found = make(dim)
        assert rows.shape == (len(texts), dim)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(found, labels)
        np.testing.assert_allclose(make(dim)[0], rows, atol=1e-6)
    rows, labels = embeddings.digits()
    assert rows.shape == (1797, 64)
    assert set(labels) == set(range(10))


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Flags of a small comparison: a set of two domains, one that is not there, and a head that learned nothing."""
    monkeypatch.setattr(data_sets, "GENERATED", {"digits, pixels": embeddings.digits})
    monkeypatch.setattr(cells, "QUICK_SHOTS", (1, 5))
    monkeypatch.setattr(cells, "QUICK_DISTRIBUTIONS", ("balanced",))
    for domain, seed in (("a", 0), ("b", 1)):
        rows, labels = cluster_rows(6, 60, seed)
        np.savez(tmp_path / f"{domain}.npz", X=rows, y=labels)
    np.savez(tmp_path / "few.npz", X=np.eye(8)[:3], y=np.arange(3))
    sets = {"two": {"a": "a.npz", "b": "b.npz"}, "few": "few.npz", "lost": "nowhere.npz"}
    atomic.write_json(tmp_path / "sets.json", sets)
    model = SIB(SIBConfig(feature_dim=None, way=None, gradient_network="per_class", num_steps=1))
    model.build()
    checkpoints.save_model(model, tmp_path / "head" / checkpoints.BEST)
    atomic.write_json(tmp_path / "head" / run_records.CONFIG, {"model": dataclasses.asdict(model.config)})
    return {"head": tmp_path / "head", "data_sets": tmp_path / "sets.json", "output_dir": "out", "episodes": 4} | {
        "peers": "soft_kmeans,label_spreading"
    }


def test_the_command_measures_once_and_writes_its_page(asked, monkeypatch, capfd):
    given = {**asked, "only": "two"}
    assert run(unseen, given, "--quick") == 0
    records = page.load("out")
    assert {record["data_set"] for record in records} == {"two: a", "two: b", "two: a -> b", "two: b -> a"}
    methods = records[0]["methods"]
    peers = [f"{name}{kind}" for name in ("prototypes", "soft_kmeans", "label_spreading")
             for kind in ("", ", normalised")]  # fmt: skip
    assert set(methods) == {"head", "balanced head", *peers}
    with np.load(Path("out") / f"{records[0]['cell']}.npz") as arrays:
        for label, figures in methods.items():
            assert figures["difference"] == pytest.approx((arrays[label] - arrays["prototypes"]).mean())
            assert figures["head_over"] == pytest.approx((arrays["head"] - arrays[label]).mean())
    assert 0 <= methods["head"]["ece"] <= 1
    text = Path("out/UNSEEN.md").read_text()
    assert "| two: gaps | 2 |" in text
    assert Path("out/unseen.png").is_file()
    # What is there is not measured again; another peer is measured alone.
    measured = []
    measure = measuring.measure
    monkeypatch.setattr(measuring, "measure", lambda *given: (measured.append(given[0].label), measure(*given))[1])
    assert run(unseen, given, "--quick") == 0
    assert not measured
    assert run(unseen, {**given, "peers": "bd_cspn"}, "--quick") == 0
    assert set(measured) == {"bd_cspn", "bd_cspn, normalised"}
    # The same section on the page of all results.
    assert run(results, unseen_dir="out", output="page/RESULTS.md", figures_dir="page/figures") == 0
    assert "![Gain over K = 0 in every cell](figures/unseen.png)" in Path("page/RESULTS.md").read_text()
    capfd.readouterr()


def test_data_sets_that_are_not_there_are_left_out_by_name(asked, capfd):
    found = data_sets.load(asked["data_sets"])
    assert next(found).name == "two: a"
    assert [one.name for one in found] == ["two: b", "two: a -> b", "two: b -> a", "few", "digits, pixels"]
    assert re.search(r"lost: left out, there is no .*nowhere\.npz", capfd.readouterr().out)


def test_domains_inside_a_file(tmp_path):
    rows, labels = cluster_rows(3, 4)
    np.savez(tmp_path / "d.npz", X=rows, y=labels, domain=np.tile(["x", "y"], 6))
    atomic.write_json(tmp_path / "sets.json", {"d": "d.npz"})
    one, other, there, _ = data_sets.load(tmp_path / "sets.json", ["d"])
    assert (one.name, other.name, there.name) == ("d: x", "d: y", "d: x -> y")
    np.testing.assert_array_equal(one.rows, rows[::2])
    np.testing.assert_array_equal(there.rows[there.query_labels >= 0], rows[1::2])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"only": "three"}, "only must be among two; few; lost; digits, pixels; got three."),
        ({"head": "nobody"}, "head must be a shipped head"),
        ({"peers": "guessing"}, "peers must be among prototypes, "),
        ({"only": "few"}, "data_sets must have classes and rows enough for some cell; there is none."),
    ],
)
def test_what_cannot_be_used_is_said(asked, flags, message, capfd):
    check_error(capfd, run(unseen, {**asked, **flags}, "--quick"), message)


def test_a_file_of_other_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.zeros((3, 2)), y=np.zeros(4))
    with pytest.raises(ValueError, match=r"must hold X \[rows, D\], y \[rows\].*\(4,\)"):
        data_sets._arrays(tmp_path / "d.npz")
