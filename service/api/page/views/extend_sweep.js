// Further trials for a sweep: a number of them, or new values of a dimension of its grid.

import { ask, randomKey } from "../api.js";
import { leaf, short } from "../format.js";
import { inquire } from "../pieces.js";
import { typed } from "./schema_form.js";

/** The states in which a sweep takes further trials. */
export const EXTENDABLE = new Set(["queued", "running", "paused", "succeeded", "failed", "stopped", "cancelled"]);

/** Ask what to add to a sweep, and add it. @param {import("../sweep_store.js").SweepStore} store */
export function extend(store) {
  const sweep = /** @type {any} */ (store.sweep), { search, space, repeats } = sweep.spec, takes = search?.trials !== null && search?.trials !== undefined;
  const note = store.ended ? " The sweep is running again until they end." : "", kept = "Trials that exist keep their numbers and results; no point is trained twice.";
  const key = oneKey();
  const send = async (/** @type {any} */ body) => {
    store.sweep = await ask(`/v1/sweeps/${sweep.id}/extend`, { method: "POST", body, key: key(JSON.stringify(body)) });
    store.changed();
    store.read();
  };
  if (takes) {
    const noun = Number(repeats ?? 1) > 1 ? "points" : "trials";
    return inquire({ title: `Extend ${sweep.name}`, yes: "Add them", text: `${kept}${note}`, fields: [{ name: "trials", label: `Further ${noun}`, value: String(Math.max(1, Math.round(search.trials / 2))), inputmode: "numeric", help: Number(repeats ?? 1) > 1 ? `each with its ${repeats} seeds` : `the sampler ${search.sampler} goes on where it was` }],
      act: (answers) => send({ trials: typed(answers.trials, true) ?? "" }) });
  }
  const dimensions = Object.keys(space ?? {}), first = dimensions[0];
  const values = (/** @type {string} */ path) => [...new Set(store.rows.map((trial) => trial.params[path]).filter((value) => value !== undefined))].slice(0, 8).map(short).join(", ");
  return inquire({ title: `Extend ${sweep.name}`, yes: "Add them", text: `${kept}${note}`, fields: [
    { name: "path", label: "Field of the grid", value: first, choices: dimensions.map((path) => [path, `${leaf(path)} (has ${values(path)})`]) },
    { name: "values", label: "New values", value: "", help: "with commas between, such as 0.3, 0.5" }],
    act: (answers) => send({ space: { [answers.path]: answers.values.split(",").map((text) => value(text)).filter((one) => one !== undefined) } }) });
}

/** A value of a field as it was typed. @param {string} text */
function value(text) {
  const own = text.trim();
  return own === "true" ? true : own === "false" ? false : typed(own, true);
}

/** A function that returns the same key for the same text, so that what is sent twice has one effect. */
function oneKey() {
  const keys = new Map();
  return (/** @type {string} */ text) => {
    if (!keys.has(text)) keys.set(text, randomKey());
    return keys.get(text);
  };
}
