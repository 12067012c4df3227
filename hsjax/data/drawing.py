"""Pictures of the synthetic catalogue: one object on a cluttered, pale background.

A picture draws the parts of a shape at twice the size under a random scale, rotation,
shift and mirror, lays the surface (knit ribs, woven warp) over the cloth, and adds
grain. Everything but `shape` and `surface` is independent of the product's class.
"""

import colorsys
import io
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from hsjax.data.shapes import SHAPES, Part

SIZE = 48  # of the finished picture
CANVAS = 2 * SIZE
PERIOD = 12  # of a surface pattern, in canvas pixels: 4 pixels of a 32 x 32 picture
# Colour words of titles -> hue in turns, saturation, brightness of the object.
COLOURS = {
    "red": (0.99, 0.80, 0.78),
    "orange": (0.07, 0.85, 0.88),
    "mustard": (0.13, 0.80, 0.78),
    "green": (0.34, 0.60, 0.58),
    "teal": (0.49, 0.70, 0.58),
    "blue": (0.60, 0.70, 0.75),
    "purple": (0.76, 0.55, 0.66),
    "pink": (0.92, 0.50, 0.88),
    "brown": (0.06, 0.62, 0.50),
    "grey": (0.60, 0.06, 0.52),
}


@cache
def _surface_tile(surface: str) -> Image.Image:
    """Draw the darkening of a surface, larger than the canvas by two periods."""
    side = CANVAS + 2 * PERIOD
    y, x = np.mgrid[:side, :side]
    # a knit has ribs, a woven cloth a warp: level and upright bands
    along = y if surface == "knit" else x
    shade = along % PERIOD < PERIOD // 2
    return Image.fromarray((255 - 140 * shade).astype(np.uint8))


def _rgb(hue, saturation, value) -> tuple[int, ...]:
    return tuple(
        round(255 * c) for c in colorsys.hsv_to_rgb(hue % 1, saturation, value)
    )


def _toned(colour: tuple[int, ...], tone: float) -> tuple[int, ...]:
    if tone <= 1:
        return tuple(round(c * tone) for c in colour)
    return tuple(round(c + (250 - c) * min(tone - 1, 1)) for c in colour)


def _background(rng: np.random.Generator) -> Image.Image:
    """Draw a pale wall with a table edge and three pale things, all at random."""
    u = rng.random(24)
    wall = _rgb(u[0], 0.02 + 0.16 * u[1], 0.88 + 0.1 * u[2])
    image = Image.new("RGB", (CANVAS, CANVAS), wall)
    draw = ImageDraw.Draw(image)
    edge = CANVAS * (0.55 + 0.4 * u[3])
    draw.rectangle((0, edge, CANVAS, CANVAS), fill=_toned(wall, 0.88 + 0.1 * u[4]))
    for hue, depth, x, y, w, h in u[6:].reshape(3, 6):
        box = (x * CANVAS, y * CANVAS, (x + 0.3 * w) * CANVAS, (y + 0.3 * h) * CANVAS)
        colour = _rgb(hue, 0.1 + 0.15 * depth, 0.82 + 0.12 * depth)
        (draw.ellipse if w > h else draw.rectangle)(box, fill=colour)
    return image


def _placed(parts: tuple[Part, ...], rng: np.random.Generator) -> list[list[float]]:
    """Map all parts to canvas pixels under one random similarity and stretch."""
    u = rng.uniform(-1, 1, 6)
    angle = np.deg2rad(11 * u[0])
    rotation = np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    )
    size = CANVAS * (0.36 + 0.05 * u[1])
    stretch = (np.sign(u[2]) * (1 + 0.08 * u[3]), 1)
    shift = CANVAS * (0.5 + 0.05 * u[4:6])
    points = np.concatenate([part.points for part in parts])
    placed = points * stretch @ rotation * size + shift
    cuts = np.cumsum([len(part.points) for part in parts])[:-1]
    return [piece.ravel().tolist() for piece in np.split(placed, cuts)]


def draw_picture(
    rng: np.random.Generator, *, shape: str, surface: str, colour: str
) -> np.ndarray:
    """Draw one product: (48, 48, 3) uint8; `surface` is plain, knit or woven."""
    image = _background(rng)
    hue, saturation, value = COLOURS[colour]
    jitter = rng.uniform(-1, 1, 3) * (0.02, 0.05, 0.06)
    base = _rgb(hue + jitter[0], max(saturation + jitter[1], 0), value + jitter[2])
    parts = SHAPES[shape]
    cloth = Image.new("L", image.size)
    draw, cover = ImageDraw.Draw(image), ImageDraw.Draw(cloth)
    for part, points in zip(parts, _placed(parts, rng), strict=True):
        draw.polygon(points, fill=_toned(base, part.tone), outline=_toned(base, 0.3))
        cover.polygon(points, fill=255 * part.cloth)
    x, y = rng.integers(0, 2 * PERIOD, 2)  # drawn for every surface: one stream for all
    if surface != "plain":
        tile = _surface_tile(surface).crop((x, y, x + CANVAS, y + CANVAS))
        shaded = ImageChops.multiply(image, Image.merge("RGB", (tile,) * 3))
        image.paste(shaded, mask=cloth)
    pixels = np.asarray(image.reduce(2), np.float32)
    grain = rng.standard_normal((SIZE, SIZE, 1), np.float32) * 5
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8 as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
