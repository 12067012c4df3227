"""What is wrong with a config file or a flag of it, in one line."""

import ast
import contextlib
import re
import traceback

from ml_collections import ConfigDict

from hsjax.spelling import meant
from hsjax.train.config import flatten


def mistake(error: Exception) -> str:
    """`FILE, line N: what is wrong`, of whatever a config file or its flags raised."""
    told = str(error.args[0]) if error.args else type(error).__name__
    with contextlib.suppress(SyntaxError, ValueError):
        told = ast.literal_eval(told)  # a KeyError quotes its text, here twice
    missing = isinstance(error, (AttributeError, KeyError))
    # of a locked group, which lists all that it has, or of a flag
    named = re.match(r"Key \"(\w+)\" does not exist|'?(\w+)'?(?=\n|$)", str(told))
    if missing and named:
        key = named[1] or named[2]
        told = f"no such key: {key!r}.{_meant(key, error)}"
    return _place(error) + " ".join(str(told).split()).removesuffix(".")


def _meant(key: str, error: Exception) -> str:
    """The keys of that name in other groups, or one that is spelt alike."""
    keys: list[str] = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            if isinstance(value, ConfigDict):
                keys = max(keys, [*flatten(value)], key=len)  # the whole one
    same = [x for x in keys if x.rpartition(".")[2] == key]
    if same:
        return f" Did you mean config.{' or config.'.join(same)}?"
    return meant(key, {x.rpartition(".")[2] for x in keys})


def _place(error: Exception) -> str:
    """`FILE, line N: ` of the mistake, '' where it is none of a config file's."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.name == "get_config"]
    own = own or [frame for frame in frames if frame.name == "<module>"][-1:]
    return f"{own[0].filename}, line {own[0].lineno}: " if own else ""
