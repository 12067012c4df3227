"""The feature stores that a run stands on: where they lay, and what they were."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.batch import IMAGE
from hsjax.data.features import check_modality, stores_of
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store import differences, store_facts
from hsjax.spelling import meant


def described_stores(config) -> dict[str, dict]:
    """{modality: {"folder": absolute path, "facts": of store.json}} of a whole config.

    Raises:
      CatalogueError: there is no such store, or it is one of texts where pictures are
        wanted, or the other way round.
    """
    found = {}
    for modality, folder in stores_of(config).items():
        facts, place = store_facts(folder), Path(folder).expanduser().resolve()
        check_modality(folder, facts, modality)
        found[modality] = {"folder": str(place), "facts": facts}
    return found


def check_stores(
    found: Mapping[str, Mapping], kept: Mapping[str, Mapping], workdir: Path, how: str
) -> None:
    """Are these the stores that a run was trained on, wherever they lie now?

    Args:
      found, kept: of `described_stores`, today and when the run began.
      how: what a user may do instead.

    Raises:
      CatalogueError: the first that is another, with what differs.
    """
    for modality in found.keys() & kept.keys():
        held, now = kept[modality]["facts"], found[modality]["facts"]
        if told := differences(held, now):
            raise CatalogueError(
                f"{found[modality]['folder']} holds other features than {workdir} was"
                f" trained on ({told}): bring those back, or {how}"
            )


def located(
    config, kept: Mapping[str, Mapping], places: Mapping[str, str], *, workdir: Path
):
    """The config of a run with every store where it lies now, checked.

    A baseline on the store of its pictures follows it.

    Args:
      kept: of `described_stores` when the run began; {} of a run that does not say.
      places: modality -> folder of stores that have moved.

    Raises:
      CatalogueError: a store is gone or is another; a place of none of the run's.
    """
    named = stores_of(config)
    folders = dict(named)
    folders |= {m: kept[m]["folder"] for m in folders.keys() & kept.keys()}
    for name in places.keys() - folders.keys():
        raise CatalogueError(
            f"features of {name!r}: {workdir} has stores of"
            f" {', '.join(folders) or 'nothing'}.{meant(name, folders)}"
        )
    folders |= places
    for modality, folder in folders.items():
        if not (Path(folder) / "store.json").is_file():
            raise CatalogueError(
                f"{folder} holds no features (no store.json): {workdir} was trained on"
                f" those of its {modality}; if they have moved,"
                f" name their folder with --features={modality}=DIR, in Python with"
                f" features={{{modality!r}: DIR}}"
            )
    config = config.copy_and_resolve_references().unlock()
    config.data.features.update(folders)
    if config.baseline.features == named.get(IMAGE):
        config.baseline.features = folders[IMAGE]
    check_stores(
        described_stores(config),
        kept,
        workdir,
        "name them with --features=MODALITY=DIR, in Python with"
        " features={MODALITY: DIR}",
    )
    return config.lock()


def places_of_each(
    configs: Sequence, places: Mapping[str, Path | str]
) -> list[dict[str, Path | str]]:
    """For each of some runs, those of `places` that are of its own stores.

    Args:
      configs: of the runs; one alone is given every place, which `located` checks.
      places: modality -> folder of stores that have moved.

    Raises:
      CatalogueError: a place that none of several runs has a store for.
    """
    if len(configs) == 1:
        return [dict(places)]
    held = [stores_of(config) for config in configs]
    known = list(dict.fromkeys(m for stores in held for m in stores))
    for name in places.keys() - set(known):
        raise CatalogueError(
            f"features of {name!r}: none of the runs has a store of these, they have"
            f" stores of {', '.join(known) or 'nothing'}.{meant(name, known)}"
        )
    return [{m: places[m] for m in places.keys() & stores.keys()} for stores in held]


def read_places(words: Sequence[str]) -> dict[str, str]:
    """{modality: folder} of `modality=folder`, several in a word apart by commas.

    >>> read_places(["title=a", "brand=b,image=c=d"])
    {'title': 'a', 'brand': 'b', 'image': 'c=d'}

    Raises:
      CatalogueError: a word is none.
    """
    places = {}
    for pair in ",".join(words).split(",") if words else ():
        name, _, folder = pair.partition("=")
        if not name or not folder:
            raise CatalogueError(f"--features={pair}: write MODALITY=DIR")
        places[name] = folder
    return places
