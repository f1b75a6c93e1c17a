// Two views: the list of sweeps, and the sweep whose id follows # in the address.

import { curves, heatmap, scatter } from "./charts.js";
import { dataView } from "./data.js";
import { bar, cells, make, percent, point, short, state, table, when } from "./dom.js";
import { SignedOut, showWho, signInForm } from "./sign_in.js";

const main = document.getElementById("main");
const LOOK = 1500, CURVES = 12;
const ENDED = new Set(["succeeded", "failed", "stopped", "cancelled"]);
const VERBS = {
  pause: ["queued", "running"], resume: ["paused"], stop: ["queued", "running", "paused"],
  cancel: ["queued", "running", "paused", "stopping"],
};
const opened = new Set(), known = { id: null, parts: null };
let timer = null, turn = 0;

async function ask(path, options) {
  const answer = await fetch(path, options);
  const document = await answer.json();
  if (answer.status === 401) throw new SignedOut(document.detail);
  if (!answer.ok) throw new Error(document.detail ?? answer.statusText);
  return document;
}

function say(text, bad = false) {
  const status = document.getElementById("status");
  status.textContent = text;
  status.className = bad ? "bad" : "quiet";
}

async function health() {
  const answer = await fetch("/health/ready");
  const found = await answer.json();
  if (!found.ready) return say(`Not ready, waiting for ${found.waiting_for.join("; ")}`, true);
  const down = Object.entries(found.parts).filter(([, part]) => !part.healthy || Object.keys(part.detail.lacks ?? {}).length)
    .map(([name, part]) => `${name}: ${part.message}. Training is not affected.`);
  say(["Ready.", ...down].join(" "));
}

async function list() {
  const { sweeps } = await ask("/v1/sweeps?limit=100");
  if (!sweeps.length) return [make("p", {}, "There are no sweeps yet. Submit one with this command:"), make("pre", {}, "spectral submit sweep.json")];
  const rows = sweeps.map((sweep) => cells(
    make("a", { href: `#${sweep.id}` }, sweep.name), state(sweep.state), bar(sweep.progress), [percent(sweep.progress)],
    [`${sweep.trials.total - sweep.trials.waiting - sweep.trials.running} / ${sweep.trials.total}`],
    [String(sweep.trials.failed || "")], when(sweep.created_at), make("span", { class: "quiet" }, sweep.id)));
  return [make("h1", {}, "Sweeps"), table(["name", "state", "progress", [""], ["trials"], ["failed"], "created", "id"], rows)];
}

async function lines(report, metric) {
  const leaders = report.leaderboard.slice(0, CURVES);
  const found = await Promise.all(leaders.map((trial) => ask(`/v1/trials/${trial.id}/metrics?keys=${encodeURIComponent(metric)}`)));
  return leaders.map((trial, i) => ({
    name: `trial ${trial.number}: ${point(trial.params)}`,
    points: found[i].points.filter((p) => p.values[metric] != null).map((p) => [p.step, p.values[metric]]),
  }));
}

function verbs(sweep) {
  return Object.entries(VERBS).map(([verb, states]) => make("button", {
    disabled: !states.includes(sweep.state),
    onclick: () => ask(`/v1/sweeps/${sweep.id}/${verb}`, { method: "POST" }).then(show, (error) => say(error.message, true)),
  }, verb[0].toUpperCase() + verb.slice(1)));
}

function leaderboard(trials, metric) {
  const rows = trials.map((trial) => cells(
    [String(trial.number)], state(trial.state), [trial.objective == null ? "" : short(trial.objective)],
    [String(trial.step)], point(trial.params), trial.reason ?? "",
    trial.best_step == null ? "" : make("a", { href: `/v1/trials/${trial.id}/checkpoint?which=best&download=1` }, "weights")));
  return table([["trial"], "state", [metric], ["step"], "parameters", "reason", ""], rows);
}

// The fields of task and model that all trials share.
function common({ task, model, space }) {
  const words = (part, fields) => point(Object.fromEntries(Object.entries(fields).filter(([name, value]) =>
    value != null && value !== false && name !== "facts" && !(`${part}.${name}` in space))));
  return make("p", { class: "quiet" }, `Task: ${words("task", task)}`, make("br"), `Model: ${words("model", model)}`);
}

