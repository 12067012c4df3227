"""What each stage of a cascade costs, measured."""

from collections.abc import Sequence

import numpy as np

from hsjax.batch import IMAGE
from hsjax.bench_cost import baseline_cost, model_cost
from hsjax.bench_store import StoreCosts
from hsjax.data.features import stores_of
from hsjax.ensemble import Member

ROUNDS = 3  # of each stage, timed


def stage_costs(members: Sequence[Member]) -> tuple[float, float]:
    """Milliseconds of a product in each stage; nan where an encoder is not at hand.

    What the cheap stage has encoded, the strong one does not encode again.
    """
    stores, seen, found = StoreCosts(ROUNDS), set(), []
    for member in members:
        folders = _folders(member.config)
        own = [
            stores.of_folder(member.config, m, x).get("ms", np.nan)
            for m, x in folders.items()
            if x not in seen
        ]
        seen |= set(folders.values())
        if member.run is None:
            cost = baseline_cost(member.config, member.workdir, rounds=ROUNDS)
        else:
            cost = model_cost(member.run, rounds=ROUNDS)
        found.append(cost["model_ms"] + sum(own))
    first, second = (float(x) for x in found)
    return first, second


def _folders(config) -> dict[str, str]:
    """Modality -> folder of the feature stores that a run or a baseline answers by."""
    if config.task == "baseline":
        texts = [m for m in config.model.modalities if m != IMAGE]
        return {texts[0]: config.baseline.features} if config.baseline.features else {}
    return stores_of(config)
