"""Configuration records: JSON there and back, and a refusal that names field and value for everything impossible."""

import dataclasses
import math

import pytest

from sib_tf.config import BackboneConfig, EpisodeSpec, MetaTrainConfig, PretrainConfig, Record, SIBConfig
from sib_tf.errors import InputError
from sib_tf.records import as_range
from sib_tf.zero_shot.config import DomainAdaptationConfig, SpinningLinesConfig

RECORDS = [
    EpisodeSpec(shot=(1, 20), query=(1, 15), query_distribution="dirichlet", shot_distribution="uneven"),
    BackboneConfig(name="wide_resnet", width=2, depth=16, image_size=80, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)),
    PretrainConfig(schedule="one_cycle", epochs=24, mirror=False),
    SIBConfig(feature_dim=640, way=None, gradient_network="per_class", hidden_units=16, step_reduction="mean"),
    MetaTrainConfig(
        EpisodeSpec(way=(2, 7)),
        mixture=(EpisodeSpec(query_classes=2, total_query=8),),
        optimizer="adamw",
        cosine_decay=True,
    ),
    SpinningLinesConfig(num_steps=3, noise=0.1),
    DomainAdaptationConfig(backbone="resnet18", image_size=224, gradient_network="joint", target_in_training=False),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_json_there_and_back_gives_an_equal_record(tmp_path, record):
    record.save(tmp_path / "config.json")
    assert type(record).load(tmp_path / "config.json") == record


def test_every_record_is_covered():
    modules = ("sib_tf.config", "sib_tf.episode_spec", "sib_tf.zero_shot.config")
    assert {type(record) for record in RECORDS} == {cls for cls in Record.__subclasses__() if cls.__module__ in modules}


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EpisodeSpec().way = (3, 3)


@pytest.mark.parametrize(("value", "expected"), [(5, (5, 5)), ((2, 7), (2, 7)), ([2, 7], (2, 7)), ((4, 4), (4, 4))])
def test_ranges(value, expected):
    assert as_range("way", value) == expected


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (0, "0"),
        (-3, "-3"),
        ((20, 5), "20-5"),
        ((0, 5), "0-5"),
        ((1, 2, 3), r"\(1, 2, 3\)"),
        (2.5, "2.5"),
        ("ab", "a-b"),
        (None, "None"),
    ],
)
def test_impossible_ranges_are_refused(value, given):
    message = rf"way must be a whole number of at least 1, or a range low-high of such; got {given}\."
    with pytest.raises(InputError, match=message):
        as_range("way", value)


