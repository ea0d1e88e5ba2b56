// Accuracy against cost: means over the chosen seeds, filtered, on axes of choice.
const AT = Object.fromEntries(DATA.fields.map((name, i) => [name, i]));
const MOST_PANELS = 12;
const REACH = 28;
const COSTS = [
  { name: `executed ${DATA.unit.name}`, digits: 3, of: (t) => t[AT.macs] === null ? null : t[AT.macs] / DATA.unit.macs,
    dense: (panel) => panel.dense && panel.dense / DATA.unit.macs },
  { name: "executed, % of dense", digits: 1, of: (t, p) => t[AT.macs] === null || !p.dense ? null : 100 * t[AT.macs] / p.dense,
    dense: (panel) => panel.dense && 100 },
  { name: "latency, ms a clip", digits: 2, of: (t) => t[AT.ms], dense: () => null },
  { name: "training time, s", digits: 0, of: (t) => t[AT.train_s], dense: () => null },
];
const GAINS = [
  { name: "top-1 %", of: (t) => t[AT.top1] === null ? null : 100 * t[AT.top1] },
  { name: "mean class %", of: (t) => t[AT.mean_class] === null ? null : 100 * t[AT.mean_class] },
];
const budgetName = (budget) => budget === null ? "none" : String(budget);
const trialsOf = (cells) => cells.flatMap((cell) => cell.trials);
const CELLS = DATA.panels.flatMap((panel) => panel.cells);
const DATASETS = different(DATA.panels.map((panel) => panel.dataset));
const RECOGNIZERS = different(DATA.panels.map((panel) => panel.recognizer));
const BUDGETS = different(CELLS.map((cell) => cell.budget)).sort((a, b) => (b ?? Infinity) - (a ?? Infinity));
const SEEDS = different(trialsOf(CELLS).map((trial) => trial[AT.seed])).sort((a, b) => a - b);

const shown = {
  dataset: DATA.panels.length > MOST_PANELS ? 1 : 0, recognizer: 0, cost: 0, gain: 0,
  dominated: true, dots: true, fromZero: false, shifted: true,
  methods: new Set(DATA.methods.keys()), budgets: new Set(BUDGETS), seeds: new Set(SEEDS),
};

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function interval(values) {
  const middle = mean(values), n = values.length;
  if (n < 2) return { middle, low: null, high: null };
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - middle) ** 2, 0) / (n - 1));
  const half = deviation * DATA.half_widths[n];
  return { middle, low: middle - half, high: middle + half };
}

// A cell as the filters leave it; null if nothing of it is to be seen on these axes
function pointOf(cell, panel) {
  if (!shown.methods.has(cell.method) || !shown.budgets.has(cell.budget)) return null;
  const cost = COSTS[shown.cost], gain = GAINS[shown.gain];
  const trials = cell.trials.filter((trial) =>
    shown.seeds.has(trial[AT.seed]) && cost.of(trial, panel) !== null && gain.of(trial) !== null);
  if (!trials.length) return null;
  const x = mean(trials.map((trial) => cost.of(trial, panel)));
  return { cell, trials, x, ...interval(trials.map(gain.of)), over: trials.some((trial) => trial[AT.is_over]) };
}

function markFrontier(points) {
  let best = null;
  for (const point of [...points].sort((a, b) => a.x - b.x || b.middle - a.middle)) {
    const isEqual = best && point.x === best.x && point.middle === best.middle;
    point.isBest = !best || point.middle > best.middle || Boolean(isEqual);
    if (point.isBest) best = point;
  }
}

function figures(values, digits) {
  return values.map((value) => value === null ? "-" : value.toFixed(digits));
}

