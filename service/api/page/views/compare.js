// Chosen trials of one or several sweeps beside each other: what differs, and their curves.

import { html, useEffect, useMemo, useState } from "../lib.js";
import { useParameter, useSwitch } from "../address.js";
import { ask } from "../api.js";
import { Chart } from "../charts/chart.js";
import { draw, LookControls, meanOf, MetricChoice, useLook } from "../charts/curves.js";
import { colour, dash } from "../colours.js";
import { counted, leaf, point, short } from "../format.js";
import { CopyLink, Nothing, State } from "../pieces.js";
import { hasResult, SEED, spread } from "../trials.js";
import { resolved } from "./trial.js";

/** @typedef {{trial: import("../documents").TrialView, sweep: import("../documents").SweepView, flat: Record<string, any>}} Entry */

const MOST = 60;

/** @param {{ids: string[]}} props */
export function Compare({ ids }) {
  const [entries, setEntries] = useState(/** @type {Entry[] | null} */ (null)), [missing, setMissing] = useState(/** @type {string[]} */ ([]));
  const [metrics, setMetrics] = useState(/** @type {string[]} */ ([])), [curves, setCurves] = useState(/** @type {Record<string, [number, number][]>} */ ({}));
  const objective = entries?.[0]?.sweep.objective.metric ?? "", look = useLook();
  const [metric, setMetric] = useParameter("metric", objective, (name) => (!metrics.length || name === objective || metrics.includes(name) ? name : undefined), String);
  const [together, setTogether] = useSwitch("mean", SEED in (entries?.[0]?.trial.params ?? {}));
  const asked = ids.slice(0, MOST).join();
  useEffect(() => {
    document.title = "Compare · Spectral";
    let over = false;
    read(ids.slice(0, MOST)).then((found) => {
      if (over) return;
      setEntries(found.entries);
      setMissing(found.missing);
    });
    return () => { over = true; };
  }, [asked]);
  useEffect(() => {
    if (!entries?.length || !metric) return undefined;
    let over = false;
    const bySweep = groupBy(entries);
    Promise.all([...bySweep].map(([id, own]) => ask(`/v1/sweeps/${id}/curves?${new URLSearchParams([["metric", metric], ["points", "400"], ...own.map((/** @type {Entry} */ e) => ["trials", String(e.trial.number)])])}`)))
      .then((answers) => {
        if (over) return;
        setCurves(Object.fromEntries(answers.flatMap((a) => a.curves.map((/** @type {any} */ c) => [`${a.sweep_id} ${c.number}`, c.points]))));
        setMetrics([...new Set(answers.flatMap((a) => a.metrics))].sort());
      }, () => {});
    return () => { over = true; };
  }, [entries, metric]);
  const groups = useMemo(() => grouped(entries ?? [], together), [entries, together]);
  if (!ids.length) return html`<${Nothing} title="Compare trials"><p>Pick trials in the table of a sweep, and press Compare. To compare trials of several sweeps, put their ids into the address, separated by commas.</p><p><a class="button" href="#/sweeps">All sweeps</a></p><//>`;
  if (!entries) return html`<p class="quiet loading" aria-busy="true">Reading the trials …</p>`;
  const lines = groups.map((group, place) => {
    const own = group.entries.map((e) => curves[`${e.sweep.id} ${e.trial.number}`] ?? []);
    return { name: group.name, number: null, colour: colour(place), dash: dash(place), ...own.length > 1 ? meanOf(own) : { points: own[0] } };
  }).filter((line) => line.points.length);
  const objectives = [...new Set(entries.map((e) => `${e.sweep.task} ${e.sweep.objective.metric}`))];
  return html`<div class="title"><h1>Compare ${counted(entries.length, "trial")}</h1><div class="actions"><${CopyLink} /></div></div>
    ${ids.length > MOST ? html`<p class="quiet">The first ${MOST} of ${ids.length} trials are shown.</p>` : null}
    ${missing.length ? html`<p class="bad">There is no trial ${missing.join(", ")}.</p>` : null}
    ${objectives.length > 1 ? html`<p class="warn">These trials learn different tasks or have different objectives, so their results cannot be ranked as one.</p>` : null}
    <${Chart} title="Curves" option=${draw(lines, { metric, ...look }).option} file="comparison" label=${`${metric} of ${lines.map((l) => l.name).join("; ")}`} empty="None of these trials has reported this metric."
      table=${() => ({ heads: ["trial", "step", metric], rows: lines.flatMap((l) => l.points.map((p) => [l.name, ...p])) })}>
      <${MetricChoice} metric=${metric} metrics=${metrics} choose=${setMetric} /><${LookControls} look=${look} />
      <label><input type="checkbox" checked=${together} onChange=${(/** @type {any} */ e) => setTogether(e.target.checked)} /> mean over seeds</label>
    <//>
    <${Differences} groups=${groups} entries=${entries} />`;
}

