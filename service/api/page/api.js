// Requests to the service, and what is known of whether it answers.

import { Watched } from "./watched.js";

/** The service refused a request; `errors` are the fields that it names. */
export class Problem extends Error {
  /** @param {number} status @param {{detail?: string, title?: string, errors?: import("./documents").Field[]}} document */
  constructor(status, document) {
    super(document.detail ?? document.title ?? `status ${status}`);
    this.status = status;
    this.errors = document.errors ?? [];
  }
}

/** No service answered. */
export class Unreachable extends Error {}

class Service extends Watched {
  /** @type {boolean} */ down = false;
  /** @type {boolean} */ signedOut = false;
  /** @type {number} When it last answered. */ seen = Date.now();
  /** @type {import("./documents").ClusterView | null} */ cluster = null;
  /** @type {import("./documents").WhoAmI | null} */ who = null;
  /** @type {string} */ said = "";

  /** @param {boolean} answered */
  note(answered) {
    if (answered) this.seen = Date.now();
    if (this.down !== answered) return;
    this.down = !answered;
    this.changed();
  }

  /** Show a short message, such as that something was done. @param {string} text */
  say(text) {
    this.said = text;
    this.changed();
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => { this.said = ""; this.changed(); }, 6000);
  }
  /** @type {number | undefined} */ timer;
}

export const service = new Service();

/**
 * Send a request and return the document that is answered.
 * @param {string} path
 * @param {{method?: string, body?: any, text?: string, key?: string, signal?: AbortSignal}} [options]
 * @returns {Promise<any>}
 */
export async function ask(path, { method = "GET", body, text, key, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined || text !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: text ?? (body === undefined ? undefined : JSON.stringify(body)), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    service.note(false);
    throw new Unreachable("The service does not answer.");
  }
  service.note(answer.status !== 502 && answer.status !== 504);
  if (answer.status === 204) return null;
  const document = await answer.json().catch(() => ({ detail: `The answer is no document (status ${answer.status}).` }));
  if (answer.status === 401) { service.signedOut = true; service.changed(); }
  if (!answer.ok) throw new Problem(answer.status, document);
  return document;
}

/** Ask every `seconds` while the page is visible, at once when it becomes so, and return what ends that.
 * @param {number} seconds @param {() => Promise<any>} look */
export function poll(seconds, look) {
  let timer = 0, over = false, busy = false;
  const again = async () => {
    clearTimeout(timer);
    if (busy || over) return;
    busy = true;
    if (!document.hidden) await look().catch(() => {});
    busy = false;
    if (!over) timer = window.setTimeout(again, 1000 * (service.down ? Math.min(seconds, 3) : seconds));
  };
  document.addEventListener("visibilitychange", again);
  again();
  return () => { over = true; clearTimeout(timer); document.removeEventListener("visibilitychange", again); };
}

/** A key by which the service recognises a request; browsers offer randomUUID on trusted addresses alone. */
export const randomKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
