// The address of the page: which view it shows, and the choices made in the view, as short parameters after a question mark.
//
// A choice changes the address in place and adds nothing to the history: Back leaves a view at once, and Forward comes to
// it as it was left.

import { html, useEffect, useState } from "./lib.js";
import { useWatched, Watched } from "./watched.js";

/** The shortest time in milliseconds between two changes of the address: Safari refuses more than 100 of them in 30 seconds. */
const PAUSE = 350;

class Address extends Watched {
  /** The address without its parameters, such as `sweeps/sw0123456789/curves`. */ path = "";
  /** @type {Map<string, string>} */ parameters = new Map();
  /** How many addresses one has come to: by a link, by Back, or by typing one. Choices made on the page do not count. */ arrivals = 0;
  /** @type {Map<string, string>} What the address asks for and the view does not have, by the name of the parameter. */ ignored = new Map();
  written = 0;
  timer = 0;

  /** Take what the browser's address says. */
  arrive() {
    clearTimeout(this.timer);
    this.timer = 0;
    const [, path, query] = /** @type {RegExpExecArray} */ (/^#?\/?([^?]*)\??(.*)$/s.exec(location.hash));
    // addresses of earlier releases: the id alone
    this.path = /^sw[0-9a-f]{10}$/.test(path) ? `sweeps/${path}` : path || "sweeps";
    this.parameters = new Map(new URLSearchParams(query));
    this.arrivals += 1;
    if (this.path !== path && path) this.write();
    this.changed();
  }

  /** The view, the id of what it shows, and which of its parts. */
  get place() {
    const [view = "", id = "", tab = "overview"] = this.path.split("/").map(decoded);
    return { view, id, tab };
  }

  /** @param {string} name @returns {string | null} */
  get(name) { return this.parameters.get(name) ?? null; }

  /** @param {string} name @param {string | null} text null removes the parameter */
  set(name, text) {
    if (this.get(name) === text) return;
    if (text === null) this.parameters.delete(name);
    else this.parameters.set(name, text);
    if (!this.timer) this.timer = window.setTimeout(() => this.write(), Math.max(0, this.written + PAUSE - Date.now()));
    this.changed();
  }

  /** Show the choices in the browser's address, if they are not there yet. */
  write() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.written = Date.now();
    history.replaceState(null, "", this.link(this.path));
  }

  /** The address of another view with the same choices. @param {string} path */
  link(path) {
    const query = [...this.parameters].map(([name, text]) => `${name}=${encoded(text)}`).join("&");
    return `#/${path}${query && `?${query}`}`;
  }

  /** Note that a parameter asks for something that the view does not have. @param {string} name @param {string | null} text null withdraws the note */
  ignore(name, text) {
    if ((this.ignored.get(name) ?? null) === text) return;
    if (text === null) this.ignored.delete(name);
    else this.ignored.set(name, text);
    this.changed();
  }
}

/** @param {string} text */
const encoded = (text) => encodeURIComponent(text).replaceAll("%2F", "/").replaceAll("%2C", ",").replaceAll("%20", "+");

/** @param {string} text */
function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

export const address = new Address();
address.arrive();
addEventListener("hashchange", () => address.arrive());
// a link may lead to another view before the last choice is in the address of this one
addEventListener("click", () => { if (address.timer) address.write(); }, true);

/**
 * What a link to another view has that keeps the choices, also those that were made since it was drawn.
 * @param {string} path
 */
export function keepingChoices(path) {
  const renew = (/** @type {any} */ event) => { event.currentTarget.href = address.link(path); };
  // a press comes before what the browser itself does with the link, such as to open it in a new tab
  return { href: address.link(path), onClick: renew, onPointerDown: renew };
}

/** How many addresses one has come to; the component is drawn again after each. */
export function useArrivals() {
  const [arrivals, setArrivals] = useState(address.arrivals);
  useEffect(() => address.listen(() => setArrivals(address.arrivals)), []);
  return arrivals;
}

/**
 * A choice that is in the address, and a function that makes it. The component is drawn again only if this choice changes.
 * @template T
 * @param {string} name the parameter
 * @param {T} standard the choice if the address has none, or one that `read` does not know
 * @param {(text: string) => T | undefined} read
 * @param {(choice: T) => string} write
 * @returns {[T, (choice: T) => void]}
 */
export function useParameter(name, standard, read, write) {
  const [text, setText] = useState(() => address.get(name));
  useEffect(() => {
    const look = () => setText(address.get(name));
    look();
    return address.listen(look);
  }, [name]);
  const found = text === null ? standard : read(text), unknown = found === undefined ? text : null;
  useEffect(() => { address.ignore(name, unknown); return () => address.ignore(name, null); }, [name, unknown]);
  const choose = (/** @type {T} */ choice) => {
    const next = write(choice) === write(standard) ? null : write(choice);
    address.set(name, next);
    setText(next);
  };
  return [found === undefined ? standard : found, choose];
}

/** One of some words. @param {string} name @param {string} standard @param {string[] | null} choices null while they are not known: then any word is one
 * @returns {[string, (choice: string) => void]} */
export const useChoice = (name, standard, choices) => useParameter(name, standard, (text) => (!choices || choices.includes(text) ? text : undefined), String);

/** Some of several words, in any order. @param {string} name @param {string[]} standard @param {string[] | null} choices null while they are not known
 * @returns {[string[], (choice: string[]) => void]} */
export const useChoices = (name, standard, choices) => useParameter(name, standard, (text) => {
  const words = text.split(",").filter((word) => word && (!choices || choices.includes(word)));
  return words.length ? words : undefined;
}, (words) => words.join(","));

/** Yes or no. @param {string} name @param {boolean} standard @returns {[boolean, (choice: boolean) => void]} */
export const useSwitch = (name, standard) => useParameter(name, standard, (text) => (text === "1" ? true : text === "0" ? false : undefined), (on) => (on ? "1" : "0"));

/** A number of a range. @param {string} name @param {number} standard @param {number} low @param {number} high @returns {[number, (choice: number) => void]} */
export const useNumber = (name, standard, low, high) => useParameter(name, standard, (text) => (/^\d+(\.\d+)?$/.test(text) && Number(text) >= low && Number(text) <= high ? Number(text) : undefined), String);

/** What the address asks for and the view does not have. */
export function Ignored() {
  useWatched(address);
  if (!address.ignored.size) return null;
  return html`<p class="warn" role="status">The address asks for something that is not here, and that is ignored: ${[...address.ignored].map(([name, text]) => `${name} ${text}`).join("; ")}.</p>`;
}
