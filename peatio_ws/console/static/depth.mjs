/** A picture of the offers in a market. */

/** @typedef {{ price: string, volume: string, number: number, sum: number }} Row with the total volume up to it */

const SVG = "http://www.w3.org/2000/svg";

/** The depth of the book as a picture that follows the size of its element. A pointer over it shows the values. */
export class Depth {
  #svg;
  /** @type {{ asks: Row[], bids: Row[], own: number[] }} */
  #shown = { asks: [], bids: [], own: [] };
  /** @type {number | null} */
  #pointer = null;

  /** @param {SVGSVGElement} svg */
  constructor(svg) {
    this.#svg = svg;
    new ResizeObserver(() => this.#draw()).observe(svg);
    svg.addEventListener("pointermove", (event) => {
      this.#pointer = event.clientX - svg.getBoundingClientRect().left;
      this.#draw();
    });
    svg.addEventListener("pointerleave", () => {
      this.#pointer = null;
      this.#draw();
    });
  }

  /** @param {Row[]} asks @param {Row[]} bids @param {number[]} own prices of the member's orders */
  show(asks, bids, own) {
    this.#shown = { asks, bids, own };
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#svg.getBoundingClientRect();
    const { asks, bids, own } = this.#shown;
    this.#svg.replaceChildren();
    if (!asks.length || !bids.length || width < 80) return;
    const middle = (asks[0].number + bids[0].number) / 2;
    // Distant offers are irrelevant here and would flatten the rest. The best ones always count, in a crossed book, too.
    const far = Math.max(middle / 50, 3 * Math.abs(asks[0].number - bids[0].number));
    const near = (/** @type {Row[]} */ rows) => rows.filter(({ number }) => Math.abs(number - middle) <= far);
    const [up, down] = [near(asks), near(bids)];
    const reach = 1.02 * Math.max(...[...up, ...down].map(({ number }) => Math.abs(number - middle)), middle / 1e5);
    const most = 1.12 * Math.max(up.at(-1)?.sum ?? 0, down.at(-1)?.sum ?? 0, 1e-9);
    const floor = height - 22;
    const x = (/** @type {number} */ price) => ((price - middle) / reach / 2 + 0.5) * width;
    const y = (/** @type {number} */ sum) => floor - (sum / most) * (floor - 6);

    this.#grid(width, floor, most, y, middle, reach, x);
    for (const [rows, kind, edge] of /** @type {[Row[], string, number][]} */ ([[down, "bid", 0], [up, "ask", width]])) {
      const line = rows.map(({ number, sum }, place) => `V${y(place ? rows[place - 1].sum : 0)}H${x(number)}V${y(sum)}`);
      const path = `M${x(rows[0].number)} ${floor}${line.join("")}H${edge}`;
      this.#add("path", { class: `area ${kind}`, d: `${path}V${floor}Z` });
      this.#add("path", { class: `edge ${kind}`, d: path });
    }
    for (const price of own) {
      if (Math.abs(price - middle) > reach) continue;
      this.#add("line", { class: "own", x1: x(price), x2: x(price), y1: 14, y2: floor });
      this.#add("circle", { class: "own", cx: x(price), cy: 12, r: 4 });
    }
    if (this.#pointer !== null) this.#read(this.#pointer, width, floor, middle, reach, y);
  }

  /** @param {any[]} given */
  #grid(...given) {
    const [width, floor, most, y, middle, reach, x] = given;
    const step = 10 ** Math.floor(Math.log10(most / 2)) * (most / 10 ** Math.floor(Math.log10(most / 2)) > 5 ? 2 : 1);
    for (let sum = step; sum < most; sum += step) {
      if (floor - y(sum) < 12 || y(sum) < 12) continue;
      this.#add("line", { class: "grid", x1: 0, x2: width, y1: y(sum), y2: y(sum) });
      this.#add("text", { x: width - 4, y: y(sum) - 4, "text-anchor": "end" }, String(Number(sum.toPrecision(3))));
    }
    const marks = width > 520 ? [-0.8, -0.4, 0, 0.4, 0.8] : [-0.7, 0, 0.7];
    for (const mark of marks) {
      const price = middle + mark * reach;
      this.#add("text", { x: x(price), y: floor + 16, "text-anchor": "middle" }, price.toFixed(middle > 1000 ? 1 : 4));
    }
    this.#add("line", { class: "base", x1: 0, x2: width, y1: floor, y2: floor });
    this.#add("line", { class: "grid middle", x1: width / 2, x2: width / 2, y1: 6, y2: floor });
  }

  /** @param {any[]} given */
  #read(...given) {
    const [at, width, floor, middle, reach, y] = given;
    const price = middle + (at / width - 0.5) * 2 * reach;
    const { asks, bids } = this.#shown;
    const rows = price > middle ? asks.filter(({ number }) => number <= price) : bids.filter(({ number }) => number >= price);
    const sum = rows.at(-1)?.sum ?? 0;
    this.#add("line", { class: "pointer", x1: at, x2: at, y1: 6, y2: floor });
    this.#add("circle", { class: "pointer", cx: at, cy: y(sum), r: 3.5 });
    const text = `${sum.toFixed(3)} ${price > middle ? "offered up to" : "wanted down to"} ${price.toFixed(1)}`;
    const anchor = at > width / 2 ? "end" : "start";
    this.#add("text", { class: "reading", x: at + (anchor === "end" ? -8 : 8), y: 18, "text-anchor": anchor }, text);
  }

  /** @param {string} name @param {Record<string, string | number>} attributes @param {string} [text] */
  #add(name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    if (text !== undefined) element.textContent = text;
    this.#svg.append(element);
  }
}