/** @param {string[]} ids */
async function read(ids) {
  /** @type {Map<string, Promise<any>>} */ const sweeps = new Map();
  /** @type {string[]} */ const missing = [];
  const found = await Promise.all(ids.map(async (id) => {
    const sweepId = id.split("-")[0];
    if (!sweeps.has(sweepId)) sweeps.set(sweepId, ask(`/v1/sweeps/${encodeURIComponent(sweepId)}`));
    try {
      const [trial, sweep] = await Promise.all([ask(`/v1/trials/${encodeURIComponent(id)}`), sweeps.get(sweepId)]);
      return { trial, sweep, flat: flat(resolved(sweep.spec, trial.params)) };
    } catch {
      missing.push(id);
      return null;
    }
  }));
  return { entries: /** @type {Entry[]} */ (found.filter(Boolean)), missing };
}

/** @param {any} value @param {string} [path] @returns {Record<string, any>} */
function flat(value, path = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return { [path]: Array.isArray(value) ? JSON.stringify(value) : value };
  return Object.assign({}, ...Object.entries(value).map(([key, inner]) => flat(inner, path ? `${path}.${key}` : key)));
}

/** @param {Entry[]} entries */
function groupBy(entries) {
  const found = new Map();
  for (const entry of entries) found.set(entry.sweep.id, [...found.get(entry.sweep.id) ?? [], entry]);
  return found;
}

/** @param {Entry[]} entries @param {boolean} together */
function grouped(entries, together) {
  const several = new Set(entries.map((e) => e.sweep.id)).size > 1, own = (/** @type {Entry} */ e) => (several ? `${e.sweep.name} ` : "");
  if (!together) return entries.map((e) => ({ key: e.trial.id, name: `${own(e)}#${e.trial.number} ${point(e.trial.params)}`, entries: [e] }));
  /** @type {Map<string, {key: string, name: string, entries: Entry[]}>} */ const groups = new Map();
  for (const entry of entries) {
    const { [SEED]: _, ...rest } = entry.flat, key = JSON.stringify([entry.sweep.task, rest]), { [SEED]: seed, ...params } = entry.trial.params;
    const group = groups.get(key);
    if (group) group.entries.push(entry);
    else groups.set(key, { key, name: `${own(entry)}${point(params) || `#${entry.trial.number}`}`, entries: [entry] });
  }
  return [...groups.values()].map((group) => ({ ...group, name: group.entries.length > 1 ? `${group.name} (${group.entries.length} seeds)` : group.name }));
}

/** The settings that differ, one row each, and the results. @param {{groups: any[], entries: Entry[]}} props */
function Differences({ groups, entries }) {
  const [all, setAll] = useState(false);
  const paths = [...new Set(entries.flatMap((e) => Object.keys(e.flat)))];
  const seen = paths.filter((path) => all || new Set(entries.map((e) => JSON.stringify(e.flat[path]))).size > 1);
  const several = (/** @type {any} */ group, /** @type {string} */ path) => [...new Set(group.entries.map((/** @type {Entry} */ e) => short(e.flat[path])))].join(", ");
  const result = (/** @type {any} */ group) => {
    const values = group.entries.filter((/** @type {Entry} */ e) => hasResult(e.trial)).map((/** @type {Entry} */ e) => Number(e.trial.objective));
    if (!values.length) return "no result";
    const found = spread(values);
    return found.n > 1 ? html`${short(found.mean)} <span class="quiet">± ${short(found.half)} (95 %, ${found.n} seeds)</span>` : short(found.mean);
  };
  return html`<section class="card" aria-label="Settings that differ"><div class="card-head"><h2>${all ? "All settings" : "Settings that differ"}</h2><div class="controls"><label><input type="checkbox" checked=${all} onChange=${(/** @type {any} */ e) => setAll(e.target.checked)} /> show all</label></div></div>
    <div class="table-frame auto" tabindex="0" role="group" aria-label="Table of settings"><table class="data compare"><thead><tr><th scope="col">setting</th>
      ${groups.map((group, place) => html`<th key=${group.key} scope="col" title=${group.name}><i class="swatch" style=${{ background: colour(place) }}></i> ${group.entries.length === 1 ? html`<a href=${`#/trials/${group.entries[0].trial.id}`}>${group.name}</a>` : group.name}</th>`)}</tr></thead>
    <tbody><tr><th scope="row">${[...new Set(entries.map((e) => e.sweep.objective.metric))].join(" or ")}</th>${groups.map((group) => html`<td key=${group.key} class="strong">${result(group)}</td>`)}</tr>
      <tr><th scope="row">state</th>${groups.map((group) => html`<td key=${group.key}>${group.entries.length === 1 ? html`<${State} name=${group.entries[0].trial.state} />` : several({ entries: group.entries.map((/** @type {Entry} */ e) => ({ flat: { state: e.trial.state } })) }, "state")}</td>`)}</tr>
      <tr><th scope="row">best step</th>${groups.map((group) => html`<td key=${group.key}>${group.entries.map((/** @type {Entry} */ e) => short(e.trial.best_step)).join(", ")}</td>`)}</tr>
      ${seen.map((path) => html`<tr key=${path}><th scope="row" title=${path}>${path.startsWith("task.") || all ? path : leaf(path)}</th>${groups.map((group) => html`<td key=${group.key}>${several(group, path)}</td>`)}</tr>`)}</tbody></table></div></section>`;
}
