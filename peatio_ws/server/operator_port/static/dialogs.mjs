/** Dialogs that ask before something is done. They stay open, with the reason, if it fails. Leaving one does not stop what it began. */

import { $, element, foreign } from "./dom.mjs";

/**
 * @typedef {{ name: string, label: string, kind?: "text" | "area" | "check", required?: boolean, most?: number, value?: string,
 *   hint?: string, mustBe?: string }} Field
 * @typedef {{ title: string, of?: string, lines: string[], final?: string, fields?: Field[], action: string, isHarmless?: boolean,
 *   run: (given: Record<string, string>) => Promise<unknown> }} Question
 */

/**
 * Ask, and run what was asked for.
 *
 * @param {Question} question `of` is a name that a member chose; `final` says what cannot be undone
 */
export function confirmed({ title, of, lines, final, fields = [], action, isHarmless = false, run }) {
  const dialog = $("dialog");
  const form = element("form");
  form.setAttribute("method", "dialog");
  const heading = element("h2", title);
  heading.id = "dialog-title";
  form.append(heading);
  if (of !== undefined) form.append(foreign("p", of, "of"));
  for (const line of lines) form.append(element("p", line));
  if (final) form.append(element("p", final, "final"));
  const inputs = fields.map((field) => addField(form, field));
  const fault = element("p", "", "fault");
  fault.setAttribute("role", "alert");
  const buttons = element("div", "", "buttons");
  const cancel = Object.assign(element("button", "Cancel"), { type: "button" });
  const accept = /** @type {HTMLButtonElement} */ (Object.assign(element("button", action, isHarmless ? "main" : "main danger"), { type: "submit" }));
  buttons.append(cancel, accept);
  form.append(fault, buttons);
  cancel.addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fault.textContent = "";
    accept.disabled = true;
    try {
      await run(Object.fromEntries(inputs.map((input) => [input.name, input.type === "checkbox" ? (input.checked ? "yes" : "") : input.value.trim()])));
      if (form.isConnected) dialog.close(); // not another one
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (form.isConnected && dialog.open) fault.textContent = why;
      else tell(`${title}: ${why}`, "bad"); // the operator has left the dialog
    } finally {
      accept.disabled = false;
    }
  });
  dialog.replaceChildren(form);
  dialog.showModal();
  (inputs[0] ?? cancel).focus(); // not the button that does it
}

/** @param {Element} form @param {Field} field @returns {HTMLInputElement} */
function addField(form, { name, label, kind = "text", required = false, most = 256, value = "", hint = "", mustBe }) {
  const isCheck = kind === "check";
  const input = /** @type {HTMLInputElement} */ (element(kind === "area" ? "textarea" : "input"));
  Object.assign(input, { id: `field-${name}`, name, required, value, autocomplete: "off", spellcheck: kind === "area" });
  if (isCheck) Object.assign(input, { type: "checkbox", checked: value === "yes" });
  else input.maxLength = most;
  if (mustBe !== undefined) {
    const check = () => input.setCustomValidity(input.value.trim() === mustBe ? "" : `Type ${mustBe}`);
    input.addEventListener("input", check);
    check();
  }
  const caption = element("label", label);
  caption.setAttribute("for", input.id);
  const row = element("div", "", isCheck ? "field check" : "field");
  row.append(...(isCheck ? [input, caption] : [caption, input]));
  if (hint) {
    const small = element("small", hint);
    small.id = `hint-${name}`;
    input.setAttribute("aria-describedby", small.id);
    row.append(small);
  }
  form.append(row);
  return input;
}

/** Say what was done, or what failed, until it is dismissed. @param {string} text @param {"well" | "bad"} [kind] */
export function tell(text, kind = "well") {
  $("banner").hidden = false;
  $("banner").className = kind;
  $("news").textContent = text;
}

/** The workers that a command reached, in words. @param {{ workers: number, gateways: number, silent: number }} received */
export function reached({ workers, gateways, silent }) {
  const missing = silent ? ` ${silent} did not answer: stuck, or exiting.` : "";
  return `Received by ${workers} ${workers === 1 ? "worker" : "workers"} of ${gateways} ${gateways === 1 ? "gateway" : "gateways"}.${missing}`;
}
