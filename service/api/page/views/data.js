// What the trials of a sweep read: the sizes, classes, features and first steps of its data sets.

import { html, useEffect, useState } from "../lib.js";
import { ask } from "../api.js";
import { short } from "../format.js";
import { Warnings } from "../pieces.js";

const SETS = ["train", "validation", "test"], SHOWN = 20;

/** The data of a sweep is read by the server when this view is opened. @param {{store: import("../sweep_store.js").SweepStore}} props */
export function SweepDataView({ store }) {
  const [data, setData] = useState(/** @type {any} */ (null)), [problem, setProblem] = useState("");
  useEffect(() => { ask(`/v1/sweeps/${store.id}/data`).then(setData, (error) => setProblem(error.message)); }, [store.id]);
  if (problem) return html`<p class="quiet empty">${problem}</p>`;
  if (!data) return html`<p class="quiet loading" aria-busy="true">Reading the data …</p>`;
  const left = data.count - data.sets.length - data.unreadable.length;
  return html`<div class="stack">
    ${data.sets.map((/** @type {any} */ set) => html`<${One} key=${set.source} data=${set} />`)}
    ${data.unreadable.map((/** @type {any} */ set) => html`<p class="bad" key=${set.source}>${set.source}: ${set.problem}</p>`)}
    ${left > 0 ? html`<p class="quiet">and ${left} more data sets</p>` : null}</div>`;
}

/** @param {{data: any}} props */
function One({ data }) {
  return html`<section class="card padded" aria-label=${data.source}><h2>${data.source}</h2><p>${facts(data).join("; ")}</p>
    <${Warnings} warnings=${data.warnings.map((/** @type {any} */ w) => ({ field: data.source, given: null, problem: w.problem, allowed: w.advice }))} />
    <h3>Sets</h3>
    <${Table} heads=${["", ...SETS]} rows=${[[data.kind === "language" ? "tokens" : "series", ...SETS.map((name) => amount(data.sets[name]))],
      ...data.classes.slice(0, SHOWN).map((/** @type {any} */ own) => [`${data.every_step ? "steps of class" : "of class"} ${own.label}`, ...SETS.map((name) => amount(own[name]))])]} more=${data.class_count - SHOWN} what="classes" />
    ${!data.image && data.features.length ? html`<h3>Features</h3><${Table} heads=${["", "min", "mean", "max", "missing"]} more=${data.feature_count - SHOWN} what="features"
      rows=${data.features.slice(0, SHOWN).map((/** @type {any} */ own) => [own.name, value(own.min), value(own.mean), value(own.max), amount(own.missing)])} />` : null}
    ${!data.image && data.first ? html`<h3>${data.every_step ? "First steps of the first series" : `First steps of the first series, whose target is ${data.first.targets[0]}`}</h3>
      <${Table} heads=${["step", ...data.first.features, ...data.every_step ? ["target"] : []]} rows=${data.first.steps.map((/** @type {any[]} */ step, /** @type {number} */ i) => [String(i + 1), ...step.map(value), ...data.every_step ? [data.first.targets[i]] : []])} />` : null}
    ${data.outputs.length ? html`<h3>Targets</h3><${Table} heads=${["", "min", "mean", "max"]} rows=${data.outputs.slice(0, SHOWN).map((/** @type {any} */ own) => [own.name, value(own.min), value(own.mean), value(own.max)])} />` : null}
    ${data.tokens ? html`<p>${amount(data.tokens.vocabulary)} different tokens; ${(100 * data.tokens.unknown).toFixed(2)} % of the validation tokens are unknown</p>
      <pre tabindex="0">${data.tokens.first.join(data.tokens.first.some((/** @type {string} */ t) => t.length > 1 && !t.startsWith("<")) ? " " : "")}</pre>` : null}
  </section>`;
}

/** @param {{heads: string[], rows: any[][], more?: number, what?: string}} props */
function Table({ heads, rows, more = 0, what = "" }) {
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Table"><table class="plain-table"><thead><tr>${heads.map((name, i) => html`<th key=${i} scope="col" class=${i ? "number" : ""}>${name}</th>`)}</tr></thead>
    <tbody>${rows.map((row, i) => html`<tr key=${i}>${row.map((cell, j) => html`<td key=${j} class=${j ? "number" : ""}>${cell}</td>`)}</tr>`)}</tbody></table></div>
    ${more > 0 ? html`<p class="quiet">and ${more} more ${what}</p>` : null}`;
}

/** @param {any} data */
function facts(data) {
  const found = [`task ${data.task}`];
  if (data.files.length) found.push(`${data.files.join(", ")} (${data.format})`);
  if (data.steps) {
    const { min, median, max } = data.steps;
    found.push(`${amount(data.series)} series`);
    found.push(min === max ? `${amount(min)} steps each` : `${amount(min)} to ${amount(max)} steps, median ${short(median)}`);
    found.push(data.image ? `images of ${data.image.join(" × ")} pixels` : `${amount(data.feature_count)} feature${data.feature_count === 1 ? "" : "s"}`);
    const [steps, values] = data.inputs;
    if (steps !== max || values !== data.feature_count) found.push(`networks read ${amount(steps)} steps of ${amount(values)} values`);
    found.push(`${amount(data.missing)} missing values`);
    if (data.without_target) found.push(`${amount(data.without_target)} steps without a target`);
  }
  return found;
}

/** @param {number | null} number */
const amount = (number) => (number === null || number === undefined ? "drawn" : short(number));
/** @param {number | null} number */
const value = (number) => (number === null || number === undefined ? "–" : short(number));
