"""Shapes of the synthetic catalogue's pictures: suitcase, boot, cup, teddy and so on.

A shape is a tuple of parts, drawn in order, each a polygon with a tone, in the square
[-1, 1] x [-1, 1] with y pointing down.
"""

from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """A polygon of a shape; `tone` scales the object's brightness, above 1 to white."""

    points: np.ndarray  # (V, 2)
    tone: float
    cloth: bool  # the surface pattern covers it


def _polygon(*points, tone=1.0, cloth=True) -> Part:
    return Part(np.array(points, float), tone, cloth)


def _ellipse(x, y, rx, ry, tone=1.0, *, start=0.0, stop=1.0, cloth=False) -> Part:
    """Draw an arc from `start` to `stop` turns as a filled polygon of 24 corners."""
    turn = 2 * np.pi * np.linspace(start, stop, 24)
    points = np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)
    return Part(points, tone, cloth)


def _box(left, top, right, bottom, tone=1.0) -> Part:
    return _polygon(
        (left, top),
        (right, top),
        (right, bottom),
        (left, bottom),
        tone=tone,
        cloth=False,
    )


def _arch(x, y, outer, inner, height, tone) -> Part:
    """Draw a handle: half a ring above (x, y)."""
    turn = np.linspace(np.pi, 2 * np.pi, 14)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    far, near = ring * (outer, height), ring[::-1] * (inner, height - outer + inner)
    return Part(np.concatenate([far, near]) + (x, y), tone, False)


def _mirrored(*half) -> list:
    """Close an outline whose right half is given from top to bottom."""
    return [*half, *((-x, y) for x, y in reversed(half))]


def _bags() -> dict[str, tuple[Part, ...]]:
    return {
        "suitcase": (
            _box(-0.34, -1.0, -0.24, -0.5, 0.45),
            _box(0.24, -1.0, 0.34, -0.5, 0.45),
            _box(-0.34, -1.0, 0.34, -0.88, 0.45),
            _box(-0.66, -0.56, 0.66, 0.82),
            *(_box(x - 0.04, -0.46, x + 0.04, 0.72, 0.72) for x in (-0.36, 0, 0.36)),
            _ellipse(-0.46, 0.9, 0.13, 0.13, 0.3),
            _ellipse(0.46, 0.9, 0.13, 0.13, 0.3),
        ),
        "handbag": (
            _arch(0, -0.1, 0.52, 0.36, 0.86, 0.6),
            _polygon(*_mirrored((0.68, -0.16), (0.96, 0.88)), cloth=False),
            _polygon(*_mirrored((0.68, -0.16), (0.74, 0.06), (0, 0.42)), tone=0.7),
            _ellipse(0, 0.36, 0.12, 0.12, 1.75),
        ),
        "wallet": (
            _box(-0.78, -0.66, 0.6, -0.3, 1.7),
            _box(-0.7, -0.52, 0.7, -0.3, 1.4),
            _box(-0.96, -0.42, 0.96, 0.62),
            _box(-0.96, 0.4, 0.96, 0.5, 0.7),
            _polygon((0.96, -0.06), (0.42, -0.06), (0.34, 0.1), (0.42, 0.26),
                     (0.96, 0.26), tone=0.6, cloth=False),
            _ellipse(0.52, 0.1, 0.08, 0.08, 1.75),
        ),
    }  # fmt: skip


def _wear() -> dict[str, tuple[Part, ...]]:
    return {
        "trousers": (
            _polygon(*_mirrored((0.5, -0.98), (0.7, 0.98), (0.16, 0.98), (0, -0.24))),
            _polygon(*_mirrored((0.5, -0.98), (0.52, -0.8)), tone=0.6, cloth=False),
        ),
        "dress": (
            _polygon(*_mirrored((0.16, -0.56), (0.2, -1.0), (0.34, -1.0), (0.38, -0.5),
                                (0.28, -0.12), (0.82, 0.98))),
            _polygon(*_mirrored((0.3, -0.2), (0.33, -0.04)), tone=0.5, cloth=False),
        ),
        "shirt": (
            _polygon(*_mirrored((0.24, -0.86), (0.52, -0.74), (0.98, 0.6), (0.74, 0.7),
                                (0.5, 0.0), (0.5, 0.92))),
            _box(-0.05, -0.66, 0.05, 0.92, 1.6),
            _polygon((0, -0.6), (0.3, -0.98), (0.42, -0.6), tone=1.6, cloth=False),
            _polygon((0, -0.6), (-0.3, -0.98), (-0.42, -0.6), tone=1.6, cloth=False),
            *(_polygon((s * 0.98, 0.6), (s * 0.74, 0.7), (s * 0.69, 0.53),
                       (s * 0.92, 0.43), tone=1.6, cloth=False) for s in (-1, 1)),
        ),
        "tshirt": (
            _polygon(*_mirrored((0.3, -0.78), (0.56, -0.72), (1.0, -0.2), (0.74, 0.06),
                                (0.54, -0.16), (0.54, 0.88))),
            _ellipse(0, -0.78, 0.3, 0.28, 0.45, stop=0.5),
        ),
    }  # fmt: skip


