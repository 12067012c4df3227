"""A catalogue as a stream of products: what has passed is not kept."""

from collections.abc import Container, Iterator

from hsjax.data.quarantine import CatalogueError, Quarantine, nothing_usable
from hsjax.data.records import Loader, Record
from hsjax.data.sources import SYNTHETIC


def stream_records(
    config_data,
    *,
    quarantine: Quarantine,
    stored: Container[str] = (),
    resample: str = "bicubic",
) -> Iterator[Record]:
    """Every row of the catalogue of `config.data`, labelled or not, one by one.

    As `load_records` without labels, but that the memory it takes does not grow with
    the pictures. They are decoded ahead by threads, as `config.data.image` says, but
    for those of `stored`: what that contains may grow meanwhile.

    Raises:
      CatalogueError: an unreadable file, a missing column, no usable row at all.
    """
    if not config_data.path:
        raise CatalogueError("data.path is empty: give --config.data.path=FILE")
    if config_data.path == SYNTHETIC:
        from hsjax.data import synthetic  # which imports Record

        yield from synthetic.make_records(config_data)
        return
    loader = Loader(
        config_data,
        quarantine,
        labelled=False,
        drop_repeats=False,
        labels={"digits": (2, 4, 6), "nodes": {}},
        looks={"seen": True, "stored": stored, "resample": resample},
    )
    before, usable = len(quarantine.rows), 0
    for record in loader.records():
        usable += 1
        yield record
    if not usable:
        raise nothing_usable(config_data.path, quarantine.rows[before:])
    if told := loader.lost.told():
        quarantine.warn(told)
