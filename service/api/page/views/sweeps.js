// The list of sweeps, and what the cluster does.

import { html, useEffect, useMemo, useState } from "../lib.js";
import { ask, poll, service } from "../api.js";
import { Sparkline } from "../charts/sparkline.js";
import { age, bytes, counted, short, when } from "../format.js";
import { Code, confirm, Nothing, ProgressBar, State } from "../pieces.js";
import { SWEEP_ENDED } from "../trials.js";
import { Watched, useWatched } from "../watched.js";
import { eta } from "./sweep.js";
import { archive, TagChips } from "./tags.js";

/** @typedef {import("../documents").SweepSummary} Summary */

const PAGE = 50;
const STATES = ["running", "queued", "paused", "succeeded", "stopped", "failed", "cancelled"];

// The list outlives its view, so that it is there at once when one comes back to it.
class Sweeps extends Watched {
  /** @type {Summary[]} */ rows = [];
  /** @type {string | null} */ next = null;
  pages = 1;
  /** @type {string[]} */ states = [];
  tag = "";
  archived = false;
  /** @type {Map<string, {of: string, points: [number, number][]}>} How the best objective got better, by the id of the sweep. */ trends = new Map();
  known = false;
  /** Whether the rows are those of an earlier choice: the chosen ones are being read. */ stale = false;
  problem = "";

