// One sweep that is looked at: its document, its trials and their curves. They are read once and then patched by the
// events of the sweep, so that nothing is asked for again that has not changed.

import { ask, Problem, service, Unreachable } from "./api.js";
import { Hover } from "./hover.js";
import { SWEEP_ENDED, taskKey } from "./trials.js";
import { Watched } from "./watched.js";

/** @typedef {import("./documents").SweepView} SweepView */
/** @typedef {import("./documents").TrialView} TrialView */
/** @typedef {[number, number]} Step */

const PAGE = 1000, ALL_POINTS = 300, AFTER_EVENTS = 1500;

export class SweepStore extends Watched {
  /** @param {string} id */
  constructor(id) {
    super();
    this.id = id;
    /** @type {SweepView | null} */ this.sweep = null;
    /** @type {Map<number, TrialView>} */ this.trials = new Map();
    /** @type {"loading" | "ready" | "missing" | "refused"} */ this.state = "loading";
    this.refusal = "";
    this.complete = false;
    this.picks = new Picks();
    this.hover = new Hover();
    /** @type {Map<string, Map<number, Step[]>>} Curves by metric and number of the trial. */ this.curves = new Map();
    /** @type {string[]} */ this.metrics = [];
    /** @type {string | null} The group of trials that are compared, of a sweep over data sets. */ this.group = null;
    this.seen = 0;
    /** Counts the trials that have ended since the page was opened: what is computed of results is old then. */ this.ends = 0;
    /** @type {EventSource | null} */ this.source = null;
    /** @type {TrialView[] | null} */ this.sorted = null;
    /** @type {string[] | null} */ this.grouped = null;
    /** @type {TrialView[] | null} */ this.chosen = null;
    /** @type {Set<(event: import("./documents").EventView) => void>} */ this.watchers = new Set();
    this.timer = 0;
    this.retry = 0;
    this.closed = false;
  }

  open() { this.read(); return this; }

  close() {
    this.closed = true;
    this.source?.close();
    clearTimeout(this.timer);
    clearTimeout(this.retry);
  }

  get ended() { return this.sweep !== null && SWEEP_ENDED.has(this.sweep.state); }

  /** What a chart says instead of a drawing: what is missing, once all trials are known. @param {string} missing */
  orReading(missing) { return this.complete ? missing : "Reading the trials …"; }

  /** All trials by number. */
  get rows() {
    this.sorted ??= [...this.trials.values()].sort((a, b) => a.number - b.number);
    return this.sorted;
  }

  /** The groups of trials that cannot be ranked as one. */
  get groups() {
    const apart = Object.keys(this.sweep?.spec.space ?? {}).some((path) => path.startsWith("task."));
    this.grouped ??= apart ? [...new Set(this.rows.map(taskKey))].sort() : [""];
    return this.grouped;
  }

  /** The trials that are compared: all, or those of one group. */
  get compared() {
    const { groups } = this;
    if (groups.length < 2) return this.rows;
    const chosen = this.group !== null && groups.includes(this.group) ? this.group : groups[0];
    this.chosen ??= this.rows.filter((trial) => taskKey(trial) === chosen);
    return this.chosen;
  }

  changed() {
    this.sorted = this.grouped = this.chosen = null;
    this.pause = this.trials.size > 1000 ? 600 : this.complete ? 200 : 50;
    super.changed();
  }

  async read() {
    try {
      await this.readSweep();
      if (this.state !== "ready") { this.state = "ready"; this.changed(); }
      await this.readTrials();
      this.complete = true;
      this.changed();
      this.listenToEvents();
    } catch (error) {
      this.failed(error);
    }
  }

  async readSweep() {
    const sweep = await ask(`/v1/sweeps/${encodeURIComponent(this.id)}`);
    if (!this.sweep) this.seen = sweep.last_event;
    this.sweep = sweep;
    this.changed();
  }

