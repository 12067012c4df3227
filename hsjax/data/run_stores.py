"""The feature stores that a run stands on: where they lay, and what they were.

A run keeps what it takes to make such vectors itself, its encoder apart: an empty store
for each, with the principal components of that one. It takes a store's place that is
gone, so that new products are answered for as long as the encoder is there.
"""

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.atomic import finished
from hsjax.batch import IMAGE
from hsjax.data.features import PCA_FILE, check_modality, stores_of
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store import differences, store_facts
from hsjax.spelling import meant

log = logging.getLogger("hsjax")

OWN = "kept_stores"  # of a workdir, an empty store of each modality
COMPONENTS = "components"


def described_stores(config) -> dict[str, dict]:
    """{modality: {"folder": absolute path, "facts": of store.json}} of a whole config.

    Where vectors are principal components, also the sha256 of what makes them: facts
    are the same of components that another machine fitted on the same rows, whose signs
    may differ.

    Raises:
      CatalogueError: there is no such store, or it is one of texts where pictures are
        wanted, or the other way round.
    """
    found = {}
    for modality, folder in stores_of(config).items():
        facts, place = store_facts(folder), Path(folder).expanduser().resolve()
        check_modality(folder, facts, modality)
        found[modality] = {"folder": str(place), "facts": facts}
        if (path := place / PCA_FILE).exists():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[modality][COMPONENTS] = digest
    return found


def keep_own(found: Mapping[str, Mapping], workdir: Path) -> None:
    """Writes `kept_stores/MODALITY`, an empty store with the components of each.

    Args:
      found: of `described_stores`; what is kept of others is removed.
    """
    for folder in (workdir / OWN).glob("*"):
        if folder.name not in found:
            shutil.rmtree(folder)
    for modality, entry in found.items():
        own = workdir / OWN / modality
        own.mkdir(parents=True, exist_ok=True)
        (own / PCA_FILE).unlink(missing_ok=True)
        for name in ("store.json", PCA_FILE):
            source = Path(entry["folder"]) / name
            if source.exists():
                with finished(own / name) as partial:
                    shutil.copyfile(source, partial)


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
        held, now = kept[modality], found[modality]
        told = differences(held["facts"], now["facts"])
        if not told and COMPONENTS in held and held[COMPONENTS] != now.get(COMPONENTS):
            told = f"other principal components in {PCA_FILE}"
        if told:
            raise CatalogueError(
                f"{found[modality]['folder']} holds other features than {workdir} was"
                f" trained on ({told}): bring those back, or {how}"
            )


def located(
    config, kept: Mapping[str, Mapping], places: Mapping[str, str], *, workdir: Path
):
    """The config of a run with every store where it lies now, checked.

    In place of one that is gone stands the run's own empty store, see `keep_own`. A
    baseline on the store of its pictures follows it.

    Args:
      kept: of `described_stores` when the run began; {} of a run that does not say.
      places: modality -> folder of stores that have moved.

    Raises:
      CatalogueError: a store is another, or gone from a place that was named or from
        a run that keeps none of its own; a place of none of the run's.
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
            needed = modality in places or config.task == "baseline"
            folders[modality] = _stand_in(modality, folder, workdir, needed=needed)
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


def _stand_in(modality: str, folder: str, workdir: Path, *, needed: bool) -> str:
    """The empty store that a run keeps, in place of one that is gone.

    Args:
      needed: nothing can take its place: it was named, or a baseline learns from it.
    """
    found = workdir / OWN / modality
    if found.is_dir() and not needed:
        told = "%s is gone: what it held is encoded anew. If it has moved, name"
        log.warning(f"{told} it with --features=%s=DIR", folder, modality)
        return str(found)
    raise CatalogueError(
        f"{folder} holds no features (no store.json): {workdir} was trained on those of"
        f" its {modality}; if they have moved, name their folder with"
        f" --features={modality}=DIR, in Python with features={{{modality!r}: DIR}}"
    )


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
