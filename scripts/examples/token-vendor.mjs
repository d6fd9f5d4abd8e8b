/**
 * OAuth 2.0 access tokens from a token vendor, without a client secret.
 *
 *     const vendor = new TokenVendor(process.env.TOKEN_URL);
 *     (await vendor.token("billing", { scope: "read" })).accessToken;
 *     const call = vendor.fetch("billing"); // as fetch, with the token
 *
 * Needs Node 20, @smithy/signature-v4, @aws-crypto/sha256-js and @aws-sdk/credential-provider-node.
 */
import { createHash } from "node:crypto";
import { inspect } from "node:util";
import { Sha256 } from "@aws-crypto/sha256-js";
import { defaultProvider } from "@aws-sdk/credential-provider-node";
import { SignatureV4 } from "@smithy/signature-v4";

const sticky = 60; // seconds that another URL is used after one failed
const interval = 30; // seconds between two reports of one refused token: the vendor replaces it as often
const maxKept = 1000; // tokens in memory
// Of the vendor's errors; another one is a proxy's.
const codes = new Set([
  "invalid_request", "unsupported_grant_type", "invalid_scope", "invalid_target", "access_denied", "server_error", "temporarily_unavailable",
]);
const hostOfAWS = /\.(execute-api|lambda-url)\.([a-z0-9-]+)\./;

/**
 * @typedef {{scope?: string, resource?: string | string[], audience?: string, min_ttl?: number, [name: string]: unknown}} Ask
 * What the token is for: the vendor's parameters.
 * @typedef {{token?: Token, error?: VendorError, failures: number, retryAt: number, call?: Promise<Token>, pauses: Map<number, Pause>}} Kept
 * @typedef {{until: number, error: VendorError}} Pause how long a URL asked to be left alone
 */

/** A request that brought no token. It holds no token. */
export class VendorError extends Error {
  /** @param {string} description @param {{status?: number, code?: string, retryAfter?: number, requestId?: string}} [about] */
  constructor(description, { status = 0, code = "", retryAfter = 0, requestId = "" } = {}) {
    super(`token vendor: ${code || "failed"}: ${description} (status ${status}, request ${requestId || "unknown"})`);
    this.name = "VendorError";
    this.description = description;
    this.status = status; // 0: there was no answer
    this.code = code; // empty: the answer is not the vendor's own
    this.retryAfter = retryAfter; // seconds
    this.requestId = requestId;
  }

  /** Whether another URL may do better. */
  get outage() {
    return (this.status === 0 && this.code !== "no_credentials") || this.status >= 500;
  }
}

/** An access token with its times, in seconds of the clock. Printed, it does not show itself. */
export class Token {
  #accessToken;

  /**
   * @param {{access_token: string, token_type?: string, expires_in?: number, refresh_after?: number}} answer
   * @param {number} asked @param {number} minTTL
   */
  constructor(answer, asked, minTTL) {
    const life = answer.expires_in ?? 0;
    this.#accessToken = answer.access_token;
    this.tokenType = answer.token_type ?? "Bearer";
    this.received = asked;
    this.minTTL = minTTL; // of the request
    this.expiresAt = asked + Math.max(life - 1, life / 2); // expires_in is in whole seconds
    this.refreshAt = Math.min(this.expiresAt, asked + (answer.refresh_after ?? life));
    this.reported = -Infinity; // when it was reported as refused without another one
    this.fingerprint = createHash("sha256").update(answer.access_token).digest("hex");
  }

  get accessToken() {
    return this.#accessToken;
  }

  /** The value of the header Authorization. */
  get header() {
    return `${this.tokenType} ${this.#accessToken}`;
  }

  toJSON() {
    return "[redacted]";
  }

  [inspect.custom]() {
    return "Token([redacted])";
  }
}

/** Gets tokens, and keeps them until the vendor's refresh_after. */
export class TokenVendor {
  /** @type {Map<string, Kept>} */
  #kept = new Map();
  #current = 0;
  #until = 0;

  /**
   * @param {string | string[]} urls the stack's output TokenUrl, or several; the next one is used for a minute after one failed
   * @param {object} [options]
   * @param {string} [options.region] for URLs whose host does not name it; default: AWS_REGION, then AWS_DEFAULT_REGION
   * @param {import("@smithy/types").AwsCredentialIdentityProvider} [options.credentials] default: as the AWS CLI
   * @param {() => number} [options.now] the clock, in seconds
   */
  constructor(urls, { region, credentials = defaultProvider(), now = () => Date.now() / 1000 } = {}) {
    this.urls = [urls].flat().map((url) => url.replace(/\/+$/, ""));
    this.region = region || process.env.AWS_REGION || process.env.AWS_DEFAULT_REGION || "";
    if (!this.region && !this.urls.every((url) => hostOfAWS.test(new URL(url).hostname))) throw new Error("region is missing, and a URL does not name it");
    this.credentials = credentials;
    this.now = now;
  }

