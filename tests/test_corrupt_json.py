"""JSON, arrays, tables and flagfiles that are damaged or hostile: refused by name, or the same as undamaged."""

import functools
import io
import json
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from damage import check_damage, refused
from running import run
from test_cli import check_error

from sib_tf.calibration import Calibration
from sib_tf.commands import flagfile_checks
from sib_tf.config import BackboneConfig, EpisodeSpec, MetaTrainConfig, SIBConfig
from sib_tf.errors import InputError
from sib_tf.reports import history, report
from sib_tf.storage import array_files, atomic, sealed_json
from train import meta_train

CALIBRATION = Calibration(offset=(0.1, 0.2), slope=(-0.25, 1.5), model="ab" * 32, known=(0.5, 2.0))
read_npz = functools.partial(array_files.read_npz, way_out="make it again")
open_npy = functools.partial(array_files.open_npy, way_out="make it again")


@pytest.mark.parametrize("record", [CALIBRATION, SIBConfig(), MetaTrainConfig(mixture=(EpisodeSpec(),))])
def test_records_are_refused_or_what_was_saved(tmp_path, record):
    record.save(tmp_path / "record.json")
    # Spaces and line ends are all that may differ.
    assert check_damage(tmp_path / "record.json", type(record).load, record.__eq__, flips=300, cuts=40) > 0.8


def test_any_object_is_refused_or_what_was_written(tmp_path):
    value = {"accuracy": 0.7224, "episodes": 2000, "nested": {"list": [1, -2.5e-7, None, True, "é"]}}
    path = tmp_path / "m.json"
    atomic.write_json(path, value)
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(path, {"loss": float("nan")})
    assert "é" in path.read_text(encoding="utf-8")
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {*value, "sha256"}
    check_damage(path, lambda path: atomic.read_json(path, "Metrics"), value.__eq__, 1000, 40)


def test_objects_without_a_seal_and_lists_are_read_as_they_are(tmp_path):
    for value in ({"a": 1}, {}, [1, 2], "text", {"fingerprint": "0" * 64}):
        (tmp_path / "old.json").write_text(json.dumps(value))
        assert atomic.read_json(tmp_path / "old.json", "Old") == value
        atomic.write_json(tmp_path / "new.json", value)
        assert atomic.read_json(tmp_path / "new.json", "New") == value


def test_a_change_by_hand_is_told_how_to_be_made(tmp_path):
    path = tmp_path / "config.json"
    atomic.write_json(path, {"way": 5})
    changed = path.read_text().replace("5", "7", 1)
    path.write_text(changed)
    message = refused(lambda: atomic.read_json(path, "Configuration"), path.name)
    assert "is damaged (its checksum differs; if you changed it by hand, remove the entry 'sha256')" in message
    path.write_text(json.dumps({"way": 7}))
    assert atomic.read_json(path, "Configuration") == {"way": 7}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "it has 'a' more than once"),
        ('{"a": NaN}', "it has NaN, which is no number"),
        ('{"a": -Infinity}', "it has -Infinity, which is no number"),
        ('{"a": 1e999}', "it has the number 1e999, which is too large"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("", "Expecting value"),
        ("\x00\x01", "Expecting value"),
        ('{"a": 1', "line 1"),
        ("\xff\xfe", "'utf-8' codec can't decode"),
    ],
)
def test_hostile_json_is_refused(tmp_path, text, reason):
    path = tmp_path / "m.json"
    path.write_text(text, encoding="latin-1")
    message = refused(lambda: atomic.read_json(path, "Metrics"), f"Metrics {path} is not valid JSON (")
    assert reason in message
    assert message.endswith("); write it again or restore it.")


def test_json_that_is_not_there_is_named(tmp_path):
    refused(lambda: atomic.read_json(tmp_path / "m.json", "M"), "m.json cannot be read (No such file or directory).")


def test_endless_json_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed_json, "MOST_BYTES", 1000)
    (tmp_path / "m.json").write_text(" " * 1001)
    assert "more than the 1,000 bytes allowed" in refused(lambda: atomic.read_json(tmp_path / "m.json", "M"), "m.json")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (SIBConfig, "num_steps", "3"),
        (SIBConfig, "num_steps", 3.5),
        (SIBConfig, "num_steps", True),
        (SIBConfig, "learned_initialization", 1),
        (SIBConfig, "inner_learning_rate", None),
        (SIBConfig, "gradient_network", ["joint"]),
        (BackboneConfig, "mean", "RGB"),
        (BackboneConfig, "mean", [1.0, 2.0]),
        (BackboneConfig, "mean", [1.0, 2.0, {}]),
        (EpisodeSpec, "way", [5, "5"]),
        (EpisodeSpec, "dirichlet_alpha", [0.1, [5]]),
        (MetaTrainConfig, "mixture", 3),
        (MetaTrainConfig, "mixture", [3]),
        (Calibration, "offset", {"0": 1}),
    ],
)
def test_values_of_other_types_are_named(tmp_path, kind, field, value):
    (tmp_path / "record.json").write_text(json.dumps({field: value}))
    assert field in refused(lambda: kind.load(tmp_path / "record.json"), "")


