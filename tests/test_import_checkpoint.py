"""The released code's .pth files: read without executing anything, and giving the numbers that PyTorch gives."""

import json
import pathlib
import re
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from damage import check_damage, refused

from sib_tf import backbones, features, released, runs
from sib_tf.commands import cli
from sib_tf.datasets.cifar_fs import Builder
from sib_tf.storage import digests
from train import import_checkpoint

torch = pytest.importorskip("torch", reason="PyTorch is not installed; .pth files need it (pip install sib_tf[torch])")
from torch import nn  # noqa: E402

from benchmarks.speed.released_head import ReleasedHead  # noqa: E402

WIDTH, DIM, WAY, STEPS, RATE = 4, 16, 3, 2, 1e-2


def torch_backbone() -> torch.nn.Module:
    """A conv4 of width 4 its state under the released code's names."""

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


def fake_backbone() -> dict:
    return dict(BACKBONE.state_dict())


def fake_head() -> dict:
    """The head's state under the released code's names."""
    names = {"feature_scale": "wnLayerFavg.weight", "logit_scale": "scale_cls", "logit_bias": "bias"}
    for ours, theirs in (("dense1", "1.0"), ("norm1", "1.2"), ("dense2", "2.0"), ("norm2", "2.2"), ("dense3", "3")):
        names |= {f"{ours}.{part}": f"dni.layer{theirs}.{part}" for part in ("weight", "bias")}
    return {theirs: HEAD.state_dict()[ours] for ours, theirs in names.items()}


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.run(import_checkpoint.main, import_checkpoint.FLAGS, import_checkpoint.__doc__, ["prog", *arguments])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def import_file(capsys, content, dataset: str = "cifar_fs") -> tuple[int, str, str]:
    torch.save(content, "file.pth")
    return run(
        capsys, "--checkpoint=file.pth", f"--dataset={dataset}", "--output_dir=run", f"--inner_learning_rate={RATE}"
    )


def sib_file(**changes) -> dict:
    return {"lr": 1e-3, "netFeat": fake_backbone(), "SIB": fake_head(), "nbStep": STEPS, **changes}


def test_an_imported_model_gives_what_pytorch_gives(capsys):
    code, out, err = import_file(capsys, sib_file())
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "Backbone conv4 (width 4, 32 pixels) written to run/backbone.",
        "SIB model (3-way, K = 2) written to run/sib.",
    ]
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
    parallel = {f"module.{name}": value for name, value in fake_backbone().items()}  # As DataParallel saves it.
    code, _, err = import_file(capsys, parallel)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in pathlib.Path("run").iterdir()) == ["backbone"]
    record = json.loads(pathlib.Path("run/backbone/config.json").read_text())
    assert record["imported_from"] == "file.pth"


class Malicious:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("executed"),))


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"weights": Malicious()},
            r"checkpoint file\.pth is damaged or holds more than weights \(UnpicklingError\); only",
        ),
        ([1, 2], r"checkpoint file\.pth holds a list, not weights by name\."),
        ({"a": 1}, r"checkpoint file\.pth holds values that are not arrays of numbers\."),
        ({"fc.weight": torch.zeros(2)}, r"checkpoint has no backbone of the released code; its names begin with \['fc"),
        (sib_file(SIB=None), r"checkpoint file\.pth holds values that are not arrays of numbers\."),
        (without(sib_file(), "nbStep"), r"checkpoint file\.pth lacks \['nbStep'\]\."),
        (sib_file(nbStep="three"), r"checkpoint file\.pth must have a whole number as nbStep; got 'three'\."),
        (sib_file(nbStep=1000), r"num_steps must be in \[0, 100\] \(the steps are unrolled\); got 1000\."),
        (
            without(fake_backbone(), "conv_blocks.2.layers.BatchNorm.running_var"),
            r"checkpoint lacks conv_blocks\.2\.layers\.BatchNorm\.running_var; it is not a whole file of the rel",
        ),
        (
            {**fake_backbone(), "conv_blocks.1.layers.Conv.weight": torch.zeros(4, 9, 3, 3)},
            r"checkpoint has conv_blocks\.1\.layers\.Conv of shape \(3, 3, 9, 4\); \(3, 3, 4, 4\) is needed\.",
        ),
        (
            {**fake_backbone(), "conv_blocks.0.layers.Conv.weight": torch.zeros(4)},
            r"checkpoint has conv_blocks\.0\.layers\.Conv\.weight of shape \(4,\); 4 axes are needed\.",
        ),
        (sib_file(SIB=without(fake_head(), "scale_cls")), r"checkpoint lacks scale_cls; it is not a whole file"),
        (
            sib_file(SIB={**fake_head(), "dni.layer2.0.weight": torch.zeros(24, 5)}),
            r"checkpoint has dni\.layer2\.0 of shape \(5, 24\); \(24, 24\) is needed\.",
        ),
        (
            sib_file(SIB={**fake_head(), "bias": torch.zeros(2)}),
            r"checkpoint has bias of shape \(2,\); \(1,\) is needed\.",
        ),
        (
            sib_file(SIB={**fake_head(), "wnLayerFavg.weight": torch.zeros(18)}),
            r"checkpoint has a head for features of length 18, which is not 4 squares",
        ),
    ],
)
def test_other_files_are_refused_and_nothing_is_written(capsys, content, message):
    code, _, err = import_file(capsys, content)
    assert code == 2
    assert err.count("\n") == 1
    assert re.match(f"error: {message}", err), err
    assert not pathlib.Path("executed").exists()
    assert not pathlib.Path("run").exists()


