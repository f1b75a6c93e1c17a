// One sweep: what is known of it in a line, and its views, each with an address of its own.

import { html, useEffect, useRef, useState } from "../lib.js";
import { address, keepingChoices } from "../address.js";
import { ask, service } from "../api.js";
import { BestSoFar, Timeline } from "../charts/progress.js";
import { Curves } from "../charts/curves.js";
import { Importance } from "../charts/importance.js";
import { TradeOff } from "../charts/pareto.js";
import { Parallel } from "../charts/parallel.js";
import { Plane } from "../charts/plane.js";
import { Slices } from "../charts/slices.js";
import { age, bytes, counted, duration, point, short, when } from "../format.js";
import { Code, confirm, CopyLink, Draft, inquire, Nothing, ProgressBar, State, Warnings } from "../pieces.js";
import { SweepStore } from "../sweep_store.js";
import { byRank, hasResult, taskKey } from "../trials.js";
import { useWatched } from "../watched.js";
import { SweepDataView } from "./data.js";
import { EXTENDABLE, extend } from "./extend_sweep.js";
import { typed } from "./schema_form.js";
import { archive, TagsField } from "./tags.js";
import { TrialsTable } from "./trials_table.js";
import { DataSetChoice, PickedTrials } from "./view_state.js";

export const TABS = [["overview", "Overview"], ["trials", "Trials"], ["plane", "Plane"], ["curves", "Curves"], ["parallel", "Parallel"], ["slices", "Slices"],
  ["importance", "Importance"], ["timeline", "Timeline"], ["best", "Best so far"], ["tradeoff", "Trade-off"], ["data", "Data"], ["document", "Document"]];

/** @type {SweepStore | null} */
let open = null;

/** The store of a sweep, which stays open while views of the same sweep follow each other. @param {string} id */
export function storeOf(id) {
  if (open?.id !== id || open.closed || open.state === "missing") {
    open?.close();
    open = new SweepStore(id).open();
  }
  return open;
}

/** Stop asking about the sweep that was looked at last. */
export function closeStore() { open?.close(); open = null; }

/** @param {{id: string, tab: string}} props */
export function Sweep({ id, tab }) {
  const [store, setStore] = useState(() => storeOf(id));
  useEffect(() => { setStore(storeOf(id)); }, [id]);
  useWatched(store);
  useEffect(() => { document.title = `${store.sweep?.name ?? id} · ${(TABS.find(([key]) => key === tab) ?? TABS[0])[1]} · Spectral`; }, [store.sweep?.name, tab, id]);
  if (store.state === "missing") return html`<${Nothing} title=${`There is no sweep ${id}`}><p>It may have been deleted, or the address is incomplete.</p><p><a class="button primary" href="#/sweeps">All sweeps</a></p><//>`;
  if (store.state === "refused") return html`<${Nothing} title="This sweep cannot be shown"><p>${store.refusal}</p><p><a class="button" href="#/sweeps">All sweeps</a></p><//>`;
  if (!store.sweep) return html`<p class="quiet loading" aria-busy="true">Reading the sweep …</p>`;
  return html`<${Header} store=${store} />
    <${Tabs} store=${store} tab=${tab} /><${DataSetChoice} store=${store} /><${PickedTrials} store=${store} />
    <${View} key=${tab} store=${store} tab=${tab} />`;
}

/** Links to the views, which keep the choices that are in the address. @param {{store: SweepStore, tab: string}} props */
function Tabs({ store, tab }) {
  useWatched(address);
  const frame = useRef(/** @type {any} */ (null));
  useEffect(() => { frame.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }); }, [tab]);
  const shown = TABS.filter(([key]) => key !== "tradeoff" || store.sweep?.spec.further_objectives?.length);
  return html`<nav class="tabs" ref=${frame} aria-label="Views of the sweep">${shown.map(([key, name]) => html`<a key=${key} ...${keepingChoices(`sweeps/${store.id}${key === "overview" ? "" : `/${key}`}`)} aria-current=${key === tab ? "page" : null}>${name}</a>`)}</nav>`;
}

/** @param {{store: SweepStore, tab: string}} props */
function View({ store, tab }) {
  switch (tab) {
    case "trials": return html`<${TrialsTable} store=${store} tall />`;
    case "plane": return html`<${Plane} store=${store} size="tall" />`;
    case "curves": return html`<${Curves} store=${store} size="tall" />`;
    case "parallel": return html`<${Parallel} store=${store} />`;
    case "slices": return html`<${Slices} store=${store} />`;
    case "importance": return html`<${Importance} store=${store} />`;
    case "timeline": return html`<${Timeline} store=${store} />`;
    case "best": return html`<${BestSoFar} store=${store} />`;
    case "tradeoff": return html`<${TradeOff} store=${store} />`;
    case "data": return html`<${SweepDataView} store=${store} />`;
    case "document": return html`<${Document} store=${store} />`;
    default: return html`<div class="pair"><${Curves} store=${store} /><${Plane} store=${store} /></div><${TrialsTable} store=${store} />`;
  }
}

