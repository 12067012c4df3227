"""Makes the probabilities of a trained run honest, by labelled rows.

python -m hsjax.calibrate --run=WORKDIR
python -m hsjax.calibrate --run=WORKDIR --kind=isotonic
python -m hsjax.calibrate --run=WORKDIR --input=FILE --rows=300 --output=DIR

WORKDIR/calibration.json is what hsjax.predict goes by from then on, WORKDIR/calibration
has the report. With --output both are there, for hsjax.predict --calibration=FILE.
"""

from pathlib import Path

from absl import app, flags

from hsjax.main import start

RUN = flags.DEFINE_string("run", None, "Workdir of a trained run.", required=True)
INPUT = flags.DEFINE_string(
    "input", None, "Labelled catalogue to fit on; default: the run's validation part."
)
ROWS = flags.DEFINE_integer(
    "rows", 0, "So many labelled rows of --input to fit on, 0 = all.", lower_bound=0
)
KIND = flags.DEFINE_string(
    "kind", "temperature", "temperature, or isotonic maps of each level on top of it."
)
OUTPUT = flags.DEFINE_string(
    "output", None, "Folder of calibration and report; default: in the workdir."
)
FEATURES = flags.DEFINE_multi_string(
    "features", [], "MODALITY=DIR of a feature store of the run that has moved."
)


def run() -> None:
    if ROWS.value and not INPUT.value:
        raise app.UsageError("--rows are some of --input: name a file")
    from hsjax.data.run_stores import read_places
    from hsjax.evaluation.tree_calibration import KINDS
    from hsjax.tasks.registry import user_errors
    from hsjax.trained.calibrating import calibrate_run

    if KIND.value not in KINDS:
        raise app.UsageError(f"--kind={KIND.value}: known are {', '.join(KINDS)}")
    with user_errors():
        calibrate_run(
            Path(RUN.value),
            output=Path(OUTPUT.value) if OUTPUT.value else None,
            source=INPUT.value,
            count=ROWS.value,
            kind=KIND.value,
            features=read_places(FEATURES.value),
        )


if __name__ == "__main__":
    start(run)
