// The points of a sweep with repeats, as the service ranks and compares them.

import { html, useEffect, useMemo, useState } from "../lib.js";
import { ask } from "../api.js";
import { aligned, counted, csv, save, short } from "../format.js";
import { State } from "../pieces.js";
import { useWatched } from "../watched.js";
import { trialLink } from "./trial_links.js";

/** @typedef {import("../documents").PointView} PointView */
/** @typedef {import("../documents").TrialView} TrialView */
/** @typedef {import("./trials_table.js").Row} Row */
/** @typedef {import("./trials_table.js").Column} Column */

const PAGE = 200, MOST = 1000, AFTER_ENDS = 2500, COMPARED = 20, SHOWN = 10;

/** The points of a sweep, the best first. They are read again after trials have ended. @param {import("../sweep_store.js").SweepStore} store @param {boolean} wanted */
export function usePoints(store, wanted) {
  const [found, setFound] = useState(/** @type {{points: PointView[], statistic: string, more: boolean} | null} */ (null)), turn = `${store.ends} ${store.sweep?.trials.total} ${store.sweep?.state}`;
  useEffect(() => {
    if (!wanted) return undefined;
    let over = false;
    const read = async () => {
      /** @type {PointView[]} */ const points = [];
      let cursor = "", statistic = "mean";
      do {
        const page = await ask(`/v1/sweeps/${store.id}/points?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
        points.push(...page.points);
        cursor = page.next_cursor;
        statistic = page.statistic;
      } while (cursor && points.length < MOST && !over);
      if (!over) setFound({ points, statistic, more: Boolean(cursor) });
    };
    // the first time at once, and then once for all trials that end in a while
    const timer = setTimeout(() => read().catch(() => {}), found ? AFTER_ENDS : 0);
    return () => { over = true; clearTimeout(timer); };
  }, [store, wanted, turn]);
  return found;
}

/** A row for each point. @param {import("../sweep_store.js").SweepStore} store @param {PointView[]} points @returns {Row[]} */
export function pointRows(store, points) {
  const compared = new Set(store.compared.map((trial) => trial.number));
  let rank = 0;
  return points.flatMap((own) => {
    const members = /** @type {TrialView[]} */ (own.repeats.map((repeat) => store.trials.get(repeat.number)).filter((trial) => trial && compared.has(trial.number)));
    if (!members.length) return [];
    const best = members.find((trial) => trial.id === own.best_trial) ?? members[0];
    if (own.objective !== null) rank += 1;
    return [{ key: `point ${own.number}`, trial: best, members, rank: own.objective === null ? null : rank, mean: own.objective, sd: own.sd, point: own }];
  });
}

/** The columns that rows of points have beside the swept fields. @param {Row[]} rows @param {string} metric @param {string} statistic @returns {{before: Column[], after: Column[]}} */
export function pointColumns(rows, metric, statistic) {
  const write = aligned(rows.flatMap((row) => (row.mean === null ? [] : [row.mean]))), of = (/** @type {Row} */ row) => /** @type {PointView} */ (row.point);
  const interval = (/** @type {Row} */ row) => { const { interval: ends } = of(row); return ends ? `${write(ends[0])} to ${write(ends[1])}` : ""; };
  const number = (/** @type {string} */ key, /** @type {string} */ name, /** @type {string} */ title, /** @type {(row: Row) => number | null} */ value) => ({ key, name, title, number: true, value, cell: (/** @type {Row} */ row) => { const own = value(row); return own === null ? "" : write(own); } });
  /** @type {Column} */
  const why = { key: "reason", name: "reason", title: "Why the point has no objective", number: false, value: (row) => of(row).reason ?? "", width: 20, cell: (row) => html`<span class="quiet" title=${of(row).reason}>${of(row).reason ?? ""}</span>` };
  return {
    before: [
      { key: "number", name: "point", title: "The point's number", number: true, value: (row) => of(row).number, cell: (row) => of(row).number },
      { key: "state", name: "state", title: "The states of its trials", number: false, value: states, text: (row) => `${states(row)}    `, cell: (row) => (alike(row) ? html`<${State} name=${row.trial.state} />` : states(row)) },
      number("objective", `${metric} (${statistic})`, `The ${statistic} of the best ${metric} of its trials`, (row) => row.mean),
      { key: "n", name: "n", title: "How many of its trials have a result", number: true, value: (row) => of(row).n, cell: (row) => `${of(row).n} of ${of(row).repeats.length}` },
      ...statistic === "mean" ? [] : [number("mean", "mean", "Mean over the trials that have a result", (row) => of(row).mean)],
      number("sd", "± sd", "Standard deviation over its trials", (row) => row.sd),
      { key: "interval", name: "95 % interval", title: "95 % interval of the mean by Student's t", number: true, value: (row) => of(row).interval?.[0] ?? null, text: interval, cell: interval },
    ],
    after: [
      { key: "best", name: "best trial", title: "Its trial with the best objective", number: true, value: (row) => row.trial.number, text: (row) => `#${row.trial.number}`, cell: (row) => (of(row).best_trial ? trialLink(row.trial, 1) : "") },
      ...rows.some((row) => of(row).reason) ? [why] : [],
    ],
  };
}

/** Save the points as a table with all digits, in the order in which the service ranks them.
 * @param {import("../sweep_store.js").SweepStore} store @param {PointView[]} points @param {string} statistic */
export function savePoints(store, points, statistic) {
  const swept = [...new Set(points.flatMap((own) => Object.keys(own.params)))], { metric } = /** @type {any} */ (store.sweep).objective;
  const heads = ["point", `${metric} (${statistic})`, "n", "mean", "sd", "low", "high", ...swept, "best_trial", "reason"];
  const rows = points.map((own) => [own.number, own.objective, own.n, own.mean, own.sd, own.interval?.[0], own.interval?.[1], ...swept.map((path) => own.params[path]), own.best_trial, own.reason]);
  save(`${store.id}-points.csv`, new Blob([csv(heads, rows)], { type: "text/csv" }));
}

/** @param {Row} row */
const alike = (row) => row.members.every((trial) => trial.state === row.trial.state);

/** The states of the trials of a point in words. @param {Row} row */
function states(row) {
  if (alike(row)) return row.trial.state;
  const counts = new Map();
  for (const trial of row.members) counts.set(trial.state, (counts.get(trial.state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(", ");
}

/** What the service says of the points that are picked with all of their trials. @param {{store: import("../sweep_store.js").SweepStore, points: PointView[]}} props */
export function PointComparisons({ store, points }) {
  const versions = useWatched(store.picks), [found, setFound] = useState(/** @type {any} */ (null));
  const picked = useMemo(() => points.filter((own) => own.repeats.every((repeat) => store.picks.has(repeat.number))).map((own) => own.number), [versions, points]);
  const asked = picked.length >= 2 && picked.length <= COMPARED ? picked.join() : "";
  useEffect(() => {
    if (!asked) { setFound(null); return undefined; }
    let over = false;
    const timer = setTimeout(() => ask(`/v1/sweeps/${store.id}/compare?points=${asked}`).then((answer) => { if (!over) setFound(answer); }, (error) => { if (!over) setFound({ problem: error.message }); }), 150);
    return () => { over = true; clearTimeout(timer); };
  }, [asked, points]);
  if (!points.length) return null;
  if (!found) return html`<p class="quiet note" role="status">${picked.length > COMPARED ? `At most ${COMPARED} points are compared at once.` : picked.length === 1 ? "Pick another point to compare the two by their trials of equal seeds." : "Pick two points or more to compare them by their trials of equal seeds."}</p>`;
  if (found.problem) return html`<p class="bad note" role="status">${found.problem}</p>`;
  return html`<div class="note" role="status"><ul class="verdicts">${found.comparisons.slice(0, SHOWN).map((/** @type {any} */ pair) => html`<li key=${`${pair.first} ${pair.second}`}>${verdict(pair)}</li>`)}</ul>
    ${found.comparisons.length > SHOWN ? html`<span class="quiet">and ${found.comparisons.length - SHOWN} more</span>` : null}</div>`;
}

/** What two points are to each other, in a sentence. @param {import("../documents").ComparisonView} pair */
function verdict({ first, second, verdict: word, n, difference, interval, reason }) {
  const range = (/** @type {number} */ sign) => (interval ? `, interval ${[...interval].map((end) => sign * end).sort((a, b) => a - b).map(short).join(" to ")}` : "");
  if (word === "not told apart") return html`<b>Points ${first} and ${second} are not told apart.</b> <span class="quiet">${reason ? `${reason}` : `Mean difference ${short(difference)}${range(1)}, at ${counted(n, "equal seed")}`}</span>`;
  const [better, worse, sign] = word === "better" ? [first, second, 1] : [second, first, -1];
  return html`<b>Point ${better} is better than point ${worse}.</b> <span class="quiet">Mean difference ${short(sign * Number(difference))}${range(sign)}, at ${counted(n, "equal seed")}</span>`;
}