  async read() {
    const { pages, states, tag, archived } = this, /** @type {Summary[]} */ rows = [];
    const wanted = states.flatMap((state) => (state === "running" ? ["running", "stopping", "cancelling"] : [state])).map((state) => `&state=${state}`).join("");
    let cursor = /** @type {string | null} */ (null);
    try {
      for (let page = 0; page < pages; page += 1) {
        const found = await ask(`/v1/sweeps?limit=${PAGE}${wanted}${tag ? `&tag=${encodeURIComponent(tag)}` : ""}${archived ? "&archived=true" : ""}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
        rows.push(...found.sweeps);
        cursor = found.next_cursor;
        if (!cursor) break;
      }
    } catch (error) {
      this.problem = /** @type {Error} */ (error).message;
      return this.changed();
    }
    if (states !== this.states || pages !== this.pages || tag !== this.tag || archived !== this.archived) return undefined;
    Object.assign(this, { rows, next: cursor, known: true, stale: false, problem: "" });
    this.changed();
    return this.readTrends().catch(() => {});
  }

  /** Ask how the best objective got better, of the sweeps for which it may have changed since. */
  async readTrends() {
    const wanted = this.rows.filter((row) => row.best_objective !== null && this.trends.get(row.id)?.of !== trendOf(row));
    for (let start = 0; start < wanted.length; start += 100) {
      const part = wanted.slice(start, start + 100), found = await ask(`/v1/best-so-far?${new URLSearchParams(part.map((row) => ["sweeps", row.id]))}`);
      const points = new Map(found.sweeps.map((/** @type {any} */ own) => [own.id, own.points]));
      for (const row of part) this.trends.set(row.id, { of: trendOf(row), points: points.get(row.id) ?? [] });
      this.changed();
    }
  }

  /** List other sweeps. @param {{states?: string[], tag?: string, archived?: boolean}} what */
  choose(what) {
    Object.assign(this, what, { pages: 1, stale: true });
    this.changed();
    return this.read();
  }
}

/** What changes whenever the best objective over the trials may have changed. @param {Summary} row */
const trendOf = ({ best_objective, trials }) => `${best_objective} ${trials.total - trials.waiting - trials.running}`;

const sweeps = new Sweeps();

export function SweepList() {
  useWatched(sweeps, service);
  const [text, setText] = useState(""), [sort, setSort] = useState({ key: "created_at", up: false });
  useEffect(() => { document.title = "Sweeps · Spectral"; return poll(4, () => sweeps.read()); }, []);
  const rows = useMemo(() => arranged(sweeps.rows, text, sort), [sweeps.version, text, sort]);
  const choose = (/** @type {string} */ state) => sweeps.choose({ states: sweeps.states.includes(state) ? sweeps.states.filter((s) => s !== state) : [...sweeps.states, state] });
  const columns = rows.some((one) => one.owner !== "local") ? COLUMNS : COLUMNS.filter(([key]) => key !== "owner");
  if (!sweeps.known) return html`<p class="quiet loading" aria-busy="true">${sweeps.problem || "Reading the list of sweeps …"}</p>`;
  if (!sweeps.rows.length && !sweeps.states.length && !sweeps.tag && !sweeps.archived) return html`<${Nothing} title="No sweeps yet"><p>A sweep trains one network many times, with different settings, and finds the best.</p>
    <p><a class="button primary" href="#/new">New sweep</a></p><p class="quiet">or from a terminal</p><${Code} text="spectral submit sweep.json" label="the command" /><//>`;
  return html`<${Cluster} />
    <section class="card" aria-label="Sweeps" aria-busy=${sweeps.stale}><div class="card-head"><h1>${sweeps.archived ? "Archived sweeps" : "Sweeps"}</h1>
      <div class="controls"><input type="search" placeholder="Name, tag, task, owner" aria-label="Search sweeps" value=${text} onInput=${(/** @type {any} */ e) => setText(e.target.value)} />
        <div class="segments" role="group" aria-label="Filter sweeps by state">${STATES.map((state) => html`<button key=${state} aria-pressed=${sweeps.states.includes(state)} onClick=${() => choose(state)}><${State} name=${state} /></button>`)}</div>
        ${sweeps.tag ? html`<button class="chip" aria-label=${`Show sweeps without the tag ${sweeps.tag} again`} onClick=${() => sweeps.choose({ tag: "" })}>tag ${sweeps.tag} ×</button>` : null}
        <div class="segments"><button aria-pressed=${sweeps.archived} onClick=${() => sweeps.choose({ archived: !sweeps.archived })}>Show archived</button></div></div>
      <span class="quiet count" role="status">${rows.length === sweeps.rows.length ? counted(rows.length, "sweep") : `${rows.length} of ${counted(sweeps.rows.length, "sweep")}`}${sweeps.next ? ", and more" : ""}</span>
      <a class="button primary" href="#/new">New sweep</a></div>
    <div class="table-frame auto" tabindex="0" role="group" aria-label="Table of sweeps"><table class="data list">
      <thead><tr>${columns.map(([key, name, number]) => html`<th key=${key} scope="col" class=${number ? "number" : ""} aria-sort=${key === "trend" ? null : sort.key === key ? (sort.up ? "ascending" : "descending") : "none"}>
        ${key === "trend" ? name : html`<button class="head" onClick=${() => setSort({ key, up: sort.key === key ? !sort.up : key === "name" || key === "task" })}>${name}<span aria-hidden="true">${sort.key === key ? (sort.up ? " ↑" : " ↓") : ""}</span></button>`}</th>`)}<th class="held"><span class="hidden">actions</span></th></tr></thead>
      <tbody>${rows.map((sweep) => html`<${Row} key=${sweep.id} sweep=${sweep} owned=${columns === COLUMNS} />`)}</tbody></table>
      ${rows.length ? null : html`<p class="quiet empty">No sweep matches.</p>`}</div>
    ${sweeps.next ? html`<div class="row center"><button onClick=${() => { sweeps.pages += 1; sweeps.read(); }}>Show more</button></div>` : null}</section>`;
}

/** @type {[string, string, boolean][]} */
const COLUMNS = [["name", "name", false], ["state", "state", false], ["share", "progress", false], ["left", "time left", true], ["best_objective", "best", true], ["trend", "best so far", false], ["metric", "metric", false], ["task", "task", false], ["total", "trials", true], ["failed", "failed", true], ["created_at", "age", true], ["owner", "owner", false]];

/** @param {Summary} sweep @param {string} key @returns {any} */
function valueOf(sweep, key) {
  if (key === "share") return sweep.progress.total ? sweep.progress.done / sweep.progress.total : 1;
  if (key === "left") return sweep.seconds_left;
  if (key === "metric") return sweep.objective.metric;
  if (key === "total" || key === "failed") return sweep.trials[key];
  return /** @type {any} */ (sweep)[key];
}

/** @param {Summary[]} rows @param {string} text @param {{key: string, up: boolean}} sort */
function arranged(rows, text, sort) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean), sign = sort.up ? 1 : -1;
  const found = rows.filter((row) => words.every((word) => `${row.name} ${row.tags.join(" ")} ${row.task} ${row.owner} ${row.id} ${row.state} ${row.objective.metric}`.toLowerCase().includes(word)));
  return found.sort((a, b) => {
    const left = valueOf(a, sort.key), right = valueOf(b, sort.key);
    if (left === null || right === null) return Number(left === null) - Number(right === null);
    return sign * (typeof left === "number" && typeof right === "number" ? left - right || 0 : String(left).localeCompare(String(right)));
  });
}

/** @param {{sweep: Summary, owned: boolean}} props whether any sweep that is listed has an owner */
function Row({ sweep, owned }) {
  const ended = SWEEP_ENDED.has(sweep.state), done = sweep.trials.total - sweep.trials.waiting - sweep.trials.running;
  const remove = () => confirm(`Delete ${sweep.name}?`, `The sweep ${sweep.id}, its ${counted(sweep.trials.total, "trial")}, their checkpoints and their runs in MLflow are removed. This cannot be undone.`, "Delete the sweep",
    () => ask(`/v1/sweeps/${sweep.id}`, { method: "DELETE" }).then(() => { service.say(`${sweep.name} was deleted.`); return sweeps.read(); }, (error) => service.say(error.message)));
  const toArchive = () => archive(sweep).then(() => sweeps.read(), (error) => service.say(error.message));
  return html`<tr data-sweep=${sweep.id}>
    <td class="name"><a href=${`#/sweeps/${sweep.id}`} title=${sweep.name}>${sweep.name}</a><span class="quiet id">${sweep.id}</span> <${TagChips} tags=${sweep.tags} chosen=${sweeps.tag} choose=${(/** @type {string} */ tag) => sweeps.choose({ tag })} /></td>
    <td><${State} name=${sweep.state} /></td>
    <td><${ProgressBar} progress=${sweep.progress} planned=${sweep.planned_steps} state=${sweep.state} slim /></td>
    <td class="number">${ended ? "" : html`<span title=${sweep.eta_reason}>${eta(sweep) || (sweep.queue_position ? `place ${sweep.queue_position} in the queue` : "–")}</span>`}</td>
    <td class="number strong">${sweep.best_objective === null ? "" : short(sweep.best_objective)}</td><td><${Sparkline} points=${sweeps.trends.get(sweep.id)?.points} metric=${sweep.objective.metric} /></td><td class="quiet">${sweep.objective.metric} ${sweep.objective.direction === "maximize" ? "↑" : "↓"}</td>
    <td>${sweep.task}</td><td class="number">${short(done)} / ${short(sweep.trials.total)}</td>
    <td class="number">${sweep.trials.failed ? html`<span class="bad">${sweep.trials.failed}</span>` : ""}</td>
    <td class="number" title=${when(sweep.created_at)}>${age(sweep.created_at)}</td>${owned ? html`<td>${sweep.owner}</td>` : null}
    <td class="number held"><a class="button plain" href=${`#/new?from=${sweep.id}`} aria-label=${`Clone ${sweep.name}`}>Clone</a>${ended ? html`<button class="plain" aria-label=${`${sweep.archived ? "Unarchive" : "Archive"} ${sweep.name}`} onClick=${toArchive}>${sweep.archived ? "Unarchive" : "Archive"}</button><button class="plain" aria-label=${`Delete ${sweep.name}`} onClick=${remove}>Delete</button>` : null}</td></tr>`;
}

/** What the cluster has and uses. */
function Cluster() {
  const cluster = service.cluster;
  if (!cluster) return null;
  const { queue, parts } = cluster, ray = parts.ray?.detail ?? {}, store = parts.checkpoints?.detail ?? {};
  const facts = [
    ["Nodes", String(ray.nodes?.length ?? "–")],
    ["CPUs in use", usage(ray.cpus_used, ray.cpus)], ["GPUs in use", ray.gpus ? usage(ray.gpus_used, ray.gpus) : "none"],
    ["Packs", short(queue.open_packs)], ["Trials running", short(queue.running_trials)], ["Trials waiting", short(queue.waiting_trials)],
    ...store.used_bytes !== undefined ? [["Checkpoints", bytes(store.used_bytes)]] : [],
  ];
  return html`<dl class="facts cluster" aria-label="Cluster">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** @param {number | undefined} used @param {number | undefined} all */
const usage = (used, all) => (all && used !== undefined ? `${short(used)} / ${short(all)}` : "–");
