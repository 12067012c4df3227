"""Evidence as one HTML file, which a person reads without a network.

All that a catalogue says is escaped; there is no script, and the page's own policy
forbids the browser to run or to load any.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.atomic import write_atomically
from hsjax.explanation.html_pieces import (
    colour,
    factor,
    last_part,
    named,
    plain,
    share,
    table,
)
from hsjax.explanation.shown import Pictures

PAGES = Path(__file__).with_name("pages")
SHOWN = 40  # products of a page
SIDES = {"text": "by text", "image": "by picture", "joint": "by both"}
UNREAD = 40  # words behind what the model reads that are shown
METHODS = {
    "integrated_gradients": "integrated gradients",
    "gradient_x_input": "gradient x input",
    "occlusion": "each left out in turn",
}


def write_page(
    path: Path,
    found: Sequence[Mapping],
    pictures: Pictures,
    audit: Mapping,
    tested: str = "",
) -> None:
    """The page of some evidence: the same evidence gives the same bytes.

    Args:
      found: of `Evidence`, at most SHOWN.
      audit: of `audit_record`.
      tested: what became of the attributions' test, '' = there was none.
    """
    body = [_head(audit, tested), *(_product(x, pictures) for x in found), _foot(audit)]
    parts = {"STYLE": _page("evidence.css"), "BODY": "\n".join(body)}
    # in one pass, so that what a catalogue says is never taken for a placeholder
    text = re.sub(r"@([A-Z]+)@", lambda m: parts[m[1]], _page("evidence.html"))
    write_atomically(path, text)


def _page(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def _head(audit: Mapping, tested: str) -> str:
    edition = audit["taxonomy"]["edition"]
    told = f"Tree: {edition}. " if edition else ""
    tested = f'<p class="quiet">Put to the test: {plain(tested)}.</p>' if tested else ""
    return (
        "<header><h1>Why these codes</h1>"
        f'<p class="ruling">{plain(audit["note"])}</p>'
        f'<p class="quiet">{plain(told)}Catalogue: {plain(audit["input"]["path"])}</p>'
        '<p class="quiet">Words and fields in <span style="background:'
        f'{colour(1.0)}">blue</span> speak for the answer, those in '
        f'<span style="background:{colour(-1.0)}">orange</span> against it; the '
        "stronger the colour, the more. They say what the model went by, not whether"
        f" it was right.</p>{tested}</header>"
    )


def _product(x: Mapping, pictures: Pictures) -> str:
    answer = x["answer"]
    head = named(answer) if answer else "no answer"
    flags = "".join(
        f'<span class="flag">{plain(f["flag"])}'
        f"{plain(': ' + ', '.join(f['words'])) if 'words' in f else ''}</span>"
        for f in x["flags"]
    )
    parts = [
        f'<article id="row-{x["row"]}"><h2>{head}</h2>',
        f'<p class="quiet">row {x["row"]}, id {plain(x["id"])}</p>{flags}',
        _seen(x, pictures.products.get(x["row"], "")),
    ]
    if answer:
        parts += [
            _asked(x),
            _path(x),
            _top(x),
            _modalities(x),
            _near(x, pictures.precedents),
        ]
    else:
        parts.append(f"<p>{plain(x['reason'])}</p>")
    return "\n".join([*parts, "</article>"])


def _seen(x: Mapping, picture: str) -> str:
    """The product itself, coloured by what its answer stands on."""
    found = x.get("attribution", {})
    told = {name: own for name, own in found.items() if name != "image"}
    words = [w for own in told.values() for w in own.get("words", ())]
    most = max((abs(w["attribution"] or 0) for w in words), default=0) or 1.0
    texts = "".join(
        f"<h3>{plain(name)}</h3>{_words(own, most)}" for name, own in told.items()
    )
    if not texts:
        texts = "".join(
            f"<h3>{plain(name)}</h3><p>{plain(text)}</p>"
            for name, text in x["texts"].items()
            if text
        )
    image = _picture(picture, found.get("image", {})) if picture else ""
    return f'<div class="seen">{image}<div>{texts}</div></div>'


def _words(own: Mapping, most: float) -> str:
    """Of one stream, coloured by its share of what counts most in any."""
    if "missing" in own:
        return f'<p class="quiet">{plain(own["missing"])}</p>'
    spans, unread = [], [x for x in own["words"] if x["attribution"] is None]
    more = len(unread) - UNREAD
    for word in own["words"][: -more if more > 0 else None]:
        value = word["attribution"]
        if value is None:
            told = 'class="unread" title="behind what the model reads"'
        else:
            told = f'style="background:{colour(value / most)}" title="{value:+.3f}"'
        spans.append(f"<span {told}>{plain(word['word'])}</span>")
    method = f'<p class="quiet">{METHODS[own["method"]]}</p>'
    if more > 0:
        told = f"and {more:,} more words, which the model does not read"
        spans.append(f'<span class="quiet">... {told}</span>')
    return f'<p class="words">{" ".join(spans)}</p>{method}'


def _picture(source: str, own: Mapping) -> str:
    """The picture under its fields, which lie where the model sees them."""
    image = f'<img src="{source}" alt="the product">'
    if "grid" not in own:
        return f'<div class="picture"><figure>{image}</figure></div>'
    grid, (top, left, bottom, right) = own["grid"], own["box"]
    high, wide = (bottom - top) / len(grid), (right - left) / len(grid[0])
    most = max(abs(v) for row in grid for v in row) or 1
    fields = "".join(
        f'<rect x="{left + i * wide:.4f}" y="{top + j * high:.4f}" width="{wide:.4f}"'
        f' height="{high:.4f}" style="fill:{colour(v / most)}">'
        f"<title>{v:+.3f}</title></rect>"
        for j, row in enumerate(grid)
        for i, v in enumerate(row)
    )
    svg = f'<svg viewBox="0 0 1 1" preserveAspectRatio="none">{fields}</svg>'
    told = f"<figcaption>{METHODS[own['method']]}</figcaption>"
    return f'<div class="picture"><figure>{image}{svg}</figure>{told}</div>'


def _asked(x: Mapping) -> str:
    """What else was asked: what to do, and which code is to be filed."""
    pairs = (
        (k, ", ".join(v) if isinstance(v, list) else v) for k, v in x["asked"].items()
    )
    told = "; ".join(f"{plain(k)}: {plain(v)}" for k, v in pairs)
    return f'<p class="quiet">{told}</p>' if told else ""


def _path(x: Mapping) -> str:
    rows, mapped = [], any("calibrated" in node for node in x["path"])
    for node in x["path"]:
        near, second = node["nearly"], "<td></td><td></td><td></td>"
        if near:
            second = (
                f"<td>{last_part(near)}</td>"
                f'<td class="number">{share(near["probability"])}</td>'
                f'<td class="number">{near["behind"]:+.3f}</td>'
            )
        rows.append(
            f"<tr><td>{node['level']}</td><td>{last_part(node)}</td>"
            f'<td class="number">{share(node["probability"])}</td>{second}'
        )
        if mapped:
            told = share(node["calibrated"]) if "calibrated" in node else ""
            rows[-1] += f'<td class="number">{told}</td>'
    names = ("level", "answer", "probability", "nearly chosen", "probability", "ahead")
    names += ("answer, calibrated",) * mapped
    lines = [f"{row}</tr>" for row in rows]
    return f"<h3>The path</h3>{table(names, lines, (2, 4, 5, 6))}"


def _top(x: Mapping) -> str:
    rows = [
        f'<tr><td>{named(t)}</td><td class="number">{share(t["probability"])}</td></tr>'
        for t in x["top"]
    ]
    return f"<h3>The most probable</h3>{table(('code', 'probability'), rows, (1,))}"


def _modalities(x: Mapping) -> str:
    rows = [
        f"<tr><td>{plain(name)}</td><td>{factor(own['share'])}</td></tr>"
        for name, own in x["modalities"].items()
    ]
    names = ("what is there", "without it the answer would be")
    return f"<h3>What each side counts for</h3>{table(names, rows, ())}"


def _near(x: Mapping, pictures: Mapping[int, str]) -> str:
    if not x["precedents"]:
        return ""
    columns = "".join(
        f"<div><h3>{SIDES[side]}</h3><ol>"
        f"{''.join(_precedent(p, pictures) for p in own) or '<li>nothing</li>'}"
        "</ol></div>"
        for side, own in x["precedents"].items()
    )
    return f'<h3>Nearest labelled precedents</h3><div class="near">{columns}</div>'


def _precedent(p: Mapping, pictures: Mapping[int, str]) -> str:
    image = pictures.get(p["row"], "")
    seen = f'<img src="{image}" alt="">' if image else ""
    same = ' <span class="same">the same product</span>' if p["same"] else ""
    return (
        f"<li>{seen}<div>{named(p)}<br>{plain(p['text'])}<br>"
        f'<span class="quiet">cosine {p["cosine"]:.3f}, row {p["row"]}</span>{same}'
        "</div></li>"
    )


def _foot(audit: Mapping) -> str:
    told = {
        "parameters": audit["model"]["parameters"],
        "step": audit["model"]["step"],
        "tree": audit["taxonomy"]["sha256"],
        "catalogue": audit["input"]["sha256"],
        "answers": audit["output"]["sha256"],
        "made": audit["time"],
        "hsjax": audit["environment"]["hsjax"],
        "jax": audit["environment"]["jax"],
    }
    rows = [
        f"<tr><td>{k}</td><td><code>{plain(v)}</code></td></tr>"
        for k, v in told.items()
    ]
    return f"<footer><h3>Made of</h3>{table(('', ''), rows, ())}</footer>"
