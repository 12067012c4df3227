"""What is asked of a catalogue, and what that means for a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hsjax.atomic import file_hash
from hsjax.data.cost_file import own_codes
from hsjax.data.duties_file import read_duties
from hsjax.data.quarantine import CatalogueError
from hsjax.filing import Stakes
from hsjax.hierarchy import leaf_paths
from hsjax.inference.predict import Run
from hsjax.prediction.cascaded import Cascaded
from hsjax.taxonomy import Taxonomy

POLICIES = ("suggest", "fill_missing", "replace")
SHOWN = 5  # leaves that are named in a message


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a catalogue.

    Attributes:
      confidence: also the deepest node of at least this probability; precision: also
        the deepest node of an answer that is right so often. None = not asked.
      coverage: also sets that hold the true leaf so often.
      prefix: column of what is known of the code already; current: of the code that a
        product has now; '' = none.
      policy: of `POLICIES`, what to do with the current code; '' = not asked.
      duties: file of what is at stake; ask, review: what these cost.
      embeddings: also the unit vectors of text and picture.
      shard: (number, of how many): this process answers every `of`-th part.
    """

    confidence: float | None = None
    precision: float | None = None
    coverage: float | None = None
    prefix: str = ""
    current: str = ""
    policy: str = ""
    duties: Path | str = ""
    ask: float = 0.0
    review: float = 0.0
    embeddings: bool = False
    shard: tuple[int, int] = (0, 1)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the catalogue, beside those that the run reads."""
        return tuple(dict.fromkeys(x for x in (self.prefix, self.current) if x))

    def facts(self) -> dict:
        """What decides the answers, for the identity of parts; a file by its hash."""
        facts = {"confidence": self.confidence, "embeddings": self.embeddings}
        more = ("precision", "coverage", "prefix", "current", "policy")
        facts |= {k: getattr(self, k) for k in more if getattr(self, k)}
        if self.duties:
            facts["stakes"] = [file_hash(Path(self.duties)), self.ask, self.review]
        return facts


class Terms(NamedTuple):
    """A question in the terms of one run.

    Attributes:
      confidence, set_least, stakes: as `Run.predict` takes them.
      own: own code of a node -> its path, see `own_codes`.
    """

    confidence: float | Float[np.ndarray, "L"] | None
    set_least: float | None
    stakes: Stakes | None
    own: Mapping[str, Sequence[str]]


def terms_of(run: Run | Cascaded, question: Question) -> Terms:
    """What is asked, with the thresholds of the run's calibration.

    Raises:
      CatalogueError: there is no calibration where one is needed, it does not promise
        so much, or duties that cannot be read.
    """
    q, own = question, own_codes(run.config, run.tree)
    for name in ("precision", "coverage"):
        if getattr(q, name) is not None and run.calibration is None:
            raise CatalogueError(
                f"--{name} goes by a calibration, and there is none: python -m"
                " hsjax.calibrate --run=WORKDIR makes one"
            )
    confidence, least, stakes = q.confidence, None, None
    if q.precision is not None:
        threshold = run.calibration.threshold(q.precision)
        confidence = np.full(run.tree.num_levels, threshold)
    if q.coverage is not None:
        least = run.calibration.set_least(q.coverage)
    if q.duties:
        duties = read_duties(q.duties, run.tree, own=own)
        stakes = leaf_stakes(duties, run.tree, ask=q.ask, review=q.review)
    return Terms(confidence, least, stakes, own)


def leaf_stakes(
    duties: Mapping[str, tuple[float, float]],
    tree: Taxonomy,
    *,
    ask: float,
    review: float,
) -> Stakes:
    """Of every leaf: what its own line says, or that of the nearest node above.

    Raises:
      CatalogueError: nothing is said of some leaves.
    """
    found, missing = [], []
    for path in leaf_paths(tree):
        codes = tree.decode(path)
        said = [duties[code] for code in codes if code in duties]
        found.append(said[-1] if said else (0.0, 0.0))
        missing += [] if said else [codes[-1]]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + ", ..." * (len(missing) > SHOWN)
        raise CatalogueError(
            f"--duties: nothing is said of {len(missing):,} codes ({shown}): give them"
            " a line, or one of the nodes above them"
        )
    table = np.array(found, np.float32).T
    return Stakes(*table, np.float32(ask), np.float32(review))
