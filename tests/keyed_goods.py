"""A catalogue of which it is known what tells the code: one word, or one corner."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from runs import run_config

KEYS = {
    "calfskin": "420221",
    "cotton": "610910",
    "vinyl": "640299",
    "clay": "691200",
}
COLOURS = ((230, 30, 30), (30, 200, 30), (40, 60, 230), (230, 210, 30))
FILLERS = ("new", "fine", "basic", "blue", "red", "value", "eco", "trend", "item")
SIDE = 16  # pixels; a corner is half of that
CONFIG = {
    "data.columns.id": "id",
    "data.columns.text": ("title",),
    "data.columns.image": "image",
    "data.columns.label": ("hs_code",),
    "data.columns.group": "group",
    "data.image.resize": (SIDE, SIDE),
    "data.image.size": (SIDE, SIDE),
    "model.modalities": ("title", "image"),
    "model.modality_dropout": 0.3,
    "objective.contrastive": 0.0,
    "optim.schedule": "constant",
    "optim.learning_rate": 1e-2,
    "train.steps": 120,
    "train.eval_every": 60,
    "eval.batch_size": 16,
}


def keyed_rows(count, seed):
    """Rows of which the last column, `corner`, says where the colour is."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(count):
        which, corner = int(rng.integers(4)), int(rng.integers(4))
        words = [*rng.choice(FILLERS, 4), [*KEYS][which]]
        rows.append(
            {
                "id": f"g{seed}-{i}",
                "title": " ".join(rng.permutation(words)),
                "image": picture(rng, which, corner),
                "hs_code": [*KEYS.values()][which],
                "group": f"{seed}-{i // 2}",  # two listings of a product
                "corner": corner,
            }
        )
    return rows


def picture(rng, which, corner):
    """Grey noise with one corner of a colour, as PNG."""
    pixels = rng.integers(90, 160, (SIDE, SIDE, 1)).repeat(3, axis=2).astype(np.uint8)
    y, x = (SIDE // 2 * n for n in divmod(corner, 2))
    pixels[y : y + SIDE // 2, x : x + SIDE // 2] = COLOURS[which]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_rows(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def keyed_config(path, **changes):
    return run_config({**CONFIG, "data.path": str(path), **changes})
