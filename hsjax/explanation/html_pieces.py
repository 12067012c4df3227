"""Pieces of HTML that an evidence page is made of; texts become text in it."""

import math
from collections.abc import Mapping, Sequence
from html import escape

MANY = 1_000_000  # times: more of them say nothing to a reader
STRONGEST = 0.75  # opacity of what counts most


def plain(value) -> str:
    """Text that is text in HTML, too; half characters have no UTF-8."""
    whole = str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return escape(whole.replace("\0", "\ufffd"))


def named(node: Mapping) -> str:
    """Code and name, which a path code ends with already."""
    code, name = node.get("code", node.get("label")), node["name"]
    more = "" if code.endswith(name) else f" {plain(name)}"
    return f"<b>{plain(code)}</b>{more}"


def last_part(node: Mapping) -> str:
    """Where the levels above stand beside it: the name that a path code ends with."""
    code, name = node.get("code", node.get("label")), node["name"]
    if code != name and code.endswith(name):
        return f'<b title="{plain(code)}">{plain(name)}</b>'
    return named(node)


def share(p: float) -> str:
    """A probability."""
    return "&lt; 0.001" if 0 < p < 0.0005 else f"{p:.3f}"


def factor(share: float) -> str:
    """A change of log p in words."""
    times = math.exp(min(abs(share), 700))
    told = f"{times:.2f}" if times < 100 else f"{times:,.0f}"
    if times > MANY:
        told = f"more than {MANY:,}"
    return f"{told} times {'less' if share >= 0 else 'more'} probable"


def colour(share: float) -> str:
    """Of a share of what counts most, -1 to 1."""
    kind = "for" if share > 0 else "against"
    return f"rgba(var(--{kind}),{STRONGEST * min(abs(share), 1):.3f})"


def table(names: Sequence[str], rows: Sequence[str], numbers: Sequence[int]) -> str:
    """Of rows that are HTML; `numbers` are columns that hold some."""
    head = "".join(
        f"<th{' class=number' if i in numbers else ''}>{name}</th>"
        for i, name in enumerate(names)
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
