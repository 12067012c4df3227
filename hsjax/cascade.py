"""Two runs as one pipeline: the cheap one answers where it is sure (Paper B, VI).

python -m hsjax.cascade --run=CHEAP,STRONG --quality=0.3 --output=DIR
python -m hsjax.cascade --run=CHEAP,STRONG --quality=1 --metric=accuracy --output=DIR
python -m hsjax.cascade --run=CHEAP,STRONG --cost=2.5 --input=FILE --output=DIR
python -m hsjax.cascade --run=CHEAP,STRONG --fit_input=LABELLED --output=DIR
python -m hsjax.cascade --run=CHEAP,STRONG --input=FILE --fit_rows=200 --output=DIR
python -m hsjax.cascade --cascade=DIR --input=FILE --output=OTHER_DIR

The threshold is fitted on the validation part of the runs' own catalogue, or on another
labelled file, or on some labelled rows of the one that is answered, and kept in DIR for
the next files.
"""

import math
from pathlib import Path

from absl import app, flags

from hsjax.main import start

RUN = flags.DEFINE_list("run", [], "Workdirs of the cheap and of the strong run.")
CASCADE = flags.DEFINE_string("cascade", None, "Folder of a cascade that was fitted.")
INPUT = flags.DEFINE_string("input", None, "Catalogue to answer; default: the run's.")
PART = flags.DEFINE_string("part", "test", "Part of the run's own catalogue.")
OUTPUT = flags.DEFINE_string("output", None, "Folder of the report.", required=True)
QUALITY = flags.DEFINE_float(
    "quality",
    None,
    "Points of the metric that may be lost against the strong run: default 0.",
    lower_bound=0,
    upper_bound=100,
)
COST = flags.DEFINE_float(
    "cost", None, "Milliseconds that a product may cost.", lower_bound=0
)
METRIC = flags.DEFINE_string(
    "metric",
    "hierarchical_f1",
    "What is wished for: hierarchical_f1 | accuracy (of whole paths).",
)
SURE = flags.DEFINE_float(
    "sure",
    0.95,
    "Probability that --quality holds on more such products; 0.5: on those of the fit",
    lower_bound=0.5,
    upper_bound=0.999,
)
SHARE = {"lower_bound": 0, "upper_bound": 1}
THRESHOLD = flags.DEFINE_float(
    "threshold", None, "Confidence below which to send on, 0 to 1.", **SHARE
)
ABSTAIN = flags.DEFINE_float(
    "abstain",
    0.0,
    "Left to people where the strong run is right with a smaller chance, 0 to 1.",
    **SHARE,
)
CALIBRATION = flags.DEFINE_string(
    "calibration", "temperature", "Of the cheap run: temperature | isotonic | none."
)
FIT_INPUT = flags.DEFINE_string("fit_input", None, "Labelled file to fit on.")
FIT_ROWS = flags.DEFINE_integer(
    "fit_rows",
    0,
    "So many labelled rows of --input to fit on; the others are answered.",
    lower_bound=0,
)
FIT_PART = flags.DEFINE_string("fit_part", "val", "Part of the run's own to fit on.")
COSTS = flags.DEFINE_list(
    "costs", [], "Milliseconds of a product in each stage; default: measured."
)
FEATURES = flags.DEFINE_multi_string(
    "features", [], "MODALITY=DIR of a feature store of the runs that has moved."
)
# what says nothing of a cascade that was fitted before
FITTING = (QUALITY, SURE, COST, METRIC, THRESHOLD, ABSTAIN, CALIBRATION)
FITTING += (FIT_INPUT, FIT_PART, FIT_ROWS, COSTS)


