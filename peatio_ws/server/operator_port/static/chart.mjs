/** A small chart of one or two figures in the last minutes. A pointer over it reads a moment. */

import { element, set } from "./dom.mjs";
import { clock, lasted } from "./format.mjs";
import { KEPT } from "./fleet.mjs";

const SVG = "http://www.w3.org/2000/svg";
const LEAST_SPAN = 60_000; // ms
const FOOT = 18; // px, for the times
const HEAD = 6; // px

/** @typedef {import("./fleet.mjs").Sample} Sample */
/** @typedef {{ name: string, of: (sample: Sample) => number }} Series */

/** A round number that is not below this one: 1, 2 or 5 and zeros. @param {number} most */
export function roundUp(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const [digit] = [1, 2, 5, 10].filter((one) => one * power >= most * 0.999);
  return digit * power;
}

export class Chart {
  /** @type {Sample[]} */
  #samples = [];
  /** @type {number | null} */
  #pointer = null;
  #svg = /** @type {SVGSVGElement} */ (document.createElementNS(SVG, "svg"));
  /** @type {HTMLElement[]} */
  #values = [];

  /**
   * @param {Element} card with a heading; gets the figures and the chart
   * @param {Series[]} series one or two
   * @param {(value: number) => string} shown with its unit
   * @param {number} least the top of the scale is not below it
   */
  constructor(card, series, shown, least) {
    this.title = card.querySelector("h2")?.textContent ?? "";
    this.series = series;
    this.shown = shown;
    this.least = least;
    const legend = element("p", "", "legend");
    for (const [number, { name }] of series.entries()) {
      const item = element("span", "", `series-${number}`);
      const value = element("b", "–");
      this.#values.push(value);
      item.append(value, ` ${name}`);
      legend.append(item);
    }
    this.#svg.setAttribute("role", "img");
    this.#svg.setAttribute("class", "chart");
    card.append(legend, this.#svg);
    new ResizeObserver(() => this.#draw()).observe(this.#svg);
    this.#svg.addEventListener("pointermove", (event) => {
      this.#pointer = event.clientX - this.#svg.getBoundingClientRect().left;
      this.#draw();
    });
    this.#svg.addEventListener("pointerleave", () => {
      this.#pointer = null;
      this.#draw();
    });
  }

  /** @param {Sample[]} samples oldest first */
  show(samples) {
    this.#samples = samples;
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#svg.getBoundingClientRect();
    const last = this.#samples.at(-1);
    if (!last) return;
    this.#describe(last);
    this.#svg.replaceChildren();
    if (width < 60 || height < 40) return;
    const all = this.#samples.flatMap((sample) => this.series.map(({ of }) => of(sample)));
    const top = roundUp(Math.max(...all, this.least));
    const floor = height - FOOT;
    const span = Math.min(KEPT, Math.max(LEAST_SPAN, last.at - this.#samples[0].at));
    const x = (/** @type {number} */ at) => width - ((last.at - at) / span) * width;
    const y = (/** @type {number} */ value) => floor - (value / top) * (floor - HEAD);
    for (const part of [0.5, 1]) this.#add("line", { class: "grid", x1: 0, x2: width, y1: y(part * top), y2: y(part * top) });
    this.#add("line", { class: "base", x1: 0, x2: width, y1: floor, y2: floor });
    for (const [part, anchor] of /** @type {[number, string][]} */ ([[1, "start"], [0.5, "middle"], [0, "end"]]))
      this.#add("text", { x: width * (1 - part), y: height - 4, "text-anchor": anchor }, part ? `${lasted(Math.round((part * span) / 1000))} ago` : "now");
    for (const [number, { of }] of [...this.series.entries()].reverse()) {
      const points = this.#samples.map((sample) => `${x(sample.at).toFixed(1)} ${y(of(sample)).toFixed(1)}`);
      if (!number) this.#add("path", { class: "area", d: `M${x(this.#samples[0].at)} ${floor}L${points.join("L")}V${floor}Z` });
      this.#add("path", { class: `line series-${number}`, d: `M${points.join("L")}` });
      this.#add("circle", { class: `end series-${number}`, cx: x(last.at) - 2, cy: y(of(last)), r: 2.5 });
    }
    for (const part of [0.5, 1]) this.#add("text", { class: "scale", x: 0, y: y(part * top) + (part === 1 ? 12 : -4) }, this.shown(part * top));
    if (this.#pointer !== null) this.#read(this.#pointer, x, y, width, floor);
  }

  /** @param {Sample} last */
  #describe(last) {
    const texts = this.series.map(({ name, of }, number) => {
      set(this.#values[number], this.shown(of(last)));
      const values = this.#samples.map(of);
      return `${name}: now ${this.shown(of(last))}, lowest ${this.shown(Math.min(...values))}, highest ${this.shown(Math.max(...values))}`;
    });
    this.#svg.setAttribute("aria-label", `${this.title}. ${texts.join(". ")}.`);
  }

  /** @param {number} at @param {(at: number) => number} x @param {(value: number) => number} y @param {number} width @param {number} floor */
  #read(at, x, y, width, floor) {
    const near = this.#samples.reduce((one, other) => (Math.abs(x(other.at) - at) < Math.abs(x(one.at) - at) ? other : one));
    this.#add("line", { class: "pointer", x1: x(near.at), x2: x(near.at), y1: HEAD, y2: floor });
    for (const { of } of this.series) this.#add("circle", { class: "pointer", cx: x(near.at), cy: y(of(near)), r: 3 });
    const isRight = x(near.at) > width / 2;
    const place = { x: x(near.at) + (isRight ? -6 : 6), "text-anchor": isRight ? "end" : "start" };
    const texts = [clock(near.at), ...this.series.map(({ name, of }) => `${this.shown(of(near))}${this.series.length > 1 ? ` ${name}` : ""}`)];
    for (const [number, text] of texts.entries()) this.#add("text", { class: "reading", ...place, y: HEAD + 12 + 14 * number }, text);
  }

  /** @param {string} name @param {Record<string, string | number>} attributes @param {string} [text] */
  #add(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    if (text !== undefined) made.textContent = text;
    this.#svg.append(made);
  }
}
