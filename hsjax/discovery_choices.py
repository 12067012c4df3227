"""Is a config one by which new sub-categories can be found?"""

from hsjax.batch import IMAGE
from hsjax.choices import check_stream, check_tables, check_word, refuse


def check_recategorize(config) -> None:
    """Looks at the group `recategorize`, and at the texts that names are taken from.

    Raises:
      ConfigError: what it asks for is not there.
    """
    c = config.recategorize
    check_tables(config, "recategorize.")
    for modality in config.model.modalities:
        check_word("model.modalities", modality, (*config.data.text.streams, IMAGE))
        if modality != IMAGE:
            check_stream(config, modality)
    refuse(
        [
            (not c.branch, "recategorize.branch is empty: name the code of a node"),
            (
                c.truth and c.keep and c.truth <= c.keep,
                f"recategorize.truth={c.truth} is not hidden by recategorize.keep="
                f"{c.keep}: a level below is",
            ),
            (
                c.truth and not c.keep,
                "recategorize.truth without recategorize.keep: nothing is hidden, and"
                " clusters would be judged by labels that they were made within",
            ),
            (
                c.method in ("known_k_means", "parametric") and not c.truth,
                f"recategorize.method={c.method} is told some hidden classes: give"
                " their level in recategorize.truth",
            ),
            (
                c.choice != "silhouette" and not c.resamples and not c.clusters,
                f"recategorize.choice={c.choice} needs recategorize.resamples",
            ),
            (
                c.clusters and len(c.clusters) < c.levels,
                f"recategorize.clusters={tuple(c.clusters)} has fewer numbers than"
                f" recategorize.levels={c.levels}",
            ),
            (
                c.method != "cascade" and c.levels > 1,
                f"recategorize.method={c.method} has one level: set"
                " recategorize.levels=1",
            ),
        ]
    )
