"""A step that was not finite, told with its rows."""

from hsjax.train.start import TrainingParts, rows_of_batch


class Diverged(RuntimeError):
    """The loss or the gradient is not finite any more; names the step and its rows."""


def diverged(config, parts: TrainingParts, step: int) -> Diverged:
    """What to say of the `step`-th batch, from 0."""
    of = rows_of_batch(config, parts.train, step)
    batch = [parts.train_records[i] for i in of.tolist()]
    rows, ids = ([getattr(x, name) for x in batch] for name in ("row", "id"))
    return Diverged(
        f"loss or gradient was not finite at step {step + 1}; the last good state is"
        f" saved. The batch held the catalogue rows {rows}, with the ids {ids}; try a"
        " lower learning rate, or look at these rows"
    )