@pytest.mark.parametrize(
    ("record", "fields", "message"),
    [
        (EpisodeSpec, {"way": 0}, r"way must be a whole number .* got 0\."),
        (EpisodeSpec, {"shot": (3, 2)}, r"shot must be a whole number .* got 3-2\."),
        (EpisodeSpec, {"query": 0}, r"query must be a whole number .* got 0\."),
        (EpisodeSpec, {"query_distribution": "zipf"}, r"query_distribution must be one of balanced, dirichlet; .*zipf"),
        (EpisodeSpec, {"dirichlet_alpha": 0.0}, r"dirichlet_alpha must be above 0 and finite, or .*; got 0\."),
        (EpisodeSpec, {"dirichlet_alpha": (2.0, 0.5)}, r"dirichlet_alpha must be above 0 .*; got 2-0\.5\."),
        (EpisodeSpec, {"total_query": 0}, r"total_query must be a whole number of at least 1; got 0\."),
        (EpisodeSpec, {"total_query": 2.5}, r"total_query must be a whole number of at least 1; got 2\.5\."),
        (EpisodeSpec, {"query_classes": 4, "way": (3, 6)}, r"query_classes must be at most the smallest way, 3; got 4"),
        (EpisodeSpec, {"balanced_fraction": 1.5}, r"balanced_fraction must be in \[0, 1\]; got 1\.5\."),
        (EpisodeSpec, {"shot_distribution": "log"}, r"shot_distribution must be one of even, uneven; got 'log'\."),
        (EpisodeSpec, {"flipped_labels": 1.0}, r"flipped_labels must be in \[0, 1\); got 1\.0\."),
        (BackboneConfig, {"name": "resnet"}, r"backbone must be one of conv4, wide_resnet; got 'resnet'\."),
        (BackboneConfig, {"width": 0}, r"width must be at least 1; got 0\."),
        (BackboneConfig, {"image_size": 15}, r"image_size must be at least 16 pixels; got 15\."),
        (BackboneConfig, {"name": "wide_resnet", "depth": 12}, r"depth must be 6 \* blocks \+ 4 .*; got 12\."),
        (BackboneConfig, {"std": (1.0, 0.0, 1.0)}, r"std must be three numbers above 0; got \(1\.0, 0\.0, 1\.0\)\."),
        (BackboneConfig, {"mean": (1.0,)}, r"mean must be three numbers; got \(1\.0,\)\."),
        (SpinningLinesConfig, {"num_steps": 0}, r"num_steps must be in \[1, 100\].*; got 0"),
        (SpinningLinesConfig, {"queries": 1}, "queries must be at least 2; got 1"),
        (SpinningLinesConfig, {"noise": 0.0}, "noise must be above 0 and finite; got 0.0"),
        (DomainAdaptationConfig, {"num_steps": 0}, r"num_steps must be in \[1, 100\].*; got 0"),
        (DomainAdaptationConfig, {"minibatch": 1}, "minibatch must be at least 2 pictures; got 1"),
        (DomainAdaptationConfig, {"rotation_weight": -0.5}, "rotation_weight must be 0 or more and finite; got -0.5"),
        (DomainAdaptationConfig, {"validation_fraction": 1.0}, "validation_fraction must be above 0 and .*1.0"),
        (DomainAdaptationConfig, {"backbone": "vgg"}, "backbone must be one of conv4, resnet18, imported; got 'vgg'"),
        (PretrainConfig, {"schedule": "step"}, r"schedule must be one of paper, cosine, one_cycle; got 'step'\."),
        (PretrainConfig, {"learning_rate": math.nan}, r"learning_rate must be above 0 and finite; got nan\."),
        (PretrainConfig, {"learning_rate": math.inf}, r"learning_rate must be above 0 and finite; got inf\."),
        (PretrainConfig, {"epochs": -1}, r"epochs must be at least 0; got -1\."),
        (PretrainConfig, {"batch_size": 1}, r"batch_size must be at least 2 .*; got 1\."),
        (PretrainConfig, {"weight_decay": -1.0}, r"weight_decay must be 0 or more and finite; got -1\.0\."),
        (PretrainConfig, {"weight_decay": math.inf}, r"weight_decay must be 0 or more and finite; got inf\."),
        (PretrainConfig, {"logit_scale": 0.0}, r"logit_scale must be above 0 and finite; got 0\.0\."),
        (PretrainConfig, {"color_jitter": 1.0}, r"color_jitter must be in \[0, 1\); got 1\.0\."),
        (PretrainConfig, {"seed": -1}, r"seed must be in \[0, 2\*\*31\); got -1\."),
        (SIBConfig, {"feature_dim": 0}, r"feature_dim must be at least 1, or None; got 0\."),
        (SIBConfig, {"num_steps": 101}, r"num_steps must be in \[0, 100\] .*; got 101\."),
        (SIBConfig, {"inner_learning_rate": 0.0}, r"inner_learning_rate must be above 0 and finite; got 0\.0\."),
        (SIBConfig, {"gradient_network": "mlp"}, r"gradient_network must be one of joint, per_class; got 'mlp'\."),
        (SIBConfig, {"step_reduction": "max"}, r"step_reduction must be one of sum, mean, shrunk_mean; got 'max'\."),
        (SIBConfig, {"hidden_units": 0}, r"hidden_units must be at least 1; got 0\."),
        (SIBConfig, {"way": 1}, r"way must be 2 or more for the joint network; got 1\."),
        (SIBConfig, {"way": None}, r"way must be 2 or more for the joint network; got None\."),
        (MetaTrainConfig, {"steps": 0}, r"steps must be at least 1; got 0\."),
        (MetaTrainConfig, {"batch_episodes": 0}, r"batch_episodes must be at least 1; got 0\."),
        (MetaTrainConfig, {"optimizer": "lion"}, r"optimizer must be one of sgd, adam, adamw; got 'lion'\."),
        (MetaTrainConfig, {"learning_rate": -0.1}, r"learning_rate must be above 0 and finite; got -0\.1\."),
        (MetaTrainConfig, {"momentum": 1.0}, r"momentum must be in \[0, 1\); got 1\.0\."),
        (MetaTrainConfig, {"episodes": {"ways": 5}}, r"episodes has unknown fields \['ways'\]; a EpisodeSpec has \["),
        (MetaTrainConfig, {"seed": 2**31}, r"seed must be in \[0, 2\*\*31\); got 2147483648\."),
    ],
)
def test_impossible_fields_are_refused(record, fields, message):
    with pytest.raises(InputError, match=message):
        record(**fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", r"config\.json must hold a JSON object; got list\."),
        ('{"widht": 4}', r"config\.json has unknown fields \['widht'\]; a BackboneConfig has \['averaged_views', "),
        ('{"width": "wide"}', r"config\.json must have int as width; got wide\."),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        BackboneConfig.load(tmp_path / "config.json")


def test_specification_in_words():
    assert EpisodeSpec().describe() == "5-way 1-shot, 15 queries a class"
    spec = EpisodeSpec(way=(5, 20), query_distribution="dirichlet", balanced_fraction=0.5)
    assert spec.describe() == "5-20-way 1-shot, 15 queries a class on average, Dirichlet(2), 50 % balanced"
    assert EpisodeSpec(total_query=7).describe() == "5-way 1-shot, queries: 7"
    spec = EpisodeSpec(query_classes=2, total_query=8, query_distribution="dirichlet")
    assert spec.describe() == "5-way 1-shot, queries: 8, Dirichlet(2), all from 2 of the classes"
    spec = EpisodeSpec(shot=(1, 20), shot_distribution="uneven", flipped_labels=0.1)
    assert spec.describe() == "5-way 1-20-shot (every class its own), 10 % of labels flipped, 15 queries a class"


def test_sizes_follow_from_the_ranges():
    spec = EpisodeSpec(way=(2, 7), shot=(1, 3), query=(4, 5))
    assert (spec.max_support, spec.max_query) == (21, 35)
    assert EpisodeSpec(way=7).fixed_way() == 7
