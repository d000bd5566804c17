"""RESULTS.md: that its figures are those of the files, and what cannot be reported is said."""

import json
import re
from pathlib import Path
from statistics import NormalDist

import pytest
from conftest import CHECKOUT
from matplotlib import pyplot
from running import run
from test_cli import check_error
from test_report import METRICS

from benchmarks import agreement, records, results, results_figures
from sib_tf.commands import cli
from sib_tf.errors import InputError
from sib_tf.storage import atomic

METRICS = {**METRICS, "model_name": "mine"}
QUALITY = METRICS.pop("confidence")
START = "| tiny, 5-way 1-shot, 15 queries a class | mine: joint, K = 1"


def entry(name: str, constants: str, accuracy: float, **config) -> dict:
    return {
        "name": name,
        "constants": constants,
        "config": config,
        "accuracy": accuracy,
        "ci95": 0.01,
        "difference": accuracy - 0.5,
        "seconds_per_episode": 0.0012,
    }


def setting(name: str, group: str, value, shot: int = 1, **changes) -> dict:
    """A record as benchmarks.sweeps writes it: nearest prototypes 50 %, PT-MAP 60 and 55 %, a model 58 %."""
    model = {"folder": "joint_run", "model": {}, "episodes": {}}
    methods = {
        "prototypes, authors": entry("prototypes", "authors", 0.5),
        "pt_map, authors": entry("pt_map", "authors", 0.6, step=0.2, power=0.5),
        "pt_map, tuned": entry("pt_map", "tuned", 0.55, step=0.4, power=0.5),
        "mine": {**entry("mine", "meta-trained", 0.58), "config": model},
    }
    return {
        "setting": name,
        "group": group,
        "value": value,
        "shot": shot,
        "episode_spec": f"5-way {shot}-shot, {name}",
        "seed": 0,
        "episodes": 20,
        "slow_episodes": 10,
        "episode_hash": "0123456789abcdef" * 4,
        "batch_episodes": 50,
        "dataset": {"name": "tiny", "version": "1.0.0"},
        "backbone": {"name": "conv4", "weights": "feedbeef" * 8},
        "hardware": "2 cores",
        "methods": methods,
        "against_best_peer": {
            "mine": {"peer": "pt_map, authors", "difference": -0.02, "difference_ci95": 0.003, "episodes": 20}
        },
        **changes,
    }


def write(*of_setting, **changes) -> None:
    record = setting(*of_setting, **changes)
    atomic.write_json(f"sweeps/{record['setting']}.json", record)


@pytest.fixture
def sweeps_dir() -> str:
    """Four settings, and a file of constants that is none of them."""
    write("dirichlet2_1shot", "imbalance", 2.0)
    write("dirichlet5_1shot", "imbalance", 5.0)
    write("balanced_1shot", "imbalance", "balanced")
    write("way_20", "way", 20)
    atomic.write_json("sweeps/tuned.json", {"chosen": {}})
    return "sweeps"


def test_the_page_has_the_figures_of_the_files(sweeps_dir):
    atomic.write_json("metrics.json", METRICS)
    assert run(results, sweeps_dir=sweeps_dir, metrics="metrics.json") == 0
    page = Path("RESULTS.md").read_text()
    assert f"{START} | 50.00 +-1.00 | 60.00 +-1.23 | +10.00 +-0.50 | 3, seed 7, `0123456789ab` |" in page
    assert "none of these" not in page
    # Less and less balanced from left to right; the best of each column is bold.
    assert "| method | balanced | Dirichlet(5) | Dirichlet(2) | ms an episode, at most |" in page
    assert "| nearest prototypes | 50.00 +-1.00 | 50.00 +-1.00 | 50.00 +-1.00 | 1.2 |" in page
    best = "**60.00 +-1.00**"
    assert f"| PT-MAP, authors | {best} | {best} | {best} | 1.2 |" in page
    assert "| SIB, mine | 58.00 +-1.00 | 58.00 +-1.00 | 58.00 +-1.00 | 1.2 |" in page
    assert "| 5-way 1-shot, way_20 | PT-MAP, authors | -2.00 +-0.30 |" in page
    assert "| PT-MAP | 1 | the mixture | step = 0.4 |" in page
    assert "--models=mine=RUN/joint_run --episodes=20 --slow_episodes=10 --seed=0" in page
    assert "| way_20 | 5-way 1-shot, way_20 | 20 | `0123456789abcdef` |" in page


