// The tags of sweeps, and the archive: what changes nothing about a sweep but where one finds it.

import { html } from "../lib.js";
import { ask, service } from "../api.js";
import { Draft } from "../pieces.js";
import { wordsIn } from "./schema_form.js";

/** @typedef {import("../documents").SweepSummary} Summary */

const SHOWN = 3;

/** The tags of a sweep as chips that filter the list. @param {{tags: string[], chosen: string, choose: (tag: string) => void}} props */
export function TagChips({ tags, chosen, choose }) {
  if (!tags.length) return null;
  return html`<span class="tags">${tags.slice(0, SHOWN).map((tag) => html`<button key=${tag} class="chip" aria-pressed=${tag === chosen} aria-label=${`Filter by tag ${tag}`} title=${tag} onClick=${() => choose(tag === chosen ? "" : tag)}>${tag}</button>`)}
    ${tags.length > SHOWN ? html`<span class="quiet" title=${tags.slice(SHOWN).join(", ")}>+${tags.length - SHOWN}</span>` : null}</span>`;
}

/** What an edit adds and removes: somebody else may change other tags meanwhile. @param {string[]} before @param {string[]} after */
const edited = (before, after) => ({ add_tags: after.filter((tag) => !before.includes(tag)), remove_tags: before.filter((tag) => !after.includes(tag)) });

/** The tags of a sweep, to be edited. @param {{store: import("../sweep_store.js").SweepStore, failed: (problem: string) => void}} props */
export function TagsField({ store, failed }) {
  const sweep = /** @type {import("../documents").SweepView} */ (store.sweep);
  const change = (/** @type {string} */ text) => ask(`/v1/sweeps/${sweep.id}`, { method: "PATCH", body: edited(sweep.tags, wordsIn(text)) })
    .then((found) => { store.sweep = found; failed(""); store.changed(); }, (error) => failed(error.message));
  return html`<div><dt><label for="tags">Tags</label></dt><dd><${Draft} id="tags" class="short widest" placeholder="such as baseline" title="Words by which you find the sweep again, with spaces between" value=${sweep.tags.join(" ")} commit=${change} /></dd></div>`;
}

/** Archive a sweep that has ended, or list it again; returns the changed sweep. @param {Summary} sweep */
export async function archive(sweep) {
  const found = await ask(`/v1/sweeps/${sweep.id}`, { method: "PATCH", body: { archived: !sweep.archived } });
  service.say(found.archived ? `${sweep.name} is archived. It keeps everything; Show archived lists it.` : `${sweep.name} is in the list again.`);
  return found;
}