  /**
   * Returns a token. Throws a VendorError.
   * @param {string} client @param {Ask} [ask]
   */
  token(client, ask = {}) {
    return this.#get(client, ask);
  }

  /**
   * Returns another token than one that an API refused; the same one if the vendor has no other yet.
   * @param {string} client @param {Token} refused @param {Ask} [ask]
   */
  replace(client, refused, ask = {}) {
    return this.#get(client, ask, refused.fingerprint);
  }

  /**
   * Returns a function like fetch that sends the client's token. After a 401 the token is reported, and the request is
   * sent once more if its body is not a stream.
   * @param {string} client @param {Ask} [ask] @returns {typeof fetch}
   */
  fetch(client, ask = {}) {
    return async (input, init) => {
      const request = new Request(input, init);
      const streams = init?.body instanceof ReadableStream || (init?.body && Symbol.asyncIterator in Object(init.body));
      const again = streams ? undefined : request.clone();
      const token = await unlessAborted(request.signal, this.token(client, ask));
      request.headers.set("authorization", token.header);
      const response = await fetch(request);
      // After a redirect, the first request must not be sent once more; and fetch sends no token to another server.
      if (response.status !== 401 || response.redirected) return response;
      const fresh = await unlessAborted(request.signal, this.replace(client, token, ask).catch(() => token)); // the API's answer says more
      if (!again || fresh.fingerprint === token.fingerprint) return response;
      await response.body?.cancel();
      again.headers.set("authorization", fresh.header);
      return fetch(again);
    };
  }

  /** @param {string} client @param {Ask} ask @param {string} [rejected] @returns {Promise<Token>} */
  async #get(client, { min_ttl: minTTL = 0, ...ask }, rejected) {
    const kept = this.#find(client + JSON.stringify(Object.entries(ask).sort()));
    const now = this.now();
    const { token, call } = kept;
    // While the token is renewed, the old one serves.
    if (token && now < token.expiresAt && suits(token, now, minTTL, rejected) && (now < token.refreshAt || call)) return token;
    if (!call && now >= kept.retryAt) {
      kept.call = this.#renew(kept, client, ask, minTTL, rejected).finally(() => (kept.call = undefined));
    }
    const renewed = await kept.call?.catch((error) => void note(kept, error, this.now()));
    // One call serves all that wait, except those that need more than it asked for.
    if (renewed && call && !suits(renewed, this.now(), minTTL, rejected)) return this.#get(client, { min_ttl: minTTL, ...ask }, rejected);
    if (renewed) return renewed;
    if (kept.token && now < kept.token.expiresAt && !rejected) return kept.token;
    const { description, status, code, requestId } = /** @type {VendorError} */ (kept.error);
    throw new VendorError(description, { status, code, requestId, retryAfter: Math.max(1, kept.retryAt - this.now()) });
  }

  /** @param {string} key @returns {Kept} */
  #find(key) {
    let kept = this.#kept.get(key);
    if (!kept) {
      kept = { failures: 0, retryAt: -Infinity, pauses: new Map() };
      if (this.#kept.size >= maxKept) this.#kept.delete(/** @type {string} */ (this.#kept.keys().next().value));
      this.#kept.set(key, kept);
    }
    return kept;
  }

  /** @param {Kept} kept @param {string} client @param {Ask} ask @param {number} minTTL @param {string} [rejected] */
  async #renew(kept, client, ask, minTTL, rejected) {
    const now = this.now();
    const members = { ...ask, ...(minTTL && { min_ttl: minTTL }), ...(rejected && { rejected }) };
    const token = new Token(await this.#post(kept, client, JSON.stringify(members)), now, minTTL);
    if (token.fingerprint === rejected) token.reported = now;
    Object.assign(kept, { token, failures: 0, retryAt: -Infinity });
    return token;
  }

  /** Returns the answer of the first URL that works. @param {Kept} kept @param {string} client @param {string} body */
  async #post(kept, client, body) {
    if (!/^[a-z0-9-]{1,63}$/.test(client)) throw new VendorError("the client's name is not valid", { status: 400, code: "invalid_request" });
    // When the minute is over, one call tries the first URL again, and the others wait for its result.
    const probe = this.#current !== 0 && this.now() >= this.#until;
    const first = probe ? 0 : this.#current;
    if (probe) this.#until = this.now() + sticky;
    /** @type {VendorError | undefined} */ let worst;
    for (let i = 0; i < this.urls.length; i++) {
      const at = (first + i) % this.urls.length;
      try {
        const answer = await this.#try(kept, at, client, body);
        if (i > 0 && at !== this.#current) [this.#current, this.#until] = [at, this.now() + sticky];
        else if (probe && at === 0) this.#current = 0;
        return answer;
      } catch (error) {
        if (!(error instanceof VendorError && error.outage)) throw error;
        worst = worse(worst, error);
      }
    }
    throw worst;
  }

  /**
   * Asks one URL, unless that has said that it must not be asked for the same now.
   * @param {Kept} kept @param {number} at @param {string} client @param {string} body
   */
  async #try(kept, at, client, body) {
    const pause = kept.pauses.get(at);
    if (pause && this.now() < pause.until) {
      const { description, status, code, requestId } = pause.error;
      throw new VendorError(description, { status, code, requestId, retryAfter: pause.until - this.now() });
    }
    try {
      return await this.#call(new URL(`${this.urls[at]}/${client}`), body);
    } catch (error) {
      const failure = error instanceof VendorError ? error : new VendorError("the vendor's answer cannot be read", { status: 502 });
      if (failure.status === 503 && failure.retryAfter) kept.pauses.set(at, { until: this.now() + failure.retryAfter, error: failure });
      throw failure;
    }
  }

  /** @param {URL} url @param {string} body */
  async #call(url, body) {
    const host = hostOfAWS.exec(url.hostname);
    const service = host?.[1] === "lambda-url" ? "lambda" : "execute-api";
    const signer = new SignatureV4({ service, region: host?.[2] ?? this.region, credentials: this.credentials, sha256: Sha256 });
    const signed = await signer
      .sign({
        method: "POST", protocol: url.protocol, hostname: url.hostname, path: url.pathname, body,
        headers: { host: url.host, "content-type": "application/json" },
      })
      .catch(() => {
        throw new VendorError("there are no AWS credentials to sign the request with", { code: "no_credentials" });
      });
    /** @type {Response} */ let response;
    /** @type {string} */ let text;
    try {
      response = await fetch(url, { method: "POST", headers: signed.headers, body, redirect: "manual", signal: AbortSignal.timeout(30_000) });
      text = await response.text();
    } catch {
      throw new VendorError("the vendor cannot be reached", { code: "temporarily_unavailable", retryAfter: 1 });
    }
    const answer = object(text);
    if (response.status === 200 && typeof answer.access_token === "string") return answer;
    const wait = response.headers.get("retry-after") ?? "";
    const code = codes.has(answer.error) ? answer.error : "";
    throw new VendorError((code && answer.error_description) || "AWS or a proxy answered without the vendor", {
      status: response.status, code, retryAfter: /^\d+$/.test(wait) ? Math.min(Number(wait), 3600) : 0,
      requestId: answer.request_id ?? response.headers.get("x-amzn-requestid") ?? "",
    });
  }
}

