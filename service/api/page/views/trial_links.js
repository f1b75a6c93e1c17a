// Links to trials.

import { html } from "../lib.js";

/** @param {import("../documents").TrialView} trial @param {number} repeats */
export function trialLink(trial, repeats) {
  return html`<a href=${`#/trials/${trial.id}`} aria-label=${`Trial ${trial.number}`}>#${trial.number}</a>${repeats > 1 ? html` <span class="quiet">×${repeats}</span>` : null}`;
}
