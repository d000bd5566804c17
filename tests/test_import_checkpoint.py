"""The released code's .pth files: read without executing anything, and giving the numbers that PyTorch gives."""

import json
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import running
from damage import check_damage, refused
from test_cli import check_error

from sib_tf import backbones, features, released, runs
from sib_tf.datasets.cifar_fs import Builder
from sib_tf.storage import digests
from train import import_checkpoint

torch = pytest.importorskip("torch", reason="PyTorch is not installed; .pth files need it (pip install sib_tf[torch])")
from torch import nn  # noqa: E402

from benchmarks.speed.released_head import ReleasedHead  # noqa: E402

WIDTH, DIM, WAY, STEPS, RATE = 4, 16, 3, 2, 1e-2


def torch_backbone() -> torch.nn.Module:
    """A conv4 of width 4, its state under the released code's names."""

    def block(inputs: int):
        layers = {"Conv": nn.Conv2d(inputs, WIDTH, 3, padding=1, bias=False), "BatchNorm": nn.BatchNorm2d(WIDTH)}
        layers |= {"ReLU": nn.ReLU(), "MaxPool": nn.MaxPool2d(2)}
        return nn.Sequential(OrderedDict(layers=nn.Sequential(OrderedDict(layers))))

    blocks = nn.Sequential(*(block(inputs) for inputs in (3, WIDTH, WIDTH, WIDTH)))
    return nn.Sequential(OrderedDict(conv_blocks=blocks, Flatten=nn.Flatten()))


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """The module with all numbers far from where a layer starts."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(0.5 * torch.rand_like(value))
    return module.eval()


torch.manual_seed(0)
BACKBONE, HEAD = shaken(torch_backbone()), shaken(ReleasedHead(WAY, DIM, STEPS, RATE))
# The released code's names.
NAMES = {"feature_scale": "wnLayerFavg.weight", "logit_scale": "scale_cls", "logit_bias": "bias"}
for ours, theirs in (("dense1", "1.0"), ("norm1", "1.2"), ("dense2", "2.0"), ("norm2", "2.2"), ("dense3", "3")):
    NAMES |= {f"{ours}.{part}": f"dni.layer{theirs}.{part}" for part in ("weight", "bias")}
VARIANCE = "conv_blocks.2.layers.BatchNorm.running_var"
FEAT = dict(BACKBONE.state_dict())
SIB = {theirs: HEAD.state_dict()[ours] for ours, theirs in NAMES.items()}


def sib_file(**changes) -> dict:
    return {"lr": 1e-3, "netFeat": FEAT, "SIB": SIB, "nbStep": STEPS, **changes}


def import_file(content, **flags) -> int:
    torch.save(content, "file.pth")
    return run(inner_learning_rate=RATE, **flags)


def run(**flags) -> int:
    given = {"checkpoint": "file.pth", "dataset": "cifar_fs", "output_dir": "run"}
    return running.run(import_checkpoint, given, **flags)


def test_an_imported_model_gives_what_pytorch_gives(capsys):
    assert import_file(sib_file()) == 0
    assert capsys.readouterr() == (
        "Backbone conv4 (width 4, 32 pixels) written to run/backbone.\nSIB model (3-way, K = 2) written to run/sib.\n",
        "",
    )
    random = np.random.RandomState(0)
    pictures = random.randint(0, 256, (6 + 12, 32, 32, 3)).astype(np.uint8)
    labels = np.tile(np.arange(WAY), 2)
    backbone, config = backbones.load("run/backbone")
    assert (config.name, config.width, config.mean) == ("conv4", WIDTH, Builder.NORMALIZATION[0])
    ours = features.embed(backbone, pictures)
    mean, std = (np.array(values, np.float32) for values in Builder.NORMALIZATION)
    theirs = BACKBONE(torch.from_numpy((pictures - mean) / std).permute(0, 3, 1, 2)).detach()
    np.testing.assert_allclose(ours, released.channels_last(theirs.numpy(), WIDTH), rtol=1e-4, atol=1e-5)

    model, record = runs.load_model("run/sib", features.weights_fingerprint(backbone), "the imported one")
    assert (model.config.num_steps, model.config.way, model.config.inner_learning_rate) == (STEPS, WAY, RATE)
    assert record["imported_from"] == "file.pth"
    found = model(ours[None, :6], labels[None], ours[None, 6:])[0]
    _, expected = HEAD(theirs[None, :6], torch.from_numpy(labels)[None], theirs[None, 6:])
    np.testing.assert_allclose(found, expected[0].detach(), rtol=1e-4, atol=1e-4)


def test_a_backbone_alone_is_imported_alone(capsys):
    assert import_file({f"module.{name}": value for name, value in FEAT.items()}) == 0  # As DataParallel saves it.
    assert capsys.readouterr().err == ""
    assert [path.name for path in Path("run").iterdir()] == ["backbone"]
    assert json.loads(Path("run/backbone/config.json").read_text())["imported_from"] == "file.pth"


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


def convolution(block: int, *shape: int) -> dict:
    """The backbone with another shape of a block's kernel."""
    return {**FEAT, f"conv_blocks.{block}.layers.Conv.weight": torch.zeros(shape)}


