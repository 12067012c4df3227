"""What a run starts from: the classes of another one, and what became of them."""

import logging

import jax
import numpy as np

from hsjax.data.correlation_tables import read_correlation
from hsjax.data.prepare import label_nodes
from hsjax.inference.projection import Projection
from hsjax.taxonomy import Taxonomy
from hsjax.train.grown_classes import grow_classes
from hsjax.train.workdir import ConfigError

log = logging.getLogger("hsjax")


def source_classes(config, run, tree: Taxonomy) -> tuple[tuple[dict, dict], Taxonomy]:
    """((parameters, running statistics), tree) of `init_from`, grown where asked.

    Args:
      run: of `load_run`.

    Raises:
      ConfigError: the trees differ in their number of levels.
      CatalogueError: the tables do not lead from the one tree to the other.
    """
    values = jax.tree.map(np.asarray, (run.params, run.stats))
    if config.init_classes == "fresh":
        return values, run.tree
    if run.tree.num_levels != tree.num_levels:
        raise ConfigError(
            f"init_classes is 'predecessors', and init_from has {run.tree.num_levels}"
            f" levels where this tree has {tree.num_levels}; leave it at 'fresh'"
        )
    nodes = label_nodes(config, tree)
    tables = config.taxonomy.correlation
    partial = () if run.config.taxonomy.path else (run.tree,)
    correlation = read_correlation(
        tables, [tree, run.tree], nodes=nodes, partial=partial
    )
    shares = Projection(correlation, run.tree, tree).node_shares()
    head = run.config.model.head
    found = grow_classes(values, run.tree, tree, shares=shares, head=head)
    log.info("%d new classes start from their predecessors", found.count)
    return found.values, found.tree
