// The map: one path per group, so that colours follow the theme; and the first drawing.

const COLOURS = 7; // --series-0 ... of review.css
const STRETCH = 1.5; // of one axis over the other, to use the room: neither has a unit
const svg = find("#map svg");
const tip = find("#map .tip");

// an outline around (x, y); 6 kinds and 7 colours give 42 pairs before one returns
const MARKERS = [
  (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  (x, y, r) => `M${x - r * 0.9} ${y - r * 0.9}h${r * 1.8}v${r * 1.8}h${-r * 1.8}z`,
  (x, y, r) => `M${x} ${y - r * 1.2}l${r * 1.2} ${r * 2.1}h${-r * 2.4}z`,
  (x, y, r) => `M${x} ${y - r * 1.3}l${r * 1.3} ${r * 1.3}l${-r * 1.3} ${r * 1.3}l${
    -r * 1.3} ${-r * 1.3}z`,
  (x, y, r) => `M${x} ${y + r * 1.2}l${r * 1.2} ${-r * 2.1}h${-r * 2.4}z`,
  (x, y, r) => `M${x - r * 0.4} ${y - r * 1.2}h${r * 0.8}v${r * 0.8}h${r * 0.8}v${
    r * 0.8}h${-r * 0.8}v${r * 0.8}h${-r * 0.8}v${-r * 0.8}h${-r * 0.8}v${-r * 0.8}h${
    r * 0.8}z`,
];
const marker = (c) => MARKERS[c.series % MARKERS.length];
const colour = (c) => `var(--series-${c.series % COLOURS})`;

function draw(tag, attributes, text = "") {
  // the namespace of the page's own element: its address would look like a link
  const element = document.createElementNS(svg.namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.textContent = text;
  return element;
}

function mark(c) { // as it stands in lists
  const icon = draw("svg", { class: "mark", viewBox: "-7 -7 14 14", "aria-hidden": true });
  icon.append(draw("path", { d: marker(c)(0, 0, 5), style: `fill: ${colour(c)}` }));
  return icon;
}

const places = data.map;
let view = ""; // key of the cluster whose parts have colours
let hidden = new Set();
let shown = []; // of each point: x, y on the screen, and its group or undefined
let current = -1;

function groupOf(point) { // the part of what is viewed that holds this point
  let c = clusters[places.cluster[point]];
  while (c && c.parent !== view) c = byKey.get(c.parent);
  return c;
}

function layOut(width, height, edge) {
  const far = [Math.max(...places.x, 1), Math.max(...places.y, 1)];
  const room = [(width - 2 * edge) / far[0], (height - 2 * edge) / far[1]];
  const most = STRETCH * Math.min(...room);
  const [across, up] = room.map((r) => Math.min(r, most));
  const left = (width - across * far[0]) / 2, low = (height + up * far[1]) / 2;
  shown = places.x.map((x, i) => ({
    x: Math.round(10 * (left + across * x)) / 10,
    y: Math.round(10 * (low - up * places.y[i])) / 10,
    group: groupOf(i),
  }));
}

const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];

function drawMap() {
  const width = svg.clientWidth, height = svg.clientHeight;
  const r = shown.length > 2000 || width < 500 ? 2.2 : 3;
  layOut(width, height, 16);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const others = shown.filter((p) => !p.group);
  const drawn = [draw("path", { class: "others",
    d: others.map((p) => MARKERS[0](p.x, p.y, r * 0.7)).join("") })];
  const labels = [];
  for (const c of partsOf(view)) {
    const points = shown.filter((p) => p.group === c);
    if (hidden.has(c.key) || !points.length) continue;
    drawn.push(draw("path", { class: "group", style: `fill: ${colour(c)}`,
      d: points.map((p) => marker(c)(p.x, p.y, r)).join("") }));
    labels.push(draw("text", { x: middle(points.map((p) => p.x)),
      y: middle(points.map((p) => p.y)) }, c.key));
  }
  svg.replaceChildren(...drawn, draw("circle", { class: "ring", r: 7 }), ...labels);
  leave();
}

function nearest(event) {
  const box = svg.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  let best = -1, least = 14 ** 2; // pixels
  shown.forEach((p, i) => {
    const distance = (p.x - x) ** 2 + (p.y - y) ** 2;
    const seen = p.group ? !hidden.has(p.group.key) : true;
    if (seen && distance < least) [best, least] = [i, distance];
  });
  return best;
}

function point(event) {
  const last = current;
  current = nearest(event);
  if (current < 0) return leave();
  const p = shown[current], c = clusters[places.cluster[current]];
  find(".ring", svg).setAttribute("cx", p.x);
  find(".ring", svg).setAttribute("cy", p.y);
  svg.classList.add("pointing");
  if (last === current && !tip.hidden) return;
  tip.replaceChildren(
    make("strong", { dir: "auto" }, places.title[current] || "(no title)"),
    make("span", { dir: "auto" }, c ? label(c) : "in no proposal"));
  tip.hidden = false;
  const room = svg.clientWidth - tip.offsetWidth;
  tip.style.left = `${Math.max(0, Math.min(p.x + 12, room))}px`;
  tip.style.top = `${p.y > tip.offsetHeight + 14 ? p.y - tip.offsetHeight - 12 : p.y + 14}px`;
}

function leave() {
  current = -1;
  tip.hidden = true;
  svg.classList.remove("pointing");
}

let touched = -1; // a finger sees the title first and jumps with a second touch
function press(event) {
  const i = nearest(event), c = clusters[places.cluster[i]];
  const first = event.pointerType === "touch" && i !== touched;
  touched = i;
  if (c && !first) goTo(c);
}

function drawLegend() {
  find(".legend").replaceChildren(...partsOf(view).map((c) => {
    const button = make("button", { type: "button", "aria-pressed": !hidden.has(c.key) },
      mark(c), make("span", { class: "key" }, c.key),
      make("span", { class: "title", dir: "auto" }, nameOf(c)),
      make("span", { class: "size" }, number(c.size)));
    button.addEventListener("click", () => {
      if (!hidden.delete(c.key)) hidden.add(c.key);
      button.setAttribute("aria-pressed", !hidden.has(c.key));
      drawMap();
    });
    return make("li", {}, button);
  }));
}

function drawViews() {
  const views = clusters.filter((c) => partsOf(c.key).length);
  const options = [make("option", { value: "" }, "the whole branch"),
    ...views.map((c) => make("option", { value: c.key }, `parts of ${label(c)}`))];
  find("#view").replaceChildren(...options);
  find("#view").value = view;
  find("#view").parentElement.hidden = !views.length;
}

function startMap() {
  find("#map").hidden = !places.x.length;
  if (!places.x.length) return;
  if (places.x.length < places.total) {
    find("#sampled").textContent =
      `${number(places.x.length)} of ${number(places.total)} products`;
  }
  document.addEventListener("decided", () => { drawViews(); drawLegend(); });
  drawViews();
  drawLegend();
  find("#view").addEventListener("change", (event) => {
    view = event.target.value;
    hidden = new Set();
    drawLegend();
    drawMap();
  });
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("click", press);
  new ResizeObserver(drawMap).observe(svg);
  drawMap();
}

start();
startMap();
document.documentElement.dataset.ready = "true";
