"""What `--config.task=recategorize` does: new sub-categories of a branch, proposed.

Paper B, sections IV-D and V-C. Nothing is changed: a person looks at the review page,
and `python -m hsjax.refine` makes a new tree of what was decided.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.data.quarantine import Quarantine, written_if_refused
from hsjax.data.run_stores import described_stores
from hsjax.discovery import Branch, branch_vectors, read_branch, titles_of
from hsjax.discovery_choices import check_recategorize
from hsjax.discovery_methods import found_clusters, told_classes
from hsjax.evaluation.clusters import cluster_scores, discovery_accuracy
from hsjax.opening import resolved
from hsjax.proposals import level_keys, make_proposals, proposed_diff
from hsjax.recategorize_files import Found, write_clusters, write_page
from hsjax.recategorize_report import (
    plot_maps,
    proposals_markdown,
    scores_markdown,
    tried_markdown,
    write_report,
)
from hsjax.taxonomy_diff import Diff, write_diff
from hsjax.train.config import WorkdirError, config_hash, plain, read_config
from hsjax.train.environment import environment
from hsjax.train.kept import keep_stores
from hsjax.train.workdir import is_done, write_config
from hsjax.vocabulary import nearest_names

log = logging.getLogger("hsjax")

KNOWING = ("known_k_means", "parametric")  # methods that are told some classes


def propose(config, workdir: Path) -> None:
    """Writes what was found, the diff that it amounts to, and a review page per node.

    Raises:
      CatalogueError, ConfigError: whatever a user can mend, in words.
    """
    config, _ = resolved(config, workdir)
    if is_done(config, workdir):
        print(f"{workdir} is done: see {workdir / 'report.md'}")
        return
    check_recategorize(config)
    _refuse(config, workdir)
    start = time.perf_counter()
    workdir.mkdir(parents=True, exist_ok=True)
    quarantine, flaws = Quarantine(), workdir / "quarantine.csv"
    with written_if_refused(quarantine, flaws):
        branch = read_branch(config, quarantine)
    quarantine.write(flaws)
    write_config(config, workdir)
    keep_stores(described_stores(config), workdir)
    branch.tree.save(workdir / "taxonomy.json")
    found, told = [], _told(config, branch)
    for (level, code), rows in branch.nodes.items():
        if len(rows) < 2 * config.recategorize.min_size:
            log.info("%s: %d products are too few to divide", code, len(rows))
            continue
        found.append(_divided(config, workdir, branch, (level, code), rows, told))
    write_clusters(workdir, found)
    write_diff(_diff(branch, found, workdir), workdir / "diff.json")
    plot_maps(workdir / "map.png", {f.code: (f.cascade, f.proposals) for f in found})
    metrics = _metrics(config, branch, found, told)
    context = {
        "branch": config.recategorize.branch,
        "config_hash": config_hash(config),
        "environment": environment(),
        "seconds": round(time.perf_counter() - start, 1),
        "nodes": {f.code: len(f.proposals) for f in found},
    }
    print(write_report(workdir, _sections(found, metrics, context), metrics, context))
    print(f"all files: {workdir}")


def _refuse(config, workdir: Path) -> None:
    """WorkdirError where another run, or another discovery, would be written over."""
    path = workdir / "config.json"
    if path.exists() and plain(read_config(workdir)) != plain(config):
        raise WorkdirError(
            f"{workdir} holds another run, or what was found by other settings; take a"
            " new --workdir"
        )


def _told(config, branch: Branch) -> np.ndarray:
    """(R,) of all rows: see `told_classes`."""
    inside = np.concatenate(list(branch.nodes.values()))
    told = np.full(len(branch.truth), "", dtype=branch.truth.dtype)
    told[inside] = told_classes(branch.truth[inside], config)
    return told


def _divided(config, workdir: Path, branch: Branch, node, rows, told) -> Found:
    """A node's clusters, and its page."""
    level, code = node
    records = [branch.records[i] for i in rows]
    vectors, truth = branch_vectors(config, records), branch.truth[rows]
    cascade = found_clusters(config, vectors, truth, told[rows])
    titles = titles_of(config, records)
    proposals = make_proposals(
        cascade,
        titles,
        most_words=config.recategorize.names,
        taken=_children(branch, level, code),
        label_texts=nearest_names(config, titles, cascade),
    )
    found = Found(code, level, rows, records, cascade, proposals, titles, truth)
    if proposals:
        write_page(config, workdir, found, vectors, _settings(config))
        document = {"digest": found.digest, "node": code, "level": level + 1}
        document |= {"proposals": [p._asdict() for p in proposals]}
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        path = workdir / found.page.replace("review_", "proposals_")
        write_atomically(path.with_suffix(".json"), text)
    return found