def _feet() -> dict[str, tuple[Part, ...]]:
    toe = ((0.5, 0.22), (0.9, 0.36), (0.97, 0.66))
    return {
        "boot": (
            _polygon((-0.62, -0.96), (0.12, -0.96), (0.16, -0.02), *toe, (-0.7, 0.66)),
            _box(-0.66, -0.96, 0.15, -0.76, 0.6),
            _box(-0.72, 0.66, 0.98, 0.82, 0.35),
            _box(-0.72, 0.8, -0.22, 0.98, 0.35),
            *(_box(-0.02, y, 0.26, y + 0.08, 1.7) for y in (-0.5, -0.28, -0.06)),
        ),
        "shoe": (
            _polygon((-0.92, -0.2), (-0.7, -0.14), (-0.42, 0.0), (-0.06, -0.3), *toe,
                     (-0.94, 0.66)),
            _ellipse(-0.5, -0.12, 0.4, 0.1, 0.4),
            _box(-0.97, 0.62, 0.99, 0.8, 0.35),
            *(_polygon((x, y), (x + 0.28, y - 0.1), (x + 0.32, y - 0.02),
                       (x + 0.04, y + 0.08), tone=1.7)
              for x, y in ((-0.08, 0.04), (0.12, 0.16), (0.32, 0.28))),
        ),
    }  # fmt: skip


def _table() -> dict[str, tuple[Part, ...]]:
    return {
        "cup": (
            _ellipse(0.6, 0.0, 0.4, 0.42),
            _ellipse(0.6, 0.0, 0.22, 0.24, 3.0),
            _polygon((-0.86, -0.6), (0.62, -0.6), (0.46, 0.7), (0.24, 0.86),
                     (-0.48, 0.86), (-0.7, 0.7)),
            _ellipse(-0.12, -0.6, 0.74, 0.17, 0.5),
        ),
        "plate": (
            _ellipse(0, 0, 0.98, 0.98),
            _ellipse(0, 0, 0.66, 0.66, 0.6),
            _ellipse(0, 0, 0.6, 0.6, 1.5),
        ),
    }  # fmt: skip


def _toys() -> dict[str, tuple[Part, ...]]:
    pentagon = [(0.3 * np.sin(a), -0.3 * np.cos(a)) for a in np.arange(5) * 0.4 * np.pi]
    patches = [_ellipse(2.6 * x, 2.6 * y, 0.2, 0.2, 0.25) for x, y in pentagon]
    return {
        "teddy": (
            *(_ellipse(s * 0.42, -0.82, 0.2, 0.2, 0.75) for s in (-1, 1)),
            *(_ellipse(s * 0.6, 0.16, 0.22, 0.3) for s in (-1, 1)),
            *(_ellipse(s * 0.42, 0.78, 0.28, 0.22) for s in (-1, 1)),
            _ellipse(0, 0.34, 0.52, 0.56),
            _ellipse(0, 0.36, 0.28, 0.34, 1.5),
            _ellipse(0, -0.44, 0.5, 0.44),
            _ellipse(0, -0.3, 0.22, 0.17, 1.6),
            *(_ellipse(x, y, 0.08, 0.08, 0.1)
              for x, y in ((-0.2, -0.54), (0.2, -0.54), (0, -0.36))),
        ),
        "car": (
            _polygon((-0.98, 0.02), (-0.6, -0.08), (-0.36, -0.52), (0.34, -0.52),
                     (0.62, -0.06), (0.98, 0.06), (0.98, 0.46), (-0.98, 0.46)),
            _polygon((-0.42, -0.06), (-0.28, -0.4), (-0.04, -0.4), (-0.04, -0.06),
                     tone=1.75),
            _polygon((0.06, -0.06), (0.06, -0.4), (0.28, -0.4), (0.44, -0.06),
                     tone=1.75),
            *(_ellipse(x, 0.48, r, r, t) for x in (-0.54, 0.54)
              for r, t in ((0.27, 0.2), (0.12, 1.6))),
        ),
        "ball": (
            _ellipse(0, 0, 0.96, 0.96, 1.6),
            *patches,
            Part(np.array(pentagon), 0.25, False),
        ),
    }  # fmt: skip


SHAPES = _bags() | _wear() | _feet() | _table() | _toys()
