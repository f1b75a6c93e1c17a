// A form made from a JSON schema. It edits a part of the document, and shows the service's errors at their fields.

import { html } from "../lib.js";
import { Draft } from "../pieces.js";

/** @typedef {(path: string, value: any) => void} Change called with undefined to remove a field */

/** The schema itself, for one that names another one. @param {any} schema @param {any} all */
export function whole(schema, all) {
  if (schema.$ref) return { ...all[schema.$ref.split("/").pop()], ...Object.fromEntries(Object.entries(schema).filter(([key]) => key !== "$ref")) };
  return schema;
}

/** What a field can be: its type, choices and bounds, and whether it may be null. @param {any} schema */
function nature(schema) {
  const choices = schema.anyOf ?? schema.oneOf ?? [schema], real = choices.filter((/** @type {any} */ c) => c.type !== "null");
  const one = real.length === 1 ? { ...schema, ...real[0] } : schema;
  const values = real.flatMap((/** @type {any} */ c) => c.enum ?? (c.const !== undefined ? [c.const] : []));
  const numeric = real.some((/** @type {any} */ c) => c.type === "number" || c.type === "integer");
  return { one, values, numeric, whole: real.every((/** @type {any} */ c) => c.type === "integer"), boolean: one.type === "boolean", text: one.type === "string", words: one.type === "array" && one.uniqueItems && one.items?.type === "string", mixed: values.length > 0 && numeric };
}

/**
 * The fields of an object.
 * @param {{schema: any, all: any, value: any, path: string, change: Change, errors: import("../documents").Field[], leave?: string[], only?: string[]}} props
 */
export function Fields({ schema, all, value, path, change, errors, leave = [], only }) {
  const names = Object.keys(schema.properties ?? {}).filter((name) => !leave.includes(name) && (!only || only.includes(name)));
  return html`${names.map((name) => html`<${Field} key=${name} name=${name} schema=${whole(schema.properties[name], all)} required=${(schema.required ?? []).includes(name)}
    value=${value?.[name]} path=${path ? `${path}.${name}` : name} change=${change} errors=${errors} />`)}`;
}

/** @param {{name: string, schema: any, required: boolean, value: any, path: string, change: Change, errors: import("../documents").Field[]}} props */
function Field({ name, schema, required, value, path, change, errors }) {
  const kind = nature(schema), id = `field-${path}`, own = errors.filter((e) => e.field === path || e.field.startsWith(`${path}.`)), standard = schema.default;
  const set = (/** @type {any} */ given) => change(path, given);
  const hint = standard === null || standard === undefined || typeof standard === "object" ? (required ? "required" : "default") : String(standard);
  const common = { id, "aria-describedby": `${id}-help`, "aria-invalid": own.length > 0 ? "true" : null };
  let input;
  if (kind.boolean) input = html`<select ...${common} value=${value === undefined || value === null ? "" : String(value)} onChange=${(/** @type {any} */ e) => set(e.target.value === "" ? undefined : e.target.value === "true")}>
    <option value="">${hint}</option><option value="true">true</option><option value="false">false</option></select>`;
  else if (kind.values.length && !kind.mixed) input = html`<select ...${common} value=${value ?? ""} onChange=${(/** @type {any} */ e) => set(e.target.value === "" ? undefined : kind.values.find((/** @type {any} */ v) => String(v) === e.target.value))}>
    ${required && value !== undefined ? null : html`<option value="">${hint}</option>`}${kind.values.map((/** @type {any} */ v) => html`<option key=${String(v)} value=${String(v)}>${String(v)}</option>`)}</select>`;
  else if (kind.numeric || kind.text) input = html`<${Draft} ...${common} inputmode=${kind.numeric && !kind.mixed ? "decimal" : "text"} value=${value === undefined || value === null ? "" : String(value)} placeholder=${hint} commit=${(/** @type {string} */ text) => set(typed(text, kind.numeric))} />`;
  else if (kind.words) input = html`<${Draft} ...${common} value=${Array.isArray(value) ? value.join(" ") : String(value ?? "")} placeholder="words with spaces between" commit=${(/** @type {string} */ text) => set(wordsIn(text).length ? wordsIn(text) : undefined)} />`;
  else input = html`<${Draft} ...${common} value=${value === undefined || value === null ? "" : JSON.stringify(value)} placeholder="JSON" commit=${(/** @type {string} */ text) => set(json(text))} />`;
  return html`<div class=${`field ${own.length ? "wrong" : ""}`}><label for=${id}>${name.replaceAll("_", " ")}${required ? html`<span class="quiet"> required</span>` : null}</label>${input}
    <p class="help" id=${`${id}-help`}>${own.length ? own.map((e) => html`<span class="bad" key=${e.field}>${e.field === path ? "" : `${e.field}: `}${e.problem}; ${e.allowed}</span>`) : schema.description ?? ""}</p></div>`;
}

/** A value as it was typed: what is no number stays text, so that the service can say what is wrong. @param {string} text @param {boolean} numeric */
export function typed(text, numeric) {
  const own = text.trim();
  if (own === "") return undefined;
  return numeric && Number.isFinite(Number(own)) ? Number(own) : own;
}

/** The different words of a text, with spaces or commas between. @param {string} text */
export const wordsIn = (text) => [...new Set(text.split(/[\s,]+/).filter(Boolean))];

/** @param {string} text */
function json(text) {
  if (text.trim() === "") return undefined;
  try { return JSON.parse(text); } catch { return text; }
}

/** A document with one field changed; parts that become empty go, and a removed field takes its default.
 * @param {any} document @param {string[]} path @param {any} value @returns {any} */
export function changed(document, path, value) {
  const [first, ...rest] = path, copy = { ...document };
  const next = rest.length ? changed(copy[first] ?? {}, rest, value) : value;
  if (next === undefined || (rest.length && typeof next === "object" && !Array.isArray(next) && !Object.keys(next).length)) delete copy[first];
  else copy[first] = next;
  return copy;
}
