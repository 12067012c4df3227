"""Codes for every product of a catalogue, by a trained run.

python -m hsjax.predict --run=WORKDIR --input=goods.csv --output=codes.parquet
python -m hsjax.predict --run=WORKDIR --input=FILE --output=FILE --min_confidence=0.8
python -m hsjax.predict --run=WORKDIR --input=FILE --output=FILE --precision=0.95
python -m hsjax.predict --run=WORKDIR --input=FILE --output=FILE --coverage=0.9
python -m hsjax.predict --run=WORKDIR --input=FILE --output=FILE --prefix=COLUMN
python -m hsjax.predict --run=WORKDIR --input=FILE --output=FILE --policy=replace
    --current=COLUMN --precision=0.95
python -m hsjax.predict --run=WORKDIR --input=FILE --output=FILE --duties=FILE
    --ask=2 --review=15
python -m hsjax.predict --run=WORKDIR --input=FILE --output=FILE --evidence=FOLDER
python -m hsjax.predict --cascade=DIR --input=FILE --output=FILE
python -m hsjax.predict --run=WORKDIR --input=DIR --output=FILE.parquet --embeddings
python -m hsjax.predict --run=WORKDIR --input=DIR --output=FILE.parquet --shard=0/4

The output is .parquet, .csv or .jsonl. OUTPUT.parts keeps what was answered: the same
command goes on where it was cut off, and when the file has changed it asks the model
only for products that are new or changed. Probabilities are those of
WORKDIR/calibration.json, which hsjax.calibrate makes, where it is there.
"""

import re
from pathlib import Path

from absl import app, flags

from hsjax.main import start

