"""The diff that is applied: of a discovery, of its reviewers, or edited by hand."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.recategorize.decisions import (
    MERGE,
    REJECT,
    Decision,
    proposals_decided,
    read_decisions,
)
from hsjax.recategorize.diff import Diff, read_diff
from hsjax.recategorize.proposals import Proposal, proposed_diff
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import TaxonomyError

log = logging.getLogger("hsjax")


class Proposed(NamedTuple):
    """What was proposed for a node.

    Attributes:
      node: its code; level: from 0; digest: what decisions have to be about.
    """

    node: str
    level: int
    digest: str
    proposals: list[Proposal]


def chosen_diff(
    run: Path, tree: Taxonomy, decisions: Sequence[Path], diff: Path | None
) -> Diff:
    """The diff that is applied.

    Args:
      run, decisions, diff: of `hsjax.recategorize.refinement.refine`; tree: of the run.

    Raises:
      TaxonomyError: files that cannot be read, are about something else, or cannot be
        carried out.
    """
    if diff:
        return read_diff(diff)
    if not decisions:
        return read_diff(run / "diff.json")
    operations, clusters, used = [], {}, {}
    proposed = {p.digest: p for p in read_proposals(run)}
    for path in decisions:
        own = proposed.get(proposals_decided(path))
        if own is None:
            raise TaxonomyError(f"{path} is about other proposals than those of {run}")
        if own.digest in used:
            first = used[own.digest]
            told = f"{first} and {path} are both about {own.node!r}"
            raise TaxonomyError(f"{told}: give one of them")
        used[own.digest] = path
        parents = {p.key: p.parent for p in own.proposals}
        separator = tree.separator or " > "
        found = read_decisions(path, parents, own.digest, separator=separator)
        part = decided_diff(own, found, tree, run=str(run), source=str(path))
        operations += part.operations
        clusters |= {f"{own.node}|{key}": code for key, code in part.clusters.items()}
    if rest := [p.node for p in proposed.values() if p.digest not in used]:
        log.info("no decisions about %s: they stay as they are", ", ".join(rest))
    return Diff(tree.hash, tuple(operations), clusters=clusters)


def read_proposals(run: Path) -> list[Proposed]:
    """Of every node of a discovery."""
    found = []
    for path in sorted(run.glob("proposals_*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        proposals = [
            Proposal(**p | {k: tuple(p[k]) for k in ("words", "label_texts")})
            for p in document["proposals"]
        ]
        node = document["node"], document["level"] - 1, document["digest"]
        found.append(Proposed(*node, proposals))
    return found


def decided_diff(
    proposed: Proposed,
    decisions: Mapping[str, Decision],
    tree: Taxonomy,
    *,
    run: str,
    source: str,
) -> Diff:
    """What is left of the proposals, under the reviewer's names.

    Products of a rejected cluster stay with the node above, those of a merged one go to
    the other.
    """
    kept = [
        p._replace(name=decisions[p.key].name)
        for p in proposed.proposals
        if decisions[p.key].action not in (REJECT, MERGE)
    ]
    diff = proposed_diff(kept, tree, branch=(proposed.level, proposed.node), run=run)
    operations = [
        o._replace(provenance={**o.provenance, "decisions": source})
        for o in diff.operations
    ]
    clusters = {"": proposed.node, **diff.clusters}
    for p in proposed.proposals:
        decision = decisions[p.key]
        if decision.action == MERGE:
            clusters[p.key] = clusters[decision.into]
        elif decision.action == REJECT:
            clusters[p.key] = clusters[p.parent]
    del clusters[""]
    return diff._replace(operations=tuple(operations), clusters=clusters)
