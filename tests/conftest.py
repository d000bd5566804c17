"""What tests share: quiet TensorFlow, a tiny data set and its features, and a folder of one's own to work in."""

import gc
import os
import sys

# Before TensorFlow and matplotlib are imported.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
# Tests compile far more than they run.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

from pathlib import Path

import numpy as np
import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("SIB_DATA_DIR", CHECKOUT.parent / "shared" / "data"))


def draw_class(color_seed: int, count: int, random: np.random.RandomState) -> np.ndarray:
    """Draws `[count, 32, 32, 3]` uint8 pictures of one class: stripes of its own colours, moved and noisy."""
    look = np.random.RandomState(color_seed)
    low, high = look.uniform(40, 215, (2, 3))
    across, down = look.uniform(-1.2, 1.2, 2)
    rows, columns = np.mgrid[:32, :32]
    phase = random.uniform(0, 2 * np.pi, (count, 1, 1))
    wave = (0.5 + 0.5 * np.sin(across * columns + down * rows + phase))[..., None]
    pictures = low + (high - low) * wave + random.normal(0, 25, (count, 32, 32, 3))
    return pictures.clip(0, 255).astype(np.uint8)


def make_split(name: str, classes: int):
    """Makes a `Split` of `classes` classes with 24 pictures each."""
    from sib_tf.datasets import Split

    first = {"train": 0, "validation": 100, "test": 200}[name]
    random = np.random.RandomState([0, first])
    images = np.concatenate([draw_class(first + c, 24, random) for c in range(classes)])
    labels = np.repeat(np.arange(classes), 24)
    ids = np.array([f"{i:04d}" for i in range(len(images))])
    return Split(images, labels, tuple(f"{name}{c:02d}" for c in range(classes)), ids)


def real_data(name: str) -> Path:
    """Returns a folder or file of real data; skips the test where it is not there."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; SIB_DATA_DIR names the folder of real data")
    return path


def draw_pictures(root: Path, counts: dict[str, tuple[int, int]]) -> None:
    """Draws <root>/<split>/<class>/<number>.png; `counts` are of the classes, and of the pictures in each, by split."""
    from PIL import Image

    random = np.random.RandomState(0)
    for number, (split, (classes, count)) in enumerate(counts.items()):
        for c in range(classes):
            folder = root / split / f"{split}{c}"
            folder.mkdir(parents=True)
            for i, picture in enumerate(draw_class(100 * number + c, count, random)):
                Image.fromarray(picture).save(folder / f"{i:02d}.png")


def pytest_collection_finish():
    """Takes what the imports made out of the garbage collector's sight: looking through it took 4 % of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items):
    """Puts modules that take long in front, so that not one process alone ends with them."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="module", autouse=True)
def graphs_are_freed():
    """Lets go of what a module traced: TensorFlow keeps every graph with a gradient of its own for good."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework.ops import gradient_registry

        for name in [name for name in gradient_registry._registry if name.startswith("CustomGradient-")]:
            del gradient_registry._registry[name]
        gc.collect()


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Runs every test in an empty folder, so that none leaves files in the checkout."""
    monkeypatch.chdir(tmp_path)


def make_dataset():
    """Makes a `MetaDataset` of 8, 6 and 6 classes with 24 pictures each, 32 x 32."""
    from sib_tf.datasets import MetaDataset
    from sib_tf.datasets.loading import channel_statistics

    splits = {name: make_split(name, classes) for name, classes in (("train", 8), ("validation", 6), ("test", 6))}
    return MetaDataset(
        "tiny", "1.0.0", **splits, normalization=channel_statistics(splits["train"].images), picture_size=32
    )


@pytest.fixture(scope="session")
def tiny_dataset():
    """What `make_dataset` makes."""
    return make_dataset()


@pytest.fixture(scope="session")
def tiny_backbone(tiny_dataset):
    """An untrained conv4 of width 4 for `tiny_dataset`: features of length 16."""
    import keras

    from sib_tf import backbones
    from sib_tf.config import BackboneConfig

    mean, std = tiny_dataset.normalization
    keras.utils.set_random_seed(0)
    return backbones.build(BackboneConfig(width=4, mean=mean, std=std))


@pytest.fixture(scope="session")
def tiny_features(tiny_dataset, tiny_backbone, tmp_path_factory) -> Path:
    """The folder of a feature cache of `tiny_dataset`. Tests that change it must copy it first."""
    from sib_tf.features import extraction

    folder = tmp_path_factory.mktemp("tiny") / "features"
    extraction.extract(tiny_dataset, tiny_backbone, folder)
    return folder


@pytest.fixture(scope="session")
def models():
    """Paths of a trained run and its exported files, by kind. Tests that change one must copy it first."""
    from exported import Models

    return Models()


@pytest.fixture
def golden():
    """Opens a file of the numbers recorded from the released code, by name; skips the test where there is none."""
    folder = (CHECKOUT / os.environ.get("SIB_GOLDEN_DIR", "../shared/reference/golden")).resolve()

    def path(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"no recorded numbers {name} in {folder}; set SIB_GOLDEN_DIR")
        return folder / name

    return path


@pytest.fixture(scope="session")
def launch():
    """Starts headless Chromiums: `web_visitor.launcher`, of which a process can have one."""
    from web_visitor import launcher

    with launcher() as launch:
        yield launch


@pytest.fixture(scope="session")
def browser(launch):
    """A headless Chromium."""
    return launch()


@pytest.fixture(scope="module", params=("chromium", "firefox", "webkit"))
def tab(request):
    """A tab of every browser that is installed, with one interface: `web_tab.Tab`."""
    from web_browsers import ChromiumTab, open_tab

    if request.param == "chromium":
        yield ChromiumTab(request.getfixturevalue("launch")())
        return
    with open_tab(request.param) as tab:
        yield tab
