"""Draws the icons of the page as an app: python -m export.web_icons. Two dots on a square, as in index.html."""

from pathlib import Path

from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent / "web"
_BLUE, _WHITE = (59, 91, 219, 255), (255, 255, 255, 255)
# Sixteenths of the side: x, y and radius.
_DOTS = ((5, 10, 2), (11, 6, 3))
# Drawn larger, then scaled, so that edges are smooth.
_SCALE = 8


def draw(size: int, maskable: bool = False) -> Image.Image:
    """Draws an RGBA icon.

    Args:
        size: side in pixels.
        maskable: whether systems may cut it to any shape: blue to the edge, the dots within the middle four fifths.
    """
    side = size * _SCALE
    image = Image.new("RGBA", (side, side))
    pencil = ImageDraw.Draw(image)
    pencil.rounded_rectangle((0, 0, side, side), 0 if maskable else side // 4, _BLUE)
    shrinking = 0.75 if maskable else 1
    for x, y, radius in _DOTS:
        middle, reach = [side * (0.5 + (v / 16 - 0.5) * shrinking) for v in (x, y)], side * radius / 16 * shrinking
        pencil.ellipse([middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach], _WHITE)
    return image.resize((size, size), Image.Resampling.BOX)


ICONS = {"icon-192.png": (192,), "icon-512.png": (512,), "icon-maskable.png": (512, True)}

if __name__ == "__main__":
    for name, arguments in ICONS.items():
        draw(*arguments).save(FOLDER / name, optimize=True)