def _children(branch: Branch, level: int, code: str) -> list[str]:
    """Names below a node that are taken."""
    tree = branch.tree
    if level + 1 >= tree.num_levels or code not in tree.codes[level]:
        return []
    own = tree.parents[level + 1] == tree.codes[level].tolist().index(code)
    return tree.names[level + 1][own].tolist()


def _diff(branch: Branch, found: Sequence[Found], workdir: Path) -> Diff:
    """All proposals of all nodes, accepted."""
    operations, clusters = [], {}
    for f in found:
        own = proposed_diff(
            f.proposals, branch.tree, branch=(f.level, f.code), run=str(workdir)
        )
        operations += own.operations
        clusters |= {f"{f.code}|{key}": code for key, code in own.clusters.items()}
    return Diff(branch.tree.hash, tuple(operations), clusters=clusters)


def _settings(config) -> dict[str, str]:
    """What a reviewer is told of how clusters were made."""
    c = config.recategorize
    stores = config.data.features.to_dict()
    told = {m: stores[m] for m in config.model.modalities if stores.get(m)}
    told |= {"common space": c.joint} if c.joint else {}
    told["method"] = c.method
    if c.method == "cascade":
        told["filter"] = f"{c.filter}, {100 * c.filter_share:.0f} % kept"
        told["UMAP"] = f"{c.neighbours} neighbours, {c.dimensions} dimensions"
        told["clusters"] = f"{c.linkage} linkage, number by {c.choice}"
    return told | {"seed": str(config.seed)}


def _metrics(
    config, branch: Branch, found: Sequence[Found], told: np.ndarray
) -> dict[str, float | int]:
    """Scores beside hidden classes, of the first new level of all nodes together.

    A node that was not divided is one cluster. Names that start with `kept/` are of the
    products in a cluster alone; of methods that know some classes, of the others.
    """
    if not config.recategorize.truth:
        return {}
    truth, spread, kept, free = [], [], [], []
    number = 0
    for (_, code), rows in branch.nodes.items():
        of = next((f for f in found if f.code == code), None)
        own = np.zeros(len(rows), int)
        inside = np.zeros(len(rows), bool)
        if of is not None and of.cascade.nodes:
            keys = level_keys(of.cascade.spread, 0)
            own = np.unique(keys, return_inverse=True)[1]
            inside = of.cascade.keys != ""
        truth.append(branch.truth[rows])
        spread.append(own + number)
        kept.append(inside)
        free.append(told[rows] == "")
        number += own.max() + 1
    truth, spread, kept, free = map(np.concatenate, (truth, spread, kept, free))
    knowing = config.recategorize.method in KNOWING
    scored = free if knowing else np.ones(len(truth), bool)
    metrics = cluster_scores(truth[scored], spread[scored])
    inside = np.where(kept, spread, -1)[scored]
    metrics |= {
        f"kept/{k}": v for k, v in cluster_scores(truth[scored], inside).items()
    }
    known = set(truth[~free].tolist())
    own = discovery_accuracy(truth[free], spread[free], known)
    return metrics | {f"free/{k}": v for k, v in own.items()}


def _sections(found: Sequence[Found], metrics: Mapping, context: Mapping) -> dict:
    sections = {}
    for f in found:
        page = f" Decide in {f.page}." if f.proposals else ""
        sections[f.code] = (
            f"{len(f.records):,} products, {int((f.cascade.keys == '').sum()):,} in no"
            f" cluster.{page}\n\n{proposals_markdown(f.proposals)}"
        )
        if f.cascade.tried:
            sections[f"{f.code}: how many"] = tried_markdown(f.cascade)
    if metrics:
        sections["Beside the hidden classes"] = scores_markdown(metrics)
    return sections | {"Time": f"{context['seconds']} s"}