  /** Read all trials, or only the last page and what has come after it. @param {boolean} [onlyLast] */
  async readTrials(onlyLast = false) {
    let cursor = onlyLast ? this.lastPage : null;
    do {
      this.lastPage = cursor;
      const page = await ask(`/v1/sweeps/${this.id}/trials?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      for (const trial of page.trials) this.trials.set(trial.number, trial);
      cursor = page.next_cursor;
      this.changed();
    } while (cursor && !this.closed);
  }

  /** @type {string | null} The cursor with which the last page of trials was read. */ lastPage = null;

  /** @param {any} error */
  failed(error) {
    if (this.closed) return;
    if (error instanceof Problem && error.status === 404) {
      this.state = "missing";
      this.source?.close();
    } else if (error instanceof Unreachable || (error instanceof Problem && (error.status === 503 || error.status === 429))) {
      this.retry = window.setTimeout(() => this.read(), 2500);
    } else if (!service.signedOut) {
      this.state = "refused";
      this.refusal = error.message;
    }
    this.changed();
  }

  // A browser connects again by itself after a lost connection. After an answer that is no stream it gives up, as when
  // a proxy stands in for the service: then it is tried anew here.
  listenToEvents() {
    if (this.closed || this.source) return;
    if (this.ended) { service.note(true); return; }
    const source = new EventSource(`/v1/sweeps/${this.id}/events?after=${this.seen}`);
    this.source = source;
    let lost = false;
    source.onopen = () => {
      service.note(true);
      if (lost) this.later();
      lost = false;
    };
    source.onerror = () => {
      if (this.closed) return;
      lost = true;
      if (source.readyState === EventSource.CLOSED) {
        this.source = null;
        clearTimeout(this.retry);
        this.retry = window.setTimeout(() => this.readSweep().then(() => this.listenToEvents(), (error) => this.failed(error)), 1500);
      } else {
        ask("/health/live").catch(() => {});
      }
    };
    for (const kind of KINDS) source.addEventListener(kind, (event) => this.take(JSON.parse(/** @type {MessageEvent} */ (event).data)));
  }

  /** Patch what is known by one event. @param {import("./documents").EventView} event */
  take(event) {
    if (event.seq <= this.seen) return;
    this.seen = event.seq;
    for (const listener of this.watchers) listener(event);
    const data = event.data;
    if (event.kind.startsWith("trial.") && typeof data.number === "number") {
      const trial = this.trials.get(data.number);
      if (trial) this.trials.set(data.number, { ...trial, ...changes(event, trial) });
      else this.unknown = true;
      if (event.kind === "trial.metrics") this.extend(data.number, data.step, data.values);
      if (ENDS.has(event.kind)) this.ends += 1;
      this.changed();
    }
    this.later();
  }

  /** Whether an event told of a trial that is not known. */
  unknown = false;

  /** Read the sweep's own document again, at most once in a while. */
  later() {
    if (this.timer || this.closed) return;
    this.timer = window.setTimeout(async () => {
      this.timer = 0;
      try {
        await this.readSweep();
        const created = this.sweep ? this.sweep.trials.total - this.sweep.trials.waiting : 0;
        if (this.unknown || created > this.trials.size) await this.readTrials(true);
        this.unknown = false;
        // what the stream has not told, such as times and reasons of the end, is read once more
        if (this.ended) { await this.readTrials(); this.source?.close(); this.source = null; }
      } catch (error) {
        this.failed(error);
      }
    }, AFTER_EVENTS);
  }

  /** @param {number} number @param {number} step @param {Record<string, number | null>} values */
  extend(number, step, values) {
    for (const [metric, curves] of this.curves) {
      const value = values[metric], curve = curves.get(number);
      if (typeof value !== "number" || !curve || (curve.length && curve[curve.length - 1][0] >= step)) continue;
      curve.push([step, value]);
      if (curve.length > 3 * ALL_POINTS) curves.set(number, curve.filter((_, place) => place % 2 === 0 || place === curve.length - 1));
    }
  }

  /** Read the curves of some trials that are not known yet. @param {string} metric @param {number[]} numbers */
  async readCurves(metric, numbers) {
    const known = this.curves.get(metric) ?? new Map();
    this.curves.set(metric, known);
    const wanted = numbers.filter((number) => !known.has(number));
    for (const number of wanted) known.set(number, []);
    for (let start = 0; start < wanted.length; start += 100) {
      const part = wanted.slice(start, start + 100);
      const query = new URLSearchParams([["metric", metric], ["points", String(ALL_POINTS)], ...part.map((n) => ["trials", String(n)])]);
      try {
        const found = await ask(`/v1/sweeps/${this.id}/curves?${query}`);
        for (const curve of found.curves) {
          const last = curve.points.length ? curve.points[curve.points.length - 1][0] : -1;
          const newer = (known.get(curve.number) ?? []).filter((/** @type {Step} */ p) => p[0] > last);
          known.set(curve.number, [...curve.points, ...newer]);
        }
        if (found.metrics.length) this.metrics = [...new Set([...this.metrics, ...found.metrics])].sort();
      } catch (error) {
        for (const number of part) known.delete(number);
        if (error instanceof Problem) throw error;
      }
      this.changed();
    }
  }

  /** Do something with the sweep. @param {string} verb @param {any} [body] */
  async act(verb, body) {
    this.sweep = await ask(`/v1/sweeps/${this.id}/${verb}`, { method: "POST", body });
    this.changed();
    if (!this.ended) { await this.readTrials(); this.listenToEvents(); }
  }
}

const TRIAL_STATES = ["waiting", "running", "succeeded", "pruned", "failed", "cancelled"];
const KINDS = ["trial.metrics", "trial.checkpointed", "trial.wanted", "sweep.extended", "sweep.changed", "pack.preempted", ...TRIAL_STATES.map((state) => `trial.${state}`),
  ...["queued", "running", "paused", "stopping", "cancelling", "succeeded", "failed", "stopped", "cancelled"].map((state) => `sweep.${state}`)];
const ENDS = new Set(["trial.succeeded", "trial.pruned", "trial.failed", "trial.cancelled"]);

/** What an event changes of a trial. @param {import("./documents").EventView} event @param {TrialView} trial @returns {Partial<TrialView>} */
function changes({ kind, data, at }, trial) {
  if (kind === "trial.wanted") return { wanted: data.verb };
  const best = { objective: data.objective ?? trial.objective, best_step: data.best_step ?? trial.best_step };
  const step = Math.max(trial.step, data.step ?? 0);
  if (kind === "trial.metrics" || kind === "trial.checkpointed") return { step, ...best };
  const state = /** @type {TrialView["state"]} */ (kind.slice(6));
  return {
    state, step, ...best, waiting_for: state === "waiting" ? trial.waiting_for : null, reason: data.reason ?? null, wanted: ENDS.has(kind) ? null : trial.wanted,
    started_at: trial.started_at ?? (state === "running" ? at : null), ended_at: ENDS.has(kind) ? at : null,
  };
}

/** The trials that are picked, each with a place in the palette that it keeps. */
class Picks extends Watched {
  /** @type {Map<number, number>} Place in the palette by number. */ places = new Map();
  /** @type {(() => void) | null} What is called at once when the picks change, before anything is drawn. */ told = null;

  changed() {
    this.told?.();
    super.changed();
  }

  /** @param {number} number */
  has(number) { return this.places.has(number); }

  /** The numbers of the picked trials, in the order of their places. */
  get numbers() { return [...this.places].sort((a, b) => a[1] - b[1]).map(([number]) => number); }

  /** @param {number[]} numbers @param {boolean} [on] */
  set(numbers, on = true) {
    for (const number of numbers) {
      if (!on) this.places.delete(number);
      else if (!this.places.has(number)) {
        const used = new Set(this.places.values());
        let place = 0;
        while (used.has(place)) place += 1;
        this.places.set(number, place);
      }
    }
    this.changed();
  }

  /** Pick these trials and no others, in this order, unless they are picked already. @param {number[]} numbers */
  replace(numbers) {
    if (numbers.length === this.places.size && numbers.every((number) => this.has(number))) return;
    this.places.clear();
    this.set(numbers);
  }

  /** @param {number} number */
  toggle(number) { this.set([number], !this.has(number)); }

  clear() { this.places.clear(); this.changed(); }
}
