"""Answers products in another edition of the nomenclature than a run was trained on.

python -m hsjax.editions --run=WORKDIR --input=FILE --taxonomy=OTHER.json
    --correlation=TABLE.csv --output=DIR

The whole distribution of each product is moved along the correlation: no mass is lost.
Writes predictions.parquet in the codes of the other edition, and a report where the
file has labels: in the edition of data.columns.edition, or in the one that is answered.
"""

from pathlib import Path

from absl import flags

from hsjax.main import start

RUN = flags.DEFINE_string("run", None, "Workdir of a trained run.", required=True)
INPUT = flags.DEFINE_string(
    "input", None, "Catalogue with the run's columns.", required=True
)
TAXONOMY = flags.DEFINE_string(
    "taxonomy", None, "taxonomy.json of the edition to be answered in.", required=True
)
CORRELATION = flags.DEFINE_list(
    "correlation", None, "CSV files of the tables between the editions.", required=True
)
LABEL = flags.DEFINE_list(
    "label", [], "Columns of labels of that edition; default: the run's labels."
)
OUTPUT = flags.DEFINE_string("output", None, "Folder of the report.", required=True)
FEATURES = flags.DEFINE_multi_string(
    "features", [], "MODALITY=DIR of a feature store of the run that has moved."
)


def run() -> None:
    from hsjax.data.run_stores import read_places
    from hsjax.tasks.registry import user_errors
    from hsjax.trained.projecting import project_run

    with user_errors():
        project_run(
            Path(RUN.value),
            Path(OUTPUT.value),
            source=INPUT.value,
            taxonomy=Path(TAXONOMY.value),
            correlation=tuple(CORRELATION.value),
            label=tuple(LABEL.value),
            features=read_places(FEATURES.value),
        )


if __name__ == "__main__":
    start(run)
