"use strict";
// What a catalogue says enters the page as text, never as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const find = (selector, inside = document) => inside.querySelector(selector);
const number = (x) => x.toLocaleString("en");
const percent = (x) => `${(100 * x).toFixed(1)} %`;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// ---- the proposals as a tree

const clusters = data.clusters;
const byKey = new Map(clusters.map((c) => [c.key, c]));
const partsOf = (key) => clusters.filter((c) => c.parent === key);
const siblings = (c) => partsOf(c.parent).filter((other) => other !== c);
for (const c of clusters) {
  c.depth = c.parent ? byKey.get(c.parent).depth + 1 : 0;
  c.series = partsOf(c.parent).indexOf(c); // colour and marker
}

// ---- decisions, kept in this browser where it allows that

const storage = `hsjax-review-${data.digest}`;
let reviewer = "";
const decisions = new Map(clusters.map((c) => [c.key,
  { reject: false, into: "", name: c.name, note: "" }]));

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(storage));
    if (!kept) return;
    reviewer = kept.reviewer;
    for (const [key, d] of kept.decisions) {
      if (decisions.has(key)) Object.assign(decisions.get(key), d);
    }
  } catch { /* a browser may keep nothing for files */ }
}

function save() {
  let kept = true;
  try {
    localStorage.setItem(storage, JSON.stringify({ reviewer, decisions: [...decisions] }));
  } catch { kept = false; }
  find("#kept").textContent = kept
    ? " This browser keeps what you decide until then."
    : " This browser keeps nothing: do not close the page before.";
}

function action(c) {
  const d = decisions.get(c.key);
  return d.reject ? "reject" : d.into ? "merge" : "accept";
}

// the cluster above that is not kept, and takes this one with it
function lostWith(c) {
  const above = byKey.get(c.parent);
  return above && (lostWith(above) || (action(above) === "accept" ? null : above));
}

const nameOf = (c) => decisions.get(c.key).name.trim();
const label = (c) => `${c.key} ${nameOf(c)}`;
const same = (name) => name.toLowerCase().split(/\s+/).join(" ");

// where a path of names is divided, as hsjax.tree.codes.split_path reads it
function divider(separator) {
  const mark = separator.trim(), plain = mark.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const before = mark !== ">" && /^\s/.test(separator) ? "(?<=\\s)" : "";
  const after = mark !== ">" && /\s$/.test(separator) ? "(?=\\s)" : "";
  return new RegExp(before + plain + after);
}
const divides = divider(data.separator);

// why decisions cannot be carried out; hsjax.recategorize.decisions refuses the same
function problem(c) {
  if (lostWith(c)) return "";
  const kind = action(c), target = byKey.get(decisions.get(c.key).into);
  if (kind === "merge" && action(target) !== "accept") {
    return `${label(target)} is itself ${action(target)}${
      action(target) === "merge" ? "d into another" : "ed"}: choose another.`;
  }
  if (kind !== "accept") return "";
  const name = nameOf(c), mark = data.separator.trim();
  if (!name) return "Give it a name, or reject it.";
  if (divides.test(` ${name} `) || name === "STOP") {
    return `A name cannot ${name === "STOP" ? "be STOP" : `contain “${mark}”`}.`;
  }
  const twin = siblings(c).find(
    (other) => action(other) === "accept" && same(nameOf(other)) === same(name));
  return twin ? `${twin.key} has the same name: rename one, or merge them.` : "";
}

function today() {
  const now = new Date(), two = (x) => String(x).padStart(2, "0");
  return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
}

function written() {
  const list = clusters.map((c) => {
    const d = decisions.get(c.key), kind = lostWith(c) ? "reject" : action(c);
    return { key: c.key, action: kind, name: d.name.trim(),
      into: kind === "merge" ? d.into : "", note: d.note.trim() };
  });
  const file = { proposals: data.digest, reviewer, date: today(), decisions: list };
  return `${JSON.stringify(file, null, 1)}\n`;
}

// ---- head

function drawHead() {
  document.title = `${data.title}: review`;
  find("#title").textContent = data.title;
  find("#branch").textContent = data.branch;
  const top = partsOf(""), deep = clusters.length - top.length;
  const held = top.reduce((sum, c) => sum + c.size, 0);
  let told = `${number(held)} products in ${top.length} proposed sub-categories`;
  if (deep) told += ` with ${deep} parts`;
  if (data.left_out) {
    told += `; ${number(data.left_out)} more fit none of them and stay where they are`;
    if (data.left_out_file) told += ` (${data.left_out_file})`;
  }
  find("#summary").textContent = `${told}.`;
  for (const [name, value] of data.settings) {
    find("#settings tbody").append(make("tr", {},
      make("th", { scope: "row" }, name), make("td", { dir: "auto" }, value)));
  }
}

