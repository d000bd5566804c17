"""Omniglot (Lake et al., Science 2015): hand-drawn characters of 50 alphabets, split by alphabet."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from sib_tf.datasets.builder import FewShotBuilder
from sib_tf.datasets.sources import archive
from sib_tf.errors import InputError
from sib_tf.pictures.decoders import open_picture
from sib_tf.storage import zip_files

_ADDRESS = "https://github.com/brendenlake/omniglot/raw/master/python/"
BACKGROUND = "images_background.zip"
EVALUATION = "images_evaluation.zip"
# Drawings have less than 1 kB each.
MOST_UNPACKED = 64 << 20
VALIDATION_ALPHABETS = frozenset(
    ["Burmese_(Myanmar)", "Early_Aramaic", "Korean", "Mkhedruli_(Georgian)", "N_Ko", "Sanskrit"]
)


class Builder(FewShotBuilder):
    """1,623 characters of 50 alphabets, 20 drawings each, scaled from 105 x 105 to 32 x 32 pixels.

    Meta-test classes are the 20 alphabets of the evaluation archive (659 characters); six of the 30 background
    alphabets are for validation, the other 24 for training: no alphabet is in two splits. The random split of
    characters that some papers use (Vinyals et al. 2016) mixes alphabets and gives higher figures.
    """

    # tensorflow-datasets has a builder called omniglot, and refuses a second one.
    name = "omniglot_by_alphabet"
    VERSION = "1.0.0"
    IMAGE_SIZE = 32
    HOMEPAGE = "https://github.com/brendenlake/omniglot"
    CITATION = """@article{lake2015, title={Human-level concept learning through probabilistic program induction},
    author={Lake, Brenden M. and Salakhutdinov, Ruslan and Tenenbaum, Joshua B.}, journal={Science}, volume={350},
    number={6266}, pages={1332--1338}, year={2015}}"""

    def _pictures(self, dl_manager, split):
        name = EVALUATION if split == "test" else BACKGROUND
        return drawings(archive(dl_manager, name, _ADDRESS + name), split, self.IMAGE_SIZE)


def drawings(path: Path, split: str, size: int) -> Iterator[tuple[str, str, Image.Image]]:
    """Yields (class name, id, RGB picture of `size` pixels) of a split's drawings in the archive `path`.

    Raises an InputError if the archive is damaged, or has none.
    """
    found = False
    with _open(path) as archived:
        for name in archived.namelist():
            parts = PurePosixPath(name).parts
            if len(parts) != 4 or not name.endswith(".png"):
                continue
            _, alphabet, character, file = parts
            if split != "test" and (alphabet in VALIDATION_ALPHABETS) != (split == "validation"):
                continue
            found = True
            class_name = f"{alphabet}/{character}"
            yield class_name, f"{class_name}/{Path(file).stem}", _read_drawing(archived, name, size)
    if not found:
        raise InputError(
            f"{path} has no drawings of {split} alphabets, called <archive>/<alphabet>/<character>/<drawing>.png; "
            "fetch it again."
        )


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zip_files.open_zip(path, MOST_UNPACKED)
    except Exception as error:  # zipfile raises whatever the broken bytes lead it to.
        raise InputError(f"{path} is damaged ({error}); fetch it again.") from error


def _read_drawing(archived: zipfile.ZipFile, name: str, size: int) -> Image.Image:
    try:
        with open_picture(io.BytesIO(archived.read(name)), ("PNG",)) as image:
            # BOX averages the pixels that fall together, so that one-pixel strokes survive as grey.
            return image.convert("L").resize((size, size), Image.Resampling.BOX).convert("RGB")
    except Exception as error:  # zipfile's and Pillow's decoders raise whatever the broken bytes lead them to.
        raise InputError(f"{name} in {archived.filename} cannot be read ({error}); fetch the archive again.") from error
