"""Answers of predict before people: what to look at first, and what they decided.

python -m hsjax.review --answers=codes.parquet --output=queue.csv
python -m hsjax.review --answers=codes.parquet --decisions=queue.csv
python -m hsjax.review --answers=codes.parquet --labelled=reviewed.csv

queue.csv has the answers in the order of their expected cost, and columns to be filled
in: decision (accept, override or reject), code, reviewer, date and reason. --decisions
merges them into codes.parquet.decisions.jsonl, to which lines are only added;
--labelled exports what was accepted or overridden, in the columns of the catalogue.
"""

from pathlib import Path

from absl import app, flags

from hsjax.main import start

ANSWERS = flags.DEFINE_string(
    "answers", None, "File that predict wrote.", required=True
)
OUTPUT = flags.DEFINE_string("output", None, "Queue to write: .csv.")
LIMIT = flags.DEFINE_integer(
    "limit", 0, "So many answers in the queue at most; 0 = all.", lower_bound=0
)
DECISIONS = flags.DEFINE_string("decisions", None, "File of decisions to merge.")
LABELLED = flags.DEFINE_string(
    "labelled", None, "Labelled rows to write: .csv or .parquet."
)
RUN = flags.DEFINE_string("run", None, "Workdir of the run, if it has moved.")
INPUT = flags.DEFINE_string("input", None, "The catalogue, if it has moved.")


def run() -> None:
    if not (OUTPUT.value or DECISIONS.value or LABELLED.value):
        raise app.UsageError("review needs --output, --decisions or --labelled")
    from hsjax.reviewing.task import export, open_review, queue, take_in
    from hsjax.tasks.registry import user_errors

    with user_errors():
        reviewed = open_review(
            Path(ANSWERS.value), workdir=RUN.value, source=INPUT.value
        )
        if DECISIONS.value:
            print(take_in(reviewed, Path(DECISIONS.value)))
        if LABELLED.value:
            print(export(reviewed, Path(LABELLED.value)))
        if OUTPUT.value:
            print(queue(reviewed, Path(OUTPUT.value), limit=LIMIT.value))


if __name__ == "__main__":
    start(run)
