"""Codes for every product of a catalogue, by a trained run.

python -m hsjax.predict --run=WORKDIR --input=goods.csv --output=codes.parquet
python -m hsjax.predict --run=WORKDIR --input=FILE --output=codes.csv --confidence=0.8
python -m hsjax.predict --run=WORKDIR --input=DIR --output=FILE.parquet --embeddings
python -m hsjax.predict --run=WORKDIR --input=DIR --output=FILE.parquet --shard=0/4

The output is .parquet, .csv or .jsonl. OUTPUT.parts keeps what was answered: the same
command goes on where it was cut off, and when the file has changed it asks the model
only for products that are new or changed.
"""

import re
from pathlib import Path

from absl import app, flags

from hsjax.main import start

RUN = flags.DEFINE_string("run", None, "Workdir of a trained run.", required=True)
INPUT = flags.DEFINE_string(
    "input", None, "Catalogue with the run's columns.", required=True
)
OUTPUT = flags.DEFINE_string(
    "output", None, "File to write: .parquet, .csv or .jsonl.", required=True
)
IMAGE_ROOT = flags.DEFINE_string(
    "image_root", "", "Folder of image paths; default: that of the catalogue."
)
CONFIDENCE = flags.DEFINE_float(
    "confidence",
    None,
    "Also the deepest node of at least this probability, as pred_confident.",
    lower_bound=1e-6,
    upper_bound=1.0,
)
EMBEDDINGS = flags.DEFINE_boolean(
    "embeddings", False, "Also the unit vectors of text and picture."
)
FEATURES = flags.DEFINE_multi_string(
    "features", [], "MODALITY=DIR of a feature store of the run that has moved."
)
SHARD = flags.DEFINE_string(
    "shard", "0/1", "I/N: of N processes this one answers every N-th part, from I on."
)


def read_shard(text: str) -> tuple[int, int]:
    """(number, of how many) of I/N.

    Raises:
      UsageError: it is none, or I is not below N.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    own, of = map(int, found.groups()) if found else (0, 0)
    if own >= of:
        raise app.UsageError(f"--shard={text}: I/N, with I from 0 to N - 1")
    return own, of


def run() -> None:
    shard = read_shard(SHARD.value)
    from hsjax.data.run_stores import read_places
    from hsjax.prediction.catalogue import Question, predict_catalogue
    from hsjax.tasks.registry import user_errors

    question = Question(
        confidence=CONFIDENCE.value, embeddings=EMBEDDINGS.value, shard=shard
    )
    with user_errors("; the same command goes on"):
        done = predict_catalogue(
            RUN.value,
            INPUT.value,
            OUTPUT.value,
            question,
            image_root=IMAGE_ROOT.value,
            features=read_places(FEATURES.value),
        )
        print(done.told(Path(OUTPUT.value)))


if __name__ == "__main__":
    start(run)
