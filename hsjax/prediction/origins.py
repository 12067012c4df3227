"""Where answers were made: the versions, the devices, the shape of the batch.

Parts name the origin of every row in a column that the output does not have, so that
rows of other processes, and those taken over from an earlier output, keep their own.
`origin-IDENTITY.json` beside the parts says what it is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import pyarrow.parquet as pq

from hsjax.atomic import write_atomically
from hsjax.data.buckets import answered_lengths
from hsjax.inference.predict import Run
from hsjax.prediction.cascaded import Cascaded
from hsjax.prediction.parts import Parts, identity
from hsjax.sharding import batch_pieces, make_mesh
from hsjax.train.environment import environment

ORIGIN = "origin"
SHOWN = 5  # runs of row numbers that a sentence names


def origin_here(run: Run | Cascaded) -> dict:
    """Of what this process answers."""
    return {"batch": _batch_facts(run), "environment": environment()}


def _batch_facts(run: Run | Cascaded) -> dict:
    """Rows and shapes of the padded batch that every product is answered in.

    With the longest texts; `lengths` are those that texts are padded to, each to the
    next one, () = all to the longest.
    """
    pieces = batch_pieces(make_mesh())
    rows = -(-run.config.eval.batch_size // pieces) * pieces
    shapes = {k: list(shape) for k, (shape, _) in run.spec.shapes(rows).items()}
    return {"rows": rows, "shapes": shapes, "lengths": [*answered_lengths(run.spec)]}


def tell_origin(parts: Parts, facts: Mapping) -> str:
    """The name of an origin, which is to be told of rows; those taken over keep theirs.

    Args:
      facts: of `origin_here`.
    """
    for folder in parts.earlier():
        for path in folder.glob(f"{ORIGIN}-*.json"):
            write_atomically(parts.folder / path.name, path.read_text())
    name = identity(facts)
    text = json.dumps(facts, ensure_ascii=False) + "\n"
    write_atomically(parts.folder / f"{ORIGIN}-{name}.json", text)
    return name


def origins_of(parts: Parts) -> list[dict]:
    """The origins of all rows, in the order of their first ones.

    `rows` says how many answers are of it and `numbers` which, as '1-1024, 2049-3072';
    between two numbers may be rows that have no answer.
    """
    found: dict[str, dict] = {}
    for name, group in groupby(_rows(parts), lambda pair: pair[1]):
        numbers = [row for row, _ in group]
        own = found.setdefault(name, {"rows": 0, "numbers": []})
        own["rows"] += len(numbers)
        ends = dict.fromkeys((numbers[0], numbers[-1]))
        own["numbers"].append("-".join(map(str, ends)))
    return [
        {**own, "numbers": ", ".join(own["numbers"]), **_facts(parts, name)}
        for name, own in found.items()
    ]


def _facts(parts: Parts, name: str) -> dict:
    text = (parts.folder / f"{ORIGIN}-{name}.json").read_text(encoding="utf-8")
    return json.loads(text)


def _rows(parts: Parts) -> Iterator[tuple[int, str]]:
    """(row, its origin), in order."""
    for number in range(parts.count):
        table = pq.read_table(parts.path(number), columns=["row", ORIGIN])
        yield from zip(*(column.to_pylist() for column in table), strict=True)


def holds(numbers: str, rows: Sequence[int]) -> bool:
    """Is one of the rows among the `numbers` of an origin?"""
    ends = [[int(x) for x in run.split("-")] for run in numbers.split(", ")]
    return any(run[0] <= row <= run[-1] for run in ends for row in rows)


def numbers_told(numbers: str) -> str:
    """The first of them, for a sentence."""
    runs = numbers.split(", ")
    more = " and others" if len(runs) > SHOWN else ""
    return ", ".join(runs[:SHOWN]) + more