def test_the_page_has_the_confidence_of_the_metrics():
    unknown = {"auroc": 0.7, "auroc_ci95": 0.01, "baseline_auroc": 0.65, "baseline_auroc_ci95": 0.02}
    atomic.write_json("both.json", {**METRICS, "confidence": QUALITY, "open_set": unknown})
    atomic.write_json("one.json", {**METRICS, "confidence": {"uncalibrated": QUALITY["uncalibrated"]}})
    assert run(results, {}, "--metrics=both.json", "--metrics=one.json") == 0
    page = Path("RESULTS.md").read_text()
    assert f"{START} | 12.34 -> 1.23 | 1.000 -> 0.900 | 70.00 +-1.00 | 65.00 +-2.00 |" in page
    assert f"{START} | 12.34 -> 12.34 | 1.000 -> 1.000 |  |  |" in page


def test_the_page_links_to_figures_that_are_there(sweeps_dir):
    assert run(results, sweeps_dir=sweeps_dir, output="pages/RESULTS.md", figures_dir="docs/results") == 0
    links = re.findall(r"!\[.*?\]\((.*?)\)", Path("pages/RESULTS.md").read_text())
    # One setting of a group is no curve.
    assert links == ["../docs/results/tiny_imbalance.png"]
    assert (Path("pages") / links[0]).read_bytes().startswith(b"\x89PNG")


def test_methods_that_were_not_tuned_are_named(sweeps_dir):
    record = setting("way_20", "way", 20)
    record["methods"]["tim_gd, authors"] = entry("tim_gd", "authors", 0.5)
    atomic.write_json("sweeps/way_20.json", record)
    assert run(results, sweeps_dir=sweeps_dir) == 0
    assert "\nNot tuned here: TIM-GD.\n" in Path("RESULTS.md").read_text()


@pytest.mark.parametrize("name", ["cifar_fs", "mini_imagenet"])
def test_the_recorded_sweep_gives_the_page_of_the_checkout(name):
    assert run(results, sweeps_dir=CHECKOUT / "benchmarks/recorded" / name) == 0
    _, part = Path("RESULTS.md").read_text().split("\n## ", 1)
    assert part.strip() in (CHECKOUT / "RESULTS.md").read_text()


@pytest.mark.parametrize("page", ["RESULTS.md", "BENCHMARKS.md", "README.md", "benchmarks/README.md"])
def test_rows_of_a_page_s_tables_have_the_cells_of_their_header(page):
    lines = (CHECKOUT / page).read_text().splitlines()
    cells = [len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in lines]
    pairs = zip(cells, cells[1:], lines[1:], strict=False)
    assert [line for above, count, line in pairs if above and count not in (0, above)] == []


def test_figures_show_tuned_constants_where_there_are_any():
    found = results_figures.shown(setting("way_5", "way", 5)["methods"])
    expected = {"pt_map": "tuned", "prototypes": "authors", "mine": "meta-trained"}
    assert {name: figures["constants"] for name, figures in found.items()} == expected


def test_a_model_looks_the_same_in_every_panel_whatever_the_order_of_a_settings_file():
    def with_models(shot: int, *names: str) -> list[dict]:
        models = {name: entry(name, "meta-trained", 0.5) for name in names}
        return [setting(f"{value}", "imbalance", value, shot, methods=models) for value in (2.0, 1.0)]

    panels = [with_models(1, "general", "joint", "mine"), with_models(5, "mine", "general")]
    models, looks = results_figures._models(panels), []
    for settings, axis in zip(panels, pyplot.subplots(1, 2)[1], strict=True):
        results_figures._panel(axis, settings, models)
        lines = {bars.get_label(): bars.lines[0] for bars in axis.containers}
        looks.append({label: (line.get_color(), line.get_marker()) for label, line in lines.items()})
    pyplot.close()
    assert set(looks[0]) == {"SIB, general", "SIB, joint", "SIB, mine"}
    assert len(set(looks[0].values())) == 3
    assert looks[1] == {label: looks[0][label] for label in ("SIB, general", "SIB, mine")}


def test_every_peer_has_a_name_for_the_page():
    from benchmarks.peers import PEERS

    assert set(records.PEER_NAMES) == set(PEERS)


