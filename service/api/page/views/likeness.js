// How like a replay is to the trial that it trains again: bit by bit, up to rounding, or not.

import { html, useEffect, useState } from "../lib.js";
import { ask } from "../api.js";
import { counted, short } from "../format.js";
import { TRIAL_ENDED } from "../trials.js";

/** @type {Record<string, string>} */
const WORDS = {
  equal: "The same numbers, bit for bit", "equal to rounding": "The same numbers up to rounding", different: "Different numbers", "nothing in common": "No step that both have reported",
};
const SHOWN = 12;

/** @param {{trial: import("../documents").TrialView, original: string}} props */
export function Likeness({ trial, original }) {
  const [found, setFound] = useState(/** @type {import("../documents").TrialLikeness | null} */ (null)), [problem, setProblem] = useState("");
  useEffect(() => {
    let over = false;
    ask(`/v1/trials/${trial.id}/compare`).then((answer) => { if (!over) { setFound(answer); setProblem(""); } }, (error) => { if (!over) setProblem(error.message); });
    return () => { over = true; };
  }, [trial.id, trial.state, trial.step]);
  const link = html`<a href=${`#/trials/${original}`}>${original}</a>`;
  const apart = (found?.metrics ?? []).filter((metric) => metric.likeness !== "equal").sort((a, b) => b.largest - a.largest);
  return html`<section class="card padded" aria-label="Likeness to the original"><h2>Replay of ${link}</h2>
    ${problem ? html`<p class="quiet">${problem}</p>` : !found ? html`<p class="quiet">Comparing …</p>` : html`
      <p><b>${WORDS[found.likeness]}</b>${found.likeness === "nothing in common" ? (TRIAL_ENDED.has(trial.state) ? "." : " yet.") : ` at the ${counted(found.steps, "step")} that both have reported${TRIAL_ENDED.has(trial.state) ? "" : " so far"}.`}</p>
      ${apart.length ? html`<div class="scroll" tabindex="0" role="group" aria-label="Metrics that differ"><table class="plain-table"><thead><tr><th scope="col">metric</th><th scope="col">likeness</th><th scope="col" class="number">largest relative difference</th><th scope="col" class="number">differs from step</th></tr></thead>
        <tbody>${apart.slice(0, SHOWN).map((metric) => html`<tr key=${metric.name}><td>${metric.name}</td><td>${metric.likeness}</td><td class="number">${short(metric.largest)}</td><td class="number">${short(metric.first_step)}</td></tr>`)}</tbody></table></div>
        ${apart.length > SHOWN ? html`<p class="quiet">and ${apart.length - SHOWN} more</p>` : null}` : null}
      ${found.explanations.length ? html`<p>What may explain it:</p><ul>${found.explanations.map((text) => html`<li key=${text}>${text}</li>`)}</ul>` : null}
      ${found.likeness === "equal" || found.likeness === "nothing in common" ? null : html`<p><a class="button" href=${`#/compare?trials=${original},${trial.id}`}>Compare their curves</a></p>`}`}
  </section>`;
}
