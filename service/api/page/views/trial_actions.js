// What can be done with a trial after its end: run it again, train it for more steps, replay it.

import { html, useRef } from "../lib.js";
import { ask, randomKey, service } from "../api.js";
import { short } from "../format.js";
import { Button, inquire } from "../pieces.js";
import { TRIAL_ENDED } from "../trials.js";

/** @typedef {import("../documents").TrialView} TrialView */

const CLOSED = new Set(["queued", "stopping", "cancelling"]);

/** Why a trial cannot be replayed; empty if it can. @param {TrialView} trial */
const whyNoReplay = (trial) => (!TRIAL_ENDED.has(trial.state) ? `The trial is ${trial.state}; only one that has ended is replayed.` : trial.step ? "" : "The trial has no report with which a replay could be compared.");

/** Why a trial gets no more steps, as far as the page knows; the service has the last word.
 * @param {any} sweep @param {TrialView} trial @param {number | null} steps */
function whyNoSteps(sweep, trial, steps) {
  if (trial.state !== "succeeded") return `The trial is ${trial.state}; only one that has succeeded gets more steps.${trial.state === "failed" ? " Rerun it first." : ""}`;
  if (CLOSED.has(sweep.state)) return `Its sweep is ${sweep.state}.`;
  if ((trial.params["training.schedule"] ?? sweep.spec.training?.schedule) === "cosine") return "Its learning rate followed a cosine, which has fallen to 0 at its last step.";
  if (steps !== null && trial.step < steps) return `It reached training.target at step ${short(trial.step)}, and would end there again.`;
  return "";
}

/** @param {{store: import("../sweep_store.js").SweepStore, trial: TrialView, steps: number | null}} props */
export function TrialActions({ store, trial, steps }) {
  const sweep = /** @type {any} */ (store.sweep), path = `/v1/trials/${trial.id}`, repeats = Number(sweep.spec.repeats ?? 1), keys = useRef(/** @type {Map<string, string>} */ (new Map()));
  // what is sent again has the same key, and one effect, until an answer says whether it had one; errors from 500 on do not
  const send = async (/** @type {string} */ verb, /** @type {any} */ body) => {
    const what = JSON.stringify([verb, body]), key = keys.current.get(what) ?? randomKey();
    keys.current.set(what, key);
    const found = await ask(`${path}/${verb}`, { method: "POST", body, key }).catch((error) => { if (error.status && error.status < 500) keys.current.delete(what); throw error; });
    keys.current.delete(what);
    return found;
  };
  const goOn = (/** @type {TrialView} */ found) => { store.trials.set(found.number, found); store.changed(); store.read(); };
  const rerun = () => inquire({ title: `Rerun trial ${trial.number}?`, yes: "Rerun the trial", text: "It goes on from its newest checkpoint, if it has one, with all of its retries. Its sweep is running again until it ends.", act: () => send("rerun", undefined).then(goOn) });
  const replay = () => inquire({ title: `Replay trial ${trial.number}?`, yes: "Replay the trial",
    text: `It is trained once more with exactly its settings${steps ? `, ${short(steps)} steps` : ""}, as a new sweep of one trial. Its page then says how alike the two are.`,
    act: async () => { const found = await send("replay", undefined); service.say(`${found.name} was submitted.`); location.hash = `#/sweeps/${found.id}`; } });
  const more = () => inquire({ title: `More steps for trial ${trial.number}`, yes: "Train on",
    text: `It has done ${short(trial.step)} steps, and goes on from its last checkpoint. It keeps its reports; no rule ends it early.${repeats > 1 ? ` All ${repeats} trials of its point go on.` : ""}`,
    fields: [{ name: "steps", label: "Steps in all", value: String(2 * (steps ?? trial.step)), inputmode: "numeric", help: `more than the ${short(steps ?? trial.step)} that it has` }],
    act: (answers) => send("extend", { steps: /^\d+$/.test(answers.steps.trim()) ? Number(answers.steps) : answers.steps }).then(goOn) });
  return html`${trial.state === "failed" ? html`<${Button} why=${CLOSED.has(sweep.state) ? `Its sweep is ${sweep.state}.` : ""} act=${rerun}>Rerun<//>` : null}
    <${Button} why=${whyNoSteps(sweep, trial, steps)} act=${more}>More steps<//><${Button} why=${whyNoReplay(trial)} act=${replay}>Replay<//>`;
}
