"""Flags -> config -> task: `python -m hsjax.main --config=FILE --workdir=DIR`."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from hsjax.interrupts import interrupts_told
from hsjax.settings.mistakes import mistake

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment.", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run.")


def run(argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
    # jax must not be touched before the config has said how
    from hsjax.tasks.registry import TASKS, user_errors
    from hsjax.train.processes import joined_processes

    config = CONFIG.value
    if config.task not in TASKS:
        known = f"known: {', '.join(TASKS)}"
        raise SystemExit(f"hsjax: config.task is {config.task!r}; {known}")
    goes_on = config.task in ("train", "extract", "prepare")
    told = "; the same command goes on" if goes_on else ""
    with user_errors(told), joined_processes(config):
        TASKS[config.task](config, Path(WORKDIR.value))


def parse_flags(argv):
    """absl's parser; a misspelt key or a missing file ends in a sentence."""
    for word, value in zip(argv, [*argv[1:], ""], strict=True):
        name, _, rest = word.lstrip("-").partition("=")
        file = (rest or value).partition(":")[0]
        if name == "config" and word.startswith("-") and not Path(file).is_file():
            raise SystemExit(f"hsjax: --config: there is no file {file!r}")
    try:
        return app.parse_flags_with_usage(argv)
    except flags.Error:
        raise
    except Exception as error:  # whatever a config file may raise
        raise SystemExit(f"hsjax: --config: {mistake(error)}") from None


def show_log() -> None:
    """Our own lines on stderr; libraries only where they warn."""
    absl_logging.set_verbosity(absl_logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("hsjax")
    log.propagate = False
    log.setLevel(logging.INFO)
    log.addHandler(handler)


def start(run: Callable[[], None]) -> None:
    """What a command does that is told all by flags: our log lines, then `run`.

    A UsageError ends in its sentence: absl would print all flags before it.
    """

    def checked(argv) -> None:
        try:
            if len(argv) > 1:
                raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
            run()
        except app.UsageError as error:
            raise SystemExit(f"hsjax: {error} (--help tells the flags)") from None

    show_log()
    app.run(checked)


def main() -> None:
    flags.mark_flags_as_required(["config", "workdir"])
    show_log()
    with interrupts_told():  # a user may think again before jax is there
        app.run(run, flags_parser=parse_flags)


if __name__ == "__main__":
    sys.exit(main())
