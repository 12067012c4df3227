"""What `--config.task=recategorize` does: new sub-categories of a branch, proposed.

Paper B, sections IV-D and V-C. Nothing is changed: a person looks at the review page,
and `python -m hsjax.refine` makes a new tree of what was decided.
"""

import csv
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.atomic import finished, write_atomically
from hsjax.data.quarantine import Quarantine, written_if_refused
from hsjax.data.shown_pictures import shown_pictures
from hsjax.discovery import (
    METHODS,
    Branch,
    branch_vectors,
    found_clusters,
    known_labels,
    read_branch,
    titles_of,
)
from hsjax.evaluation.clusters import cluster_purity, cluster_scores, discovery_accuracy
from hsjax.features.cluster_cascade import Cascade
from hsjax.features.mixed import Mixed
from hsjax.proposals import (
    Proposal,
    examples_of,
    level_keys,
    make_proposals,
    proposed_diff,
    rows_of,
)
from hsjax.recategorize_report import (
    cascade_markdown,
    plot_map,
    proposals_markdown,
    scores_markdown,
)
from hsjax.review_page import Cluster, Product, Review, write_review
from hsjax.taxonomy_diff import write_diff
from hsjax.train.environment import environment
from hsjax.train.workdir import config_hash, is_done, write_config
from hsjax.vocabulary import nearest_names

FEW = 5  # names of a vocabulary that are shown


def propose(config, workdir: Path) -> None:
    """Writes what was found, the diff it amounts to, and the review page.

    Raises:
      CatalogueError, ConfigError: whatever a user can mend, in words.
    """
    if is_done(config, workdir):
        print(f"{workdir} is done: see {workdir / 'report.md'}")
        return
    start = time.perf_counter()
    workdir.mkdir(parents=True, exist_ok=True)
    quarantine, flaws = Quarantine(), workdir / "quarantine.csv"
    with written_if_refused(quarantine, flaws):
        branch = read_branch(config, quarantine)
    quarantine.write(flaws)
    records = [branch.records[i] for i in branch.rows]
    vectors = branch_vectors(config, records)
    cascade = found_clusters(config, vectors, branch.truth)
    titles = titles_of(config, records)
    names = nearest_names(config, records, cascade, count=FEW)
    proposals = make_proposals(
        cascade,
        titles,
        most_words=config.recategorize.names,
        taken=_children(branch),
        label_texts=names,
    )
    write_config(config, workdir)
    _write_rows(workdir, records, branch, cascade)
    branch.tree.save(workdir / "taxonomy.json")
    level = max(branch.level, 0), branch.code
    if branch.code:
        diff = proposed_diff(
            proposals, branch.tree, branch=level, run=str(workdir)
        )
        write_diff(diff, workdir / "diff.json")
    document = [p._asdict() for p in proposals]
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    write_atomically(workdir / "proposals.json", text)
    metrics = _metrics(config, branch, cascade)
    _write_page(
        config, workdir, branch, cascade, proposals, vectors, titles, digest_of(text)
    )
    plot_map(workdir / "map.png", cascade, {p.key: p.name for p in proposals})
    seconds = round(time.perf_counter() - start, 1)
    _report(config, workdir, branch, cascade, proposals, metrics, seconds)