def test_a_method_may_be_missing_from_a_setting(sweeps_dir):
    """A joint model has one way."""
    methods = setting("way_2", "way", 2)["methods"]
    del methods["mine"]
    write("way_2", "way", 2, methods=methods, against_best_peer={})
    assert run(results, sweeps_dir=sweeps_dir) == 0
    assert "| SIB, mine |  | 58.00 +-1.00 | 1.2 |" in Path("RESULTS.md").read_text()


def test_settings_are_in_order(sweeps_dir):
    write("way_5", "way", 5)
    write("balanced_5shot", "imbalance", "balanced", 5)
    found = records.load_sweep(sweeps_dir)
    names = [s["setting"] for s in found.settings]
    one_shot = ["balanced_1shot", "dirichlet5_1shot", "dirichlet2_1shot"]
    assert names == [*one_shot, "balanced_5shot", "way_5", "way_20"]
    panels = [(shot, len(settings)) for shot, settings in found.panels("imbalance")]
    assert panels == [(1, 3), (5, 1)]


def test_results_of_two_data_sets_need_two_folders(sweeps_dir):
    write("way_2", "way", 2, dataset={"name": "other", "version": "2.0.0"})
    with pytest.raises(InputError, match=r"holds results of other, 2.0.0; tiny, 1.0.0; give each a folder"):
        records.load_sweep(sweeps_dir)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "sweeps_dir, rows_dir, bayes_dir, unseen_dir or metrics must be given"),
        ({"sweeps_dir": "nothing"}, "sweeps_dir nothing holds no results"),
        ({"bayes_dir": "nothing"}, "bayes_dir nothing holds no metrics"),
        ({"metrics": "nothing.json"}, "metrics nothing.json cannot be read"),
        ({"metrics": "other.json"}, "metrics other.json is no metrics.json"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_line(values, message, capsys):
    Path("other.json").write_text(json.dumps({"accuracy": 1}))
    check_error(capsys, run(results, **values), message)
    assert not Path("RESULTS.md").exists()


def test_sweeps_agree_within_their_intervals_or_the_methods_that_do_not_are_named(sweeps_dir, capsys):
    def compare() -> int:
        return run(agreement, first=sweeps_dir, second="other")

    atomic.write_json("other/way_20.json", setting("way_20", "way", 20) | {"dataset": {"name": "mini", "version": "1"}})
    assert compare() == cli.USAGE_ERROR
    assert "; name sweeps of one data set." in capsys.readouterr().err

    def measure(accuracy: float, label: str = "prototypes, authors", **changes) -> None:
        record = setting("way_20", "way", 20)
        record["methods"][label] |= {"accuracy": accuracy, **changes}
        atomic.write_json("other/way_20.json", record)

    one = setting("way_20", "way", 20)["methods"]
    label, figures = next(iter(one.items()))
    # Bonferroni's interval of a difference of two alike, in half-widths of one at 95 %.
    wide = 2**0.5 * NormalDist().inv_cdf(1 - 0.025 / len(one)) / 1.96
    measure(figures["accuracy"] + 0.99 * wide * figures["ci95"])
    assert compare() == 0
    said = capsys.readouterr().out
    assert f"{len(one)} accuracies of sweeps agree with those of other" in said
    assert f"in the mean they are {-99 * wide * figures['ci95'] / len(one):+.2f} points away" in said
    measure(figures["accuracy"] + 1.01 * wide * figures["ci95"])
    assert compare() == cli.USAGE_ERROR
    assert f"1 of {len(one)} accuracies do not agree: way_20, {label}: " in capsys.readouterr().err
    # Of other constants it is another method; a model meta-trained anew is the same.
    measure(0.0, config={"other": 1})
    assert compare() == 0
    measure(0.0, "mine", config={"folder": "there", "model": {"weights": "other", "num_steps": 3}, "episodes": {}})
    assert compare() == cli.USAGE_ERROR
    measure(0.0, "mine", config={"folder": "there", "model": {"num_steps": 5}, "episodes": {}})
    assert compare() == 0
    atomic.write_json("other/way_20.json", {**setting("way_20", "way", 20), "setting": "way_3"})
    assert compare() == cli.USAGE_ERROR
    assert "have no method and setting in common" in capsys.readouterr().err
