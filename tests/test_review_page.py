"""The page on which proposals are reviewed, its decisions, and both in a browser."""

import base64
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import browse, chromium  # noqa: F401
from PIL import Image

from hsjax.data.thumbnails import thumbnails
from hsjax.recategorize.decisions import Decision, read_decisions
from hsjax.recategorize.review_page import (
    MOST_POINTS,
    PAGES,
    Cluster,
    Product,
    Review,
    sampled_points,
    write_review,
)
from hsjax.tree.codes import TaxonomyError

ODD = (
    '</script><img src=x onerror="document.body.dataset.broken = 1">',
    "<b>bold</b> & \"double\" 'single' <!-- <script>",
    "حذاء رياضي للرجال",
    "👟 sneaker \ud83d",  # the last is half a character, as cut titles have
    "@DATA@ @SCRIPT@ \\u003c \x00 \u2028",
    "x" * 5000,
    "",
)
PARENTS = {"1": "", "1.1": "1", "1.2": "1", "1.3": "1", "2": "", "2.1": "2", "3": ""}


def product(row, image=None, title=None):
    title = ODD[row % len(ODD)] if title is None else title
    return Product(row, f"id-{row}", title, image, "label <i>")


def cluster(key, **changes):
    shown = [product(i + len(key)) for i in range(len(ODD))]
    known = {"stability": 0.9, "silhouette": float("nan"), "words": ODD[:3]}
    products = {"nearest": shown, "random": shown[:1], "farthest": shown[1:]}
    base = Cluster(key, PARENTS[key], f"name {key}", 12, 0.1, **known, **products)
    return base._replace(**changes)


def review(clusters=None, **changes):
    clusters = [cluster(key) for key in PARENTS] if clusters is None else clusters
    rng = np.random.default_rng(0)
    keys = [clusters[i % len(clusters)].key for i in range(200)] + [""] * 20
    centres = rng.normal(size=(len(clusters), 2))
    points = centres[np.arange(220) % len(clusters)] + 0.1 * rng.normal(size=(220, 2))
    titles = [ODD[i % len(ODD)] for i in range(220)]
    told = {"title": ODD[0], "branch": "Footwear > Shoes", "settings": {"<k>": ODD[0]}}
    base = Review(**told, points=points, point_cluster=keys, point_title=titles,
                  clusters=clusters, left_out=20, left_out_file="left_out.csv",
                  digest="d1")  # fmt: skip
    return base._replace(**changes)


def written(path, *args, **kwargs):
    write_review(review(*args, **kwargs), path)
    return path.read_text(encoding="utf-8")


def data_of(text):
    block = re.search(r'<script id="data" type="application/json">(.*?)</script>', text)
    return json.loads(block[1])


def noise(rng, height=130, width=110):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_what_a_catalogue_says_stays_text(tmp_path):
    text = written(tmp_path / "review.html")
    assert text.count("<script") == text.count("</script>") == 3
    assert "<img" not in text
    assert "<b>" not in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
    data = data_of(text)
    assert data["title"] == ODD[0]
    assert data["clusters"][0]["words"] == [*ODD[:3]]
    titles = {p["title"] for p in data["products"].values()}
    whole = {x.replace("\ud83d", "\ufffd") for x in ODD if len(x) < 300}
    assert titles == whole | {"x" * 299 + "…"}
    assert data["clusters"][0]["silhouette"] is None


def test_nothing_comes_from_elsewhere(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    shown = [product(99, image)]
    text = written(tmp_path / "review.html", [cluster("1", nearest=shown)])
    page = text.replace(json.dumps(data_of(text)), "")
    assert not re.search(r"https?:|//[\w.]+\.\w+/|@import|url\(", page)
    for target in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert target.startswith(("data:", "#")), target
    assert "default-src 'none'" in text
    picture = data_of(text)["products"]["99"]["image"]
    assert picture.startswith("data:image/jpeg;base64,")


def test_the_same_review_gives_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    shown = [product(i, noise(rng)) for i in range(4)]
    clusters = [cluster("1", nearest=shown), cluster("2")]
    first, second = (written(tmp_path / name, clusters) for name in ("a", "b"))
    assert first == second
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]  # nothing partial


def test_thirty_clusters_with_pictures_stay_small(tmp_path):
    rng = np.random.default_rng(0)
    clusters = []
    for i in range(30):  # noise, the worst of all pictures
        rows = [product(24 * i + j, noise(rng, 100, 100)) for j in range(24)]
        groups = {"nearest": rows[:8], "random": rows[8:16], "farthest": rows[16:]}
        clusters.append(Cluster(str(i), "", "n", 1, 0.1, **groups))
    text = written(tmp_path / "review.html", clusters)
    assert len(text.encode()) < 6e6
    assert len(data_of(text)["products"]) == 720


