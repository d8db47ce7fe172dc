// Brushing the parallel coordinates: a stretch of an axis, by hand or by its two sliders, chooses
// the runs in it. What is chosen is drawn and the table's rows are hidden at once; then the page is
// asked for with the stretch in its address (`range=NAME:LOW..HIGH`), over all runs.
"use strict";

const NEAR = 16; // so close to an axis a hand is on it, in the picture's units
const ASKED_AFTER_MS = 250;
let brush = null;

class Brush {
  constructor(part) {
    const data = part.querySelector("script[type='application/json']");
    this.svg = part.querySelector("svg");
    if (!data || !this.svg) return;
    Object.assign(this, JSON.parse(data.textContent));
    this.ranges = this.axes.map(() => null); // [low, high] as places from 0 to 1000
    this.sliders = [];
    this.box = document.createElement("div");
    this.box.className = "brushing";
    // On a narrow screen it scrolls, also by the keyboard.
    Object.assign(this.box, { tabIndex: 0, role: "group", ariaLabel: "Parameters side by side" });
    this.svg.replaceWith(this.box);
    this.canvas = document.createElement("canvas");
    this.box.append(this.svg, this.canvas);
    this.addSliders(part);
    this.svg.addEventListener("pointerdown", (event) => this.begin(event));
    this.svg.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      this.svg.addEventListener(kind, () => this.end());
    }
    this.read();
  }

  // --- what the address says, and what it is to say ---

  read() {
    const given = new Map();
    for (const text of new URLSearchParams(location.search).getAll("range")) {
      const at = text.lastIndexOf(":"), [low, high] = text.slice(at + 1).split("..");
      given.set(text.slice(0, at), [low, high]);
    }
    this.ranges = this.axes.map((name, at) => {
      const found = given.get(name);
      if (!found) return null;
      const low = this.placeOf(at, found[0], false), high = this.placeOf(at, found[1], true);
      return Number.isFinite(low) && Number.isFinite(high) ? [low, high] : null;
    });
    this.draw({ isAsked: false });
  }

  write() {
    const query = new URLSearchParams(location.search);
    query.delete("range");
    query.delete("page");
    this.ranges.forEach((range, at) => {
      if (range) query.append("range", `${this.axes[at]}:${this.textsOf(at, range).join("..")}`);
    });
    const text = query.toString();
    window.sweepctl.goTo(location.pathname + (text ? `?${text}` : ""), { keepsHistory: true });
  }

  placeOf(at, text, isHigh) {
    const { low, high, is_log: isLog, names } = this.scales[at];
    if (names.length) {
      const number = names.indexOf(text);
      return number < 0 ? NaN : 1000 * (number + (isHigh ? 1 : 0)) / names.length;
    }
    const scaled = (value) => isLog ? Math.log10(value) : value;
    return 1000 * (scaled(Number(text)) - scaled(low)) / (scaled(high) - scaled(low));
  }

  textsOf(at, [from, to]) {
    const { low, high, is_log: isLog, names } = this.scales[at];
    if (names.length) {
      const inside = names.filter((_, number) => {
        const place = 1000 * (number + 0.5) / names.length;
        return place >= from && place <= to;
      });
      return inside.length ? [inside[0], inside[inside.length - 1]] : ["", ""];
    }
    return [from, to].map((place) => {
      const part = place / 1000;
      const value = isLog ? low * (high / low) ** part : low + (high - low) * part;
      return String(Number(value.toPrecision(5)));
    });
  }

  set(at, range) {
    const whole = range && range[0] <= 0 && range[1] >= 1000;
    const isEmpty = range && this.scales[at].names.length && !this.textsOf(at, range)[0];
    this.ranges[at] = whole || isEmpty ? null : range;
    this.draw({ isAsked: true });
  }

  // --- drawing ---

  inside() {
    const asked = this.ranges.map((range, at) => [range, at]).filter(([range]) => range);
    return this.places.map((places) => asked.every(([[low, high], at]) =>
      places[at] >= low && places[at] <= high));
  }

  draw({ isAsked }) {
    this.isAsked = this.isAsked || isAsked;
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.paint(this.isAsked);
      if (!this.isAsked) return;
      this.isAsked = false;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.write(), ASKED_AFTER_MS);
    });
  }

  paint(isByHand) {
    const isChosen = this.ranges.some((range) => range);
    this.box.classList.toggle("chosen", isChosen);
    const width = this.svg.clientWidth, height = this.svg.clientHeight;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (this.canvas.width !== Math.round(width * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    const view = this.svg.viewBox.baseVal;
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const [at, inputs] of this.sliders.entries()) this.showSliders(at, inputs);
    const inside = this.inside();
    this.showRows(isChosen, inside, isByHand);
    if (!isChosen) return;
    pen.setTransform(ratio * width / view.width, 0, 0, ratio * height / view.height, 0, 0);
    pen.strokeStyle = getComputedStyle(this.svg).getPropertyValue("--sf-ink") || "#000";
    pen.lineWidth = 1;
    const count = inside.filter(Boolean).length;
    pen.globalAlpha = Math.max(0.12, Math.min(0.8, 40 / (count || 1)));
    const bottom = this.top + this.height;
    pen.beginPath();
    this.places.forEach((places, run) => {
      if (!inside[run]) return;
      places.forEach((place, at) => {
        const x = this.left + at * this.step, y = bottom - this.height * place / 1000;
        if (at) pen.lineTo(x, y); else pen.moveTo(x, y);
      });
    });
    pen.stroke();
    pen.globalAlpha = 0.35;
    pen.fillStyle = "#E69F00";
    this.ranges.forEach((range, at) => {
      if (!range) return;
      const [low, high] = range.map((place) => bottom - this.height * place / 1000);
      pen.fillRect(this.left + at * this.step - 7, high, 14, low - high);
    });
  }

  showRows(isChosen, inside, isByHand) {
    const chosen = new Set(this.runs.filter((_, at) => inside[at]));
    for (const row of document.querySelectorAll("#table tr[data-key]")) {
      row.classList.toggle("out", isChosen && !chosen.has(row.dataset.key));
    }
    const count = document.getElementById("count");
    if (count && isByHand) count.textContent = isChosen ? `${chosen.size} runs.` : "All runs.";
  }

  // --- a hand on an axis ---

  at(event) {
    const box = this.svg.getBoundingClientRect(), view = this.svg.viewBox.baseVal;
    const x = (event.clientX - box.left) * view.width / box.width;
    const y = (event.clientY - box.top) * view.height / box.height;
    const axis = Math.round((x - this.left) / this.step);
    const isNear = axis >= 0 && axis < this.axes.length
      && Math.abs(this.left + axis * this.step - x) <= NEAR
      && y > this.top - 20 && y < this.top + this.height + 20;
    const place = 1000 * (this.top + this.height - y) / this.height;
    return { axis: isNear ? axis : -1, place: Math.max(0, Math.min(1000, place)) };
  }

  begin(event) {
    const { axis, place } = this.at(event);
    if (axis < 0 || event.button) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.held = { axis, from: place, to: place };
  }

  move(event) {
    if (!this.held) return;
    const { place } = this.at(event);
    this.held.to = place;
    const { axis, from } = this.held;
    if (Math.abs(from - place) > 8) this.set(axis, [Math.min(from, place), Math.max(from, place)]);
  }

  end() {
    if (!this.held) return;
    const { axis, from, to } = this.held;
    this.held = null;
    if (Math.abs(from - to) <= 8) this.set(axis, null); // a click frees the axis
  }

  // --- the same by keyboard ---

  addSliders(part) {
    const box = document.createElement("details");
    box.append(Object.assign(document.createElement("summary"), { textContent: "Choose by ranges" }));
    const all = document.createElement("div");
    all.className = "ranges";
    this.axes.forEach((name, at) => {
      const group = document.createElement("fieldset");
      group.append(Object.assign(document.createElement("legend"), { textContent: name }));
      const inputs = ["lowest", "highest"].map((end, side) => {
        const input = document.createElement("input");
        Object.assign(input, { type: "range", min: 0, max: 1000, step: 5, value: side * 1000 });
        input.setAttribute("aria-label", `${end} ${name}`);
        input.addEventListener("input", () => this.slide(at));
        group.append(input);
        return input;
      });
      const told = document.createElement("output");
      group.append(told);
      this.sliders.push({ inputs, told });
      all.append(group);
    });
    box.append(all);
    (part.querySelector("figure") || part).append(box);
  }

  slide(at) {
    const [low, high] = this.sliders[at].inputs.map((input) => Number(input.value));
    this.set(at, [Math.min(low, high), Math.max(low, high)]);
  }

  showSliders(at, { inputs, told }) {
    const range = this.ranges[at] || [0, 1000], texts = this.textsOf(at, range);
    inputs.forEach((input, side) => {
      if (document.activeElement !== input) input.value = range[side];
      input.setAttribute("aria-valuetext", texts[side]);
    });
    told.textContent = this.ranges[at] ? ` ${texts[0]} to ${texts[1]}` : " all";
  }
}

document.addEventListener("part", (event) => {
  if (event.target.id === "part-parallel-coordinates") brush = new Brush(event.target);
});
document.addEventListener("page", () => { if (brush && brush.canvas && !brush.held) brush.read(); });
window.addEventListener("resize", () => { if (brush && brush.canvas) brush.draw({ isAsked: false }); });