// The plane of reflectors and margin, if the sweep varies one of them.
function plane(sweep, report) {
  const axes = ["model.reflectors", "model.reflectors_u", "model.reflectors_v", "model.margin"];
  if (!axes.some((axis) => axis in sweep.spec.space)) return null;
  return report.grid ? heatmap(report.grid, report.objective)
    : report.places.length ? scatter(report.places, report.objective) : null;
}

function warning(found) {
  return make("p", { class: "warn" }, `${found.field} = ${found.given} ${found.problem}; ${found.allowed}`);
}

// A part of the page that is folded until it is opened, and stays open when the page is drawn again.
function folded(name, title, content) {
  const inner = make("div", {}, make("p", { class: "quiet" }, "Reading …")), details = make("details", { open: opened.has(name) }, make("summary", {}, title), inner);
  const fill = () => content().then((parts) => inner.replaceChildren(...parts),
    (error) => inner.replaceChildren(make("p", { class: "quiet" }, error.message)));
  details.addEventListener("toggle", () => {
    if (details.open && !opened.has(name)) fill();
    if (details.open) opened.add(name); else opened.delete(name);
  });
  if (details.open) fill();
  return details;
}

// The data of a sweep is read once by the server, when this part is opened.
function dataOf({ id, warnings }) {
  const said = new Set(warnings.map((found) => found.problem));
  if (known.id !== id) Object.assign(known, { id, parts: ask(`/v1/sweeps/${id}/data`).then((data) => dataView(data, said)) });
  return known.parts;
}

async function one(id) {
  const [sweep, report, all] = await Promise.all([
    ask(`/v1/sweeps/${id}`), ask(`/v1/sweeps/${id}/report`), ask(`/v1/sweeps/${id}/trials?sort=objective&limit=50`)]);
  const { metric, direction } = sweep.objective;
  const counts = Object.entries(sweep.trials).filter(([name, n]) => n && name !== "total").map(([name, n]) => `${n} ${name}`);
  const drawn = plane(sweep, report), ended = ENDED.has(sweep.state);
  const said = new Set(sweep.warnings.map((found) => JSON.stringify(found)));
  const best = all.trials.length > CURVES ? ` of the best ${CURVES} trials` : "";
  const parts = [
    make("h1", {}, sweep.name), common(sweep.spec),
    make("div", { class: "row" }, state(sweep.state), bar(sweep.progress),
      make("span", {}, percent(sweep.progress)), make("span", {}, `${sweep.trials.total} trials: ${counts.join(", ")}`),
      sweep.mlflow_url ? make("a", { href: sweep.mlflow_url }, "MLflow") : make("span", { class: "quiet" }, "MLflow does not have it yet")),
    sweep.reason ? make("p", { class: "bad" }, sweep.reason) : null,
    ...sweep.warnings.map(warning),
    ...Object.entries(sweep.mlflow_lacks).map(([id, why]) => make("p", { class: "warn" }, `MLflow lacks a part of ${id}: ${why}`)),
    make("div", { class: "row" }, ...verbs(sweep)),
    sweep.best ? make("p", {}, `${ended ? "Best" : "Best so far"}: ${metric} = ${short(sweep.best.objective)} `
      + `with ${point(sweep.best.params)}`) : null,
    ...report.warnings.filter((found) => !said.has(JSON.stringify(found))).map(warning),
    make("div", { class: "columns" },
      drawn ? make("section", {}, make("h2", {}, `${metric} (${direction}), by reflectors and margin`), drawn) : "",
      make("section", {}, make("h2", {}, `Learning curves${best}`), curves(await lines(report, metric), metric))),
    make("h2", {}, "Trials, best first"), leaderboard(all.trials, metric),
    folded("data", "The data", () => dataOf(sweep)),
    folded("spec", "The sweep as stored", async () => [make("pre", {}, JSON.stringify(sweep.spec, null, 2))]),
  ];
  return [parts.filter(Boolean), ended];
}

async function show() {
  clearTimeout(timer);
  const mine = ++turn, id = location.hash.slice(1);
  let over = false;
  try {
    await health();
    const [parts, ended] = id ? await one(id) : [await list(), false];
    if (mine !== turn) return;
    over = ended;
    main.replaceChildren(...parts);
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof SignedOut) {
      say("");
      return main.replaceChildren(...signInForm(begin));
    }
    say(error.message, true);
  }
  if (!over) timer = setTimeout(show, LOOK);
}

function begin() {
  showWho(document.getElementById("who"), begin).catch(() => {});
  show();
}

addEventListener("hashchange", () => { main.replaceChildren(); opened.clear(); show(); });
begin();