def test_arrays_are_refused_or_what_was_saved(tmp_path):
    arrays = {"accuracy": np.random.RandomState(0).random_sample((4, 30)), "names": np.array(["a", "bc"])}
    np.savez_compressed(tmp_path / "m.npz", **arrays)

    def same(found):
        return found.keys() == arrays.keys() and all(
            found[n].dtype == arrays[n].dtype and np.array_equal(found[n], arrays[n]) for n in arrays
        )

    assert check_damage(tmp_path / "m.npz", read_npz, same, 600, 40) > 0.8


def test_a_mapped_array_is_as_large_as_its_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(60, dtype=np.int64).reshape(3, 20))
    whole = path.read_bytes()
    np.testing.assert_array_equal(open_npy(path), np.arange(60).reshape(3, 20))
    # Without a digest beside it, bits of the numbers are beyond what can be told; those of the header are not.
    check_damage(path, open_npy, lambda found: found.nbytes == 480, 1500, 20)
    for claimed in ("(3, 19)", "(3, 21)", "(99999999999999,)", "(-3, -20)", "(3, 0, 7)"):
        path.write_bytes(whole.replace(b"(3, 20)", claimed.encode().ljust(7), 1))
        refused(lambda: open_npy(path), "a.npy")


def test_pickles_are_not_loaded(tmp_path):
    np.savez(tmp_path / "m.npz", accuracy=np.array([{"a": 1}], dtype=object))
    assert "it holds object" in refused(lambda: read_npz(tmp_path / "m.npz"), "m.npz")
    np.save(tmp_path / "a.npy", np.array([None]))
    assert "it holds object" in refused(lambda: open_npy(tmp_path / "a.npy"), "a.npy")


def test_a_bomb_of_zeros_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
        archive.writestr("accuracy.npy", buffer.getvalue() + bytes(1 << 20))
    tracemalloc.start()
    assert "needs 8,796,093,022,208 bytes" in refused(lambda: read_npz(tmp_path / "m.npz"), "m.npz")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_an_archive_of_arrays_unpacks_to_no_more_than_allowed(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "m.npz", accuracy=np.zeros(120))
    monkeypatch.setattr(array_files, "MOST_BYTES", 500)
    assert "at most 500 are read" in refused(lambda: read_npz(tmp_path / "m.npz"), "m.npz")


def test_a_history_is_refused_or_a_table(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("step,loss\n10,0.5\n20,0.25\n")
    check_damage(path, history.read, lambda rows: all(set(row) == set(rows[0]) for row in rows), 200, 20)


def test_a_report_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "report.md").write_bytes(b"# Page\n\xff\xfe\n")
    refused(lambda: report.set_section(tmp_path / "report.md", "Title", "text"), "report.md")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "flagfile a.flags cannot be read (No such file or directory)."),
        ({"a.flags": None}, "flagfile a.flags is no file; name a file of flags"),
        ({"a.flags": b"\x89PNG\r\n\x1a\n\xff"}, "flagfile a.flags is no text; name a file of flags"),
        ({"a.flags": b"--way=5\n--output_dir=a\0b\n"}, "flagfile a.flags must be text of at most 1,048,576 bytes"),
        ({"a.flags": b"#" * (1 << 20) + b"#"}, "flagfile a.flags must be text of at most 1,048,576 bytes"),
        ({"a.flags": b"--flagfile=a.flags"}, "flagfile a.flags is inside itself (a.flags > a.flags); remove"),
        (
            {"a.flags": b"# first\n--flagfile=b.flags", "b.flags": b"\n  --flagfile=a.flags"},
            "flagfile a.flags is inside itself (a.flags > b.flags > a.flags)",
        ),
        ({"a.flags": b"--colour=red"}, "Unknown command line flag 'colour'"),
        ({"a.flags": b"--steps=1e400"}, "steps"),
        ({"a.flags": b"way=5"}, "Arguments are flags of the form --name=value; got 'way=5'"),
    ],
)
def test_flagfiles_are_refused_in_one_line(capsys, files, message):
    for name, content in files.items():
        Path(name).mkdir() if content is None else Path(name).write_bytes(content)
    for arguments in (["--flagfile=a.flags"], ["--flagfile", "a.flags"]):
        code = run(meta_train, {"features_dir": "f", "output_dir": "o"}, *arguments)
        check_error(capsys, code, f".*{re.escape(message)}")


def test_flagfiles_that_double_at_every_level_are_refused():
    for level in range(20):
        Path(f"{level}.flags").write_text(f"--flagfile={level + 1}.flags\n" * 2)
    Path("20.flags").write_text("--way=5")
    with pytest.raises(InputError, match="flagfile 0.flags leads to more than 100 files"):
        flagfile_checks.check(["--flagfile=0.flags"])


def test_flagfiles_inside_others_are_read(tmp_path):
    Path("outer.flags").write_text("# all\n--flagfile=inner.flags\n--flagfile=inner.flags\n")
    Path("inner.flags").write_text("--way=5\n")
    flagfile_checks.check(["--flagfile", "outer.flags", "--", "--flagfile=none"])
