// What can be said of trials from their documents alone: which have a result, their order, their groups.

import { leaf, short } from "./format.js";

/** @typedef {import("./documents").TrialView} TrialView */
/** @typedef {import("./documents").SweepView} SweepView */

export const SWEEP_ENDED = new Set(["succeeded", "failed", "stopped", "cancelled"]);
export const TRIAL_ENDED = new Set(["succeeded", "pruned", "failed", "cancelled"]);
export const SEED = "training.seed";

/** Whether a trial's objective counts. @param {TrialView} trial */
export const hasResult = (trial) => trial.objective !== null && Number.isFinite(trial.objective)
  && trial.state !== "failed" && trial.state !== "cancelled";

/** The order of trials: the best first, those without a result last. @param {string} direction */
export function byRank(direction) {
  const sign = direction === "maximize" ? -1 : 1;
  return (/** @type {TrialView} */ a, /** @type {TrialView} */ b) => {
    const known = hasResult(a), other = hasResult(b);
    if (known !== other) return known ? -1 : 1;
    return (known ? sign * (Number(a.objective) - Number(b.objective)) : 0) || a.number - b.number;
  };
}

/** The paths of the swept fields, in the order of the document. @param {SweepView} sweep @param {TrialView[]} trials */
export function paths(sweep, trials) {
  const found = new Set(Object.keys(sweep.spec.space ?? {}));
  for (const trial of trials) for (const path in trial.params) found.add(path);
  return [...found];
}

/** What sets trials apart so that they cannot be ranked as one: the swept fields of the task. @param {TrialView} trial */
export function taskKey(trial) {
  return Object.entries(trial.params).filter(([path]) => path.startsWith("task.") && path !== "task.seed")
    .map(([path, value]) => `${leaf(path)} ${short(value)}`).join(", ");
}

/** What repeats of a point have in common: everything but the seed. @param {SweepView} sweep @param {TrialView} trial */
export function pointKey(sweep, trial) {
  const repeats = Number(sweep.spec.repeats ?? 1);
  if (repeats > 1) return `#${Math.floor(trial.number / repeats)}`;
  return JSON.stringify(Object.entries(trial.params).filter(([path]) => path !== SEED));
}

/** Whether the sweep trains points with several seeds. @param {SweepView} sweep */
export const hasRepeats = (sweep) => Number(sweep.spec.repeats ?? 1) > 1 || SEED in (sweep.spec.space ?? {});

/** Mean, standard deviation (n - 1) and half of the 95 % interval of the mean by Student's t. @param {number[]} values */
export function spread(values) {
  const n = values.length, mean = values.reduce((sum, v) => sum + v, 0) / n;
  if (n < 2) return { n, mean, sd: null, half: null };
  const sd = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1));
  return { n, mean, sd, half: (quantile(n - 1) * sd) / Math.sqrt(n) };
}

const STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12,
  2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042];
/** The 97.5 % quantile of Student's t. @param {number} degrees */
const quantile = (degrees) => STUDENT[degrees - 1] ?? 1.96 + 2.5 / degrees;

/** The values of a swept field among some trials, in order, with how they are placed on an axis.
 * @param {SweepView} sweep @param {string} path @param {TrialView[]} trials */
export function axisOf(sweep, path, trials) {
  const values = [...new Set(trials.map((trial) => trial.params[path]).filter((v) => v !== undefined && v !== null))];
  const numeric = values.length > 0 && values.every((v) => typeof v === "number");
  values.sort(numeric ? (a, b) => a - b : (a, b) => String(a).localeCompare(String(b)));
  const range = sweep.spec.space?.[path];
  const spans = numeric && values[0] > 0 && values[values.length - 1] / values[0] >= 30;
  return { path, name: leaf(path), values, numeric, log: numeric && values[0] > 0 && Boolean(range?.log ?? spans) };
}