function tellPoint(point, panel) {
  const { cell, trials } = point, method = DATA.methods[cell.method];
  const range = point.low === null ? "" : ` (${figures([point.low, point.high], 1).join(" to ")})`;
  const lines = [
    method.label + (cell.budget === null ? "" : `, budget ${cell.budget}`) + (point.isBest ? ", on the frontier" : ", dominated"),
    `${GAINS[shown.gain].name}: ${point.middle.toFixed(1)}${range}, n = ${trials.length}`,
  ];
  for (const cost of COSTS) {
    const values = trials.map((trial) => cost.of(trial, panel)).filter((value) => value !== null);
    if (values.length) lines.push(`${cost.name}: ${mean(values).toFixed(cost.digits)}`);
  }
  if (point.over) lines.push(`over budget: ${trials.filter((trial) => trial[AT.is_over]).length} of ${trials.length}`);
  if (cell.failed) lines.push(`failed: ${cell.failed}`);
  lines.push(`trials: ${trials.slice(0, 6).map((trial) => trial[AT.key]).join(" ")}${trials.length > 6 ? " ..." : ""}`);
  return lines.join("\n");
}

function tellTrial(trial, cell, panel) {
  const lines = [
    `trial ${trial[AT.key]}`,
    `${DATA.methods[cell.method].label}${cell.budget === null ? "" : `, budget ${cell.budget}`}, seed ${trial[AT.seed]}`,
    `${GAINS[shown.gain].name}: ${GAINS[shown.gain].of(trial).toFixed(1)}`,
  ];
  for (const cost of COSTS) {
    const value = cost.of(trial, panel);
    if (value !== null) lines.push(`${cost.name}: ${value.toFixed(cost.digits)}`);
  }
  if (trial[AT.is_over]) lines.push("over budget");
  return lines.join("\n");
}

// What the chosen trials of a cell do with their gates shifted to other budgets, on these axes
function traceOf(point, panel) {
  const cost = COSTS[shown.cost], gain = GAINS[shown.gain];
  const all = point.trials.flatMap((trial) => trial[AT.shifted]);
  if (!shown.shifted) return [];
  return different(all.map((stop) => stop[0])).sort((a, b) => b - a).flatMap((budget) => {
    const stops = all.filter((stop) => stop[0] === budget).map((stop) => {
      const trial = Array(DATA.fields.length).fill(null);
      trial[AT.macs] = stop[1];
      trial[AT.top1] = stop[2];
      return trial;
    });
    if (stops.some((trial) => cost.of(trial, panel) === null || gain.of(trial) === null)) return [];
    return [{ budget, n: stops.length, x: mean(stops.map((trial) => cost.of(trial, panel))), y: mean(stops.map(gain.of)) }];
  });
}

function drawTrace(plot, point, panel) {
  const stops = traceOf(point, panel), cost = COSTS[shown.cost], gain = GAINS[shown.gain];
  if (!stops.length) return [];
  const method = DATA.methods[point.cell.method], colour = colourOf(method);
  const path = stops.map((stop) => `${plot.x(stop.x)} ${plot.y(stop.y)}`).join("L");
  plot.svg.append(shape("path", { class: "trace", d: `M${path}`, style: `stroke:${colour}` }));
  return stops.map((stop) => {
    const at = { x: plot.x(stop.x), y: plot.y(stop.y) };
    plot.svg.append(shape("circle", { class: "stop", cx: at.x, cy: at.y, r: 2, style: `fill:var(--paper);stroke:${colour}` }));
    return { ...at, tell: () => [
      `${method.label}, trained at ${point.cell.budget}, shifted to ${stop.budget}`,
      `${gain.name}: ${stop.y.toFixed(1)}, n = ${stop.n}`, `${cost.name}: ${stop.x.toFixed(cost.digits)}`,
    ].join("\n") };
  });
}

function drawStep(plot, points) {
  const best = points.filter((point) => point.isBest).sort((a, b) => a.x - b.x || a.middle - b.middle);
  if (!best.length) return;
  let path = `M${plot.x(best[0].x)} ${plot.y(best[0].middle)}`;
  for (const point of best.slice(1)) path += `H${plot.x(point.x)}V${plot.y(point.middle)}`;
  plot.svg.append(shape("path", { class: "step", d: path }));
}

