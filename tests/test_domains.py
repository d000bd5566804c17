"""Data sets of several domains: glyph_domains as drawn, PACS as found in a folder."""

from pathlib import Path

import numpy as np
from pacs_folder import make_pacs

from sib_tf.datasets import domains, glyph_domains


def test_glyph_domains_are_deterministic_and_their_styles_differ():
    for domain in glyph_domains.DOMAINS:
        one, again, other = (glyph_domains.draw(domain, "R", i, 32, s) for i, s in ((1, 0), (1, 0), (1, 1)))
        np.testing.assert_array_equal(one, again)
        assert one.shape == (32, 32, 3) and one.dtype == np.uint8
        assert (one != other).any() and (one != glyph_domains.draw(domain, "R", 2, 32, 0)).any()
    means = {d: np.mean([glyph_domains.draw(d, "A", i, 32, 0) for i in range(20)]) for d in glyph_domains.DOMAINS}
    # Light grounds, a dark one, and any.
    assert means["outline"] < means["textured"] < min(means["print"], means["hand"])


def test_glyph_domains_are_kept(monkeypatch):
    monkeypatch.setattr(glyph_domains, "PICTURES_PER_CLASS", 2)
    dataset = domains.load("glyph_domains", cache_dir="cache")
    assert list(dataset.domains) == ["print", "outline", "hand", "textured"]
    assert dataset.domains["hand"].images.shape == (20, 32, 32, 3)
    monkeypatch.setattr(glyph_domains, "draw", None)
    again = domains.load("glyph_domains", cache_dir="cache")
    np.testing.assert_array_equal(again.domains["hand"].images, dataset.domains["hand"].images)


def test_pacs_is_read_with_and_without_kfold():
    make_pacs(Path("data/kfold"))
    nested = domains.load("pacs", "data", "cache", 16)
    assert nested.domains["sketch"].images.shape == (21, 16, 16, 3)
    np.testing.assert_array_equal(nested.domains["photo"].labels, np.repeat(np.arange(7), 3))
    np.testing.assert_array_equal(nested.domains["sketch"].images[4, 0, 0], (40, 120, 9))
    plain = domains.load("pacs", "data/kfold", "cache2", 16)
    np.testing.assert_array_equal(plain.domains["cartoon"].images, nested.domains["cartoon"].images)
