"""Grocery Store (Klasson et al., WACV 2019), 5,421 photographs of supermarket goods.

Where: git clone https://github.com/marcusklasson/GroceryStoreDataset. Its folder, or
the `dataset` in it, holds `classes.csv`, `train.txt`, `val.txt`, `test.txt` and the
pictures below `train/`, `val/` and `test/`.

Licence: MIT.

Label: the folder right below the part (Fruit, Packages, Vegetables) > coarse class >
class, 3 / 43 / 81. Text: there is none but the name of the class, which is the answer,
so the column `title` is for a label tower and never for a product. The official split
is by the shop and the day of the photograph; ids repeat in its parts, so that they are
the path of the picture here.
"""

import csv
from pathlib import Path

from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.datasets.goods import Download, Rows, picture_of, there

_CLASSES = ("Class Name (str)", "Class ID (int)", "Coarse Class Name (str)")


def read(folder: Path, quarantine: Quarantine) -> Rows:
    """Rows of the clone; CatalogueError where it is another folder."""
    if not (folder / "classes.csv").exists():
        folder = folder / "dataset"
    classes = _classes(there(folder / "classes.csv", "a clone has it"))
    for part in ("train", "val", "test"):
        path = there(folder / f"{part}.txt", "a clone has it")
        for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            picture, number, *_ = (*(x.strip() for x in line.split(",")), "", "")
            if len(Path(picture).parts) < 3:
                raise CatalogueError(f"{path}, row {row}: no picture in {line[:60]!r}")
            if number not in classes:
                raise CatalogueError(f"{path}, row {row}: no class {number!r}")
            name, coarse = classes[number]
            place = {"file": path, "row": row, "id": picture}
            yield {
                "id": picture,
                "split": part,
                "image": picture_of(folder / picture, quarantine, **place),
                "title": name.replace("-", " "),
                "level1": Path(picture).parts[1],
                "level2": coarse,
                "level3": name,
            }


def _classes(path: Path) -> dict[str, tuple[str, str]]:
    """Number -> (class, coarse class)."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if lacking := {*_CLASSES} - {*(reader.fieldnames or ())}:
            raise CatalogueError(f"{path}: no column {sorted(lacking)[0]!r}")
        found = {}
        for number, row in enumerate(reader, 1):
            name, code, coarse = (row[column] for column in _CLASSES)
            if not (name and code and coarse):
                raise CatalogueError(f"{path}, row {number}: a field is missing")
            found[code.strip()] = name, coarse
        return found


DOWNLOAD = Download(
    name="grocery_store",
    version="1.0.0",
    description=__doc__,
    columns=("title", "level1", "level2", "level3"),
    levels=("level1", "level2", "level3"),
    texts=(),
    read=read,
    told={
        "homepage": "https://github.com/marcusklasson/GroceryStoreDataset",
        "licence": "MIT",
        "splits": "official",
    },
)