def head(name: str, *shape: int) -> dict:
    """A file with another shape of a weight of the head."""
    return sib_file(SIB={**SIB, name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": Malicious()}, r"file\.pth is damaged or holds more than weights \(UnpicklingError\); only"),
        ([1, 2], r"file\.pth holds a list, not weights by name\."),
        ({"a": 1}, r"file\.pth holds values that are not arrays of numbers, as a state"),
        ({"fc.weight": torch.zeros(2)}, r"has no backbone of the released code; its names begin with \['fc"),
        (sib_file(SIB=None), r"file\.pth holds values that are not arrays of numbers, as a state"),
        (without(sib_file(), "nbStep"), r"file\.pth lacks \['nbStep'\]\."),
        (sib_file(nbStep="three"), r"file\.pth must have a whole number as nbStep; got 'three'\."),
        (without(FEAT, VARIANCE), rf"lacks {VARIANCE}; it is not a whole file"),
        ({**FEAT, VARIANCE: torch.tensor(np.nan)}, rf"file\.pth has numbers in {VARIANCE} that are not finite"),
        (convolution(1, 4, 9, 3, 3), r"has conv_blocks\.1\.layers\.Conv of shape \(3, 3, 9, 4\); \(3, 3, 4, 4\) is"),
        (convolution(0, 4), r"has conv_blocks\.0\.layers\.Conv\.weight of shape \(4,\); 4 axes are needed\."),
        (convolution(0, 1 << 30, 0, 3, 3), r"has a width 1073741824; backbones of the released code have 1 to 1024\."),
        (
            {f"block1.layer.{i}.conv1.weight": torch.zeros(16, 16, 3, 3) for i in (0, 999_999_999)},
            r"has blocks to a group, 1000000000",
        ),
        (sib_file(SIB=without(SIB, "scale_cls")), r"lacks scale_cls; it is not a whole file"),
        (head("dni.layer2.0.weight", 24, 5), r"has dni\.layer2\.0 of shape \(5, 24\); \(24, 24\) is needed\."),
        (head("bias", 2), r"has bias of shape \(2,\); \(1,\) is needed\."),
        (head("wnLayerFavg.weight", 18), "has a head for features of length 18, which is not 4 squares"),
    ],
)
def test_other_files_are_refused_and_nothing_is_written(capsys, content, message):
    check_error(capsys, import_file(content), f"checkpoint {message}")
    assert [path.name for path in Path().iterdir()] == ["file.pth"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mean", torch.zeros(2), r"has mean of shape \(2,\); \(3,\) is needed"),
        ("std", torch.zeros(3), r"std must be three numbers above 0"),
        ("image_size", torch.tensor(10**7), r"has pictures of size 10000000; .* 1 to 1024"),
        ("image_size", torch.zeros(1), r"has image_size of shape \(1,\); \(\) is needed"),
        ("std", None, r"lacks std; it is not a whole file"),
    ],
)
def test_pictures_that_are_none_are_refused(capsys, name, value, message):
    """A file of train.pretrain_torch says which pictures it takes."""
    own = {"image_size": torch.tensor(32), "mean": torch.zeros(3), "std": torch.ones(3), name: value}
    content = FEAT | {name: value for name, value in own.items() if value is not None}
    check_error(capsys, import_file(content, dataset=None), rf"(checkpoint )?{message}")
    assert not Path("run").exists()