def check_flags() -> None:
    """Is it clear what to do, and has every flag that was given a part in it?

    Raises:
      UsageError: it is not.
    """
    if bool(CASCADE.value) == (len(RUN.value) == 2) or len(RUN.value) not in (0, 2):
        raise app.UsageError("give --run=CHEAP,STRONG, or --cascade=DIR")
    given = [f.name for f in FITTING if flags.FLAGS[f.name].present]
    if CASCADE.value and given:
        raise app.UsageError(f"--{given[0]} says nothing with --cascade: leave it out")
    for file, part in ((INPUT, PART), (FIT_INPUT, FIT_PART)):
        if file.value and flags.FLAGS[part.name].present:
            raise app.UsageError(
                f"--{part.name} says nothing with --{file.name}: leave it out"
            )
    if FIT_ROWS.value:
        if not INPUT.value:
            raise app.UsageError("--fit_rows are some of --input: name a file")
        for flag in (FIT_INPUT, FIT_PART):
            if flags.FLAGS[flag.name].present:
                raise app.UsageError(f"--fit_rows and --{flag.name}: give one")
    elif not CASCADE.value:
        parts, files = {PART.value, FIT_PART.value}, {INPUT.value, FIT_INPUT.value}
        if len(files) == 1 and (INPUT.value or len(parts) == 1):
            raise app.UsageError(
                "the threshold would be fitted on the very rows that are answered: give"
                " another --fit_part or --fit_input"
            )
    check_wish()


def check_wish() -> None:
    """Is one thing wished for, in words and numbers that mean something?

    Raises:
      UsageError: it is not.
    """
    from hsjax.evaluation.calibration import CALIBRATIONS
    from hsjax.evaluation.cascade_curve import METRICS

    wishes = [f for f in (QUALITY, COST, THRESHOLD) if f.value is not None]
    if len(wishes) > 1:
        names = " and ".join(f"--{f.name}" for f in wishes)
        raise app.UsageError(f"{names} are different wishes: give one")
    for flag in (*wishes, ABSTAIN, SURE):
        if not math.isfinite(flag.value):  # absl's bounds let nan pass
            raise app.UsageError(f"--{flag.name}={flag.value}: give a finite number")
    for flag, known in ((CALIBRATION, CALIBRATIONS), (METRIC, METRICS)):
        if flag.value not in known:
            told = ", ".join(known)
            raise app.UsageError(f"--{flag.name}={flag.value}; known: {told}")
    for wish, other in ((THRESHOLD, METRIC), (THRESHOLD, SURE), (COST, SURE)):
        if wish.value is not None and flags.FLAGS[other.name].present:
            raise app.UsageError(
                f"--{other.name} says nothing with --{wish.name}: leave it out"
            )
    if COSTS.value:
        try:
            first, second = map(float, COSTS.value)
        except ValueError:
            raise app.UsageError(
                "--costs takes two numbers, as --costs=0.4,12"
            ) from None
        if not (math.isfinite(first + second) and min(first, second) >= 0):
            told = ",".join(COSTS.value)
            raise app.UsageError(f"--costs={told}: give finite times, from 0 up")


def run() -> None:
    check_flags()
    from hsjax.data.run_stores import read_places
    from hsjax.inference.cascade import read_cascade
    from hsjax.inference.cascade_fit import Wish
    from hsjax.tasks.registry import user_errors
    from hsjax.trained.cascading import run_cascade

    with user_errors():
        known = read_cascade(Path(CASCADE.value)) if CASCADE.value else None
        run_cascade(
            [Path(x) for x in (known.runs if known else RUN.value)],
            Path(OUTPUT.value),
            wish=Wish(
                QUALITY.value,
                COST.value,
                THRESHOLD.value,
                ABSTAIN.value,
                CALIBRATION.value,
                METRIC.value,
                SURE.value,
            ),
            known=known,
            source=INPUT.value,
            part=PART.value,
            fit_source=FIT_INPUT.value,
            fit_part=FIT_PART.value,
            fit_rows=FIT_ROWS.value,
            costs=tuple(map(float, COSTS.value)) if COSTS.value else None,
            features=read_places(FEATURES.value),
        )


if __name__ == "__main__":
    start(run)
