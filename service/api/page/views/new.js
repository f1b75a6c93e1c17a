// A new sweep: the document beside a form of it, checked by the service as one types.

import { html, useEffect, useMemo, useRef, useState } from "../lib.js";
import { ask, Problem, randomKey, service } from "../api.js";
import { bytes, counted, duration, short } from "../format.js";
import { Warnings } from "../pieces.js";
import { changed, Fields, whole } from "./schema_form.js";
import { Space } from "./space_form.js";

const START = {
  name: "my-sweep", task: { name: "digits" }, model: { kind: "spectral_rnn", hidden_size: 32 }, training: { steps: 300, lr: 0.003 },
  space: { "model.reflectors": { values: [4, 8] }, "model.margin": { low: 0.001, high: 0.1, log: true, grid: 2 } },
};
const WAIT = 400;

/** @param {{from: string | null, trial: string | null}} props */
export function NewSweep({ from, trial }) {
  const [text, setText] = useState(() => (from ? "" : write(START))), [schemas, setSchemas] = useState(/** @type {any} */ (null)), [tasks, setTasks] = useState(/** @type {any[]} */ ([]));
  const [samplers, setSamplers] = useState(/** @type {any[]} */ ([])), [checked, setChecked] = useState(/** @type {any} */ ({ state: "none" })), [sending, setSending] = useState(""), [problem, setProblem] = useState("");
  const sent = useRef({ text: "", key: "" });
  useEffect(() => {
    document.title = "New sweep · Spectral";
    Promise.all([ask("/openapi.json"), ask("/v1/tasks"), ask("/v1/samplers")]).then(([openapi, some, found]) => { setSchemas(openapi.components.schemas); setTasks(some); setSamplers(found); }, (error) => setProblem(error.message));
  }, []);
  useEffect(() => {
    if (!from || !schemas) return;
    ask(`/v1/sweeps/${encodeURIComponent(from)}`).then(async (sweep) => {
      let copy = without(sweep.spec, schemas.SweepSpec, schemas);
      if (trial !== null) {
        const own = await ask(`/v1/trials/${encodeURIComponent(from)}-${String(trial).padStart(4, "0")}`);
        copy = { ...copy, space: Object.fromEntries(Object.entries(own.params).map(([path, value]) => [path, { values: [value] }])) };
        delete copy.search;
      }
      setText(write({ ...copy, name: /-copy$/.test(copy.name ?? "") ? copy.name : `${copy.name ?? "sweep"}-copy` }));
    }, (error) => setProblem(error.message));
  }, [from, schemas !== null]);
  const parsed = useMemo(() => parse(text), [text]);
  useCheck(text, parsed, setChecked);
  // two changes in a row must not undo each other: each begins with the text as it is then
  const set = (/** @type {any} */ next) => setText((before) => write(typeof next === "function" ? next(parse(before).document ?? {}) : next));
  const change = (/** @type {string} */ path, /** @type {any} */ value) => set((/** @type {any} */ before) => changed(before, path.split("."), value));
  const errors = checked.state === "refused" ? checked.errors : [];
  const submit = async () => {
    setSending("yes");
    // the same document once more is the same sweep, as after an answer that was lost
    if (sent.current.text !== text) sent.current = { text, key: randomKey() };
    try {
      const sweep = await ask("/v1/sweeps", { method: "POST", ...sent.current });
      service.say(`${sweep.name} was submitted.`);
      location.hash = `#/sweeps/${sweep.id}`;
    } catch (error) {
      if (error instanceof Problem) setChecked({ state: "refused", errors: error.errors, detail: error.message });
      else setChecked({ state: "failed", detail: /** @type {Error} */ (error).message });
    }
    setSending("");
  };
  if (problem) return html`<p class="bad" role="alert">${problem}</p>`;
  return html`<div class="title"><h1>${from ? "Clone and edit a sweep" : "New sweep"}</h1><div class="actions"><button class="primary" disabled=${checked.state !== "valid" || sending !== ""} onClick=${submit}>${sending ? "Submitting …" : "Submit"}</button></div></div>
    <${Verdict} checked=${checked} parsed=${parsed} text=${text} setChecked=${setChecked} />
    <div class="editor">
      <form class="card padded form" aria-label="Form" onSubmit=${(/** @type {Event} */ e) => e.preventDefault()}>
        ${parsed.document && schemas ? html`<${Form} document=${parsed.document} schemas=${schemas} tasks=${tasks} samplers=${samplers} change=${change} set=${set} errors=${errors} />`
          : html`<p class="quiet">${parsed.problem ? "The form is back when the document is JSON again." : "Reading …"}</p>`}</form>
      <section class="card" aria-label="Document"><div class="card-head"><h2>Document</h2><div class="downloads"><button class="plain" disabled=${!parsed.document} onClick=${() => set(parsed.document)}>Tidy</button></div></div>
        <${Raw} text=${text} setText=${setText} wrong=${parsed.problem || errors.length > 0} /></section></div>`;
}