RUN = flags.DEFINE_string("run", None, "Workdir of a trained run.")
CASCADE = flags.DEFINE_string(
    "cascade", "", "In place of --run: folder of a cascade that hsjax.cascade fitted."
)
INPUT = flags.DEFINE_string(
    "input", None, "Catalogue with the run's columns.", required=True
)
OUTPUT = flags.DEFINE_string(
    "output", None, "File to write: .parquet, .csv or .jsonl.", required=True
)
IMAGE_ROOT = flags.DEFINE_string(
    "image_root", "", "Folder of image paths; default: that of the catalogue."
)
MIN_CONFIDENCE = flags.DEFINE_float(
    "min_confidence",
    None,
    "Also the deepest node of at least this probability, as pred_confident.",
    lower_bound=1e-6,
    upper_bound=1.0,
)
flags.DEFINE_alias("confidence", "min_confidence")
flags.DEFINE_alias("min-confidence", "min_confidence")
PRECISION = flags.DEFINE_float(
    "precision",
    None,
    "Also the deepest node of an answer that is right so often, as pred_confident.",
    lower_bound=0.01,
    upper_bound=0.9999,
)
COVERAGE = flags.DEFINE_float(
    "coverage", None, "Also sets of codes that hold the true one so often: set_codes."
)
CALIBRATION = flags.DEFINE_string(
    "calibration", "", "calibration.json, or none; default: the run's own, if any."
)
PREFIX = flags.DEFINE_string(
    "prefix", "", "Column of what is known of the code: only codes below it are given."
)
POLICY = flags.DEFINE_string(
    "policy", "", "suggest | fill_missing | replace: what to file, as column code."
)
CURRENT = flags.DEFINE_string("current", "", "Column of the code that a product has.")
COST_MATRIX = flags.DEFINE_string(
    "cost_matrix", "", "Answers of least expected cost by FILE (predicted,true,cost)."
)
DUTIES = flags.DEFINE_string(
    "duties", "", "FILE (code,duty,penalty): also file, ask or review, by least cost."
)
ASK = flags.DEFINE_float(
    "ask", None, "What a question to the seller costs.", lower_bound=0.0
)
REVIEW = flags.DEFINE_float(
    "review", None, "What the look of a person costs.", lower_bound=0.0
)
EVIDENCE = flags.DEFINE_string(
    "evidence", "", "Folder: also why the first 20 products got their codes."
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


def check_flags() -> None:
    """Do the flags that were given go together?

    Raises:
      UsageError: they do not.
    """
    from hsjax.prediction.question import POLICIES

    if bool(RUN.value) == bool(CASCADE.value):
        raise app.UsageError("give --run=WORKDIR, or --cascade=DIR")
    one = (PRECISION, COVERAGE, CALIBRATION, PREFIX, COST_MATRIX, DUTIES, EVIDENCE)
    for flag in (*one, EMBEDDINGS):
        if CASCADE.value and flag.value not in (None, "", False):
            raise app.UsageError(f"--{flag.name} asks one run: give --run")
    sure = [f for f in (MIN_CONFIDENCE, PRECISION) if f.value is not None]
    if len(sure) > 1:
        raise app.UsageError("--min_confidence and --precision: give one")
    if bool(POLICY.value) != bool(CURRENT.value):
        raise app.UsageError("--policy and --current=COLUMN go together")
    if POLICY.value and POLICY.value not in POLICIES:
        raise app.UsageError(
            f"--policy={POLICY.value}: known are {', '.join(POLICIES)}"
        )
    if POLICY.value == "replace" and not sure and not DUTIES.value:
        raise app.UsageError(
            "--policy=replace takes ours where it is sure enough: give --precision,"
            " --min_confidence or --duties"
        )
    prices = [f.value is not None for f in (ASK, REVIEW)]
    if any(prices) != all(prices) or all(prices) != bool(DUTIES.value):
        raise app.UsageError("--duties=FILE, --ask=COST and --review=COST go together")


def check_evidence() -> None:
    """Raises CatalogueError: there is no room for it; told before all is answered."""
    from hsjax.explanation.task import check_folder
    from hsjax.prediction.source import check_apart

    folder, output = Path(EVIDENCE.value), Path(OUTPUT.value)
    inputs = {"--input": Path(INPUT.value), "--output": output}
    check_folder(folder, inputs, flag="--evidence")
    check_apart(output, {"--evidence": folder})


def run() -> None:
    shard = read_shard(SHARD.value)
    check_flags()
    from hsjax.data.run_stores import read_places
    from hsjax.prediction.catalogue import predict_catalogue
    from hsjax.prediction.question import Question
    from hsjax.tasks.registry import user_errors

    question = Question(
        confidence=MIN_CONFIDENCE.value,
        precision=PRECISION.value,
        coverage=COVERAGE.value,
        prefix=PREFIX.value,
        current=CURRENT.value,
        policy=POLICY.value,
        duties=DUTIES.value,
        ask=ASK.value or 0.0,
        review=REVIEW.value or 0.0,
        embeddings=EMBEDDINGS.value,
        shard=shard,
    )
    with user_errors("; the same command goes on"):
        if EVIDENCE.value:
            check_evidence()
        done = predict_catalogue(
            RUN.value,
            INPUT.value,
            OUTPUT.value,
            question,
            image_root=IMAGE_ROOT.value,
            features=read_places(FEATURES.value),
            calibration=CALIBRATION.value,
            cost_matrix=COST_MATRIX.value,
            cascade=CASCADE.value,
        )
        print(done.told(Path(OUTPUT.value)))
        if EVIDENCE.value and not done.missing:
            from hsjax.explanation.task import FIRST, PAGE, Wish, write_evidence

            wish = Wish(
                first=FIRST,
                image_root=IMAGE_ROOT.value,
                calibration=CALIBRATION.value,
                cost_matrix=COST_MATRIX.value,
                question=question,
            )
            places = {"features": read_places(FEATURES.value)}
            asked = RUN.value, INPUT.value, EVIDENCE.value
            found = write_evidence(*asked, wish, **places)
            print(f"{Path(EVIDENCE.value) / PAGE}: {len(found):,} products")


if __name__ == "__main__":
    start(run)