def test_a_picture_keeps_its_shape_and_is_small():
    found = thumbnails({7: np.full((400, 200, 3), 90, np.uint8)})
    assert [*found] == [7]
    data = base64.b64decode(found[7].partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (48, 96))


def test_a_sample_keeps_the_shares_of_clusters():
    clusters = np.random.default_rng(1).choice(
        ["1", "2.1", ""], 20_000, p=[0.9, 0.09, 0.01]
    )
    rows = sampled_points(clusters.tolist())
    assert len(rows) == len(set(rows.tolist())) == MOST_POINTS
    assert (np.diff(rows) > 0).all()
    for key in ("1", "2.1", ""):
        share = (clusters == key).mean()
        assert (clusters[rows] == key).mean() == pytest.approx(share, abs=3e-4)
    assert np.array_equal(rows, sampled_points(clusters.tolist()))
    assert sampled_points(["1"] * 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clusters": [cluster("1"), cluster("1")]}, "'1' of a cluster is empty or"),
        ({"clusters": [cluster("1.1"), cluster("1")]}, "'1', the parent of '1.1', is"),
        ({"point_title": ["a"]}, "differ in number"),
        ({"point_cluster": ["9"] * 220}, r"unknown clusters: \['9'\]"),
        ({"points": np.full((220, 2), np.nan)}, "not finite"),
    ],
)
def test_a_review_that_cannot_be_right(tmp_path, changes, told):
    with pytest.raises(ValueError, match=told):
        write_review(review()._replace(**changes), tmp_path / "review.html")
    assert not [*tmp_path.iterdir()]


# ---- decisions


def decided(**changes):
    """Every cluster accepted under its name, but for the changes by key."""
    base = {"action": "accept", "into": "", "note": ""}
    found = [{"key": k, "name": f"name {k}", **base} for k in PARENTS]
    return [x | changes.get("k" + x["key"].replace(".", "_"), {}) for x in found]


def read(tmp_path, decisions, digest="d1", text=None):
    path = tmp_path / "decisions.json"
    content = {"proposals": digest, "reviewer": "", "date": "", "decisions": decisions}
    path.write_text(json.dumps(content) if text is None else text)
    return read_decisions(path, PARENTS, "d1")


def test_decisions_come_back_in_the_order_of_the_clusters(tmp_path):
    changes = {
        "k1_1": {"name": " Boots ", "note": "ask Ann"},
        "k1_2": {"action": "merge", "into": "1.1"},
        "k1_3": {"action": "reject", "name": ""},
    }
    found = read(tmp_path, decided(**changes)[::-1])
    assert [*found] == [*PARENTS]
    assert found["1.1"] == Decision("1.1", "accept", "Boots", "", "ask Ann")
    assert found["1.2"][:4] == ("1.2", "merge", "name 1.2", "1.1")
    assert found["1.3"].action == "reject"


def test_parts_fall_away_with_their_cluster(tmp_path):
    changes = {
        "k1": {"action": "merge", "into": "2"},
        "k1_1": {"action": "merge", "into": "1.1"},  # of no consequence
        "k1_2": {"name": ""},
    }
    found = read(tmp_path, decided(**changes))
    actions = {key: x.action for key, x in found.items()}
    assert actions["1"] == "merge"
    assert {actions[k] for k in ("1.1", "1.2", "1.3")} == {"reject"}
    assert {actions[k] for k in ("2", "2.1", "3")} == {"accept"}
    assert found["1.1"].into == ""


