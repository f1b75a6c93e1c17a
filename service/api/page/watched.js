// Things that change, and components that are drawn again when they do: at most once in a frame.

import { useEffect, useReducer } from "./lib.js";

export class Watched {
  constructor() {
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    this.version = 0;
    this.pending = 0;
    /** How many milliseconds of changes are shown together. */ this.pause = 16;
  }

  changed() {
    this.version += 1;
    // a hidden page draws no frames, and has to learn of changes nevertheless
    if (!this.pending) this.pending = window.setTimeout(() => { this.pending = 0; for (const listener of [...this.listeners]) listener(); }, this.pause);
  }

  /** @param {() => void} listener */
  listen(listener) {
    this.listeners.add(listener);
    return () => { this.listeners.delete(listener); };
  }
}

/**
 * Draw the calling component again whenever one of these changes.
 * @param {...(Watched | null)} sources
 */
export function useWatched(...sources) {
  const [, again] = useReducer((/** @type {number} */ count) => count + 1, 0);
  useEffect(() => {
    const ends = sources.map((source) => source?.listen(() => again(undefined)));
    return () => ends.forEach((end) => end?.());
  }, sources);
  return sources.map((source) => source?.version ?? 0).join(" ");
}
