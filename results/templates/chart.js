"use strict";
// What both kinds of chart share: elements, scales, markers, controls. Labels only ever become text.
const DATA = JSON.parse(document.getElementById("data").textContent);
const MARKS = {
  "o": "M4.5 0A4.5 4.5 0 1 1 -4.5 0A4.5 4.5 0 1 1 4.5 0Z",
  "s": "M-4 -4H4V4H-4Z",
  "^": "M0 -5L5 4H-5Z",
  "D": "M0 -5.5L5.5 0L0 5.5L-5.5 0Z",
  "v": "M0 5L5 -4H-5Z",
  "P": "M-1.8 -5H1.8V-1.8H5V1.8H1.8V5H-1.8V1.8H-5V-1.8H-1.8Z",
  "X": "M-5 -2.6L-2.6 -5L0 -2.4L2.6 -5L5 -2.6L2.4 0L5 2.6L2.6 5L0 2.4L-2.6 5L-5 2.6L-2.4 0Z",
  "*": "M0 -6.5L1.5 -2.1L6.2 -2L2.5 .8L3.8 5.3L0 2.6L-3.8 5.3L-2.5 .8L-6.2 -2L-1.5 -2.1Z",
};

function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function shape(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

// dense is black in print; here it takes the page's ink, and the others are lifted on a dark page
function colourOf(method) {
  return method.colour === "black" ? "var(--ink)" : `color-mix(in srgb, ${method.colour}, white var(--lift))`;
}

function mark(method, x, y, isFilled = true, opacity = 1) {
  const colour = colourOf(method);
  return shape("path", {
    d: MARKS[method.marker], transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
    style: `fill:${isFilled ? colour : "var(--paper)"};stroke:${colour};stroke-width:1.5;opacity:${opacity}`,
  });
}

function sample(method) {
  const svg = shape("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", class: "mark", "aria-hidden": "true" });
  svg.append(mark(method, 0, 0));
  return svg;
}

function choice(label, options, onChange, chosen = 0) {
  const made = element("label", {}, label);
  const select = element("select");
  options.forEach((text, i) => select.append(element("option", { value: i }, text)));
  select.value = chosen;
  select.addEventListener("change", () => onChange(Number(select.value)));
  made.append(select);
  return made;
}

function tick(label, isOn, onChange, picture = null) {
  const made = element("label", { class: "tick" });
  const box = element("input", { type: "checkbox" });
  box.checked = isOn;
  box.addEventListener("change", () => onChange(box.checked));
  made.append(box);
  if (picture) made.append(picture);
  made.append(element("span", {}, label));
  return made;
}

function group(title, ticks) {
  const made = element("fieldset");
  made.append(element("legend", {}, title), ...ticks);
  return made;
}

function different(values) {
  return [...new Set(values)];
}

// Round steps of 1, 2 or 5 within [low, high]
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((s) => s >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

function span(values, margin) {
  const low = Math.min(...values), high = Math.max(...values);
  const extra = (high - low) * margin || Math.abs(high) * margin || 1;
  return [low - extra, high + extra];
}

class Plot {
  constructor(width, height, xs, ys, label) {
    Object.assign(this, { width, height, left: 56, right: 12, top: 10, bottom: 40, xs, ys });
    this.svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  }

  x(value) {
    return this.left + ((value - this.xs[0]) / (this.xs[1] - this.xs[0])) * (this.width - this.left - this.right);
  }

  y(value) {
    return this.height - this.bottom
      - ((value - this.ys[0]) / (this.ys[1] - this.ys[0])) * (this.height - this.top - this.bottom);
  }

  axes(xLabel, yLabel) {
    const across = ticks(...this.xs, Math.max(3, this.width / 90)), up = ticks(...this.ys, 5);
    const floor = this.height - this.bottom, end = this.width - this.right;
    for (const value of up.found) {
      this.svg.append(
        shape("line", { class: "grid", x1: this.left, x2: end, y1: this.y(value), y2: this.y(value) }),
        shape("text", { x: this.left - 6, y: this.y(value) + 4, "text-anchor": "end" }, value.toFixed(up.digits)));
    }
    for (const value of across.found) {
      this.svg.append(
        shape("line", { class: "grid", x1: this.x(value), x2: this.x(value), y1: floor, y2: floor + 4 }),
        shape("text", { x: this.x(value), y: floor + 17, "text-anchor": "middle" }, value.toFixed(across.digits)));
    }
    const middle = (this.top + floor) / 2;
    this.svg.append(
      shape("text", { x: (this.left + end) / 2, y: this.height - 5, "text-anchor": "middle" }, xLabel),
      shape("text", { x: 0, y: 0, transform: `translate(11 ${middle}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
  }
}

document.getElementById("theme").addEventListener("change", (event) => {
  document.documentElement.dataset.theme = event.target.value;
});