// Returns what can be pointed at: where, and what is told of it
function drawPoint(plot, point, panel) {
  const method = DATA.methods[point.cell.method], targets = [];
  const x = plot.x(point.x), y = plot.y(point.middle), opacity = point.isBest ? 1 : 0.6;
  if (shown.dots && point.trials.length > 1) {
    for (const trial of point.trials) {
      const at = { x: plot.x(COSTS[shown.cost].of(trial, panel)), y: plot.y(GAINS[shown.gain].of(trial)) };
      plot.svg.append(shape("circle", { class: "seed", cx: at.x, cy: at.y, r: 2.5, style: `fill:${colourOf(method)};opacity:.4` }));
      targets.push({ ...at, tell: () => tellTrial(trial, point.cell, panel) });
    }
  }
  if (point.low !== null) {
    const [top, bottom] = [point.high, point.low].map((v) => Math.min(plot.height - plot.bottom, Math.max(plot.top, plot.y(v))));
    plot.svg.append(shape("line", { x1: x, x2: x, y1: top, y2: bottom, style: `stroke:${colourOf(method)};stroke-width:1.5;opacity:${opacity}` }));
  }
  const marker = mark(method, x, y, point.isBest, opacity);
  marker.setAttribute("class", "cell");
  plot.svg.append(marker);
  if (point.over) plot.svg.append(shape("path", { class: "over", d: `M${x - 6} ${y - 6}l12 12m0 -12l-12 12` }));
  targets.push({ x, y, isCell: true, tell: () => tellPoint(point, panel) });
  return targets;
}

function limits(points, panel) {
  const cost = COSTS[shown.cost], gain = GAINS[shown.gain];
  const trials = shown.dots ? points.flatMap((point) => point.trials) : [];
  const stops = points.flatMap((point) => traceOf(point, panel));
  const xs = [...points, ...stops].map((point) => point.x).concat(trials.map((trial) => cost.of(trial, panel)));
  const ys = [...points.map((point) => point.middle), ...stops.map((stop) => stop.y), ...trials.map(gain.of)];
  const across = span(xs, 0.08), up = span(ys, 0.15);
  if (shown.fromZero) across[0] = up[0] = 0;
  return [[Math.max(0, across[0]), across[1]], [Math.max(0, up[0]), Math.min(102, up[1])]];
}

function pointable(figure, plot, targets) {
  const tip = element("div", { class: "tip", role: "status" });
  const here = shape("circle", { class: "here", r: 9, visibility: "hidden" });
  const cells = targets.filter((target) => target.isCell).sort((a, b) => a.x - b.x || a.y - b.y);
  let at = -1;
  function show(target) {
    here.setAttribute("visibility", target ? "visible" : "hidden");
    tip.textContent = target ? target.tell() : "";
    if (!target) return;
    here.setAttribute("cx", target.x);
    here.setAttribute("cy", target.y);
    const scale = plot.svg.clientWidth / plot.width;
    const left = Math.max(0, Math.min(target.x * scale + 14, figure.clientWidth - tip.offsetWidth - 4));
    tip.style.left = `${left}px`;
    tip.style.top = `${plot.svg.offsetTop + target.y * scale + 16}px`;
  }
  plot.svg.addEventListener("pointermove", (event) => {
    const box = plot.svg.getBoundingClientRect(), scale = plot.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    // a mean and a seed in one place: the mean is told
    const far = (target) => Math.hypot(target.x - x, target.y - y) - (target.isCell ? 3 : 0);
    const nearest = targets.reduce((best, target) => !best || far(target) < far(best) ? target : best, null);
    show(nearest && far(nearest) < REACH ? nearest : null);
  });
  plot.svg.addEventListener("pointerleave", () => show(null));
  plot.svg.addEventListener("blur", () => show(null));
  plot.svg.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (way) {
      at = at < 0 && way < 0 ? cells.length - 1 : (at + way + cells.length) % cells.length;
      show(cells[at]);
    } else if (event.key === "Escape") {
      show(null);
    } else {
      return;
    }
    event.preventDefault();
  });
  plot.svg.setAttribute("tabindex", 0);
  plot.svg.append(here);
  figure.append(tip);
}

