"""Makes a new tree, and labels in it, of what a discovery proposed.

python -m hsjax.refine --run=WORKDIR --output=DIR
python -m hsjax.refine --run=WORKDIR --decisions=decisions.json,... --output=DIR
python -m hsjax.refine --run=WORKDIR --diff=diff.json --output=DIR
"""

from pathlib import Path

from absl import app, flags

from hsjax.main import start

RUN = flags.DEFINE_string(
    "run", None, "Workdir of --config.task=recategorize.", required=True
)
OUTPUT = flags.DEFINE_string(
    "output", None, "Folder of the new tree and catalogue.", required=True
)
DECISIONS = flags.DEFINE_list("decisions", [], "Files that review pages have given.")
DIFF = flags.DEFINE_string("diff", "", "The run's diff.json as it was edited.")


def run() -> None:
    if DECISIONS.value and DIFF.value:
        raise app.UsageError("give --decisions or --diff, not both")
    from hsjax.recategorize.refinement import refine
    from hsjax.tasks.registry import user_errors

    with user_errors():
        told = refine(
            Path(RUN.value),
            Path(OUTPUT.value),
            decisions=[Path(path) for path in DECISIONS.value],
            diff=Path(DIFF.value) if DIFF.value else None,
        )
    print(told)
    print(f"all files: {OUTPUT.value}")


if __name__ == "__main__":
    start(run)
