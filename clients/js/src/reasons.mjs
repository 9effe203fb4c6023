// The reasons of failed connections, in words for the user.

const CERTIFICATE = /^(CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|ERR_TLS_CERT)/; // codes of OpenSSL and Node
const TLS = /^(EPROTO|ERR_SSL_|ERR_TLS_)/;

/**
 * Why a connection could not be opened. Browsers give no reason.
 *
 * @param {string} address
 * @param {{ error?: any, message?: string }} event the socket's "error" event
 * @param {boolean} [byProxy] whether a proxy authenticates the client
 */
export function notOpened(address, { error, message }, byProxy = false) {
  const { protocol, host, port } = new URL(address);
  const where = port ? host : `${host}:${protocol === "wss:" ? 443 : 80}`;
  const code = String(error?.code ?? "");
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return `DNS: the host of ${where} cannot be resolved: ${code}`;
  if (code === "ECONNREFUSED")
    return `${where} refuses connections; is this the port of the gateway, and is it running?`;
  if (CERTIFICATE.test(code)) return `TLS: the certificate of ${where} is not valid here: ${message}; see the option tls`;
  if (TLS.test(code)) return `TLS: ${code}; does ${where} expect ws:// instead of wss://?`;
  if (code === "ECONNRESET" && protocol === "wss:")
    return `TLS: ${where} ended the handshake; does it expect ws:// instead of wss://?`;
  if (code === "ECONNRESET" || code.startsWith("HPE_"))
    return `${where} does not answer with HTTP; does it expect wss:// instead of ws://?`;
  const page = /** @type {any} */ (globalThis).location;
  const session = byProxy ? " Or has the session ended?" : "";
  const check =
    page?.host === host // of the gateway itself, or of a proxy in front of it
      ? "Is the gateway running, and does the proxy before it, if there is one, pass on `Host`?"
      : `Is the gateway running, is its certificate valid, and does its API_CORS_ORIGINS allow ${page?.origin}?`;
  if (page?.origin) return `cannot connect to ${where}; browsers give no reason. ${check}${session}`;
  return `cannot connect to ${where}: ${message || code || "no reason"}`;
}

/**
 * The reason for an HTTP answer in place of an upgrade.
 *
 * @param {number} status
 * @param {string} text the answer, if it is plain text
 * @param {string | undefined} origin
 */
export function http(status, text, origin) {
  const line = text.trim().split("\n")[0].slice(0, 200);
  let reason = line ? `HTTP ${status}: ${line}` : `HTTP ${status}`;
  if (status === 403 && origin) reason += ` (Origin: ${origin})`;
  if (status >= 300 && status < 400) reason += ": a redirect, which the client does not follow; check the address";
  if (status === 404) reason += ": no gateway at this path; check the address";
  return reason;
}
