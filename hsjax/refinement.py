"""Proposals that were accepted, made into a new tree and a relabelled catalogue."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.codes import TaxonomyError
from hsjax.data.quarantine import Quarantine
from hsjax.data.rewrite import Changes, rewrite_catalogue
from hsjax.data.same_split import SameSplit
from hsjax.data.sources import SYNTHETIC
from hsjax.discovery import Branch, read_branch
from hsjax.proposals import Proposal, proposed_diff
from hsjax.reading_keys import keys_told, reading_keys
from hsjax.recategorize_files import read_clusters
from hsjax.review_decisions import MERGE, REJECT, Decision, read_decisions
from hsjax.taxonomy import Taxonomy
from hsjax.taxonomy_change import apply_diff, moved_path
from hsjax.taxonomy_diff import Diff, read_diff, write_diff
from hsjax.train.workdir import WorkdirError, read_config

CATALOGUE, TREE, OLD_TREE = "catalogue.parquet", "taxonomy.json", "old_taxonomy.json"
LABEL, OLD_LABEL = "refined_label", "old_label"  # columns that are added
PREFIX = "refined"


class Proposed(NamedTuple):
    """What was proposed for a node.

    Attributes:
      node: its code; level: from 0; digest: what decisions have to be about.
    """

    node: str
    level: int
    digest: str
    proposals: list[Proposal]


def refine(
    run: Path, output: Path, *, decisions: Sequence[Path], diff: Path | None
) -> str:
    """Writes the new tree, the diff and the catalogue; returns what to do with them.

    Args:
      run: workdir of a discovery.
      decisions: of its review pages; nodes without one are not changed, but where
        there is none at all every proposal is accepted.
      diff: instead of decisions, the discovery's diff as somebody has edited it.

    Raises:
      TaxonomyError, CatalogueError, WorkdirError: whatever a user can mend, in words.
    """
    config = _discovered(run, output)
    quarantine = Quarantine()
    branch = read_branch(config, quarantine)
    chosen = _chosen(run, branch.tree, config, decisions, diff)
    tree = apply_diff(chosen, branch.tree)
    cells = _labels(run, branch, tree, chosen)
    same = SameSplit(
        config,
        branch.records,
        branch.groups,
        branch.parts,
        quarantine,
        prefix=PREFIX,
        relabelled=True,
    )
    output.mkdir(parents=True, exist_ok=True)
    tree.save(output / TREE)
    branch.tree.save(output / OLD_TREE)
    write_diff(chosen, output / "diff.json")
    blank = {LABEL: None, OLD_LABEL: None}
    columns = (*blank, *same.added)
    rewrite_catalogue(
        config.data,
        output / CATALOGUE,
        Changes(
            read=tuple(filter(None, [config.data.columns.id])),
            changed=(),
            added=columns,
            cells=lambda row, values: cells.get(row, blank) | same.cells(row),
        ),
    )
    return _told(config, output, same, branch.tree, tree)


def _discovered(run: Path, output: Path):
    """The config of a discovery; WorkdirError where it has nothing to refine."""
    config = read_config(run)
    if config.task != "recategorize" or not (run / "diff.json").exists():
        raise WorkdirError(f"{run} is no finished run of task=recategorize")
    if config.data.path == SYNTHETIC:
        raise WorkdirError(
            f"{run} is of the synthetic catalogue, which is no file: write one with"
            " task=prepare and name it in config.data.path"
        )
    if (output / "config.json").exists():
        raise WorkdirError(f"{output} is the workdir of a run; take a new --output")
    return config


def _chosen(run: Path, tree: Taxonomy, config, decisions, diff: Path | None) -> Diff:
    """The diff that is applied."""
    if diff:
        return read_diff(diff)
    if not decisions:
        return read_diff(run / "diff.json")
    operations, clusters = [], {}
    proposed = {p.digest: p for p in read_proposals(run)}
    for path in decisions:
        own = proposed.get(_digest(path))
        if own is None:
            raise TaxonomyError(f"{path} is about other proposals than those of {run}")
        found = read_decisions(
            path,
            {p.key: p.parent for p in own.proposals},
            own.digest,
            separator=tree.separator or " > ",
        )
        part = decided_diff(own, found, tree, run=str(run), source=str(path))
        operations += part.operations
        clusters |= {f"{own.node}|{key}": code for key, code in part.clusters.items()}
    return Diff(tree.hash, tuple(operations), clusters=clusters)


def _digest(path: Path) -> str:
    """Of the proposals that a file of decisions is about; '' = it does not say."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TaxonomyError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise TaxonomyError(f"{path} is not JSON: {error}") from None
    return str(found.get("proposals", "")) if isinstance(found, dict) else ""


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


def _labels(
    run: Path, branch: Branch, tree: Taxonomy, diff: Diff
) -> dict[int, dict[str, str | None]]:
    """{row: cells}: the code of the node where a product's label ends, then and now."""
    found = read_clusters(run)
    paths = _paths(tree)
    clusters = {
        row: diff.clusters.get(f"{node}|{key}")
        for row, node, key in zip(
            found["row"], found["node"], found["cluster"], strict=True
        )
        if key
    }
    cells = {}
    for record in branch.records:
        moved = moved_path(diff, record.path)
        new = clusters.get(record.row)
        if new is not None and new not in paths:
            raise TaxonomyError(
                f"clusters of the diff go to {new!r}, which is no node of the new tree"
            )
        path = paths[new] if new else moved
        cells[record.row] = {
            LABEL: path[-1] if path else None,
            OLD_LABEL: record.path[-1] if record.path else None,
        }
    return cells


def _paths(tree: Taxonomy) -> dict[str, tuple[str, ...]]:
    """Code -> path; the deepest node where levels share a code."""
    found = {}
    for level, codes in enumerate(tree.codes):
        for i, code in enumerate(codes.tolist()):
            if not tree.stop[level][i]:
                found[code] = tree.decode(tree.ancestors[level][i])
    return found


def _told(config, output: Path, same: SameSplit, old: Taxonomy, tree: Taxonomy) -> str:
    """How a run reads what was written."""
    keys = reading_keys(config, output / CATALOGUE, same)
    kind = "path" if tree.separator else "node"
    keys |= {"data.columns.label": _named(LABEL), "data.columns.label_kind": kind}
    keys["taxonomy.path"] = str(output / TREE)
    before = {"data.columns.label": _named(OLD_LABEL)}
    before["taxonomy.path"] = str(output / OLD_TREE)
    new = sum(tree.sizes) - sum(old.sizes)
    return (
        f"{new:+,} nodes: {old!r} -> {tree!r}\n"
        "a run learns the new tree, with the same rows in train, val and test, by the"
        f" same config and\n{keys_told(keys)}\n"
        "and starts from one of the old tree by --config.init_from=WORKDIR; that one is"
        f" learnt by the same, but\n{keys_told(before)}"
    )


def _named(column: str) -> str:
    """As a flag, quoted for a shell."""
    return f"\"('{column}',)\""
