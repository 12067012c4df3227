"""What is wrong with a config file or a flag of it, in one line."""

import ast
import contextlib
import re
import traceback


def mistake(error: Exception) -> str:
    """`FILE, line N: what is wrong`, of whatever a config file or its flags raised."""
    told = str(error.args[0]) if error.args else type(error).__name__
    with contextlib.suppress(SyntaxError, ValueError):
        told = ast.literal_eval(told)  # a KeyError quotes its text, here twice
    missing = isinstance(error, (AttributeError, KeyError))
    if missing and re.match(r"'\w+'(?=\s|$)|\w+$", told):
        told = f"no such key: {told}"
    return _place(error) + " ".join(str(told).split())


def _place(error: Exception) -> str:
    """`FILE, line N: ` of the mistake, '' where it is none of a config file's."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.name == "get_config"]
    own = own or [frame for frame in frames if frame.name == "<module>"][-1:]
    return f"{own[0].filename}, line {own[0].lineno}: " if own else ""