/** @type {Record<string, string[]>} */
const VERBS = { pause: ["queued", "running"], resume: ["paused"], stop: ["queued", "running", "paused"], cancel: ["queued", "running", "paused", "stopping"] };

const RERUN = new Set(["running", "paused", "succeeded", "failed", "stopped", "cancelled"]);

/** @param {{store: SweepStore}} props */
function Header({ store }) {
  const sweep = /** @type {import("../documents").SweepView} */ (store.sweep), { metric, direction } = sweep.objective;
  const [failure, setFailure] = useState("");
  const act = (/** @type {string} */ verb) => store.act(verb).then(() => setFailure(""), (error) => setFailure(error.message));
  const remove = () => ask(`/v1/sweeps/${sweep.id}`, { method: "DELETE" }).then(() => { service.say(`${sweep.name} was deleted.`); location.hash = "#/sweeps"; }, (error) => setFailure(error.message));
  const toArchive = () => archive(sweep).then((found) => { store.sweep = found; setFailure(""); store.changed(); }, (error) => setFailure(error.message));
  const questions = {
    cancel: () => confirm(`Cancel ${sweep.name}?`, `All of its ${counted(sweep.trials.running + sweep.trials.waiting, "open trial")} end now, without a new checkpoint. This cannot be undone. To let running trials finish, use Stop.`, "Cancel the sweep", () => act("cancel")),
    stop: () => confirm(`Stop ${sweep.name}?`, `Running trials finish; the ${counted(sweep.trials.waiting, "waiting trial")} never start. This cannot be undone.`, "Stop the sweep", () => act("stop")),
    rerun: () => inquire({ title: `Rerun the ${counted(sweep.trials.failed, "failed trial")} of ${sweep.name}?`, yes: "Rerun them", text: `Each goes on from its newest checkpoint, if it has one, with all of its retries.${store.ended ? " The sweep is running again until they end." : ""}`, act: () => store.act("rerun") }),
    remove: () => confirm(`Delete ${sweep.name}?`, `The sweep ${sweep.id}, its ${counted(sweep.trials.total, "trial")}, ${bytes(sweep.checkpoint_bytes)} of checkpoints and its runs in MLflow are removed. Models in the registry stay. This cannot be undone.`, "Delete the sweep", remove),
  };
  const verbs = Object.entries(VERBS).filter(([, states]) => states.includes(sweep.state)).map(([verb]) => html`<button key=${verb} class=${verb === "cancel" ? "danger" : ""}
    onClick=${() => (verb === "cancel" ? questions.cancel() : verb === "stop" ? questions.stop() : act(verb))}>${verb[0].toUpperCase() + verb.slice(1)}</button>`);
  const groups = store.groups.length;
  return html`<header class="sweep-head">
    <div class="title"><h1>${sweep.name}</h1><${State} name=${sweep.state} />
      ${sweep.archived ? html`<span class="chip">archived</span>` : null}
      ${sweep.trials.failed ? html`<span class="chip bad">${counted(sweep.trials.failed, "failed trial")}</span>` : null}
      <div class="actions">${verbs}
        ${RERUN.has(sweep.state) && sweep.trials.failed ? html`<button onClick=${questions.rerun}>Rerun failed</button>` : null}
        ${EXTENDABLE.has(sweep.state) && store.complete ? html`<button onClick=${() => extend(store)}>Extend</button>` : null}
        <a class="button" href=${`#/new?from=${sweep.id}`}>Clone</a><${CopyLink} />
        <a class="button" href=${`/v1/sweeps/${sweep.id}/report.html`} target="_blank">Report ↗</a>
        ${sweep.mlflow_url ? html`<a class="button" href=${sweep.mlflow_url} target="_blank" rel="noreferrer">MLflow ↗</a>` : null}
        ${store.ended ? html`<button title=${sweep.archived ? "List it again" : "Leave it out of the list of sweeps; it keeps everything"} onClick=${toArchive}>${sweep.archived ? "Unarchive" : "Archive"}</button>` : null}
        ${store.ended ? html`<button class="danger" onClick=${questions.remove}>Delete</button>` : null}</div></div>
    <dl class="facts">
      <div><dt>Progress</dt><dd><${ProgressBar} progress=${sweep.progress} planned=${sweep.planned_steps} state=${sweep.state} /></dd></div>
      ${store.ended ? null : html`<div><dt>Time left</dt><dd>${eta(sweep) || html`<span class="quiet">${sweep.eta_reason ?? "not known yet"}</span>`}</dd></div>`}
      <div><dt>${groups > 1 ? `Best of each of ${groups} data sets` : store.ended ? "Best" : "Best so far"} <span class="quiet">${metric}, ${direction === "maximize" ? "higher" : "lower"} is better</span></dt><dd>${bestOf(store)}</dd></div>
      <div><dt>Trials</dt><dd>${Object.entries(sweep.trials).filter(([name, n]) => n && name !== "total").map(([name, n]) => `${short(n)} ${name}`).join(", ")}</dd></div>
      <div><dt>${store.ended ? "Took" : "Running for"}</dt><dd>${sweep.started_at ? duration(((sweep.ended_at ? Date.parse(sweep.ended_at) : Date.now()) - Date.parse(sweep.started_at)) / 1000) : "not started"}</dd></div>
      <div><dt>Task</dt><dd>${sweep.task}</dd></div>
      <div><dt>Submitted</dt><dd title=${when(sweep.created_at)}>${age(sweep.created_at)}${sweep.owner === "local" ? "" : ` by ${sweep.owner}`}</dd></div>
      ${store.ended ? null : html`<${Priority} store=${store} failed=${setFailure} />`}
      <${TagsField} store=${store} failed=${setFailure} />
      <div><dt>Id</dt><dd><code>${sweep.id}</code></dd></div>
    </dl>
    ${sweep.waiting_for ? html`<p class="quiet">${sweep.queue_position ? `Place ${sweep.queue_position} in the queue. ` : ""}Its waiting trials wait for ${sweep.waiting_for}.</p>` : null}
    ${failure ? html`<p class="bad" role="alert">${failure}</p>` : null}
    ${sweep.reason ? html`<p class="bad">${sweep.reason}</p>` : null}
    ${Object.entries(sweep.mlflow_lacks).slice(0, 3).map(([id, why]) => html`<p class="warn" key=${id}>MLflow lacks a part of ${id}: ${why}</p>`)}
    <${Warnings} warnings=${sweep.warnings} />
  </header>`;
}

/** @param {SweepStore} store */
function bestOf(store) {
  const sweep = /** @type {any} */ (store.sweep), order = byRank(sweep.objective.direction), groups = store.groups;
  if (groups.length > 1) {
    const rows = groups.map((group) => store.rows.filter((t) => taskKey(t) === group && hasResult(t)).sort(order)[0]).filter(Boolean);
    return html`<span class="best">${rows.slice(0, 6).map((trial) => html`<span key=${trial.id}><b>${short(trial.objective)}</b> <a href=${`#/trials/${trial.id}`}>${taskKey(trial)}</a></span>`)}${rows.length > 6 ? ` and ${rows.length - 6} more` : ""}</span>`;
  }
  if (sweep.best_point?.objective != null) {
    const { objective, params, n, sd, number } = sweep.best_point;
    return html`<span class="best"><span><b>${short(objective)}</b>${sd === null ? "" : ` ± ${short(sd)}`} <span class="quiet">${sweep.spec.objective?.statistic ?? "mean"} of ${counted(n, "seed")}, point ${number}: ${point(params)}</span></span></span>`;
  }
  const best = sweep.spec.repeats > 1 ? null : store.complete ? store.rows.filter(hasResult).sort(order)[0] : sweep.best;
  return best ? html`<span class="best"><span><b>${short(best.objective)}</b> <a href=${`#/trials/${best.id}`}>#${best.number}</a> <span class="quiet">${point(best.params)}</span></span></span>` : html`<span class="quiet">no result yet</span>`;
}

/** How long a sweep needs yet, as the service estimates it. @param {import("../documents").SweepSummary} sweep */
export function eta(sweep) {
  return sweep.seconds_left === null ? "" : `about ${duration(Math.round(sweep.seconds_left))}`;
}

/** The priority of a sweep and how many of its trials may run at once, which can be changed while it runs. @param {{store: SweepStore, failed: (problem: string) => void}} props */
function Priority({ store, failed }) {
  const sweep = /** @type {import("../documents").SweepView} */ (store.sweep);
  const change = (/** @type {any} */ body) => ask(`/v1/sweeps/${sweep.id}`, { method: "PATCH", body }).then((found) => { store.sweep = found; failed(""); store.changed(); }, (error) => failed(error.message));
  return html`<div><dt><label for="priority">Priority</label></dt><dd><${Draft} id="priority" inputmode="numeric" class="short" value=${sweep.priority} commit=${(/** @type {string} */ text) => change({ priority: typed(text, true) ?? 0 })} /></dd></div>
    <div><dt><label for="max-parallel">Trials at once</label></dt><dd><${Draft} id="max-parallel" inputmode="numeric" class="short wider" placeholder="as many as fit" value=${sweep.max_parallel ?? ""} commit=${(/** @type {string} */ text) => change({ max_parallel: typed(text, true) ?? null })} /></dd></div>`;
}

/** @param {{store: SweepStore}} props */
function Document({ store }) {
  const sweep = /** @type {any} */ (store.sweep), text = JSON.stringify(sweep.spec, null, 2);
  return html`<section class="card" aria-label="Document"><div class="card-head"><h2>The sweep as stored, with every default</h2><div class="downloads"><a class="button plain" href=${`#/new?from=${sweep.id}`}>Clone and edit</a></div></div>
    <${Code} text=${text} label="the sweep document" /></section>`;
}