def test_the_size_of_another_dataset_is_noticed(capsys):
    code, _, err = import_file(capsys, sib_file(), dataset="mini_imagenet")
    assert code == 2
    assert err == (
        "error: checkpoint file.pth has a head for features of length 16, but its backbone gives 100 at the 80 pixels "
        "of mini_imagenet; is dataset the one that it was trained on?\n"
    )
    assert not pathlib.Path("run").exists()


def test_a_missing_file_is_named(capsys):
    code, _, err = run(capsys, "--checkpoint=none.pth", "--dataset=cifar_fs", "--output_dir=run")
    assert (code, err) == (2, "error: checkpoint none.pth does not exist.\n")


def test_damaged_files_are_refused_or_read_as_they_were(tmp_path):
    """PyTorch itself reads flipped weights: it does not compare the checksums of the archive."""
    path = tmp_path / "file.pth"
    torch.save(sib_file(), path)
    expected, expected_head = released.read_checkpoint(path)

    def same(found):
        state, head = found
        pairs = ((state, expected), (head["state"], expected_head["state"]))
        equal = all(ours.keys() == theirs.keys() for ours, theirs in pairs) and all(
            np.array_equal(ours[name], theirs[name]) for ours, theirs in pairs for name in theirs
        )
        return equal and head["num_steps"] == STEPS

    check_damage(path, released.read_checkpoint, same, flips=80, cuts=10)


def test_a_known_digest_guards_files_without_checksums(capsys):
    """As PyTorch wrote them before 1.6."""
    torch.save(fake_backbone(), "file.pth", _use_new_zipfile_serialization=False)
    digest = digests.of_file("file.pth")
    arguments = ("--checkpoint=file.pth", "--dataset=cifar_fs", "--output_dir=run", f"--sha256={digest.upper()}")
    assert run(capsys, *arguments)[0] == 0
    record = json.loads(pathlib.Path("run/backbone/config.json").read_text())
    assert record["imported_sha256"] == digest
    content = bytearray(pathlib.Path("file.pth").read_bytes())
    content[-40] ^= 1
    pathlib.Path("file.pth").write_bytes(content)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith(f"error: checkpoint file.pth must have the SHA-256 {digest.upper()}; it has ")


def test_archives_that_claim_more_than_they_have_are_refused(tmp_path, capsys):
    path = tmp_path / "packed.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    refused(lambda: released.read_checkpoint(path), "packed.pth is damaged")
    wide = {**fake_backbone(), "conv_blocks.0.layers.Conv.weight": torch.zeros(1).expand(1 << 30, 3, 3, 3)[:, :, :1]}
    state = {name: value.numpy() for name, value in wide.items()}
    message = refused(lambda: released.backbone(state, 32, (0.0,) * 3, (1.0,) * 3), "checkpoint has a width 1073741824")
    assert "1 to 1024" in message
    deep = {f"block1.layer.{i}.conv1.weight": np.zeros((16, 16, 3, 3)) for i in (0, 999_999_999)}
    refused(lambda: released.backbone(deep, 32, (0.0,) * 3, (1.0,) * 3), "checkpoint has blocks to a group, 1000000000")
    code, _, err = import_file(capsys, {**fake_backbone(), "conv_blocks.1.layers.BatchNorm.bias": torch.tensor(np.nan)})
    assert (code, "conv_blocks.1.layers.BatchNorm.bias that are not finite" in err) == (2, True)


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
