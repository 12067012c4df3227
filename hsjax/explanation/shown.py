"""The pictures of an evidence page, within the page itself."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hsjax.data.pixels import ImageError
from hsjax.data.record import Record
from hsjax.data.thumbnails import thumbnails
from hsjax.explanation.asked import Asked
from hsjax.explanation.chosen import pictures_of
from hsjax.explanation.occlusion import whole_picture

# side in pixels and JPEG quality of the products that are asked about
LARGE = ((256, 85), (256, 70), (192, 70), (192, 50))


class Pictures(NamedTuple):
    """Data URIs by row, of the products and of the run's own catalogue."""

    products: Mapping[int, str]
    precedents: Mapping[int, str]


def shown_pictures(asked: Asked, found: Sequence[Mapping]) -> Pictures:
    """Of the products with this evidence, and of their precedents."""
    limit = asked.run.config.data.image.max_pixels
    wanted = {x["row"] for x in found}
    own = {r.row: r for r in asked.records if r.row in wanted}
    rows = {
        near["row"]
        for x in found
        for side in (x.get("precedents") or {}).values()
        for near in side
    }
    others = pictures_of(asked.run.config, rows)
    return Pictures(
        thumbnails(_decoded(own, limit), LARGE), thumbnails(_decoded(others, limit))
    )


def _decoded(records: Mapping[int, Record], limit: int) -> dict:
    found = {}
    for row, record in records.items():
        try:
            picture = whole_picture(record, max_pixels=limit)
        except (ImageError, OSError):  # it has changed since it was read
            continue
        if picture is not None:
            found[row] = picture
    return found
