"""Rehearses a change of edition on a catalogue of which both labels are known.

python -m hsjax.rehearse --input=myntra.parquet --change=CHANGE.csv --output=DIR

Writes the catalogue with labels of both editions, a tree of each, and the correlation
table between them, from which runs can learn with labels of either.
"""

from pathlib import Path

from absl import app, flags

from hsjax.main import start

INPUT = flags.DEFINE_string("input", None, "Catalogue, a .parquet file.")
CHANGE = flags.DEFINE_string(
    "change", None, "CSV: from_code,to_code,column,values; see hsjax/data/rehearsal.py."
)
LEVELS = flags.DEFINE_list(
    "levels", ["level1", "level2", "level3"], "Columns of the label, coarsest first."
)
GROUP = flags.DEFINE_string("group", "group", "Column whose rows stay in one part.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for catalogue, trees and table.")


def run() -> None:
    if not (INPUT.value and CHANGE.value and OUTPUT.value):
        raise app.UsageError("give --input, --change and --output")
    from hsjax.data.quarantine import CatalogueError
    from hsjax.data.rehearsal import write_rehearsal
    from hsjax.tasks.registry import user_errors

    with user_errors():
        if not INPUT.value.endswith(".parquet"):
            raise CatalogueError(f"--input={INPUT.value}: name a .parquet file")
        told = write_rehearsal(
            Path(INPUT.value),
            Path(CHANGE.value),
            Path(OUTPUT.value),
            levels=LEVELS.value,
            group=GROUP.value,
        )
        for name, count in told.items():
            print(f"{name}: {count:,}")
        print(f"all files: {OUTPUT.value}")


if __name__ == "__main__":
    start(run)
