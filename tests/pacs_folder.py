"""A small folder laid out as PACS, for tests."""

from pathlib import Path

from PIL import Image

from sib_tf.datasets import pacs


def make_pacs(root: Path, per_class=3) -> Path:
    """A folder laid out as PACS: grey by class, JPEG but for the sketches."""
    for d, domain in enumerate(pacs.DOMAINS):
        for c, name in enumerate(pacs.CLASSES):
            folder = root / domain / name
            folder.mkdir(parents=True)
            for i in range(per_class):
                picture = Image.new("RGB", (24, 20), (30 * c + 10, 40 * d, 9 * i))
                picture.save(folder / f"pic_{i:03d}.{'png' if domain == 'sketch' else 'jpg'}")
    return root
