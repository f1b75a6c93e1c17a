// One trial: its numbers as they come, its attempts and events, its settings, and how to load it.

import { html, useEffect, useMemo, useState } from "../lib.js";
import { address, keepingChoices } from "../address.js";
import { ask } from "../api.js";
import { Chart } from "../charts/chart.js";
import { draw, LookControls, useLook } from "../charts/curves.js";
import { GradientFlow, isSnapshot, SingularValues } from "../charts/snapshots.js";
import { colour, dash } from "../colours.js";
import { age, counted, duration, leaf, short, when } from "../format.js";
import { Code, confirm, CopyLink, Nothing, State } from "../pieces.js";
import { TRIAL_ENDED } from "../trials.js";
import { useWatched } from "../watched.js";
import { Likeness } from "./likeness.js";
import { Log } from "./log.js";
import { storeOf } from "./sweep.js";
import { TrialActions } from "./trial_actions.js";

/** @typedef {import("../documents").MetricsPoint} Point */

/** About how many reports with the same metrics are read, and with how many in all they are read anew, thinned. */
const POINTS = 1000, MOST_POINTS = 8000;

/** @param {{id: string}} props */
export function Trial({ id }) {
  const sweepId = id.split("-")[0], number = Number(id.split("-")[1]);
  const [store, setStore] = useState(() => storeOf(sweepId));
  useEffect(() => { setStore(storeOf(sweepId)); }, [sweepId]);
  useWatched(store);
  const trial = store.trials.get(number);
  useEffect(() => { document.title = `${store.sweep?.name ?? sweepId} #${number} · Spectral`; }, [store.sweep?.name, id]);
  if (store.state === "missing" || (store.complete && !trial)) {
    const back = store.state === "missing" ? "#/sweeps" : `#/sweeps/${sweepId}`;
    return html`<${Nothing} title=${`There is no trial ${id}`}><p><a class="button primary" href=${back}>${store.state === "missing" ? "All sweeps" : "Its sweep"}</a></p><//>`;
  }
  if (!trial || !store.sweep) return html`<p class="quiet loading" aria-busy="true">Reading the trial …</p>`;
  return html`<${Details} key=${id} store=${store} trial=${trial} />`;
}

/** Reports of a trial, from the first to the last: read once, of very many some that are evenly spread, and then from the events.
 * @param {import("../sweep_store.js").SweepStore} store @param {string} id @param {number} number */
function useMetrics(store, id, number) {
  const [points, setPoints] = useState(/** @type {Point[] | null} */ (null)), [turn, setTurn] = useState(0);
  useEffect(() => {
    let over = false;
    ask(`/v1/trials/${id}/metrics?points=${POINTS}`).then((found) => {
      const last = found.points[found.points.length - 1]?.step ?? -1;
      // what has come meanwhile is kept
      if (!over) setPoints((before) => merged(found.points, (before ?? []).filter((point) => point.step > last)));
    }, () => { if (!over) setPoints((before) => before ?? []); });
    const listener = (/** @type {import("../documents").EventView} */ event) => {
      if (event.kind === "trial.metrics" && event.data.number === number) setPoints((before) => merged(before ?? [], [{ step: event.data.step, at: event.at, values: event.data.values }]));
    };
    store.watchers.add(listener);
    return () => { over = true; store.watchers.delete(listener); };
  }, [store, id, turn]);
  const many = points !== null && points.length > MOST_POINTS;
  useEffect(() => { if (many) setTurn(turn + 1); }, [many]);
  return points;
}

/** @param {Point[]} before @param {Point[]} more */
function merged(before, more) {
  const known = new Map(before.map((p) => [p.step, p]));
  for (const p of more) known.set(p.step, p);
  return [...known.values()].sort((a, b) => a.step - b.step);
}

