// Learning curves: one panel, one quantity, a line a cell.
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
const LINE_NAMES = {
  loss: "training loss", loss_cls: "training loss, classification", loss_efficiency: "training loss, efficiency",
  top1_acc: "training top-1", top5_acc: "training top-5", accuracy_top1: "validation top-1", macs_share: "executed share of dense",
};
const watched = { panel: 0, line: 0 };

function lineNames() {
  return different(DATA.curves.flatMap((curves) => curves.cells.flatMap((cell) => Object.keys(cell.lines))));
}

function drawBand(plot, line, colour) {
  if (line.every((entry) => entry[2] === entry[3])) return;
  const there = line.map((entry) => `${plot.x(entry[0])} ${plot.y(entry[3])}`);
  const back = [...line].reverse().map((entry) => `${plot.x(entry[0])} ${plot.y(entry[2])}`);
  plot.svg.append(shape("path", { d: `M${[...there, ...back].join("L")}Z`, style: `fill:${colour};opacity:.15` }));
}

function drawLine(plot, line, style) {
  const path = line.map((entry) => `${plot.x(entry[0])} ${plot.y(entry[1])}`).join("L");
  plot.svg.append(shape("path", { d: `M${path}`, class: "curve", style }));
}

function lineSample(style) {
  const svg = shape("svg", { width: 28, height: 10, viewBox: "0 0 28 10", "aria-hidden": "true" });
  svg.append(shape("path", { d: "M0 5H28", style }));
  return svg;
}

function drawCurves() {
  const host = document.getElementById("curve");
  if (!host || !DATA.curves.length) return;
  const curves = DATA.curves[watched.panel], name = lineNames()[watched.line];
  const cells = curves.cells.filter((cell) =>
    cell.lines[name] && cell.lines[name].length && shown.methods.has(cell.method) && shown.budgets.has(cell.budget));
  const figure = element("figure"), legend = document.getElementById("curve-legend");
  figure.append(element("figcaption", {}, curves.panel));
  host.replaceChildren(figure);
  legend.replaceChildren();
  const entries = cells.flatMap((cell) => cell.lines[name]);
  if (!entries.length) {
    figure.append(element("p", { class: "note" }, "Nothing of it is left by the choices above."));
    return;
  }
  const label = LINE_NAMES[name] || name;
  const xs = entries.map((entry) => entry[0]), first = Math.min(...xs), last = Math.max(...xs);
  const plot = new Plot(Math.max(240, host.clientWidth - 16), 300, [first, last > first ? last : first + 1],
    span(entries.flatMap((entry) => [entry[2], entry[3]]), 0.06), `${label} by epoch, ${curves.panel}`);
  plot.svg.setAttribute("role", "img");
  plot.axes("epoch", label);
  for (const cell of cells) {
    const colour = colourOf(DATA.methods[cell.method]);
    const budgets = BUDGETS.filter((budget) => budget !== null);
    const dash = cell.budget === null ? "" : DASHES[budgets.indexOf(cell.budget) % DASHES.length];
    const style = `fill:none;stroke:${colour};stroke-width:2;stroke-dasharray:${dash || "none"}`;
    drawBand(plot, cell.lines[name], colour);
    drawLine(plot, cell.lines[name], style);
    const told = element("span");
    told.append(lineSample(style), element("span", {}, `${cell.name} (n = ${cell.n})`));
    legend.append(told);
  }
  figure.append(plot.svg);
}

if (DATA.curves.length) {
  const controls = document.getElementById("curve-controls"), names = lineNames();
  const watch = (key) => (value) => { watched[key] = value; drawCurves(); };
  if (DATA.curves.length > 1) controls.append(choice("Chart", DATA.curves.map((curves) => curves.panel), watch("panel")));
  controls.append(choice("Quantity", names.map((name) => LINE_NAMES[name] || name), watch("line")));
}

redraw();
let lastWidth = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  if (document.documentElement.clientWidth !== lastWidth) redraw();
  lastWidth = document.documentElement.clientWidth;
});
