// The search space of a new sweep: which fields differ from trial to trial, and how.

import { html, useState } from "../lib.js";
import { short } from "../format.js";
import { Draft } from "../pieces.js";
import { typed } from "./schema_form.js";

/**
 * @param {{space: Record<string, any>, fields: {path: string, description: string}[], change: (space: Record<string, any>) => void, errors: import("../documents").Field[]}} props
 */
export function Space({ space, fields, change, errors }) {
  const [adding, setAdding] = useState("");
  const paths = Object.keys(space), left = fields.filter((field) => !paths.includes(field.path));
  const set = (/** @type {string} */ path, /** @type {any} */ value) => {
    const copy = { ...space };
    if (value === undefined) delete copy[path]; else copy[path] = value;
    change(copy);
  };
  const add = () => { if (adding && !(adding in space)) { set(adding, { values: [] }); setAdding(""); } };
  return html`${paths.map((path) => html`<${Dimension} key=${path} path=${path} value=${space[path]} set=${(/** @type {any} */ v) => set(path, v)} errors=${errors.filter((e) => e.field === `space.${path}` || e.field.startsWith(`space.${path}.`))} />`)}
    ${paths.length ? null : html`<p class="quiet">Nothing is swept yet. A sweep needs at least one field that differs from trial to trial.</p>`}
    <div class="row"><label class="grow">Sweep another field <input list="space-fields" value=${adding} placeholder="such as model.margin" autocomplete="off" spellcheck="false" onInput=${(/** @type {any} */ e) => setAdding(e.target.value)} onKeyDown=${(/** @type {KeyboardEvent} */ e) => { if (e.key === "Enter") { e.preventDefault(); add(); } }} /></label>
      <datalist id="space-fields">${left.map((field) => html`<option key=${field.path} value=${field.path}>${field.description}</option>`)}</datalist>
      <button type="button" disabled=${!adding} onClick=${add}>Add</button></div>`;
}

/** @param {{path: string, value: any, set: (value: any) => void, errors: import("../documents").Field[]}} props */
function Dimension({ path, value, set, errors }) {
  const list = Array.isArray(value) || Array.isArray(value?.values), values = Array.isArray(value) ? value : value?.values ?? [], range = list ? {} : value ?? {};
  const number = (/** @type {string} */ name, /** @type {string} */ label) => html`<label>${label} <${Draft} inputmode="decimal" class="short" value=${range[name] ?? ""} aria-label=${`${label} of ${path}`}
    commit=${(/** @type {string} */ text) => { const given = typed(text, true), { [name]: _, ...rest } = range; set(given === undefined ? rest : { ...rest, [name]: given }); }} /></label>`;
  return html`<fieldset class=${`dimension ${errors.length ? "wrong" : ""}`}><legend><code>${path}</code></legend>
    <div class="row"><select aria-label=${`How ${path} varies`} value=${list ? "values" : "range"} onChange=${(/** @type {any} */ e) => set(e.target.value === "values" ? { values: [range.low, range.high].filter((v) => v !== undefined) } : { low: Number(values[0]) || 0.001, high: Number(values[values.length - 1]) || 0.1, log: true, grid: 3 })}>
      <option value="values">values</option><option value="range">range</option></select>
    ${list ? html`<${Draft} class="grow" aria-label=${`Values of ${path}`} placeholder="values with commas between" value=${values.map((/** @type {any} */ v) => (typeof v === "number" ? String(v) : v)).join(", ")}
        commit=${(/** @type {string} */ text) => set({ ...Array.isArray(value) ? {} : value, values: text.split(",").map((/** @type {string} */ t) => scalar(t)).filter((/** @type {any} */ v) => v !== undefined) })} />`
    : html`${number("low", "from")}${number("high", "to")}<label><input type="checkbox" checked=${Boolean(range.log)} onChange=${(/** @type {any} */ e) => set({ ...range, log: e.target.checked })} /> log</label>${number("grid", "grid points")}`}
    <button type="button" class="plain" aria-label=${`Remove ${path}`} onClick=${() => set(undefined)}>Remove</button></div>
    ${errors.map((e) => html`<p class="bad" key=${e.field}>${e.field.replace(`space.${path}`, "").replace(/^\./, "")} ${short(e.given)} ${e.problem}; ${e.allowed}</p>`)}</fieldset>`;
}

/** @param {string} text */
function scalar(text) {
  const own = text.trim();
  if (own === "true" || own === "false") return own === "true";
  return typed(own.replace(/^"(.*)"$/, "$1"), !/^"/.test(own));
}
