"""What damaged and missing modalities cost: every run of a list under every damage.

python -m hsjax.robustness --runs=FILE.jsonl --root=DIR --output=DIR
python -m hsjax.robustness --runs=FILE.jsonl --root=DIR --output=DIR \\
    --damages=blur,noise,jpeg --severities=1,3,5 --rows=1000
python -m hsjax.robustness --runs=FILE.jsonl --root=DIR --output=DIR --table4

The runs are those of `launch/sweep.py`, trained before. Output: `cells.jsonl` as it is
measured, then `robustness.csv`, `.md` and `.png`, and Paper A's Table 4 as `table4.md`
and `.csv`. The same command goes on where it was cut off. The damages no_text and
no_image hit 20, 40, 60, 80 and 100 % of the products at severities 1 to 5.
"""

from pathlib import Path

from absl import app, flags

from hsjax.main import start

RUNS = flags.DEFINE_string("runs", None, "FILE.jsonl, as launch/sweep.py reads it.")
ROOT = flags.DEFINE_string("root", None, "Folder of the workdirs.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for the measured cells.")
SET = flags.DEFINE_multi_string("set", [], "KEY=VALUE, as for launch/sweep.py.")
ONLY = flags.DEFINE_list("only", [], "Rows of the list to measure; default: all.")
DAMAGES = flags.DEFINE_list("damages", [], "Names of damages; default: all.")
SEVERITIES = flags.DEFINE_list("severities", ["1", "2", "3", "4", "5"], "Of 1 to 5.")
PART = flags.DEFINE_string("part", "test", "Part of the runs' own catalogue.")
ROWS = flags.DEFINE_integer(
    "rows", 0, "So many products, the same for all; 0 = the whole part.", lower_bound=0
)
SEED = flags.DEFINE_integer("seed", 0, "Of the damage.", lower_bound=0)
TABLE4 = flags.DEFINE_boolean("table4", False, "Nothing but Table 4.")
TABLE4_ROWS = flags.DEFINE_list(
    "table4_rows",
    ["typos@3", "no_text@5", "no_image@5"],
    "Damages of Table 4, NAME@SEVERITY, below the clean products.",
)
METRIC = flags.DEFINE_string("metric", "", "Of table and plot; default: accuracy.")


def run() -> None:
    from hsjax.robust.damaged import Asked, measure_runs
    from hsjax.tasks.registry import user_errors

    for name in (DAMAGES.name, SEVERITIES.name, METRIC.name):
        if TABLE4.value and flags.FLAGS[name].present:
            raise app.UsageError(f"--{name} says nothing with --table4: leave it out")
    with user_errors():
        asked = Asked(
            damages=tuple(DAMAGES.value),
            severities=tuple(SEVERITIES.value),
            part=PART.value,
            rows=ROWS.value,
            seed=SEED.value,
            table4=tuple(TABLE4_ROWS.value),
            table4_alone=TABLE4.value,
        )
        text = measure_runs(
            Path(RUNS.value),
            Path(ROOT.value),
            Path(OUTPUT.value),
            asked,
            common=SET.value,
            only=ONLY.value,
            metric=METRIC.value,
        )
        print(f"{text}\nall files: {OUTPUT.value}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["runs", "root", "output"])
    start(run)