/** @param {{text: string, setText: (text: string) => void, wrong: any}} props */
function Raw({ text, setText, wrong }) {
  return html`<textarea class="raw" aria-label="The sweep as JSON" aria-invalid=${wrong ? "true" : null} spellcheck="false" autocomplete="off" rows=${Math.min(60, Math.max(24, text.split("\n").length + 1))} value=${text} onInput=${(/** @type {any} */ e) => setText(e.target.value)}></textarea>`;
}

/** Let the service check the document, a moment after the last key. @param {string} text @param {any} parsed @param {(checked: any) => void} setChecked */
function useCheck(text, parsed, setChecked) {
  useEffect(() => {
    if (!parsed.document) return undefined;
    const ends = new AbortController();
    const timer = setTimeout(async () => {
      try {
        setChecked({ state: "valid", run: await ask("/v1/sweeps/validate", { method: "POST", text, signal: ends.signal }) });
      } catch (error) {
        if (ends.signal.aborted) return;
        if (error instanceof Problem) setChecked({ state: "refused", errors: error.errors, detail: error.message });
        else setChecked({ state: "failed", detail: /** @type {Error} */ (error).message });
      }
    }, WAIT);
    return () => { clearTimeout(timer); ends.abort(); };
  }, [text]);
}

/** @param {{checked: any, parsed: any, text: string, setChecked: (checked: any) => void}} props */
function Verdict({ checked, parsed, text, setChecked }) {
  const [measuring, setMeasuring] = useState("");
  const measure = async () => {
    setMeasuring("Measuring …");
    try {
      setChecked({ state: "valid", run: await ask("/v1/sweeps/validate?calibrate=true", { method: "POST", text }) });
      setMeasuring("");
    } catch (error) {
      setMeasuring(/** @type {Error} */ (error).message);
    }
  };
  if (parsed.problem) return html`<div class="verdict bad" role="status"><b>Not JSON.</b> ${parsed.problem}</div>`;
  if (checked.state === "valid") {
    const { run } = checked, further = run.repeats > 1 ? [`${counted(run.points, "point")} of ${run.repeats} seeds`] : [];
    const facts = [counted(run.trials, "trial"), ...further, `${counted(run.packs.length, "group")} trained together`, `${bytes(run.checkpoint_bytes)} of checkpoints`, `${bytes(run.estimate.peak_memory_bytes)} of memory for a worker`, ...run.excluded_points ? [`${run.excluded_points} points excluded`] : [], ...cost(run)];
    return html`<div class="verdict good" role="status"><b>Valid.</b> ${facts.join(" · ")}${run.estimate.seconds ? null : html`<span class="quiet"> · ${whyNoTime(run)}</span> ${measuring ? html`<span>${measuring}</span>` : html`<button onClick=${measure}>Measure</button>`}`}</div><${Warnings} warnings=${run.warnings} />`;
  }
  if (checked.state === "refused") return html`<div class="verdict bad" role="status"><b>${counted(Math.max(1, checked.errors.length), "error")}.</b>
    ${checked.errors.length ? html`<ul>${checked.errors.map((/** @type {any} */ e) => html`<li key=${e.field}><code>${e.field}${e.given === null ? "" : ` = ${JSON.stringify(e.given)}`}</code> ${e.problem}. <span class="quiet">${e.allowed}</span></li>`)}</ul>` : checked.detail}</div>`;
  if (checked.state === "failed") return html`<div class="verdict bad" role="status">${checked.detail}</div>`;
  return html`<div class="verdict quiet" role="status">Checking …</div>`;
}