def merge(into):
    return {"action": "merge", "into": into}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"k1": {"key": "1.22"}}, "no cluster has the key '1.22'. Did you mean '1.2'?"),
        ({"k1": {"key": 7}}, "decision 1 is no object with a key"),
        ({"k1": {"key": "2"}}, "'2' is decided twice: keep one of the two"),
        ({"k1": {"actoin": "x"}}, "'actoin' is unknown. Did you mean 'action'?"),
        ({"k1": {"note": None}}, "'1': note is None, which is no text"),
        (
            {"k1": {"action": "rejcet"}},
            "'rejcet' is none of accept, reject, merge. Did",
        ),
        ({"k1": {"action": ""}}, "the action '' is none of"),
        ({"k1": merge("")}, "'1' is merged into nothing"),
        (
            {"k1": merge("33")},
            "into '33', which no cluster has as its key. Did you mean",
        ),
        ({"k1": {"into": "2"}}, "the action is accept, yet `into` names '2'"),
        ({"k1": merge("1")}, "'1' is merged into itself"),
        ({"k1_1": merge("2.1")}, "which is no part of the same cluster: choose one"),
        ({"k2": merge("1.1")}, "choose one below 'the branch itself'"),
        ({"k1": merge("2"), "k2": {"action": "reject"}}, "'2', which is rejected"),
        ({"k1": merge("2"), "k2": merge("3")}, "itself merged into '3': merge both"),
        (
            {"k1": merge("2"), "k2": merge("1")},
            "'1' and '2' are merged into each other",
        ),
        ({"k1": {"name": "  "}}, "'1' has no name: give one, or reject it"),
        ({"k1": {"name": "a > b"}}, "contains the separator ' > ': give another name"),
        ({"k1": {"name": "a>b"}}, "'a>b' would be read as 2 levels, as '>' stands"),
        ({"k1": {"name": "STOP"}}, "'STOP' is a reserved word: give another name"),
        ({"k1_1": {"name": "Name  1.2"}}, "'1.1' and '1.2' are both named 'name 1.2'"),
    ],
)
def test_decisions_that_cannot_be_carried_out(tmp_path, changes, told):
    with pytest.raises(TaxonomyError, match=re.escape(told)):
        read(tmp_path, decided(**changes))


def test_the_same_name_below_another_parent_is_another_category(tmp_path):
    assert read(tmp_path, decided(k1_1={"name": "x"}, k2_1={"name": "x"}))


def test_a_file_that_holds_no_decisions(tmp_path):
    with pytest.raises(TaxonomyError, match="no decision about '1', '1.1'"):
        read(tmp_path, decided()[2:])
    with pytest.raises(TaxonomyError, match="proposals 'd0', and these are 'd1': open"):
        read(tmp_path, decided(), digest="d0")
    for text in ("{", "<html>", "\x80"):
        with pytest.raises(TaxonomyError, match="is no JSON .*Download button"):
            read(tmp_path, [], text=text)
    for text in ("[]", "{}", '{"decisions": {}}'):
        with pytest.raises(TaxonomyError, match="has no list of decisions"):
            read(tmp_path, [], text=text)
    with pytest.raises(TaxonomyError, match="cannot be read: No such file"):
        read_decisions(tmp_path / "other.json", PARENTS, "d1")
    assert read(tmp_path, [], text="\ufeff" + json.dumps(
        {"proposals": "d1", "decisions": decided()}))  # fmt: skip


def test_all_flaws_are_told_at_once(tmp_path):
    with pytest.raises(TaxonomyError) as caught:
        read(tmp_path, decided(k1={"name": ""}, k3={"name": ""}))
    assert str(caught.value).count("has no name") == 2


# ---- in a browser


def pictured(path):
    """A page with a picture of its own colour in each product."""
    rng = np.random.default_rng(0)

    def products(first):
        colours = rng.integers(0, 255, (8, 1, 1, 3), dtype=np.uint8)
        images = np.broadcast_to(colours, (8, 40, 30, 3))
        return [product(first + i, image) for i, image in enumerate(images)]

    known = {"purity": 0.8, "true_label": "Heels <i>", "purity_chance": 0.31}
    clusters = [
        cluster(key, nearest=products(8 * i), label_texts=["Boots"])
        for i, key in enumerate(PARENTS)
    ]
    clusters[0] = clusters[0]._replace(**known)
    return written(path, clusters)


def test_a_browser_draws_the_page(chromium, tmp_path):  # noqa: F811
    page, shot = tmp_path / "review.html", tmp_path / "shot.png"
    pictured(page)
    size = (1280, 800)
    dom, said = browse(chromium, page, tmp_path / "user", size, f"--screenshot={shot}")
    assert said == []
    assert 'data-ready="true"' in dom
    assert "data-broken" not in dom
    assert dom.count("<article") == len(PARENTS)
    assert "&lt;b&gt;bold&lt;/b&gt;" in dom
    # never purity alone, and a stability is of one map
    assert dom.count("purity 0.80, by chance 0.31 (Heels &lt;i&gt;)") == 1
    assert dom.count("<span>purity") == 1
    assert dom.count("stability in this map 0.90") == len(PARENTS)
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (800, 1280, 3)
    area = pixels[340:730, 60:860].reshape(-1, 3)  # of the map
    coloured = area[np.ptp(area, axis=1) > 60]
    assert 200 < len(coloured) < len(area) / 4
    # of the three groups, each on white with 80 % of its colour
    for colour in ((0, 114, 178), (213, 94, 0), (0, 158, 115)):
        drawn = 0.8 * np.array(colour) + 0.2 * 255
        assert (abs(coloured - drawn).max(axis=1) < 8).sum() > 30


