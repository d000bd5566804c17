"""The PyTorch peer does the work of the released code: its numbers are the recorded ones."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.speed import released_head  # noqa: E402

FILES = ("head_5way_1shot_K3.npz", "head_5way_5shot_K5.npz", "head_5way_1shot_K3_large_step.npz")


def recorded(path):
    """A head with the recorded parameters, the arrays and the settings."""
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays["meta"]))
    head = released_head.ReleasedHead(meta["way"], meta["feature_dim"], meta["num_steps"], meta["inner_learning_rate"])
    with torch.no_grad():
        for name, parameter in parameters(head).items():
            value = arrays[f"init/{name}"]
            parameter.copy_(torch.from_numpy(value.T if name.endswith("kernel") else value))
    return head, arrays, meta


def parameters(head) -> dict:
    found = {name: getattr(head, name) for name in ("feature_scale", "logit_scale", "logit_bias")}
    for i in (1, 2, 3):
        dense = getattr(head, f"dense{i}")
        found |= {f"dense{i}_kernel": dense.weight, f"dense{i}_bias": dense.bias}
    for i in (1, 2):
        norm = getattr(head, f"norm{i}")
        found |= {f"norm{i}_gamma": norm.weight, f"norm{i}_beta": norm.bias}
    return found


def episode(arrays, prefix=""):
    names = ("support_features", "support_labels", "query_features", "query_labels")
    return [torch.from_numpy(arrays[prefix + name]) for name in names]


@pytest.mark.parametrize("name", FILES)
def test_path_logits_and_gradients(golden, name):
    head, arrays, _ = recorded(golden(name))
    support, labels, query, wanted = episode(arrays)
    path, logits = head(support[None], labels[None].long(), query[None])
    np.testing.assert_allclose(torch.cat(path).detach(), arrays["theta"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits[0].detach(), arrays["logits"], rtol=0, atol=1e-4)
    torch.nn.functional.cross_entropy(logits[0], wanted.long()).backward()
    for field, parameter in parameters(head).items():
        gradient = parameter.grad.T if field.endswith("kernel") else parameter.grad
        expected = arrays[f"grad/{field}"].reshape(gradient.shape)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=field)


@pytest.mark.parametrize("name", FILES[:2])
def test_training_run(golden, name):
    head, arrays, meta = recorded(golden(name))
    outer = released_head.optimizer(head)
    for i, loss in enumerate(arrays["train/losses"]):
        one = [field[i : i + 1] for field in episode(arrays, "train/")]
        found = released_head.train_step(head, outer, one[0], one[1].long(), one[2], one[3].long())
        np.testing.assert_allclose(found, loss, rtol=0, atol=1e-4, err_msg=f"step {i}")
    for field, parameter in parameters(head).items():
        value = parameter.detach().T if field.endswith("kernel") else parameter.detach()
        np.testing.assert_allclose(value, arrays[f"trained/{field}"].reshape(value.shape), rtol=0, atol=1e-4)


def test_a_batch_is_its_episodes(golden):
    head, arrays, _ = recorded(golden(FILES[0]))
    support, labels, query, _ = episode(arrays, "train/")
    _, together = head(support[:3], labels[:3].long(), query[:3])
    for i in range(3):
        _, alone = head(support[i : i + 1], labels[i : i + 1].long(), query[i : i + 1])
        np.testing.assert_allclose(together[i].detach(), alone[0].detach(), rtol=0, atol=2e-5)