/** Why nothing is said of time. @param {import("../documents").DryRun} run */
const whyNoTime = (run) => run.estimate.reasons.find((reason) => reason.about === "seconds")?.reason ?? "how long it takes is not known yet";

/** How long the sweep takes and what it needs, as the service estimates it. @param {import("../documents").DryRun} run */
function cost({ estimate }) {
  const { seconds, device_hours: hours } = estimate, found = [];
  if (seconds) found.push(`about ${duration(seconds.expected)} (${duration(seconds.low)} to ${duration(seconds.high)})`);
  if (hours) found.push([hours.gpu ? `${short(hours.gpu)} GPU-hours` : "", hours.cpu ? `${short(hours.cpu)} CPU-hours` : ""].filter(Boolean).join(", "));
  return found.filter(Boolean);
}

/** @param {{document: any, schemas: any, tasks: any[], samplers: any[], change: any, set: any, errors: any[]}} props */
function Form({ document, schemas, tasks, samplers, change, set, errors }) {
  const spec = schemas.SweepSpec, task = tasks.find((one) => one.name === document.task?.name), sampler = samplers.find((one) => one.name === (document.search?.sampler ?? "grid"));
  const part = (/** @type {string} */ name) => whole(spec.properties[name], schemas);
  const further = Object.keys(spec.properties).filter((name) => !["name", "tags", "task", "model", "training", "space", "search", "early_stopping", "objective", "resources"].includes(name));
  const common = { all: schemas, change, errors };
  const section = (/** @type {string} */ name, /** @type {string} */ title, /** @type {any} */ open, /** @type {any} */ content) => html`<details key=${name} open=${open || errors.some((e) => e.field === name || e.field.startsWith(`${name}.`))}><summary>${title}</summary><div class="fields">${content}</div></details>`;
  return html`<div class="fields"><${Fields} ...${common} schema=${spec} value=${document} path="" only=${["name", "tags"]} />
      <div class="field"><label for="field-task">task</label><select id="field-task" value=${document.task?.name ?? ""} onChange=${(/** @type {any} */ e) => set((/** @type {any} */ before) => ({ ...before, task: { name: e.target.value } }))}>${task ? null : html`<option value=""></option>`}${tasks.map((one) => html`<option key=${one.name} value=${one.name}>${one.name}</option>`)}</select><p class="help">${task?.summary ?? "what the networks learn"}</p></div></div>
    ${section("space", "Search space", true, html`<div class="wide"><${Space} space=${document.space ?? {}} fields=${sweepable(schemas, task)} errors=${errors} change=${(/** @type {any} */ space) => set((/** @type {any} */ before) => ({ ...before, space }))} /></div>`)}
    ${task ? section("task", `Task: ${task.name}`, Object.keys(document.task).length > 1, html`<${Fields} ...${common} all=${{ ...schemas, ...task.json_schema.$defs }} schema=${task.json_schema} value=${document.task} path="task" leave=${["name", "facts"]} />`) : null}
    ${section("model", "Model", true, html`<${Fields} ...${common} schema=${part("model")} value=${document.model} path="model" />`)}
    ${section("training", "Training", false, html`<${Fields} ...${common} schema=${part("training")} value=${document.training} path="training" />`)}
    ${section("search", "Search", Boolean(document.search), html`<${Fields} ...${common} schema=${part("search")} value=${document.search} path="search" leave=${["options"]} />
      ${sampler ? html`<p class="wide quiet">${sampler.summary[0].toUpperCase()}${sampler.summary.slice(1)}. Use it when ${sampler.use_when}.</p><${Fields} ...${common} schema=${sampler.options} value=${document.search?.options} path="search.options" />` : null}`)}
    ${section("early_stopping", "Early stopping", Boolean(document.early_stopping), html`<${Fields} ...${common} schema=${part("early_stopping")} value=${document.early_stopping} path="early_stopping" />`)}
    ${section("objective", "Objective", Boolean(document.objective), html`<${Fields} ...${common} schema=${part("objective")} value=${document.objective} path="objective" />`)}
    ${section("resources", "Resources", Boolean(document.resources), html`<${Fields} ...${common} schema=${part("resources")} value=${document.resources} path="resources" />`)}
    ${section("more", "More", false, further.map((name) => (part(name).properties ? html`<h3 class="wide" key=${name}>${name.replaceAll("_", " ")}</h3><${Fields} key=${`${name}-fields`} ...${common} schema=${part(name)} value=${document[name]} path=${name} />`
      : html`<${Fields} key=${name} ...${common} schema=${spec} value=${document} path="" only=${[name]} />`)))}`;
}

