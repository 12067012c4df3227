"""A new run that starts from the parameters of another one, even on another tree."""

import re
from collections.abc import Callable, Sequence

import jax
import numpy as np

from hsjax.sharding import first_match, parameter_names
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError

LEVEL = re.compile(r"head/level(\d+)(_layer)?/(kernel|bias)")


def warm_start(
    source: dict,
    source_tree: Taxonomy,
    tree: Taxonomy,
    *,
    rules: Sequence[tuple[str, str]],
    keep: Callable[[str], None] = print,
) -> Callable:
    """`start(params) -> params`: fresh parameters, replaced where a rule says `load`.

    Columns of the head (and the rows that read coarser predictions) move by node code,
    so that they follow their class into an edited tree; new classes stay fresh.

    Args:
      source: parameters of the other run.
      rules: (regex on a name, load | fresh), first match wins.
      keep: is told the name of each parameter that stays fresh.

    Raises:
      ConfigError: a shape that does not fit, or a name the source lacks.
      ValueError: a name that no rule covers.
    """
    names = parameter_names(source)
    known = dict(zip(names, jax.tree.leaves(source), strict=True))

    def pick(name: str, fresh: np.ndarray) -> np.ndarray:
        (action,) = first_match(name, rules)
        if action == "fresh":
            keep(name)
            return fresh
        if name not in known:
            raise ConfigError(
                f"init_from has no parameter {name!r}; add ({name!r}, 'fresh') to"
                " init_rules or give both runs the same model"
            )
        found = np.asarray(known[name])
        if match := LEVEL.fullmatch(name):
            found = _move_classes(found, np.array(fresh), match, source_tree, tree)
        if found.shape != fresh.shape:
            raise ConfigError(
                f"{name} is {found.shape} in init_from and {fresh.shape} here; add"
                f" ({name!r}, 'fresh') to init_rules or give both runs the same model"
            )
        return found.astype(fresh.dtype)

    def start(params):
        leaves, structure = jax.tree.flatten(params)
        pairs = zip(parameter_names(params), leaves, strict=True)
        return jax.tree.unflatten(structure, [pick(n, np.asarray(x)) for n, x in pairs])

    return start


def _move_classes(found, fresh, match, source_tree: Taxonomy, tree: Taxonomy):
    """Columns by the codes of this level, rows that read coarser ones likewise."""
    level, layer, kind = int(match[1]) - 1, match[2], match[3]
    if level >= source_tree.num_levels:
        return fresh
    moved = fresh.copy()
    to, start = slice(None), slice(None)
    if not layer:  # (..., C) columns
        to, start = _common(tree, source_tree, level)
    if kind == "bias":
        moved[to] = found[start]
        return moved
    above, above_source = (
        (tree.sizes[level - 1], source_tree.sizes[level - 1]) if level else (0, 0)
    )
    width = found.shape[0] - above_source
    if level and width == fresh.shape[0] - above:
        rows_to, rows_from = _common(tree, source_tree, level - 1)
        moved[width + rows_to[:, None], to] = found[width + rows_from[:, None], start]
    else:
        width = found.shape[0]
        if width != fresh.shape[0]:
            return found  # the shape check says what is wrong
    moved[:width, to] = found[:width, start]
    return moved


def _common(tree: Taxonomy, source: Taxonomy, level: int):
    """(ids here, ids there) of the nodes that both trees have at a level."""
    there = {code: i for i, code in enumerate(source.codes[level].tolist())}
    here = [i for i, code in enumerate(tree.codes[level].tolist()) if code in there]
    return np.array(here, int), np.array(
        [there[c] for c in tree.codes[level][here]], int
    )
