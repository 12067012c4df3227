"""What stands in a list of runs: its lines, and the words that stand for something."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.settings.json_objects import read_object, text_of
from hsjax.spelling import meant
from hsjax.train.workdir import ConfigError

FIELDS = ("name", "like", "config", "overrides", "seed", "reference")
WORD = re.compile(r"\{[A-Za-z]\w*\}")  # in a value; {3} is of a regular expression
OWN = ("{seed}", "{root}")  # what every list may say


class Common(NamedTuple):
    """What `--set` says for all runs of a list.

    Attributes:
      keys: `data.path=goods.csv`, of the config.
      config: file in place of what the lines say, '' = theirs.
      catalogue: config file whose catalogue stands in place of theirs, '' = theirs.
      words: `{shops}` -> what it stands for.
    """

    keys: tuple[str, ...]
    config: str
    words: Mapping[str, str]
    catalogue: str = ""


def read_common(words: Sequence[str]) -> Common:
    """The words of `--set`.

    Raises:
      ConfigError: one that is not understood, or says what stands elsewhere.
    """
    keys, files, own = [], {"config": "", "catalogue": ""}, {}
    for word in words:
        key, _, value = word.partition("=")
        if not re.fullmatch(r"([\w.]+|\{[A-Za-z]\w*\})=.*", word):
            raise ConfigError(f"--set={word}: write KEY=VALUE, data.path=goods.csv")
        if key in ("seed", "{seed}"):
            raise ConfigError(f"--set={word}: seeds stand in the lines of the list")
        if key in OWN:
            raise ConfigError(f"--set={word}: --root says it")
        if key in files:
            files[key] = value
        elif WORD.fullmatch(key):
            own[key] = value
        else:
            keys.append(word)
    if all(files.values()):
        raise ConfigError("--set: config=FILE or catalogue=FILE, not both")
    return Common(tuple(keys), files["config"], own, files["catalogue"])


def read_lines(path: Path) -> list[tuple[str, dict]]:
    """(place, fields) of each line of a list, those of the line that it is like within.

    Raises:
      ConfigError: names the line that is none, or is like none above it.
    """
    if not path.is_file():
        raise ConfigError(f"--runs: there is no file {str(path)!r}")
    found: list[tuple[str, dict]] = []
    above: dict[str, dict] = {}
    for number, text in enumerate(text_of(path).splitlines(), 1):
        if not text.strip():
            continue
        place = f"{path}, line {number}"
        line = read_object(text, place, FIELDS)
        overrides = line.get("overrides", {})
        if not isinstance(overrides, dict) or "seed" in overrides:
            raise ConfigError(
                f"{place}: overrides are {{key: value}}, and the seed stands beside"
                " them"
            )
        if "like" in line:
            line = _like(line, above, place)
        above[str(line.get("name"))] = line
        found.append((place, line))
    if not found:
        raise ConfigError(f"{path} has no run")
    return found


def _like(line: dict, above: Mapping[str, dict], place: str) -> dict:
    """All fields but the name of another line, where this one has none of its own."""
    like = str(line.pop("like"))
    if like not in above:
        raise ConfigError(
            f"{place}: like is {like!r}, no name of a line above.{meant(like, above)}"
        )
    other = {key: value for key, value in above[like].items() if key != "name"}
    overrides = other.get("overrides", {}) | line.get("overrides", {})
    return other | line | {"overrides": overrides}


def filled(text: str, words: Mapping[str, str], place: str) -> str:
    """A word of a list with what `{seed}`, `{root}` and `--set` words stand for.

    >>> filled("{root}/pair/seed{seed}", {"{root}": "runs", "{seed}": "3"}, "")
    'runs/pair/seed3'

    Raises:
      ConfigError: nobody says what one stands for.
    """
    for word in WORD.findall(text):
        if word not in words:
            flag = "--root" if word in OWN else f"--set='{word}=VALUE'"
            raise ConfigError(
                f"{place}: nobody says what {word} stands for in {text!r}; {flag} does"
            )
    return WORD.sub(lambda match: words[match[0]], text)


def flag_text(key: str, value, place: str) -> str:
    """A value of JSON as a flag has it."""
    if value is None or isinstance(value, dict):
        raise ConfigError(f"{place}: {key} takes a file of its own, not {value!r}")
    return value if isinstance(value, str) else repr(_tuples(value))


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