ACT = """<script>{
  const set = (at, value) => {
    const e = find(at);
    if (e.type === "checkbox") e.click();
    else {
      e.value = value;
      e.dispatchEvent(new Event(e.tagName === "SELECT" ? "change" : "input"));
    }
  };
  const at = (key, part) => `[id="c-${key}"] ${part}`;
  if (!localStorage.acted) {  // what the reviewer does; then the page is opened again
    localStorage.acted = 1;
    set("#reviewer", "Ann");
    set(at("1", ".name"), "Läufer & <b");
    set(at("1.2", ".into"), "1.1");
    set(at("2", ".reject"));
    set(at("3", ".note"), "ask");
    find(at("1.3", ".words:last-of-type button:last-child")).click();  // a label text
    location.reload();
  } else {
    const told = { name: find(at("1", ".name")).value,
      was: find(at("1", ".was")).hidden ? "" : find(at("1", ".was bdi")).textContent,
      status: find("#status").textContent, out: find(at("2.1", ".fate")).textContent };
    const json = find("#json").textContent;
    set(at("1.1", ".name"), "boots");  // what is already the name of 1.3
    told.twin = find(at("1.1", ".problem")).textContent;
    told.trouble = find("#trouble").textContent;
    let file = "";
    HTMLAnchorElement.prototype.click = function () { file = this.download; };
    find("#download").click();  // refused: it leads to what is to be corrected
    told.refused = [file, document.activeElement.id];
    set(at("1.1", ".name"), "a>b");
    told.path = find(at("1.1", ".problem")).textContent;
    set(at("1.1", ".name"), "name 1.1");
    find("#download").click();
    told.file = file;
    const groups = () => document.querySelectorAll("#map path.group").length;
    told.groups = [groups()];
    find(".legend button").click();
    told.groups.push(groups());
    set("#view", "1");
    told.groups.push(groups());
    const box = svg.getBoundingClientRect(), i = places.cluster.indexOf(2);
    const spot = { clientX: box.left + shown[i].x, clientY: box.top + shown[i].y };
    svg.dispatchEvent(new PointerEvent("pointermove", spot));
    told.tip = find(".tip span").textContent;
    document.activeElement.blur();
    svg.dispatchEvent(new PointerEvent("click", spot));
    told.jumped = document.activeElement.id;
    told.wide = document.documentElement.scrollWidth <= innerWidth;
    told.same = json === find("#json").textContent;
    document.body.append(make("pre", { id: "told" }, JSON.stringify(told)));
  }
}</script>"""


def test_decisions_made_in_a_browser(chromium, tmp_path):  # noqa: F811
    page = tmp_path / "review.html"
    page.write_text(pictured(page) + ACT, encoding="utf-8")
    dom, said = browse(chromium, page, tmp_path / "user", (500, 900))
    assert said == []
    told = json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', dom)[1]))
    # kept over a reload
    assert told["name"] == "Läufer & <b"
    assert told["was"] == "name 1"
    expected = "4 kept (2 renamed) · 1 merged · 1 rejected · 1 fall away with these"
    assert told["status"] == expected
    assert told["out"] == "Falls away with 2 name 2."
    assert told["twin"] == "1.3 has the same name: rename one, or merge them."
    assert told["path"] == "A name cannot contain “>”."
    assert told["trouble"] == "2 to correct"
    assert told["refused"] == ["", "c-1.1"]
    assert told["file"] == "decisions.json"
    assert told["groups"] == [3, 2, 3]
    assert told["tip"] in ("1.1 name 1.1", "1.2 name 1.2", "1.3 Boots")
    assert told["jumped"] == "c-" + told["tip"].split()[0]
    assert told["wide"], "the page is wider than a phone"
    assert told["same"]
    box = re.search(r'<textarea id="json"[^>]*>(.*?)</textarea>', dom, re.DOTALL)[1]
    path = tmp_path / "decisions.json"
    path.write_text(html.unescape(box), encoding="utf-8")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["reviewer"] == "Ann"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", content["date"])
    found = read_decisions(path, PARENTS, "d1")
    assert found == {
        "1": Decision("1", "accept", "Läufer & <b"),
        "1.1": Decision("1.1", "accept", "name 1.1"),
        "1.2": Decision("1.2", "merge", "name 1.2", "1.1"),
        "1.3": Decision("1.3", "accept", "Boots"),
        "2": Decision("2", "reject", "name 2"),
        "2.1": Decision("2.1", "reject", "name 2.1"),
        "3": Decision("3", "accept", "name 3", "", "ask"),
    }


def test_the_page_is_part_of_the_package():
    found = {path.name for path in PAGES.iterdir()}
    assert found == {"review.html", "review.css", "review.js", "map.js"}
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'package-data."hsjax.recategorize" = ["pages/*"]' in text
