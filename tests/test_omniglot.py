"""Omniglot: tiny archives in the published layout, and the published ones where they are at hand."""

import io
import itertools
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import real_data
from PIL import Image

from sib_tf import datasets
from sib_tf.datasets import omniglot
from sib_tf.errors import InputError

BACKGROUND = ("Greek/character01", "Greek/character02", "Sanskrit/character01")
EVALUATION = ("Tengwar/character01",)


def drawing(character: str, index: int) -> np.ndarray:
    """105 x 105 pixels, bool, True where the paper shows."""
    seed = sum(character.encode()) + 1000 * index
    return np.random.default_rng(seed).random((105, 105)) > 0.1


def members(top: str, characters, drawings: int = 2) -> dict[str, bytes]:
    found = {}
    for character, index in itertools.product(characters, range(drawings)):
        buffer = io.BytesIO()
        Image.fromarray(drawing(character, index)).save(buffer, format="PNG")
        found[f"{top}/{character}/{index:04d}_01.png"] = buffer.getvalue()
    return found


def write(path: Path, content: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def make_archives(root: Path) -> None:
    """As they are published, but in another order, and with members that are no drawings."""
    others = ("__MACOSX/images_background/Greek/character01/._0000_01.png", "images_background/Greek/character01/a.txt")
    content = dict.fromkeys([*others, "images_background/Greek/character03/"], b"")
    write(root / omniglot.BACKGROUND, content | dict(reversed(members("images_background", BACKGROUND).items())))
    write(root / omniglot.EVALUATION, dict(reversed(members("images_evaluation", EVALUATION).items())))


def load(root: Path) -> datasets.MetaDataset:
    return datasets.load("omniglot", str(root), str(root / "cache"))


def box_average(pixels: np.ndarray, size: int) -> np.ndarray:
    """Averages the 3 x 3 to 4 x 4 pixels whose centres fall into each new pixel, `[size, size]` float."""
    # A centre on the border between two, as the middle one is, counts to the first.
    falls_into = np.ceil((np.arange(len(pixels)) + 0.5) * size / len(pixels)) - 1
    weights = falls_into == np.arange(size)[:, None]
    weights = weights / weights.sum(1, keepdims=True)
    return weights @ pixels @ weights.T


def test_drawings_are_averaged_and_split_by_alphabet(tmp_path):
    make_archives(tmp_path)
    data = load(tmp_path)
    for split, names in (("train", BACKGROUND[:2]), ("validation", BACKGROUND[2:]), ("test", EVALUATION)):
        part = data.split(split)
        assert part.class_names == names
        assert part.labels.tolist() == [number for number in range(len(names)) for _ in range(2)]
        assert part.ids.tolist() == [f"{name}/{index:04d}_01" for name in names for index in range(2)]
        expected = [box_average(drawing(name, index) * 255.0, 32) for name in names for index in range(2)]
        # Pillow rounds after rows and again after columns.
        np.testing.assert_allclose(part.images, np.stack([expected] * 3, -1), atol=1.01)


def replace(member: str):
    return lambda path: write(path, {member: b"no picture"})


NO_FILE = r"data_dir .* has no {name}; put it there \(from https://github\.com/.*/{name}\) or name the folder"
CASES = [
    (omniglot.BACKGROUND, Path.unlink, NO_FILE),
    (omniglot.EVALUATION, Path.unlink, NO_FILE),
    (omniglot.BACKGROUND, lambda path: path.write_bytes(b""), r"{name} is damaged \(File is not a zip file\); fetch"),
    (omniglot.EVALUATION, replace("a/Tengwar/b/1.png"), r"1\.png in .* cannot be read \(.*\); fetch the archive again"),
    (omniglot.EVALUATION, replace("Tengwar/1.png"), r"{name} has no drawings of test alphabets, called <archive>"),
]


@pytest.mark.parametrize(("name", "spoil", "complaint"), CASES)
def test_archives_that_cannot_be_used_say_why(tmp_path, name, spoil, complaint):
    make_archives(tmp_path)
    spoil(tmp_path / name)
    with pytest.raises(InputError, match=complaint.replace("{name}", name)):
        load(tmp_path)


def test_without_a_folder_the_archives_are_downloaded(tmp_path, monkeypatch):
    make_archives(tmp_path)
    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda self, url: tmp_path / PurePosixPath(url).name)
    assert datasets.load("omniglot", None, str(tmp_path / "cache")).test.class_names == EVALUATION


def test_a_failed_download_says_how_to_do_without(tmp_path, monkeypatch):
    def fail(self, url):
        raise ConnectionError("no network")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", fail)
    complaint = r"^Downloading https://.*background\.zip failed \(ConnectionError\); fetch images_background\.zip by "
    with pytest.raises(InputError, match=complaint + r"other means and name its folder with --data_dir\.$"):
        datasets.load("omniglot", None, str(tmp_path))


def test_the_published_archives_have_the_published_counts():
    characters = {}
    for name in (omniglot.BACKGROUND, omniglot.EVALUATION):
        with zipfile.ZipFile(real_data("omniglot") / name) as archive:
            paths = [PurePosixPath(member) for member in archive.namelist() if member.endswith(".png")]
        characters[name] = Counter(path.parts[1:3] for path in paths)
        assert set(characters[name].values()) == {20}
    assert [len(counts) for counts in characters.values()] == [964, 659]
    background, evaluation = ({alphabet for alphabet, _ in counts} for counts in characters.values())
    assert len(background - omniglot.VALIDATION_ALPHABETS) == 24
    assert len(background & omniglot.VALIDATION_ALPHABETS) == 6
    assert len(evaluation) == 20
    assert not background & evaluation
