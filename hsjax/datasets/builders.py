"""TFDS builders of the public downloads, without TensorFlow.

`tensorflow-datasets` is an extra (`pip install hsjax[tfds]`). It is imported here, once
something is to be built, so that hsjax does without it.
"""

import io
from collections.abc import Iterator
from pathlib import Path

from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.tfds_rows import import_tfds
from hsjax.datasets import (
    fashion_mnist_goods,
    fashion_products,
    grocery_store,
    hm_articles,
)
from hsjax.datasets.goods import Download

_MODULES = (fashion_products, hm_articles, grocery_store, fashion_mnist_goods)
DOWNLOADS: dict[str, Download] = {m.DOWNLOAD.name: m.DOWNLOAD for m in _MODULES}


def build(name: str, manual_dir: Path, folder: Path, quarantine: Quarantine) -> Path:
    """Builds a data set below `folder`; returns where, for data.path.

    What is there already is not built again.

    Raises:
      CatalogueError: no such builder, the download is not there or another, or
        tensorflow-datasets is not installed.
    """
    if name not in DOWNLOADS:
        known = ", ".join(DOWNLOADS)
        raise CatalogueError(f"prepare.builder is {name!r}; known: {known}")
    if not manual_dir.is_dir():
        raise CatalogueError(f"prepare.manual_dir={manual_dir} is no folder")
    tfds = import_tfds()
    download = DOWNLOADS[name]
    kind = _builder_class(tfds, download, quarantine)
    builder = kind(data_dir=str(folder), file_format="array_record")
    options = {"manual_dir": str(manual_dir.resolve()), "try_download_gcs": False}
    config = tfds.download.DownloadConfig(**options)
    builder.download_and_prepare(download_config=config)
    return Path(str(builder.data_dir))


def _builder_class(tfds, download: Download, quarantine: Quarantine):
    """A builder of one data set; a class of its own, as TFDS names it by that."""

    def info(self):
        text = {c: tfds.features.Text() for c in ("id", "split", *download.columns)}
        return tfds.core.DatasetInfo(
            builder=self,
            description=download.description,
            homepage=download.told["homepage"],
            license=download.told["licence"],
            features=tfds.features.FeaturesDict(
                {**text, "image": tfds.features.Image(shape=(None, None, None))}
            ),
            disable_shuffling=True,  # rows are in the order of the download
        )

    def split_generators(self, downloads):
        folder = Path(str(downloads.manual_dir))
        parts = ("train", "val", "test") if download.told.get("splits") else ("train",)
        found = [part for part in parts if next(_rows(download, folder, part), None)]
        return {
            part: self._generate_examples(folder, part, quarantine) for part in found
        }

    def examples(self, folder, part, notes):
        for number, row in enumerate(_rows(download, folder, part, notes)):
            yield number, {**row, "image": io.BytesIO(row["image"])}

    members = {
        "VERSION": tfds.core.Version(download.version),
        "MANUAL_DOWNLOAD_INSTRUCTIONS": download.description,
        "_info": info,
        "_split_generators": split_generators,
        "_generate_examples": examples,
        "__module__": __name__,
    }
    title = "".join(word.capitalize() for word in download.name.split("_"))
    with tfds.core.registered.skip_registration():  # others may have the name
        return type(title, (tfds.core.GeneratorBasedBuilder,), members)


def _rows(
    download: Download, folder: Path, part: str, notes: Quarantine | None = None
) -> Iterator[dict]:
    """Those of one part; what has no official part is all `train`.

    Every part reads the whole download, and notes what is its own: a note is told
    before the row that it is of, or that follows one that was dropped.
    """
    notes, found, own = Quarantine() if notes is None else notes, Quarantine(), False
    try:
        for row in download.read(folder, found):
            own = row["split"] in ("", part)
            notes.rows += found.rows if own else []
            found.rows.clear()
            if own:
                yield dict(row)
    except UnicodeDecodeError as error:
        raise CatalogueError(
            f"{folder}: a file of the download is not UTF-8 ({error}); download it"
            " again"
        ) from None
    notes.rows += found.rows if own else []
