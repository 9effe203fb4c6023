/** The list of frames: filtered, opened and copied. */

const SHOWN = 120;
const KEPT = 500; // of each kind, for another filter

/** @typedef {{ number: number, at: number, direction: "in" | "out", text: string, isPublic: boolean, isMissed: boolean }} Frame */

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);

/** Shows frames in `#frames`, as its controls say. */
export class Frames {
  #count = 0;
  /** Market data and other frames, so that the many do not displace the few. @type {Record<"public" | "other", Frame[]>} */
  #kept = { public: [], other: [] };

  constructor() {
    for (const id of ["all", "hold", "filter"]) $(id).addEventListener("input", () => this.#showAgain());
  }

  /** @param {Omit<Frame, "number" | "at">} frame */
  add(frame) {
    // Never show a token, not even in a picture of the screen.
    const text = frame.text.replace(/(Bearer )[^"]+/, "$1…");
    const whole = { ...frame, text, number: (this.#count += 1), at: Date.now() };
    const kept = this.#kept[frame.isPublic ? "public" : "other"];
    kept.push(whole);
    if (kept.length > KEPT) kept.shift();
    if ($("hold").checked || !this.#isWanted(whole)) return;
    $("frames").prepend(this.#row(whole));
    while ($("frames").children.length > SHOWN) $("frames").lastElementChild.remove();
  }

  /** @param {Frame} frame */
  #isWanted({ isPublic, text }) {
    const words = $("filter").value.toLowerCase().split(/\s+/);
    return (!isPublic || $("all").checked) && words.every((/** @type {string} */ word) => text.toLowerCase().includes(word));
  }

  #showAgain() {
    if ($("hold").checked && document.activeElement === $("hold")) return; // it was just checked
    const wanted = [...this.#kept.public, ...this.#kept.other].filter((frame) => this.#isWanted(frame));
    wanted.sort((one, other) => other.number - one.number);
    $("frames").replaceChildren(...wanted.slice(0, SHOWN).map(this.#row));
  }

  /** @param {Frame} frame */
  #row = (frame) => row(frame, () => this.#holdWhileOpen());

  /** Let an open frame stay where it is. */
  #holdWhileOpen() {
    const isOpen = $("frames").querySelector("details[open]") !== null;
    if ($("hold").checked === isOpen) return;
    $("hold").checked = isOpen;
    if (!isOpen) this.#showAgain();
  }
}

/** @param {Frame} frame @param {() => void} onToggle @returns {HTMLLIElement} a row that opens */
function row({ at, direction, text, isMissed }, onToggle) {
  const item = document.createElement("li");
  item.className = isMissed ? `${direction} missed` : direction;
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const time = Object.assign(document.createElement("time"), { textContent: new Date(at).toLocaleTimeString([], { hour12: false }) });
  const arrow = Object.assign(document.createElement("b"), { textContent: direction === "in" ? "←" : "→" });
  const line = Object.assign(document.createElement("code"), { textContent: text.slice(0, 600) });
  summary.append(time, arrow, line);
  details.append(summary);
  details.addEventListener("toggle", () => {
    onToggle();
    if (details.children.length > 1) return;
    details.append(Object.assign(document.createElement("pre"), { textContent: indented(text) }), copyButton(() => text));
  });
  item.append(details);
  return item;
}

/**
 * JSON with line breaks, and with every digit as it was sent: numbers are not read.
 *
 * @param {string} text
 */
export function indented(text) {
  const flat = /\{\s*\}|\[(?:[^[\]{}"]|"(?:[^"\\]|\\.)*")*\]|"(?:[^"\\]|\\.)*"|[{}[\],]|:|[^{}[\],:"\s]+/g;
  let [made, depth] = ["", 0];
  const turn = () => `\n${"  ".repeat(depth)}`;
  for (const [token] of text.matchAll(flat)) {
    if (token === "{" || token === "[") [depth, made] = [depth + 1, `${made}${token}`];
    if (token === "}" || token === "]") depth -= 1;
    if (/^\{\s*\}$/.test(token)) made += "{}";
    else if (token === "{" || token === "[") made += turn();
    else if (token === "}" || token === "]") made += `${turn()}${token}`;
    else made += token === "," ? `,${turn()}` : token === ":" ? ": " : token;
  }
  return made;
}

/** @param {() => string} text @returns {HTMLButtonElement} a button that copies a text and says so */
export function copyButton(text) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: "Copy" });
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text())) ? "Copied" : "Select the text and copy it";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return button;
}

/** @param {string} text @returns {Promise<boolean>} */
async function copied(text) {
  // Browsers have a clipboard only for pages over TLS, or of this machine.
  return (await navigator.clipboard?.writeText(text).then(() => true, () => false)) ?? false;
}
