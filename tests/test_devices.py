"""Devices: wrong workers, batches and machines are refused with the way out; one device divides nothing."""

import json
from types import SimpleNamespace

import pytest
import tensorflow as tf

from sib_tf import devices
from sib_tf.devices import Devices
from sib_tf.errors import InputError

CLUSTER = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


def test_one_device_is_the_default():
    one = devices.connect("none")
    assert (one.replicas, one.chief, one.distributed) == (1, True, False)
    one.check_shared("batch_size", 7)
    assert one.any(True)
    assert not one.any(False)


@pytest.mark.parametrize(("count", "near"), [(7, "6 or 9"), (2, "3")])
def test_a_batch_that_replicas_cannot_share_is_refused_with_the_nearest_that_they_can(count, near):
    message = rf"batch_episodes must be a multiple of the 3 replicas, .*; got {count}\. Take {near}, or fewer devices\."
    devices_of_three = Devices("mirrored", SimpleNamespace(num_replicas_in_sync=3))
    with pytest.raises(InputError, match=message):
        devices_of_three.check_shared("batch_episodes", count)
    devices_of_three.check_shared("batch_episodes", 6)


@pytest.mark.parametrize(("task", "number"), [({"type": "chief", "index": 0}, 0), ({"type": "worker", "index": 1}, 2)])
def test_workers_are_numbered_from_the_chief_on(monkeypatch, task, number):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": CLUSTER, "task": task}))
    assert devices._read_tf_config() == (["a:1", "b:1", "c:1"], number)


def test_workers_without_tf_config_are_told_of_it(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(InputError, match=r"distribution=multi_worker needs TF_CONFIG on every worker, such as TF_CONF"):
        devices.connect("multi_worker")


@pytest.mark.parametrize(
    "config",
    [
        "worker 0",
        "[]",
        json.dumps({"cluster": CLUSTER}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "evaluator", "index": 0}}),
        json.dumps({"cluster": {"worker": ["b"]}, "task": {"type": "worker", "index": 0}}),
    ],
)
def test_tf_config_that_names_no_place_is_refused(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match=r"TF_CONFIG must look like \{.*\}, with index the place of this worker; got"):
        devices.connect("multi_worker")


def test_a_tpu_that_is_not_there_is_named(monkeypatch):
    def none():
        raise ValueError("Please provide a TPU Name to connect to.")

    monkeypatch.setattr(tf.distribute.cluster_resolver.TPUClusterResolver, "connect", none)
    with pytest.raises(InputError, match=r"distribution=tpu found no TPU \(Please provide .*\); run on a TPU VM, or"):
        devices.connect("tpu")


def test_workers_that_do_not_agree_are_told(monkeypatch):
    monkeypatch.setattr(Devices, "mean", lambda self, value: value + 0.5)
    with pytest.raises(InputError, match=r"All workers must have the same settings; this one.s differ"):
        Devices().agree("settings", {"steps": 3})


@pytest.mark.parametrize("error", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_the_loss_of_a_worker_says_how_to_go_on(error):
    message = r"Worker 1 lost another of the 3 workers\. Start all again\. \(\w+Error: peer is down\)"
    with (
        pytest.raises(devices.WorkerLostError, match=message) as lost,
        Devices(worker=1, workers=3).lost_worker("Start all again."),
    ):
        raise error(None, None, "peer is down\nmore")
    assert lost.value.exit_code == 75
    with pytest.raises(error), Devices().lost_worker("Alone, it is something else."):
        raise error(None, None, "disk")
