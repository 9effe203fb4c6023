/** Programs that receive what the console shows: for Python, JavaScript and wscat. Knows no page. */

/**
 * @typedef {object} Shown
 * @property {string} url of the gateway, without streams
 * @property {string} market
 * @property {string[]} streams without that of the book; private ones only with a token
 * @property {import("./peatio-client.mjs").View} view of the book
 * @property {string} bookStream
 * @property {boolean} hasToken
 * @property {{ event: string, [field: string]: unknown } | null} request the last message to a handler
 */

const WIDTH = 96;

/** @param {unknown} value @returns {string} */
const quoted = (value) => JSON.stringify(value);

/** @param {string[]} streams @param {string} indent */
function list(streams, indent) {
  const line = streams.map(quoted).join(", ");
  if (line.length + indent.length < WIDTH) return `[${line}]`;
  return `[\n${streams.map((name) => `${indent}  ${quoted(name)},\n`).join("")}${indent}]`;
}

/** @param {unknown} value @returns {string} a literal of Python */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object") return quoted(value);
  return `{${Object.entries(value).map(([name, field]) => `${quoted(name)}: ${literal(field)}`).join(", ")}}`;
}

/** @param {Shown} shown */
export function python({ url, market, streams, view, hasToken, request }) {
  const { event, ...fields } = request ?? { event: "" };
  const options = Object.entries(view).flatMap(([name, value]) => (value ? [`, ${name}=${value}`] : []));
  return [
    ...(hasToken ? ["import os", ""] : []),
    "from peatio_client import PeatioClient",
    "",
    "client = PeatioClient(",
    `    ${quoted(url)},`,
    ...(hasToken ? ['    token=os.environ["TOKEN"],'] : []),
    `    streams=${list(streams, "    ")},`,
    ")",
    `book = client.book(${quoted(market)}${options.join("")})  # book.bids, book.asks`,
    ...(request
      ? [`client.once("connected", lambda _: print(client.request(${quoted(event)}, ${literal(fields)})))`]
      : []),
    "for event in client:",
    "    print(event.stream, event.data, flush=True)",
    "",
  ].join("\n");
}

/** @param {Shown} shown */
export function javascript({ url, market, streams, view, hasToken, request }) {
  const { event, ...fields } = request ?? { event: "" };
  const options = Object.entries(view).flatMap(([name, value]) => (value ? [`${name}: ${value}`] : []));
  const second = options.length ? `, { ${options.join(", ")} }` : "";
  return [
    'import { PeatioClient } from "peatio-client";',
    "",
    `const client = new PeatioClient(${quoted(url)}, {`,
    ...(hasToken ? ["  token: process.env.TOKEN,"] : []),
    `  streams: ${list(streams, "  ")},`,
    "});",
    `const book = client.book(${quoted(market)}${second}); // book.bids, book.asks`,
    ...(request
      ? [`client.once("connected", async () => console.log(await client.request(${quoted(event)}, ${quoted(fields)})));`]
      : []),
    "for await (const { stream, data } of client) console.log(stream, data);",
    "",
  ].join("\n");
}

/** @param {string} text */
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** @param {Shown} shown */
export function wscat({ url, streams, bookStream, hasToken, request }) {
  const query = [...streams, bookStream].map((name) => `stream=${name}`).join("&");
  const address = `${url}${hasToken ? "private" : "public"}?${query}`;
  return [
    "npx --yes wscat",
    ...(hasToken ? ['-H "Authorization: Bearer $TOKEN"'] : []),
    // With -x alone, wscat ends after two seconds.
    ...(request ? [`-x ${shell(quoted(request))} -w -1`] : []),
    `-c ${shell(address)}`,
  ].join(" \\\n  ") + "\n";
}
