"""What `--config.task=recategorize` does: new sub-categories of a branch, proposed.

Paper B, sections IV-D and V-C. Nothing is changed: a person looks at the review page,
and `python -m hsjax.refine` makes a new tree of what was decided.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hsjax.data.quarantine import CatalogueError, Quarantine, written_if_refused
from hsjax.data.run_stores import described_stores
from hsjax.features.cluster_cascade import undivided
from hsjax.features.cluster_methods import found_clusters, told_classes
from hsjax.inference.predict import Run
from hsjax.recategorize.diff import Diff, write_diff
from hsjax.recategorize.files import Found, write_clusters, write_page, write_proposals
from hsjax.recategorize.products import (
    Branch,
    branch_vectors,
    joint_run,
    read_branch,
    titles_of,
)
from hsjax.recategorize.proposals import make_proposals, proposed_diff
from hsjax.recategorize.report import (
    plot_maps,
    proposals_markdown,
    scores_markdown,
    tried_markdown,
    why_undivided,
    write_report,
)
from hsjax.recategorize.scores import class_counts, classes_told, discovery_scores
from hsjax.recategorize.vocabulary import nearest_names
from hsjax.settings.discovery import check_recategorize
from hsjax.train.config import WorkdirError, config_hash, plain, read_config
from hsjax.train.environment import environment
from hsjax.train.kept import keep_stores
from hsjax.train.workdir import ConfigError, is_done, write_config
from hsjax.trained.opening import resolved

log = logging.getLogger("hsjax")

FEW = "fewer than {least} products, twice recategorize.min_size"
NO_VECTORS = "too few products of its node have a vector"


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
    run, doubt = joint_run(config, branch.tree)
    found = _found(config, workdir, branch, run)
    write_clusters(workdir, found)
    write_diff(_diff(branch, found, workdir), workdir / "diff.json")
    plot_maps(workdir / "map.png", {f.code: (f.cascade, f.proposals) for f in found})
    metrics = discovery_scores(found)
    context = {
        "branch": config.recategorize.branch,
        "config_hash": config_hash(config),
        "environment": environment(),
        "seconds": round(time.perf_counter() - start, 1),
        "nodes": {f.code: len(f.proposals) for f in found},
        "hidden_classes": class_counts(found),
        "doubt": doubt,
    }
    sections = _sections(config, found, metrics, context)
    print(write_report(workdir, sections, metrics, context))
    print(f"all files: {workdir}")


def _refuse(config, workdir: Path) -> None:
    """WorkdirError where another run, or another discovery, would be written over."""
    path = workdir / "config.json"
    if path.exists() and plain(read_config(workdir)) != plain(config):
        raise WorkdirError(
            f"{workdir} holds another run, or what was found by other settings; take a"
            " new --workdir"
        )


def _found(config, workdir: Path, branch: Branch, run: Run | None) -> list[Found]:
    """Every node of the branch, divided or not.

    Raises:
      CatalogueError: vectors are missing wherever there are enough products.
    """
    told, least = _told(config, branch), 2 * config.recategorize.min_size
    found = [_node(config, workdir, branch, run, node, told) for node in branch.nodes]
    large = [f for f in found if len(f.rows) >= least]
    if large and all(f.reason == NO_VECTORS for f in large):
        names = ", ".join(config.model.modalities)
        raise CatalogueError(
            f"hardly a product of {config.recategorize.branch!r} has any of {names}:"
            " check data.features and model.modalities"
        )
    return found


def _told(config, branch: Branch) -> np.ndarray:
    """(R,) of all rows: see `told_classes`."""
    inside = np.concatenate(list(branch.nodes.values()))
    told = np.full(len(branch.truth), "", dtype=branch.truth.dtype)
    told[inside] = told_classes(branch.truth[inside], config)
    return told


def _node(config, workdir: Path, branch: Branch, run, node, told) -> Found:
    """A node's clusters, and its page; without them where it cannot be divided."""
    (level, code), rows = node, branch.nodes[node]
    records = [branch.records[i] for i in rows]
    titles, least = titles_of(config, records), 2 * config.recategorize.min_size
    found = Found(
        code=code,
        level=level,
        rows=rows,
        records=records,
        titles=titles,
        truth=branch.truth[rows],
        told=told[rows],
        cascade=undivided(len(rows)),
    )
    if config.recategorize.method == "labels":
        return replace(found, reason="labels are left as they are")
    vectors = branch_vectors(config, records, run) if len(rows) >= least else None
    if vectors is None or len(vectors.present) < least:
        reason = NO_VECTORS if vectors else FEW.format(least=least)
        return replace(found, reason=reason)
    try:
        cascade = found_clusters(config, vectors, found.truth, found.told)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not cascade.nodes:
        why = why_undivided(cascade, config.recategorize.min_stability)
        return replace(found, cascade=cascade, reason=f"its node stays whole: {why}")
    proposals = make_proposals(
        cascade,
        titles,
        most_words=config.recategorize.names,
        taken=_children(branch, level, code),
        label_texts=nearest_names(config, records, cascade),
        separator=branch.tree.separator,
    )
    found = replace(found, cascade=cascade, proposals=proposals)
    write_page(config, workdir, found, vectors, _settings(config))
    write_proposals(workdir, found)
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


def _sections(
    config, found: Sequence[Found], metrics: Mapping, context: Mapping
) -> dict[str, str]:
    sections = {"Doubtful": context["doubt"]} if context["doubt"] else {}
    for f in found:
        told = f"{len(f.records):,} products"
        if f.proposals:
            told += f", {f.left_out:,} in no cluster. Decide in {f.page}.\n\n"
            sections[f.code] = told + proposals_markdown(f.proposals)
        else:
            sections[f.code] = f"{told}, not divided: {f.reason}."
        if f.cascade.tried:
            sections[f"{f.code}: how many"] = tried_markdown(f.cascade)
    if metrics:
        told = classes_told(config, context["hidden_classes"])
        sections["Beside the hidden classes"] = f"{told}\n\n{scores_markdown(metrics)}"
    return sections | {"Time": f"{context['seconds']} s"}
