"""Pictures of single episodes: what they show is where they say."""

import numpy as np
import pytest
from PIL import Image

from sib_tf.config import EpisodeSpec, SIBConfig
from sib_tf.episodes import EpisodeSampler
from sib_tf.features import FeatureCache
from sib_tf.reports import episode_figures
from sib_tf.sib import SIB

GREEN, RED = episode_figures._RIGHT, episode_figures._WRONG


def colors(path) -> set:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()))


@pytest.mark.parametrize(("way", "steps"), [(2, 0), (4, 2)])
def test_the_path_is_drawn_for_any_way_and_k(tiny_features, tmp_path, way, steps):
    cache = FeatureCache.open(tiny_features)
    model = SIB(SIBConfig(feature_dim=16, way=None, num_steps=steps, gradient_network="per_class"))
    model.build()
    spec = EpisodeSpec(way=(2, way), query=(3, 6))
    rows = EpisodeSampler(cache.labels("test"), spec, 0).sample(3)
    episode_figures.path_figure(model, rows, 1, cache.table("test"), tmp_path / "path.png")
    with Image.open(tmp_path / "path.png") as image:
        assert min(image.size) > 300
    assert len(colors(tmp_path / "path.png")) > 100


def test_contact_sheets_frame_right_and_wrong_answers(tiny_dataset, tmp_path):
    split = tiny_dataset.test
    rows = EpisodeSampler(split.labels, EpisodeSpec(way=3, shot=2, query=5), 1).sample(2)
    truth = rows.query_labels[1]
    for name, predicted, expected in (
        ("right", truth, {GREEN}),
        ("wrong", (truth + 1) % 3, {RED}),
        ("both", np.where(np.arange(15) < 5, truth, (truth + 1) % 3), {GREEN, RED}),
    ):
        path = tmp_path / f"{name}.png"
        episode_figures.contact_sheet(rows, 1, predicted, split.images, ["a", "b", "a rather long name"], path)
        assert colors(path) & {GREEN, RED} == expected


def test_a_sheet_shows_the_pictures_of_the_episode(tiny_dataset, tmp_path):
    """One class with all answers: its row begins with its labelled picture, the others have none but theirs."""
    split = tiny_dataset.test
    rows = EpisodeSampler(split.labels, EpisodeSpec(way=2, query=15), 2).sample(1)
    path = tmp_path / "sheet.png"
    episode_figures.contact_sheet(rows, 0, np.zeros(30, int), split.images, ["a", "b"], path)
    pitch = episode_figures._TILE + 2 * episode_figures._FRAME + episode_figures._GAP
    with Image.open(path) as image:
        sheet = np.asarray(image).astype(int)
    for row in range(2):
        top = episode_figures._GAP + row * pitch + episode_figures._FRAME
        left = episode_figures._NAME + episode_figures._FRAME
        shown = sheet[top : top + episode_figures._TILE, left : left + episode_figures._TILE]
        picture = Image.fromarray(split.images[rows.support[0][row]]).resize((episode_figures._TILE,) * 2, 3)
        np.testing.assert_array_equal(shown, np.asarray(picture))
    # The letter of the second class, white on red, in the corner of the first answer: the wrong ones come first.
    side = pitch - episode_figures._GAP
    left = episode_figures._NAME + pitch + 3 * episode_figures._GAP
    corner = sheet[episode_figures._GAP : episode_figures._GAP + 16, left + side - 14 : left + side]
    assert (corner == RED).all(-1).mean() > 0.4
    assert (corner.min(-1) > 200).any()
    # 24 answers and "+6"; the second class has no answer: nothing right of its labelled picture.
    assert (sheet[pitch + episode_figures._GAP :, episode_figures._NAME + pitch + 10 :] == 255).all()
    assert sheet.shape[1] > episode_figures._NAME + pitch * 25
