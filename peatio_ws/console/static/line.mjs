/**
 * A line that can be cut and monitored, between the client and the browser's WebSocket.
 *
 * A cut line behaves like a lost network: open connections break without a close frame, and new ones are not
 * established until the line is mended.
 */
export class Line {
  /** Since when the line is cut; null while it is not. @type {number | null} */
  cutSince = null;
  /** @type {Set<Connection>} */
  connections = new Set();

  /** @param {(direction: "in" | "out", text: string) => void} listen called before the client receives the text */
  constructor(listen) {
    this.listen = listen;
    const line = this;
    /** For the client, instead of the global class. */
    this.WebSocket = class extends Connection {
      /** @param {string} url */
      constructor(url) {
        super(line, url);
      }
    };
  }

  cut() {
    this.cutSince = performance.now();
    for (const connection of this.connections) connection.break();
  }

  mend() {
    this.cutSince = null;
    for (const connection of this.connections) connection.open();
  }

  /** Send a text in addition to those of the client. @param {string} text */
  send(text) {
    for (const connection of this.connections) connection.send(text);
  }
}

class Connection extends EventTarget {
  #line;
  #url;
  /** @type {WebSocket | null} */
  #socket = null;

  /**
   * @param {Line} line
   * @param {string} url
   */
  constructor(line, url) {
    super();
    this.#line = line;
    this.#url = url;
    line.connections.add(this);
    if (line.cutSince === null) this.open();
  }

  get readyState() {
    return this.#socket?.readyState ?? WebSocket.CONNECTING;
  }

  open() {
    const socket = (this.#socket ??= new WebSocket(this.#url));
    /** @param {string} name @param {(event: any) => Event} copy */
    const pass = (name, copy) => {
      socket.addEventListener(name, (event) => {
        if (socket === this.#socket) this.dispatchEvent(copy(event));
      });
    };
    pass("open", () => new Event("open"));
    pass("error", () => new Event("error"));
    pass("message", ({ data }) => {
      this.#line.listen("in", String(data));
      return new MessageEvent("message", { data });
    });
    pass("close", ({ code, reason }) => {
      this.#line.connections.delete(this);
      return new CloseEvent("close", { code, reason });
    });
  }

  /** @param {string} text */
  send(text) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#line.listen("out", text);
    this.#socket.send(text);
  }

  break() {
    const socket = this.#socket;
    if (socket === null) return; // it was not established
    this.#line.connections.delete(this);
    this.#socket = null; // ignores all its later events
    socket.close();
    this.dispatchEvent(new CloseEvent("close", { code: 1006, reason: "the line was cut" }));
  }

  /** @param {number} [code] */
  close(code) {
    this.#line.connections.delete(this);
    this.#socket?.close(code);
  }
}