/** Something that is read again when the trial's state changes. @param {string} path @param {string} turn */
function useDocument(path, turn) {
  const [found, setFound] = useState(/** @type {any} */ (null)), [why, setWhy] = useState("");
  useEffect(() => {
    let over = false;
    ask(path).then((document) => { if (!over) { setFound(document); setWhy(""); } }, (error) => { if (!over) setWhy(error.message); });
    return () => { over = true; };
  }, [path, turn]);
  return { found, why };
}

/** @param {{store: import("../sweep_store.js").SweepStore, trial: import("../documents").TrialView}} props */
function Details({ store, trial }) {
  const sweep = /** @type {any} */ (store.sweep), points = useMetrics(store, trial.id, trial.number), [failure, setFailure] = useState("");
  const turn = `${trial.state} ${trial.best_step}`;
  const logs = useDocument(`/v1/trials/${trial.id}/logs?only=history`, trial.state), model = useDocument(`/v1/trials/${trial.id}/model`, trial.state), files = useDocument(`/v1/trials/${trial.id}/checkpoint`, turn);
  const act = (/** @type {string} */ verb) => ask(`/v1/trials/${trial.id}/${verb}`, { method: "POST" })
    .then((/** @type {any} */ found) => { store.trials.set(found.number, found); setFailure(""); store.changed(); if (verb === "rerun") store.read(); }, (error) => setFailure(error.message));
  const ended = TRIAL_ENDED.has(trial.state), name = `trial ${trial.number} of ${sweep.name}`;
  const spec = useMemo(() => resolved(sweep.spec, trial.params), [sweep.spec, trial.params]);
  const steps = spec.training?.steps ? spec.training.steps + trial.added_steps : null;
  return html`<header class="sweep-head"><div class="title">
      <h1><a href=${`#/sweeps/${sweep.id}`}>${sweep.name}</a> <span class="quiet">/</span> trial ${trial.number}</h1><${State} name=${trial.state} wanted=${trial.wanted} />
      <div class="actions">
        <${Neighbours} store=${store} trial=${trial} />
        ${!ended ? html`<button onClick=${() => confirm(`Stop ${name}?`, "It ends now, and counts as pruned. Its checkpoints stay.", "Stop the trial", () => act("stop"))}>Stop</button>
          <button class="danger" onClick=${() => confirm(`Cancel ${name}?`, "It ends now, and its result does not count. This cannot be undone.", "Cancel the trial", () => act("cancel"))}>Cancel</button>` : null}
        <${TrialActions} store=${store} trial=${trial} steps=${steps} />
        <a class="button" href=${`#/new?from=${sweep.id}&trial=${trial.number}`}>Clone with these values</a>
        <${CopyLink} />
        ${model.found ? html`<a class="button" href=${model.found.mlflow_url} target="_blank" rel="noreferrer">MLflow run ↗</a>` : null}</div></div>
    <dl class="facts">
      <div><dt>${sweep.objective.metric}, best</dt><dd><b>${trial.objective === null ? "none yet" : short(trial.objective)}</b>${trial.best_step === null ? "" : html` <span class="quiet">at step ${short(trial.best_step)}</span>`}</dd></div>
      <div><dt>Step</dt><dd>${short(trial.step)}${steps ? ` of ${short(steps)}` : ""}</dd></div>
      ${Object.entries(trial.params).map(([path, value]) => html`<div key=${path}><dt title=${path}>${leaf(path)}</dt><dd>${short(value)}</dd></div>`)}
      <div><dt>${ended ? "Took" : "Running for"}</dt><dd>${trial.started_at ? duration(((trial.ended_at ? Date.parse(trial.ended_at) : Date.now()) - Date.parse(trial.started_at)) / 1000) : "not started"}</dd></div>
      <div><dt>Id</dt><dd><code>${trial.id}</code></dd></div></dl>
    ${trial.reason ? html`<p class=${trial.state === "failed" ? "bad" : "quiet"}>${trial.reason}</p>` : null}
    ${trial.waiting_for ? html`<p class="quiet">It waits: ${trial.waiting_for}.</p>` : null}
    ${failure ? html`<p class="bad" role="alert">${failure}</p>` : null}</header>
  ${sweep.spec.replays ? html`<${Likeness} trial=${trial} original=${sweep.spec.replays} />` : null}
  <${Metrics} points=${points} trial=${trial} />
  <div class="pair"><${SingularValues} points=${points ?? []} id=${trial.id} band=${bandOf(spec)} /><${GradientFlow} points=${points ?? []} id=${trial.id} length=${null} /></div>
  <div class="pair even">
    <section class="card padded" aria-label="Attempts"><h2>Attempts</h2><${Attempts} found=${logs.found} why=${logs.why} /></section>
    <section class="card padded" aria-label="Load the model"><h2>Load the model</h2>
      ${model.found ? html`<p>From MLflow:</p><${Code} text=${model.found.snippet} label="how to load the model from MLflow" />
        <p>The torch module alone:</p><${Code} text=${model.found.torch_snippet} label="how to load the torch module" />` : html`<p class="quiet">${model.why || "Reading …"}</p>`}
      <${Files} found=${files.found} alone=${!model.found} /></section></div>
  <${Log} id=${trial.id} ended=${ended} />
  <section class="card padded" aria-label="Settings"><h2>Settings of this trial</h2><${Code} text=${JSON.stringify(spec, (_, value) => value ?? undefined, 2)} label="the settings of this trial" /></section>`;
}

/** Links to the trials before and after one, which are drawn in the same way. @param {{store: import("../sweep_store.js").SweepStore, trial: import("../documents").TrialView}} props */
function Neighbours({ store: { rows }, trial }) {
  useWatched(address);
  const at = rows.findIndex((one) => one.number === trial.number), before = rows[at - 1], after = rows[at + 1];
  return html`${before ? html`<a class="button" ...${keepingChoices(`trials/${before.id}`)} title="Previous trial">← #${before.number}</a>` : null}
    ${after ? html`<a class="button" ...${keepingChoices(`trials/${after.id}`)} title="Next trial">#${after.number} →</a>` : null}`;
}

/** The document of a sweep with the values of one trial. @param {any} document @param {Record<string, any>} params */
export function resolved(document, params) {
  const { task, model, training, objective } = structuredClone(document), found = /** @type {any} */ ({ task, model, training, objective });
  for (const [path, value] of Object.entries(params)) {
    const [part, ...rest] = path.split(".");
    if (found[part]) found[part][rest.join(".")] = value;
  }
  delete found.task?.facts;
  return found;
}

/** The band of the singular values, if the trial's document says it. @param {any} spec @returns {[number, number] | null} */
function bandOf(spec) {
  const margin = spec.model?.margin, centre = spec.model?.sigma ?? (/spectral_resnet/.test(spec.model?.kind) ? 0 : 1);
  return typeof margin === "number" && /^spectral/.test(spec.model?.kind ?? "") ? [centre - margin, centre + margin] : null;
}

/** @param {{points: Point[] | null, trial: import("../documents").TrialView}} props */
function Metrics({ points, trial }) {
  const look = useLook();
  const groups = useMemo(() => grouped(points ?? []), [points]);
  if (!points) return html`<p class="quiet loading" aria-busy="true">Reading the metrics …</p>`;
  if (!points.length) return html`<p class="quiet empty card">No metrics were reported yet.</p>`;
  return html`<div class="strip"><${LookControls} look=${look} />
    <span class="quiet">${counted(points.length, "report")} drawn, the last ${age(points[points.length - 1].at)}</span></div>
  <div class="tiles">${groups.map(([name, lines]) => html`<${Chart} key=${name} title=${name} size="short" file=${`${trial.id}-${name}`} label=${`${lines.map((l) => `${l.name} ${short(l.points[l.points.length - 1]?.[1])}`).join(", ")}`}
    option=${draw(lines, { metric: name, ...look, yName: "" }).option} table=${() => ({ heads: ["metric", "step", "value"], rows: lines.flatMap((l) => l.points.map((/** @type {any} */ p) => [l.name, ...p])) })} />`)}</div>`;
}

/** The metrics in charts: the same metric on all sets is one chart. @param {Point[]} points @returns {[string, any[]][]} */
function grouped(points) {
  /** @type {Map<string, Map<string, [number, number][]>>} */ const charts = new Map();
  for (const p of points) for (const [name, value] of Object.entries(p.values)) {
    if (typeof value !== "number" || isSnapshot(name)) continue;
    const slash = name.indexOf("/"), part = name.slice(0, slash), rest = name.slice(slash + 1);
    const chart = ["train", "val", "test"].includes(part) ? rest : /^spectral\/(min|max)$/.test(name) ? "singular values" : name;
    if (!charts.has(chart)) charts.set(chart, new Map());
    const lines = /** @type {any} */ (charts.get(chart));
    if (!lines.has(name)) lines.set(name, []);
    lines.get(name).push([p.step, value]);
  }
  const order = (/** @type {string} */ name) => (/^(loss|accuracy)/.test(name) ? 0 : /singular/.test(name) ? 1 : 2);
  return [...charts].sort((a, b) => order(a[0]) - order(b[0]) || a[0].localeCompare(b[0]))
    .map(([name, lines]) => [name, [...lines].map(([own, list], place) => ({ name: own, number: null, points: list, colour: colour(place), dash: dash(place) }))]);
}

/** @param {{found: any, why: string}} props */
function Attempts({ found, why }) {
  if (!found) return html`<p class="quiet">${why || "Reading …"}</p>`;
  if (!found.attempts.length) return html`<p class="quiet">It has not been given to a worker yet.</p>`;
  return html`<ol class="attempts">${found.attempts.map((/** @type {any} */ attempt) => html`<li key=${attempt.number}>
      <p><b>Attempt ${attempt.number}</b> from step ${short(attempt.from_step)}: ${attempt.outcome ?? "running"}${attempt.cause ? `, cause: ${attempt.cause}` : ""}
<span class="quiet">, ${when(attempt.started_at)}${attempt.ended_at ? `, ${duration((Date.parse(attempt.ended_at) - Date.parse(attempt.started_at)) / 1000)}` : ""}, pack ${attempt.pack_id}</span></p>
      ${attempt.reason ? html`<p>${attempt.reason}</p>` : null}
      ${attempt.log ? html`<details><summary>What was logged</summary><${Code} text=${attempt.log} label=${`the log of attempt ${attempt.number}`} /></details>` : null}</li>`)}</ol>
    <details><summary>${found.events.length} events</summary><ol class="events">${found.events.filter((/** @type {any} */ e) => e.kind !== "trial.metrics").map((/** @type {any} */ e) => html`<li key=${e.seq}><span class="quiet">${when(e.at)}</span> ${e.kind.slice(6)} ${e.data.step ? `at step ${short(e.data.step)}` : ""} ${e.data.reason ?? ""}</li>`)}</ol></details>`;
}

/** @param {{found: any, alone: boolean}} props */
function Files({ found, alone }) {
  if (!found || (!found.best && !found.last)) return html`<p class="quiet">There is no checkpoint.</p>`;
  return html`<h3>Checkpoints</h3><table class="plain-table"><thead><tr><th scope="col">which</th><th scope="col" class="number">step</th><th scope="col" class="number">objective</th><th scope="col">file</th></tr></thead><tbody>
    ${["best", "last"].filter((which) => found[which]).map((which) => html`<tr key=${which}><td>${which}</td><td class="number">${short(found[which].step)}</td><td class="number">${short(found[which].objective)}</td>
      <td>${found[which].missing ? html`<span class="quiet">${found[which].missing}</span>` : html`<a href=${found[which].download} download>safetensors</a>`}</td></tr>`)}</tbody></table>
    ${found.best && alone ? html`<p>With torch, where the checkpoints are:</p><${Code} label="how to load the model with torch" text=${`from workers.models import load\n\nmodel = load(${JSON.stringify(found.best.path)})`} />` : null}`;
}