// ---- one proposal

function tile(row) {
  const p = data.products[row], shown = p.title || p.id;
  const whole = [p.title, p.label, p.id, `row ${row}`].filter(Boolean).join("\n");
  const item = make("li", { title: whole });
  if (p.image) item.append(make("img", { src: p.image, alt: "", decoding: "async" }));
  else if (pictures) item.append(make("span", { class: "absent" }, "no picture"));
  item.append(make("span", { class: "caption", dir: "auto" }, shown));
  if (p.label) item.append(make("span", { class: "caption quiet", dir: "auto" }, p.label));
  return item;
}

const pictures = Object.values(data.products).some((p) => p.image);
const KINDS = [["nearest", "to the centre"], ["random", ""], ["farthest", "from it"]];

function strips(c) {
  const shown = KINDS.filter(([kind]) => c[kind].length).map(([kind, more]) => {
    const id = `${kind}-${c.key}`;
    return make("div", { class: "strip" },
      make("h4", { id }, kind, make("span", { class: "quiet" }, ` ${more}`)),
      make("ul", { "aria-labelledby": id, tabindex: 0 }, ...c[kind].map(tile)));
  });
  return make("div", { class: pictures ? "strips" : "strips texts" }, ...shown);
}

// never alone: a class that most products have gives purity away
function purity(c) {
  const chance = c.purity_chance === null ? "" : `, by chance ${c.purity_chance.toFixed(2)}`;
  return `purity ${c.purity.toFixed(2)}${chance}${c.true_label && ` (${c.true_label})`}`;
}

function facts(c) {
  const told = [`${number(c.size)} products`, `${percent(c.share)} of the branch`];
  if (c.stability !== null) told.push(`stability in this map ${c.stability.toFixed(2)}`);
  if (c.silhouette !== null) told.push(`silhouette ${c.silhouette.toFixed(2)}`);
  if (c.purity !== null) told.push(purity(c));
  return make("p", { class: "facts" }, ...told.map((x) => make("span", {}, x)));
}

// a word or a label text names the proposal when it is pressed
function suggestions(c, title, texts) {
  const buttons = texts.map((text) => {
    const button = make("button",
      { type: "button", class: "word", dir: "auto", title: "Use as the name" }, text);
    button.addEventListener("click", () => {
      const field = find("input.name", c.card);
      field.value = text;
      field.dispatchEvent(new Event("input"));
    });
    return button;
  });
  return texts.length
    ? make("p", { class: "words" }, make("span", { class: "quiet" }, title), ...buttons)
    : "";
}

function controls(c) {
  const d = decisions.get(c.key), others = siblings(c);
  const reject = make("input", { type: "checkbox", class: "reject" });
  reject.checked = d.reject;
  reject.addEventListener("change", () => change(c, { reject: reject.checked }));
  const row = make("div", { class: "controls" }, make("label", {}, reject, " Reject"));
  if (others.length) {
    const into = make("select", { class: "into" },
      make("option", { value: "" }, "–"),
      ...others.map((o) => make("option", { value: o.key })));
    into.value = d.into;
    into.addEventListener("change", () => change(c, { into: into.value }));
    row.append(make("label", {}, "Merge into ", into));
  }
  const note = make("input", { class: "note", dir: "auto" });
  note.value = d.note;
  note.addEventListener("input", () => change(c, { note: note.value }));
  row.append(make("label", { class: "wide" }, "Note ", note));
  return row;
}

function card(c) {
  const name = make("input", { class: "name", dir: "auto", spellcheck: "true",
    "aria-label": `Name of ${c.key}` });
  name.value = decisions.get(c.key).name;
  name.addEventListener("input", () => change(c, { name: name.value }));
  const restore = make("button", { type: "button", class: "word" }, "restore");
  restore.addEventListener("click", () => {
    name.value = c.name;
    change(c, { name: c.name });
    name.focus();
  });
  const heading = `h${Math.min(c.depth + 2, 3)}`;
  c.card = make("article", { id: `c-${c.key}`, class: `depth-${c.depth}`, tabindex: -1 },
    make("div", { class: "head" },
      make(heading, {}, c.parent ? "" : mark(c), c.key,
        make("span", { class: "unseen spoken", dir: "auto" })),
      name),
    make("p", { class: "was", hidden: true }, "proposed as ",
      make("bdi", {}, c.name), " ", restore),
    facts(c), controls(c),
    make("p", { class: "problem", role: "alert" }),
    make("p", { class: "fate" }),
    make("div", { class: "evidence" },
      suggestions(c, "Typical words", c.words),
      suggestions(c, "Nearest labels", c.labels),
      strips(c)));
  return c.card;
}

