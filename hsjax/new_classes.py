"""What new classes hold, beside a column that was hidden while they were found.

python -m hsjax.new_classes --predictions=DIR --old=old_taxonomy.json \
    --input=catalogue.parquet --column=level3 --output=DIR
"""

from pathlib import Path

from absl import flags

from hsjax.main import start

PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "Folder of a run or of hsjax.evaluate.", required=True
)
OLD = flags.DEFINE_string(
    "old", None, "taxonomy.json of the tree without the new classes.", required=True
)
INPUT = flags.DEFINE_string(
    "input", None, "Catalogue of the answered rows.", required=True
)
COLUMN = flags.DEFINE_string(
    "column", None, "Its column that says what products really are.", required=True
)
ID = flags.DEFINE_string(
    "id", "", "Its column of ids; default: the one that has those of the answers."
)
OUTPUT = flags.DEFINE_string("output", None, "Folder of the table.", required=True)


def run() -> None:
    from hsjax.recategorize.new_classes import score_new_classes
    from hsjax.tasks.registry import user_errors

    with user_errors():
        paths = (Path(x.value) for x in (PREDICTIONS, OLD, INPUT))
        output = Path(OUTPUT.value)
        print(score_new_classes(*paths, COLUMN.value, output, ID.value))
    print(f"all files: {OUTPUT.value}")


if __name__ == "__main__":
    start(run)
