// Small pieces that several views share.

import { html, useEffect, useRef, useState } from "./lib.js";
import { address } from "./address.js";
import { service } from "./api.js";
import { short } from "./format.js";

/** @param {{name: string, wanted?: string | null}} props */
export function State({ name, wanted }) {
  return html`<span class=${`state ${name}`}><i aria-hidden="true"></i>${name}${wanted ? ` → ${wanted}` : ""}</span>`;
}

/** How far a sweep has come. One that was ended early shows how much of what was planned it has done.
 * @param {{progress: import("./documents").Progress, planned: number, state: string, slim?: boolean}} props */
export function ProgressBar({ progress, planned, state, slim }) {
  const early = state === "cancelled" || state === "stopped" || state === "failed";
  const total = early ? Math.max(planned, progress.done) : progress.total;
  const share = total ? progress.done / total : state === "succeeded" ? 1 : 0, shown = share >= 1 ? 100 : Math.floor(100 * share);
  return html`<span class=${`progress ${slim ? "slim" : ""} ${state}`}>
    <span class="bar" role="progressbar" aria-label="Progress in steps" aria-valuenow=${shown} aria-valuemin="0" aria-valuemax="100" title=${`${short(progress.done)} of ${short(total)} steps`}>
      <i style=${{ width: `${100 * share}%` }}></i></span>
    <span class="number">${shown} %</span></span>`;
}

/** A text that is cut with a sign, and shown whole when it is asked for. @param {{text: string, label: string}} props */
export function Reason({ text, label }) {
  return html`<button class="chip" title=${text} aria-label=${`${label}: ${text}`} onClick=${(/** @type {Event} */ event) => { event.stopPropagation(); tell(label, text); }}>${summary(text)}</button>`;
}

/** The kind of a reason in a word or two. @param {string} text */
function summary(text) {
  if (/not among the best|asha|median|hyperband|patience|worse than/i.test(text)) return "pruned";
  if (/\b(inf|nan|not finite)\b/i.test(text)) return "not finite";
  if (/memory/i.test(text)) return "memory";
  if (/target/i.test(text)) return "target reached";
  if (/again|attempt|lost|preempt/i.test(text)) return "retried";
  return text.length > 22 ? `${text.slice(0, 21)}…` : text;
}

/** @type {((question: any) => void) | null} */
let show = null;

/** Show a text in a dialog. @param {string} title @param {string} text */
export const tell = (title, text) => show?.({ title, text });

/** Ask something in a dialog; `act` is called if the answer is yes. @param {string} title @param {string} text @param {string} yes @param {() => any} act */
export const confirm = (title, text, yes, act) => show?.({ title, text, yes, act, danger: true });

/** @typedef {{name: string, label: string, value: string, choices?: [string, string][], inputmode?: string, help?: string}} Question a field of a dialog */

/** Ask in a dialog that stays open until `act` has done what was asked, and says why it could not.
 * @param {{title: string, text: string, yes: string, fields?: Question[], act: (answers: Record<string, string>) => Promise<any>}} question */
export const inquire = (question) => show?.({ fields: [], ...question });

/** The one dialog of the page. */
export function Dialog() {
  const [question, setQuestion] = useState(/** @type {any} */ (null)), place = useRef(/** @type {any} */ (null));
  const [answers, setAnswers] = useState(/** @type {Record<string, string>} */ ({})), [problem, setProblem] = useState(""), [busy, setBusy] = useState(false);
  show = setQuestion;
  useEffect(() => {
    setAnswers(Object.fromEntries((question?.fields ?? []).map((/** @type {Question} */ field) => [field.name, field.value])));
    setProblem("");
    if (question) place.current?.showModal();
  }, [question]);
  const close = () => { place.current?.close(); setQuestion(null); };
  const answer = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!question.fields) { close(); question.act(); return; }
    setBusy(true);
    try {
      await question.act(answers);
      close();
    } catch (error) {
      setProblem(/** @type {Error} */ (error).message);
    }
    setBusy(false);
  };
  return html`<dialog ref=${place} onClose=${close} aria-labelledby="dialog-title"><form onSubmit=${answer}>
    <h2 id="dialog-title">${question?.title}</h2>
    <p class="pre">${question?.text}</p>
    ${(question?.fields ?? []).map((/** @type {Question} */ field, /** @type {number} */ place) => html`<${Ask} key=${field.name} field=${field} first=${place === 0} value=${answers[field.name] ?? ""} set=${(/** @type {string} */ value) => setAnswers({ ...answers, [field.name]: value })} />`)}
    ${problem ? html`<p class="bad" role="alert">${problem}</p>` : null}
    <div class="row end">
      ${question?.yes ? html`<button type="button" onClick=${close} autofocus=${!question.fields?.length}>${"Keep it as it is"}</button><button class=${question.danger ? "danger" : "primary"} disabled=${busy}>${question.yes}</button>`
        : html`<button type="button" onClick=${() => navigator.clipboard?.writeText(question.text)}>Copy</button><button type="button" class="primary" onClick=${close} autofocus>Close</button>`}
    </div></form></dialog>`;
}