def test_values_that_do_not_go_with_the_file_are_refused(capsys):
    for other in ("none.pth", "."):
        check_error(
            capsys, run(checkpoint=other), rf"checkpoint {re.escape(other)} must be a \.pth file; there is no such"
        )
    message = r"dataset must be given: file\.pth says neither size nor normalisation .* --dataset=cifar_fs"
    check_error(capsys, import_file(sib_file(), dataset=None), message)
    message = r"num_steps must be in \[0, 100\] \(the steps are unrolled\); got 1000\."
    check_error(capsys, import_file(sib_file(nbStep=1000)), message)
    message = r"checkpoint file\.pth has a head for features of length 16, but its backbone gives 100 at the 80 pixels "
    message += r"of mini_imagenet; is dataset the one that it was trained on\?$"
    check_error(capsys, import_file(sib_file(), dataset="mini_imagenet"), message)
    assert not Path("run").exists()


def test_damaged_files_are_refused_or_read_as_they_were():
    """PyTorch itself reads flipped weights: it does not compare the checksums of the archive."""
    torch.save(sib_file(), "file.pth")

    def read(path):
        state, head = released.read_checkpoint(path)
        return {name: value.tolist() for name, value in {**state, **head["state"]}.items()}, head["num_steps"]

    check_damage(Path("file.pth"), read, read("file.pth").__eq__, flips=80, cuts=10)


def test_a_known_digest_guards_files_without_checksums(capsys):
    """As PyTorch wrote them before 1.6."""
    path = Path("file.pth")
    torch.save(FEAT, path, _use_new_zipfile_serialization=False)
    digest = digests.of_file(path)
    assert run(sha256=digest.upper()) == 0
    assert json.loads(Path("run/backbone/config.json").read_text())["imported_sha256"] == digest
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    capsys.readouterr()
    message = rf"checkpoint file\.pth must have the SHA-256 {digest.upper()}; it has "
    check_error(capsys, run(sha256=digest.upper()), message)


def test_an_archive_that_unpacks_to_more_than_it_has_is_refused():
    with zipfile.ZipFile("packed.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    refused(lambda: released.read_checkpoint("packed.pth"), "packed.pth is damaged")


def test_recorded_checkpoint_of_both_kinds(golden):
    with np.load(golden("checkpoint_expected.npz")) as arrays:
        expected = dict(arrays)
    state, head = released.read_checkpoint(golden("netSIBBest.pth"))
    model, config = released.backbone(state, 32, (0.0,) * 3, (1.0,) * 3)
    support, query = (model(expected[f"{name}_images"], training=False) for name in ("support", "query"))
    theirs = released.channels_last(expected["query_features"], config.width)
    np.testing.assert_allclose(query, theirs, rtol=1e-5, atol=1e-5)
    sib = released.head(head["state"], head["num_steps"], 1e-3, config.width)
    logits = sib(support[None], expected["support_labels"][None], query[None])[0]
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-4)

    alone, no_head = released.read_checkpoint(golden("netFeatBest.pth"))
    assert no_head == {}
    backbone, _ = released.backbone(alone, 32, (0.0,) * 3, (1.0,) * 3)
    np.testing.assert_allclose(backbone(expected["query_images"], training=False), theirs, rtol=1e-5, atol=1e-5)