function drawPanel(panel, width) {
  const figure = element("figure"), caption = element("figcaption", {}, `${panel.recognizer} on ${panel.dataset}`);
  figure.append(caption);
  let points = panel.cells.map((cell) => pointOf(cell, panel)).filter(Boolean);
  markFrontier(points);
  if (!shown.dominated) points = points.filter((point) => point.isBest);
  if (!points.length) {
    figure.append(element("p", { class: "note" }, "Nothing of it is left by the choices above."));
    return figure;
  }
  const cost = COSTS[shown.cost];
  const plot = new Plot(width, 280, ...limits(points, panel),
    `${panel.recognizer} on ${panel.dataset}: ${GAINS[shown.gain].name} against ${cost.name}, ${points.length} points; arrow keys step through them`);
  plot.axes(cost.name, GAINS[shown.gain].name);
  const dense = cost.dense(panel);
  if (dense && dense <= plot.xs[1] && dense >= plot.xs[0]) {
    plot.svg.append(shape("line", { class: "reference", x1: plot.x(dense), x2: plot.x(dense), y1: plot.top, y2: plot.height - plot.bottom }));
  }
  drawStep(plot, points);
  const ordered = [...points].sort((a, b) => a.isBest - b.isBest);
  figure.append(plot.svg);
  const stops = ordered.flatMap((point) => drawTrace(plot, point, panel));
  pointable(figure, plot, [...stops, ...ordered.flatMap((point) => drawPoint(plot, point, panel))]);
  return figure;
}

function drawPanels() {
  const host = document.getElementById("panels"), note = document.getElementById("panels-note");
  const chosen = DATA.panels.filter((panel) =>
    (!shown.dataset || panel.dataset === DATASETS[shown.dataset - 1])
    && (!shown.recognizer || panel.recognizer === RECOGNIZERS[shown.recognizer - 1]));
  const drawn = chosen.slice(0, MOST_PANELS);
  const columns = Math.min(drawn.length || 1, Math.max(1, Math.floor((host.clientWidth + 16) / (336 + 16))));
  const width = Math.max(240, (host.clientWidth - 16 * (columns - 1)) / columns - 16);
  host.replaceChildren(...drawn.map((panel) => drawPanel(panel, width)));
  note.textContent = chosen.length > drawn.length
    ? `${drawn.length} of ${chosen.length} charts are shown: choose a data set or a recognizer.` : "";
}

function redraw() {
  drawPanels();
  drawClips();
  drawCurves();
}

function filter(title, items, chosen, name, picture) {
  return group(title, items.map((item) => tick(name(item), true, (isOn) => {
    if (isOn) chosen.add(item); else chosen.delete(item);
    redraw();
  }, picture && picture(item))));
}

function set(key) {
  return (value) => { shown[key] = value; redraw(); };
}

if (DATA.panels.length) {
  const controls = document.getElementById("controls"), all = (names) => ["all", ...names];
  if (DATASETS.length > 1) controls.append(choice("Data set", all(DATASETS), set("dataset"), shown.dataset));
  if (RECOGNIZERS.length > 1) controls.append(choice("Recognizer", all(RECOGNIZERS), set("recognizer")));
  controls.append(
    choice("Across", COSTS.map((cost) => cost.name), set("cost")),
    choice("Up", GAINS.map((gain) => gain.name), set("gain")),
    tick("dominated points", true, set("dominated")),
    tick("single seeds", true, set("dots")),
    ...(trialsOf(CELLS).some((trial) => trial[AT.shifted].length) ? [tick("shifted gates", true, set("shifted"))] : []),
    tick("axes from zero", false, set("fromZero")),
    filter("Methods", [...DATA.methods.keys()], shown.methods, (i) => DATA.methods[i].label, (i) => sample(DATA.methods[i])));
  if (BUDGETS.length > 1) controls.append(filter("Budgets", BUDGETS, shown.budgets, budgetName));
  if (SEEDS.length > 1) controls.append(filter("Seeds", SEEDS, shown.seeds, String));
}
