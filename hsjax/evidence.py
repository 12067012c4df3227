"""Why products got their codes, and whether the answers can be had again.

python -m hsjax.evidence --run=WORKDIR --input=goods.csv --rows=1,5,9 --output=FOLDER
python -m hsjax.evidence --run=WORKDIR --input=goods.csv --ids=a,b --output=FOLDER
python -m hsjax.evidence --run=WORKDIR --input=goods.csv --first=20 --output=FOLDER
python -m hsjax.evidence --verify=codes.parquet.audit.json --first=100

FOLDER gets evidence.jsonl, an object for each product, evidence.html, the same for
people, and audit.json. WORKDIR/precedents keeps the vectors of the training part.
--verify answers rows again that predict or this command answered before.
"""

from pathlib import Path

from absl import app, flags

from hsjax.main import start

RUN = flags.DEFINE_string("run", None, "Workdir of a trained run.")
INPUT = flags.DEFINE_string("input", None, "Catalogue with the run's columns.")
OUTPUT = flags.DEFINE_string("output", None, "Folder of what is found.")
ROWS = flags.DEFINE_list("rows", [], "Row numbers of products, from 1.")
IDS = flags.DEFINE_list("ids", [], "Ids of products.")
FIRST = flags.DEFINE_integer(
    "first", 0, "The first so many products of the file.", lower_bound=0
)
PRECEDENTS = flags.DEFINE_integer(
    "precedents",
    5,
    "Nearest training products by text, by image and by both; 0 = none.",
    lower_bound=0,
)
IMAGE_ROOT = flags.DEFINE_string(
    "image_root", "", "Folder of image paths; default: that of the catalogue."
)
FEATURES = flags.DEFINE_multi_string(
    "features", [], "MODALITY=DIR of a feature store of the run that has moved."
)
CALIBRATION = flags.DEFINE_string(
    "calibration", "", "calibration.json, or none; default: the run's own, if any."
)
SANITY = flags.DEFINE_boolean(
    "sanity", False, "Also compare the attributions with those of a randomised model."
)
VERIFY = flags.DEFINE_string(
    "verify", None, "An audit record, whose answers are made again and compared."
)


def run() -> None:
    rows = _numbers(ROWS.value)
    from hsjax.tasks.registry import user_errors

    with user_errors():
        if VERIFY.value:
            _verify(rows)
        else:
            _explain(rows)


def _numbers(words: list[str]) -> list[int]:
    if wrong := [word for word in words if not word.strip().isdigit()]:
        raise app.UsageError(f"--rows={wrong[0]}: give row numbers such as 1,5,9")
    return [int(word) for word in words]


def _explain(rows: list[int]) -> None:
    if not (RUN.value and INPUT.value and OUTPUT.value):
        raise app.UsageError("evidence needs --run, --input and --output")
    from hsjax.data.run_stores import read_places
    from hsjax.explanation.task import PAGE, Wish, write_evidence

    wish = Wish(
        rows=rows,
        ids=IDS.value,
        first=FIRST.value,
        precedents=PRECEDENTS.value,
        image_root=IMAGE_ROOT.value,
        sanity=SANITY.value,
        calibration=CALIBRATION.value,
    )
    places = read_places(FEATURES.value)
    found = write_evidence(RUN.value, INPUT.value, OUTPUT.value, wish, features=places)
    print(f"{Path(OUTPUT.value) / PAGE}: {len(found):,} products")


def _verify(rows: list[int]) -> None:
    from hsjax.data.run_stores import read_places
    from hsjax.explanation.verifying import verify

    found = verify(
        Path(VERIFY.value),
        rows=rows,
        ids=IDS.value,
        first=FIRST.value,
        workdir=RUN.value,
        source=INPUT.value,
        features=read_places(FEATURES.value),
    )
    print(found.told())
    if not found.same:
        raise SystemExit(1)


if __name__ == "__main__":
    start(run)
