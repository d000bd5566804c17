"""Omniglot (Lake et al., Science 2015): hand-drawn characters of 50 alphabets, split by alphabet."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from sib_tf.datasets.builder import FewShotBuilder, png_bytes
from sib_tf.datasets.sources import archive, open_zip, read_picture_member
from sib_tf.errors import InputError
from sib_tf.pictures.files import open_picture

_ADDRESS = "https://github.com/brendenlake/omniglot/raw/master/python/"
BACKGROUND = "images_background.zip"
EVALUATION = "images_evaluation.zip"
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

    def _split_generators(self, dl_manager):
        background = archive(dl_manager, BACKGROUND, _ADDRESS + BACKGROUND)
        evaluation = archive(dl_manager, EVALUATION, _ADDRESS + EVALUATION)
        return {
            "train": self._generate_examples(background, "train"),
            "validation": self._generate_examples(background, "validation"),
            "test": self._generate_examples(evaluation, "test"),
        }

    def _generate_examples(self, path: Path, split: str) -> Iterator[tuple[str, dict]]:
        found = False
        with open_zip(path) as pictures:
            for name in pictures.namelist():
                parts = PurePosixPath(name).parts
                if len(parts) != 4 or not name.endswith(".png"):
                    continue
                _, alphabet, character, file = parts
                if split != "test" and (alphabet in VALIDATION_ALPHABETS) != (split == "validation"):
                    continue
                found = True
                identity = f"{alphabet}/{character}/{Path(file).stem}"
                image = png_bytes(_read_drawing(pictures, name, self.IMAGE_SIZE))
                yield identity, {"image": image, "class_name": f"{alphabet}/{character}", "id": identity}
        if not found:
            raise InputError(
                f"{path} has no drawings of {split} alphabets, called <archive>/<alphabet>/<character>/<drawing>.png; "
                "fetch it again."
            )


def _read_drawing(pictures: zipfile.ZipFile, name: str, size: int) -> Image.Image:
    try:
        with open_picture(io.BytesIO(read_picture_member(pictures, name)), ("PNG",)) as image:
            # BOX averages the pixels that fall together, so that one-pixel strokes survive as grey.
            return image.convert("L").resize((size, size), Image.Resampling.BOX).convert("RGB")
    except Exception as error:  # zipfile's and Pillow's decoders raise whatever the broken bytes lead them to.
        raise InputError(f"{name} in {pictures.filename} cannot be read ({error}); fetch the archive again.") from error