/** Whether a token is what a request needs. @param {Token} token @param {number} now @param {number} minTTL @param {string} [rejected] */
function suits(token, now, minTTL, rejected) {
  if (token.fingerprint === rejected) return now - token.reported < interval;
  // The vendor gave this token for this min_ttl a moment ago, and would give it again.
  return token.expiresAt - now >= minTTL || (token.minTTL >= minTTL && now - token.received < interval);
}

/** Notes an error, after which the vendor is not called for a while. @param {Kept} kept @param {VendorError} error @param {number} now */
function note(kept, error, now) {
  if (kept.error === error) return; // another request that waited has noted it
  kept.failures++;
  kept.error = error;
  kept.retryAt = now + Math.max(Math.min(2 ** (kept.failures - 1), 30) * (0.5 + Math.random() / 2), error.retryAfter);
  if (error.code === "access_denied") kept.token = undefined; // the vendor says that the caller may not have it
}

/**
 * The error that says more of two outages: that of the vendor, rather than that of a proxy or of a connection.
 * @param {VendorError | undefined} a @param {VendorError} b
 */
function worse(a, b) {
  if (!a) return b;
  const [one, other] = (a.status === 0 && b.status !== 0) || (!a.code && b.code && b.status !== 0) ? [b, a] : [a, b];
  const { description, status, code, requestId } = one;
  return new VendorError(description, { status, code, requestId, retryAfter: Math.min(one.retryAfter, other.retryAfter) });
}

/** Waits for a promise until the signal; what was begun for others goes on. @template T @param {AbortSignal} signal @param {Promise<T>} promise */
async function unlessAborted(signal, promise) {
  signal.throwIfAborted();
  /** @type {() => void} */ let stop = () => {};
  const aborted = new Promise((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop);
  });
  try {
    return /** @type {T} */ (await Promise.race([promise, aborted]));
  } finally {
    signal.removeEventListener("abort", stop);
    promise.catch(() => {}); // nobody may wait for it any more
  }
}

/** @param {string} text @returns {any} the JSON object, or an empty one */
function object(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
