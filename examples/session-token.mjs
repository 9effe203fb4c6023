// Create session tokens like Barong's, for testing. A real client gets its token from Barong over HTTP.
//
// Environment: JWT_PRIVATE_KEY (PEM, or its base64 in either alphabet). JWT_ALGORITHM (RS256, ES256 or EdDSA), JWT_ISSUER
// and JWT_AUDIENCE have to match the gateway's. MEMBER_ID is the member's number in Peatio, for an old Peatio that names
// members by number only. TOKEN_SECONDS is the lifetime of a token in seconds (3600).

import { randomUUID, sign } from "node:crypto";
import { env } from "node:process";

/**
 * Return a function that creates a new token at each call.
 *
 * @param {string} uid
 * @returns {() => string}
 */
export function tokenMaker(uid) {
  const text = env.JWT_PRIVATE_KEY;
  if (!text) throw new Error("JWT_PRIVATE_KEY is not set");
  const key = text.includes("-----BEGIN") ? text : Buffer.from(text, "base64").toString(); // either alphabet
  const algorithm = env.JWT_ALGORITHM ?? "RS256";
  const signed = {
    RS256: (data) => sign("sha256", data, key),
    ES256: (data) => sign("sha256", data, { key, dsaEncoding: "ieee-p1363" }), // RFC 7518 section 3.4
    EdDSA: (data) => sign(null, data, key),
  }[algorithm];
  if (!signed) throw new Error(`JWT_ALGORITHM=${algorithm}: this sample signs with RS256, ES256 and EdDSA`);
  const packed = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

  return () => {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iat: now,
      exp: now + Number(env.TOKEN_SECONDS ?? 3600),
      jti: randomUUID(),
      sub: "session",
      iss: env.JWT_ISSUER ?? "barong",
      aud: (env.JWT_AUDIENCE ?? "peatio,barong").split(","),
      uid,
      role: "member",
      state: "active",
      ...(env.MEMBER_ID && { member_id: Number(env.MEMBER_ID) }),
    };
    const data = `${packed({ alg: algorithm, typ: "JWT" })}.${packed(claims)}`;
    return `${data}.${signed(Buffer.from(data)).toString("base64url")}`;
  };
}
