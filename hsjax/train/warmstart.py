"""A new run that starts from the parameters of another one, even on another tree."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from hsjax.sharding import first_match, parameter_names
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError, blamed_on

# of a level: its classifier, its layer, and the norm behind the layer
LEVEL = re.compile(r"head/level(\d+)(_layer|_layer_norm)?/(kernel|bias|scale|mean|var)")
LEAVES = re.compile(r"head/leaves/(kernel|bias)")  # of the flat head
STATISTIC = re.compile(r".*/(mean|var)")  # of a norm, no parameter
NAMED = 4  # parameters that stay fresh, in a line of the log


class Moved(NamedTuple):
    """What a warm start did.

    Attributes:
      loaded, fresh: numbers of a model that were taken over, or stay as they were; the
        columns of new classes are fresh in a parameter that is loaded.
      names: of the parameters that stay fresh as a whole.
    """

    loaded: int
    fresh: int
    names: list[str]

    def __str__(self) -> str:
        text = f"{self.loaded:,} parameters loaded, {self.fresh:,} fresh"
        if not self.names:
            return text
        more = len(self.names) - NAMED
        text += f"; as a whole: {', '.join(self.names[:NAMED])}"
        return text + (f" and {more} more" if more > 0 else "")


def warm_start(
    source: tuple[dict, dict],
    source_tree: Taxonomy,
    tree: Taxonomy,
    *,
    heads: tuple,
    rules: Sequence[tuple[str, str]],
    told: Callable[[Moved], None] = lambda moved: None,
) -> Callable:
    """`start(fresh) -> tree`: fresh values, replaced where a rule says `load`.

    `fresh` holds parameters or running statistics; both have the same rules. Columns
    of the head (and the rows that read coarser predictions) move by node code, so that
    they follow their class into an edited tree; new classes stay fresh.

    Args:
      source: (parameters, running statistics) of the other run.
      heads: `config.model.head` of the other run and of this one, which say through
        which layer a level reads the predictions of the coarser one.
      rules: (regex on a name, load | fresh), first match wins.
      told: is told once what moved, running statistics left out.

    Raises:
      ConfigError: a shape that does not fit, a name that the source lacks or that no
        rule covers, levels that read something else than they did.
    """
    known = {
        name: leaf
        for values in source
        for name, leaf in zip(
            parameter_names(values), jax.tree.leaves(values), strict=True
        )
    }

    def pick(name: str, fresh: np.ndarray) -> tuple[np.ndarray, int]:
        """The value to start with, and how many of its numbers are loaded."""
        with blamed_on("init_rules"):
            (action,) = first_match(name, rules)
        match = LEVEL.fullmatch(name)
        if action == "fresh" or (match and int(match[1]) > source_tree.num_levels):
            return fresh, 0
        if name not in known:
            raise ConfigError(
                f"init_from has no parameter {name!r}; add ({name!r}, 'fresh') to"
                " init_rules or give both runs the same model"
            )
        found = np.asarray(known[name])
        if match:
            trees = (source_tree, tree)
            moves = np.ones(found.shape, bool), np.zeros(fresh.shape, bool)
            moved = _move_classes(match, *moves, trees, heads)
            found = _move_classes(match, found, fresh, trees, heads)
            return found.astype(fresh.dtype), int(moved.sum())
        if LEAVES.fullmatch(name):
            return _move_leaves(name, found, fresh, (source_tree, tree))
        if found.shape != fresh.shape:
            raise _other_shape(name, found, fresh)
        return found.astype(fresh.dtype), found.size

    def start(fresh):
        leaves, structure = jax.tree.flatten(fresh)
        names = parameter_names(fresh)
        pairs = zip(names, leaves, strict=True)
        picked = [pick(name, np.asarray(leaf)) for name, leaf in pairs]
        values = [value for value, _ in picked]
        counts = {
            name: (loaded, value.size - loaded)
            for name, (value, loaded) in zip(names, picked, strict=True)
            if not STATISTIC.fullmatch(name)
        }
        if counts:
            kept = [name for name, (loaded, _) in counts.items() if not loaded]
            told(Moved(*map(sum, zip(*counts.values(), strict=True)), kept))
        return jax.tree.unflatten(structure, values)

    return start


def _other_shape(name: str, found: np.ndarray, fresh: np.ndarray) -> ConfigError:
    return ConfigError(
        f"{name} is {found.shape} in init_from and {fresh.shape} here; add"
        f" ({name!r}, 'fresh') to init_rules or give both runs the same model"
    )


def _move_classes(match, found, fresh, trees, heads) -> np.ndarray:
    """Columns by the codes of this level, rows that read coarser ones likewise."""
    level, layer = int(match[1]) - 1, bool(match[2])
    columns_from, columns_to = slice(None), slice(None)
    if not layer:  # (..., C)
        columns_from, columns_to = _common(*trees, level)
    elif found.shape[-1] != fresh.shape[-1]:
        raise _other_shape(match[0], found, fresh)
    moved = fresh.copy()
    if match[3] != "kernel":
        moved[columns_to] = found[columns_from]
        return moved
    _check_inputs(match[0], level, heads)
    # the kernel right behind the predictions of the coarser level: one row for each
    reads = level and heads[1].feed != "none" and layer == bool(heads[1].level_width)
    above = [tree.sizes[level - 1] if reads else 0 for tree in trees]
    width = len(found) - above[0]
    if width != len(fresh) - above[1]:
        raise _other_shape(match[0], found, fresh)
    moved[:width, columns_to] = found[:width, columns_from]
    if reads:
        rows_from, rows_to = _common(*trees, level - 1)
        rows = found[width + rows_from[:, None], columns_from]
        moved[width + rows_to[:, None], columns_to] = rows
    return moved


def _move_leaves(name: str, found, fresh, trees) -> tuple[np.ndarray, int]:
    """(columns by the codes of leaves, how many numbers are loaded)."""
    if found.shape[:-1] != fresh.shape[:-1]:
        raise _other_shape(name, found, fresh)
    there, here = _same(*map(_leaf_codes, trees))
    moved = fresh.copy()
    moved[..., here] = found[..., there]
    return moved, found[..., there].size


def _leaf_codes(tree: Taxonomy) -> list[tuple[int, str]]:
    """(level, code) of every leaf, as the flat head stores them."""
    pairs = enumerate(zip(tree.codes, tree.leaf, strict=True))
    return [(k, code) for k, (codes, leaf) in pairs for code in codes[leaf].tolist()]


def _check_inputs(name: str, level: int, heads) -> None:
    """Do the rows of this kernel mean the same in both runs?"""
    inputs = [(level and head.feed, bool(head.level_width)) for head in heads]
    if inputs[0] != inputs[1]:
        raise ConfigError(
            f"{name}: model.head.feed or model.head.level_width is another one in"
            " init_from, so that its rows mean something else; give both runs the same"
            " head, or add ('head/level.*', 'fresh') to init_rules"
        )


def _common(source: Taxonomy, tree: Taxonomy, level: int):
    """(ids there, ids here) of the nodes that both trees have at a level."""
    return _same(source.codes[level].tolist(), tree.codes[level].tolist())


def _same(there: Sequence, here: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Places in two lists of what stands in both."""
    places = {code: i for i, code in enumerate(there)}
    common = [i for i, code in enumerate(here) if code in places]
    return np.array([places[here[i]] for i in common], int), np.array(common, int)