/** A field of a dialog. @param {{field: Question, value: string, first: boolean, set: (value: string) => void}} props */
function Ask({ field, value, first, set }) {
  const id = `ask-${field.name}`, common = { id, value, autofocus: first, "aria-describedby": field.help ? `${id}-help` : null, onInput: (/** @type {any} */ e) => set(e.target.value) };
  return html`<div class="field"><label for=${id}>${field.label}</label>${field.choices
    ? html`<select ...${common}>${field.choices.map(([key, name]) => html`<option key=${key} value=${key}>${name}</option>`)}</select>`
    : html`<input type="text" autocomplete="off" spellcheck="false" inputmode=${field.inputmode ?? "text"} ...${common} />`}
    ${field.help ? html`<p class="help" id=${`${id}-help`}>${field.help}</p>` : null}</div>`;
}

/** A button that says why it does nothing now, also to those who cannot hover over it. @param {{why: string, act: () => any, children?: any}} props */
export function Button({ why, act, children }) {
  return html`<button aria-disabled=${why ? "true" : null} title=${why || null} aria-description=${why || null} onClick=${() => (why ? tell(`${children}: not now`, why) : act())}>${children}</button>`;
}

/** Copies the address of the view with the choices made in it. */
export function CopyLink() {
  // browsers have a clipboard on trusted addresses alone
  const copy = () => {
    address.write();
    const { href } = location, byHand = () => tell("Link to this view", href);
    if (navigator.clipboard) navigator.clipboard.writeText(href).then(() => service.say("The link is copied."), byHand);
    else byHand();
  };
  return html`<button title="Copy the address of this view, with what is chosen and picked in it" onClick=${copy}>Copy link</button>`;
}

/** A field for text that keeps what is being typed, whatever is drawn again meanwhile, until it is left or entered.
 * @param {{value: any, commit: (text: string) => void} & Record<string, any>} props */
export function Draft({ value, commit, ...rest }) {
  const [draft, setDraft] = useState(/** @type {string | null} */ (null));
  return html`<input type="text" autocomplete="off" spellcheck="false" ...${rest} value=${draft ?? value} onInput=${(/** @type {any} */ e) => setDraft(e.target.value)}
    onChange=${(/** @type {any} */ e) => { commit(e.target.value); setDraft(null); }} />`;
}

/** A warning of the service. @param {{found: import("./documents").Advice}} props */
function Warning({ found }) {
  const given = found.given === null || found.given === undefined ? "" : ` = ${typeof found.given === "string" ? found.given : JSON.stringify(found.given)}`;
  return html`<li class="warning"><code>${found.field}${given}</code> ${found.problem}. <span class="quiet">${found.allowed}</span></li>`;
}

/** Warnings in a fold that says how many there are. @param {{warnings: import("./documents").Advice[]}} props */
export function Warnings({ warnings }) {
  if (!warnings.length) return null;
  return html`<details class="warnings" open=${warnings.length < 3}><summary>${warnings.length === 1 ? "1 warning" : `${warnings.length} warnings`}</summary>
    <ul>${warnings.map((found) => html`<${Warning} key=${JSON.stringify(found)} found=${found} />`)}</ul></details>`;
}

/** A text to copy. @param {{text: string, label: string}} props */
export function Code({ text, label }) {
  const [copied, setCopied] = useState(false);
  const copy = () => navigator.clipboard?.writeText(text).then(() => { setCopied(true); setTimeout(() => setCopied(false), 2000); });
  return html`<div class="code"><button class="plain" onClick=${copy} aria-label=${`Copy ${label}`}>${copied ? "Copied" : "Copy"}</button><pre tabindex="0" aria-label=${label}>${text}</pre></div>`;
}

/** A place that has nothing to show, and what to do about it. @param {{title: string, children?: any}} props */
export function Nothing({ title, children }) {
  return html`<div class="nothing"><h1>${title}</h1>${children}</div>`;
}
