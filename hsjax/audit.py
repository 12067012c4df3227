"""Refuses tables of scores that cannot be.

python -m hsjax.audit TABLE.csv --classes=level2:8,level3:56 --largest=level2:0.8428
python -m hsjax.audit runs/goods/report.json
"""

import sys
from pathlib import Path

from absl import app, flags

from hsjax.data.records import CatalogueError
from hsjax.evaluation.audit_facts import facts_of, read_report
from hsjax.evaluation.audit_table import audit_models, audit_text, read_table

CLASSES = flags.DEFINE_list("classes", [], "Classes of levels, level2:8, or of all, 8.")
ROWS = flags.DEFINE_list("items", [], "Scored rows of levels, level2:1200, or of all.")
LARGEST = flags.DEFINE_list("largest", [], "Share of the largest class: level2:0.84.")


def told_facts() -> dict[str, dict]:
    """What the flags say of each level, as fields of `Facts`; '' = of all levels.

    Raises:
      CatalogueError: something else than LEVEL:NUMBER.
    """
    told: dict[str, dict] = {}
    kinds = {
        "classes": (CLASSES, int),
        "rows": (ROWS, int),
        "largest": (LARGEST, float),
    }
    for field, (flag, kind) in kinds.items():
        for entry in flag.value:
            level, _, number = entry.rpartition(":")
            try:
                told.setdefault(level, {})[field] = kind(number)
            except ValueError:
                known = f"--{flag.name}={entry}: write LEVEL:NUMBER, as level2:8"
                raise CatalogueError(known) from None
    return told


def run(argv) -> None:
    if len(argv) != 2:
        raise app.UsageError("give one table: TABLE.csv or report.json")
    path = Path(argv[1])
    for flag in (CLASSES, ROWS, LARGEST):
        if path.suffix == ".json" and flag.value:
            raise app.UsageError(
                f"--{flag.name} says nothing of a report.json, which knows its rows:"
                " leave it out"
            )
    try:
        if path.suffix == ".json":
            models, facts = read_report(path)
        else:
            models = read_table(path)
            facts = facts_of(models, told_facts())
        audits = audit_models(models, facts)
    except CatalogueError as error:
        raise SystemExit(f"hsjax: {error}") from None
    print(audit_text(audits, facts))
    if any(audit.findings for audit in audits):
        raise SystemExit(1)


def main() -> None:
    app.run(run)


if __name__ == "__main__":
    sys.exit(main())
