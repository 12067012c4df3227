"""Fresh parameters of a classifier with those of published encoders in their towers."""

from collections.abc import Callable, Mapping

import numpy as np

from hsjax.models.one_tower import families_of
from hsjax.models.published_files import PublishedError, PublishedModel
from hsjax.models.published_weights import load_parameters


def published_start(encoders: Mapping[str, PublishedModel]) -> Callable:
    """`start(fresh) -> tree`: fresh parameters, or running statistics, of a model with
    those of the encoders in their towers.

    Attention pooling (`map`) stays fresh.

    Raises:
      PublishedError: tensors that do not fit; `load_parameters` says which.
    """
    towers = {}
    for tower, published in encoders.items():
        family = families_of(tower)[published.config["model_type"]]
        _, params, stats = load_parameters(family, published)
        towers[tower] = _merged(params, stats)

    def start(fresh: Mapping) -> dict:
        found = {}
        for tower in towers.keys() & fresh.keys():
            new = {"pool"} - towers[tower].keys()
            mine = {k: v for k, v in fresh[tower].items() if k not in new}
            found[tower] = {**fresh[tower], **_like(towers[tower], mine)}
        return {**fresh, **found}

    return start


def _merged(params: Mapping, stats: Mapping) -> dict:
    """Both in one tree: a norm has its scale and bias there, its mean and var here."""
    found = dict(params)
    for name, value in stats.items():
        nested = isinstance(value, Mapping)
        found[name] = _merged(found.get(name, {}), value) if nested else value
    return found


def _like(loaded: Mapping, fresh: Mapping) -> dict:
    """What `fresh` has, taken from `loaded`."""
    if lacking := sorted(fresh.keys() - loaded.keys()):
        raise PublishedError(
            f"the published model lacks {', '.join(lacking)}, which"
            " model.image.pool needs"
        )
    return {
        name: _like(loaded[name], value)
        if isinstance(value, Mapping)
        else np.asarray(loaded[name], value.dtype)
        for name, value in fresh.items()
    }