function inOrder(key = "") { // each cluster before its parts
  return partsOf(key).flatMap((c) => [c, ...inOrder(c.key)]);
}

// ---- what follows from a decision

function change(c, decided) {
  Object.assign(decisions.get(c.key), decided);
  update();
  save();
}

function fate(c) {
  const lost = lostWith(c), kind = action(c);
  if (lost) return `Falls away with ${label(lost)}.`;
  if (kind === "reject") return "Rejected: its products stay where they are today.";
  const target = byKey.get(decisions.get(c.key).into);
  return kind === "merge" ? `Its products go to ${label(target)}.` : "";
}

function updateCard(c) {
  const d = decisions.get(c.key), told = problem(c), lost = Boolean(lostWith(c));
  c.card.classList.toggle("out", lost || action(c) !== "accept");
  find(".spoken", c.card).textContent = ` ${nameOf(c)}`;
  find(".was", c.card).hidden = nameOf(c) === c.name;
  find(".problem", c.card).textContent = told;
  find(".name", c.card).setAttribute("aria-invalid", Boolean(told));
  find(".fate", c.card).textContent = told ? "" : fate(c);
  find(".reject", c.card).disabled = lost;
  const into = find(".into", c.card);
  if (!into) return;
  into.disabled = lost || d.reject;
  for (const option of into.options) {
    if (!option.value) continue;
    const other = byKey.get(option.value);
    option.textContent = label(other);
    option.disabled = action(other) !== "accept";
  }
}

function updateOutline(c) {
  const lost = lostWith(c), kind = action(c), into = decisions.get(c.key).into;
  find(".title", c.entry).textContent = nameOf(c) || "–";
  find(".size", c.entry).textContent = lost ? "" : kind === "merge" ? `→ ${into}`
    : kind === "reject" ? "rejected" : number(c.size);
  c.entry.classList.toggle("out", Boolean(lost) || kind !== "accept");
  c.entry.classList.toggle("wrong", Boolean(problem(c)));
}

function update() {
  clusters.forEach(updateCard);
  clusters.forEach(updateOutline);
  const counted = { accept: 0, reject: 0, merge: 0, lost: 0 };
  for (const c of clusters) counted[lostWith(c) ? "lost" : action(c)] += 1;
  const renamed = clusters.filter((c) => !lostWith(c) && action(c) === "accept"
    && nameOf(c) !== c.name).length;
  find("#status").textContent = `${counted.accept} kept`
    + (renamed ? ` (${renamed} renamed)` : "")
    + ` · ${counted.merge} merged · ${counted.reject} rejected`
    + (counted.lost ? ` · ${counted.lost} fall away with these` : "");
  const wrong = clusters.filter(problem), trouble = find("#trouble");
  trouble.hidden = !wrong.length;
  if (wrong.length) {
    trouble.textContent = `${wrong.length} to correct`;
    trouble.setAttribute("href", `#c-${wrong[0].key}`);
  }
  find("#json").textContent = written();
  document.dispatchEvent(new Event("decided"));
}

function download() {
  const wrong = clusters.find(problem);
  if (wrong) return goTo(wrong);
  const address = URL.createObjectURL(
    new Blob([written()], { type: "application/json" }));
  const link = make("a", { href: address, download: "decisions.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function goTo(c) {
  c.card.scrollIntoView({ block: "start" });
  c.card.focus({ preventScroll: true });
}

async function copy() {
  const box = find("#json");
  box.select();
  try {
    await navigator.clipboard.writeText(box.value);
  } catch { // not allowed for a file: the older way, from what is selected
    document.execCommand("copy");
  }
  find("#copy").textContent = "Copied";
}

function start() {
  load();
  drawHead();
  for (const c of inOrder()) {
    find("#proposals").append(card(c));
    c.entry = make("li", { class: `depth-${c.depth}` },
      make("a", { href: `#c-${c.key}` }, c.parent ? "" : mark(c),
        make("span", { class: "key" }, c.key),
        make("span", { class: "title", dir: "auto" }),
        make("span", { class: "size" })));
    find(".outline").append(c.entry);
  }
  find("nav details").open = !matchMedia("(max-width: 60rem)").matches;
  find("#reviewer").value = reviewer;
  find("#reviewer").addEventListener("input", (event) => {
    reviewer = event.target.value;
    update();
    save();
  });
  find("#download").addEventListener("click", download);
  find("#copy").addEventListener("click", copy);
  update();
  save();
}