/** The fields that can be swept: the scalars of task, model and training. @param {any} schemas @param {any} task */
function sweepable(schemas, task) {
  const scalar = (/** @type {any} */ s) => (s.anyOf ?? [s]).some((/** @type {any} */ c) => ["number", "integer", "string", "boolean"].includes(c.type));
  const of = (/** @type {string} */ part, /** @type {any} */ schema) => Object.entries(schema?.properties ?? {}).filter(([name, s]) => scalar(s) && !(part === "task" && name === "name"))
    .map(([name, s]) => ({ path: `${part}.${name}`, description: /** @type {any} */ (s).description ?? "" }));
  return [...of("model", schemas.ModelSpec), ...of("training", schemas.TrainingSpec), ...of("task", task?.json_schema)];
}

/** A stored document as somebody would write it: without defaults, and without what the service has added.
 * @param {any} value @param {any} schema @param {any} all @returns {any} */
function without(value, schema, all) {
  const own = whole(schema, all), kept = /** @type {any} */ ({});
  const properties = own.discriminator ? whole({ $ref: own.discriminator.mapping[value.name] }, all).properties : own.properties;
  for (const [name, inner] of Object.entries(value)) {
    const part = properties?.[name] ? whole(properties[name], all) : null;
    if (name === own.discriminator?.propertyName) { kept[name] = inner; continue; }
    if (name === "facts" || inner === null || (part && JSON.stringify(part.default) === JSON.stringify(inner))) continue;
    const given = part && (part.properties || part.discriminator) && typeof inner === "object" && !Array.isArray(inner) ? without(inner, part, all) : name === "space" ? dimensions(inner) : inner;
    if (typeof given === "object" && !Array.isArray(given) && !Object.keys(given).length) continue;
    kept[name] = given;
  }
  return kept;
}

/** @param {any} space */
const dimensions = (space) => Object.fromEntries(Object.entries(space).map(([path, own]) => [path, Array.isArray(own) ? own : Object.fromEntries(Object.entries(/** @type {any} */ (own)).filter(([name, v]) => v !== null && v !== false && !(name === "log" && !v)))]));

/** @param {any} document */
function write(document) {
  // lists of scalars stay in one line, as people write them
  return JSON.stringify(document, null, 2).replace(/\[\s+([^[\]{}]*?)\s+\]/g, (_, inner) => `[${inner.replace(/\s*\n\s*/g, " ")}]`);
}

/** @param {string} text */
function parse(text) {
  try {
    const document = JSON.parse(text);
    if (typeof document !== "object" || document === null || Array.isArray(document)) return { document: null, problem: "A sweep is an object in braces." };
    return { document, problem: "" };
  } catch (error) {
    return { document: null, problem: text === "" ? "" : /** @type {Error} */ (error).message };
  }
}
