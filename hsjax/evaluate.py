"""Scores a trained run or several as one, compares scored runs, or doubts labels.

python -m hsjax.evaluate --run=WORKDIR --input=FILE --output=DIR
python -m hsjax.evaluate --run=WORKDIR --part=test --corrupt=word_drop:0.5 --output=DIR
python -m hsjax.evaluate --run=WORKDIR,WORKDIR --input=FILE --output=DIR
python -m hsjax.evaluate --run=WORKDIR --input=FILE --by=COLUMN --output=DIR
python -m hsjax.evaluate --run=WORKDIR --zero_shot=path --output=DIR
python -m hsjax.evaluate --run=WORKDIR --features=title=DIR,image=DIR --output=DIR
python -m hsjax.evaluate --run=WORKDIR --corrupt=typos@3+no_image:0.5 --output=DIR
python -m hsjax.evaluate --run=WORKDIR --input=FILE --adapt=coral --output=DIR
python -m hsjax.evaluate --run=WORKDIR --cost_matrix=FILE --output=DIR
python -m hsjax.evaluate --run=WORKDIR --calibration=own --output=DIR
python -m hsjax.evaluate --run=WORKDIR --audit-labels --output=DIR
python -m hsjax.evaluate --compare=DIR,DIR --against=DIR,DIR --output=DIR
python -m hsjax.evaluate --compare=DIR --against=DIR --tree=TAXONOMY --output=DIR
python -m hsjax.evaluate --compare=DIR,DIR --decodes=path,greedy --output=DIR
"""

from pathlib import Path

from absl import app, flags

from hsjax.main import start

RUN = flags.DEFINE_list(
    "run", [], "Workdir of a trained run; several: the mean of what they answer."
)
INPUT = flags.DEFINE_string(
    "input", None, "Catalogue with the run's columns; default: the run's own."
)
PART = flags.DEFINE_string("part", "test", "Part of the run's own catalogue.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for report and predictions.")
CORRUPT = flags.DEFINE_string(
    "corrupt", "", "Damage first: NAME:STRENGTH or NAME@SEVERITY, joined by +."
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Of the damage, folds and planted errors.", lower_bound=0
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
CALIBRATION = flags.DEFINE_string(
    "calibration", "none", "calibration.json, own (the run's), or none."
)
ZERO_SHOT = flags.DEFINE_string(
    "zero_shot", "", "Also leaves by the text of their name, or of their whole path."
)
BY = flags.DEFINE_string(
    "by", "", "Also a report for each value of this column, in OUTPUT/by/VALUE."
)
FEATURES = flags.DEFINE_multi_string(
    "features", [], "MODALITY=DIR of a feature store of the run that has moved."
)
ADAPT = flags.DEFINE_string(
    "adapt", "", "First to the statistics of the rows: mean | coral | batch_norm."
)
COST_MATRIX = flags.DEFINE_string(
    "cost_matrix",
    "",
    "Also answers of the least expected cost by FILE (predicted,true,cost), as"
    " pred_cost_levelK.",
)
AUDIT_LABELS = flags.DEFINE_boolean(
    "audit-labels", False, "Rank the declared labels of the catalogue by doubt."
)
PLANTED = flags.DEFINE_float(
    "planted", 0.05, "Share of labels made wrong to see how many the audit finds."
)
COMPARE = flags.DEFINE_list("compare", [], "Folders with predictions, one per seed.")
AGAINST = flags.DEFINE_list("against", [], "Folders of the reference.")
DECODES = flags.DEFINE_list(
    "decodes", [], "Two decodes of the runs in --compare, in place of --against."
)
METRICS = flags.DEFINE_list("metrics", [], "What to compare; default: the main ones.")
TREE = flags.DEFINE_string(
    "tree", "", "taxonomy.json: both sides of --compare are cut to its nodes."
)


# what each use of the command reads beside --run or --compare, and --output
SCORING = (PART, INPUT, CORRUPT, SEED, MIN_CONFIDENCE, ZERO_SHOT, BY, FEATURES, ADAPT)
SCORING += (COST_MATRIX, CALIBRATION)
DOUBTING = (AUDIT_LABELS, INPUT, SEED, PLANTED)
COMPARING = (AGAINST, DECODES, METRICS, TREE)


def check_flags() -> None:
    """Does every flag that was given have a part in what is asked?

    Raises:
      UsageError: it has none, and would be passed over in silence.
    """
    if bool(RUN.value) == bool(COMPARE.value) or not OUTPUT.value:
        raise app.UsageError(
            "give --output and either --run or --compare with --against or --decodes"
        )
    if AUDIT_LABELS.value and len(RUN.value) > 1:
        raise app.UsageError("--audit-labels goes by one run: name one in --run")
    if ADAPT.value:
        _check_adapt()
    use, read = "--run", SCORING
    if COMPARE.value:
        use, read = "--compare", COMPARING
    elif AUDIT_LABELS.value:
        use, read = "--audit-labels", DOUBTING
    elif INPUT.value is not None:
        use, read = "--input", tuple(flag for flag in SCORING if flag is not PART)
    names = [flag.name for flag in read]
    for flag in (*SCORING, *DOUBTING, *COMPARING):
        if flag.name not in names and flags.FLAGS[flag.name].present and flag.value:
            raise app.UsageError(f"--{flag.name} says nothing with {use}: leave it out")


def _check_adapt() -> None:
    from hsjax.inference.adapt import ADAPTATIONS

    if ADAPT.value not in ADAPTATIONS:
        known = ", ".join(ADAPTATIONS)
        raise app.UsageError(f"--adapt={ADAPT.value}: known are {known}")
    if len(RUN.value) > 1 or ZERO_SHOT.value:
        raise app.UsageError("--adapt goes by one run, without --zero_shot")


def run() -> None:
    check_flags()
    workdirs = [Path(folder) for folder in RUN.value]
    from hsjax.data.run_stores import read_places
    from hsjax.evaluation.comparison import compare_runs
    from hsjax.tasks.registry import user_errors
    from hsjax.trained.scoring import evaluate_run
    from hsjax.trained.suspects import audit_run_labels

    with user_errors():
        if workdirs and AUDIT_LABELS.value:
            audit_run_labels(
                workdirs[0],
                Path(OUTPUT.value),
                source=INPUT.value,
                seed=SEED.value,
                planted=PLANTED.value,
            )
        elif workdirs:
            evaluate_run(
                workdirs,
                Path(OUTPUT.value),
                source=INPUT.value,
                part=PART.value,
                corrupt=CORRUPT.value,
                seed=SEED.value,
                confidence=MIN_CONFIDENCE.value,
                zero_shot=ZERO_SHOT.value,
                features=read_places(FEATURES.value),
                by=BY.value,
                adapt=ADAPT.value,
                cost_matrix=COST_MATRIX.value,
                calibration=CALIBRATION.value,
            )
        else:
            sides = COMPARE.value, AGAINST.value
            asked = METRICS.value, DECODES.value
            tree = Path(TREE.value) if TREE.value else None
            compare_runs(*sides, Path(OUTPUT.value), *asked, tree=tree)


if __name__ == "__main__":
    start(run)
