// Open two WebSockets to the page's own host; the browser sends the session cookie. The application's WebSocket identifies
// the member by the cookie. Peatio's protocol needs a token. A real page would reconnect with the client in
// clients/js/peatio-client.mjs; this page has to be reloaded.

const at = (path) => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;

function show(list, text) {
  const item = document.createElement("li");
  item.textContent = text;
  document.getElementById(list).prepend(item);
}

const say = (text) => (document.getElementById("state").textContent = text);

const messages = new WebSocket(at("/messages"));
messages.onclose = ({ code, reason }) => say(`closed: ${code} ${reason}`);
messages.onmessage = ({ data }) => {
  const { ready, message } = JSON.parse(data);
  if (ready) say("connected");
  else show("messages", `${message.from}: ${message.text}`);
};

const form = document.getElementById("notify");
form.onsubmit = async (event) => {
  event.preventDefault();
  await fetch(form.action, { method: "POST", body: new FormData(form) });
  form.reset();
};

const peatio = new WebSocket(at("/ranger/"));
peatio.onopen = async () => {
  const headers = { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value };
  const { token } = await (await fetch("/token", { method: "POST", headers })).json();
  peatio.send(JSON.stringify({ jwt: `Bearer ${token}` }));
  peatio.send(JSON.stringify({ event: "subscribe", streams: ["order"] }));
};
peatio.onmessage = ({ data }) => {
  const { order } = JSON.parse(data);
  if (order) show("orders", `${order.side} ${order.origin_volume} ${order.market} at ${order.price}: ${order.state}`);
};
