// The page: one frame around all views, and which view an address shows.

import { html, render, useEffect, useState } from "./lib.js";
import { address, Ignored, useArrivals } from "./address.js";
import { ask, poll, service } from "./api.js";
import { when } from "./format.js";
import { Dialog, Nothing } from "./pieces.js";
import { SignIn, Who } from "./sign_in.js";
import { useWatched } from "./watched.js";
import { Compare } from "./views/compare.js";
import { NewSweep } from "./views/new.js";
import { closeStore, Sweep, TABS } from "./views/sweep.js";
import { SweepList } from "./views/sweeps.js";
import { Trial } from "./views/trial.js";

function App() {
  const arrivals = useArrivals(), { place } = address, [turn, setTurn] = useState(0);
  useWatched(service);
  useEffect(() => scrollTo(0, 0), [arrivals]);
  useEffect(() => {
    ask("/v1/tokens/self").then((who) => { service.who = who; service.changed(); }, () => {});
    return poll(10, async () => { service.cluster = await ask("/v1/cluster"); service.changed(); });
  }, [turn]);
  const again = () => { service.signedOut = false; closeStore(); setTurn(turn + 1); service.changed(); };
  const at = place.view;
  useEffect(() => { if (at !== "sweeps" || !place.id) if (at !== "trials") closeStore(); }, [at, place.id]);
  return html`<a class="skip" href="#main" onClick=${(/** @type {Event} */ e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>Skip to the content</a>
    <header class="top"><a class="home" href="#/sweeps"><img src="/page/favicon.svg" alt="" width="20" height="20" />Spectral</a>
      <nav aria-label="Main"><a href="#/sweeps" aria-current=${at === "sweeps" && !place.id ? "page" : null}>Sweeps</a><a href="#/new" aria-current=${at === "new" ? "page" : null}>New sweep</a><a href="/manual/">Manual</a><a href="/docs">API</a></nav>
      <${Health} /><${Who} done=${again} /></header>
    ${service.down ? html`<div class="banner" role="alert">The service does not answer. What you see is from ${when(service.seen)}. Trying again …</div>` : null}
    <main id="main" tabindex="-1" class=${service.down ? "old" : ""}>${service.signedOut ? html`<${SignIn} done=${again} />` : html`<${Ignored} /><${View} key=${turn} ...${place} />`}</main>
    <div class="said" role="status" aria-live="polite">${service.said}</div><${Dialog} />`;
}

/** @param {{view: string, id: string, tab: string}} props */
function View({ view, id, tab }) {
  const from = address.get("from"), trial = address.get("trial");
  if (view === "sweeps" && !id) return html`<${SweepList} />`;
  if (view === "sweeps" && TABS.some(([key]) => key === tab)) return html`<${Sweep} key=${id} id=${id} tab=${tab} />`;
  if (view === "trials" && id) return html`<${Trial} id=${id} />`;
  if (view === "compare") return html`<${Compare} ids=${(address.get("trials") ?? "").split(",").filter(Boolean)} />`;
  if (view === "new") return html`<${NewSweep} key=${`${from} ${trial}`} from=${from} trial=${trial} />`;
  return html`<${Nothing} title="There is nothing at this address"><p><code>${location.hash}</code></p><p><a class="button primary" href="#/sweeps">All sweeps</a></p><//>`;
}

/** Whether sweeps can run now. A part that only answers slowly is no alarm. */
function Health() {
  const parts = service.cluster?.parts;
  if (service.down || !parts) return html`<span class="health"></span>`;
  const ill = Object.entries(parts).filter(([, part]) => !part.healthy), needed = ill.filter(([name]) => ["database", "controller", "ray"].includes(name));
  const text = needed.length ? `Sweeps wait: ${needed.map(([name]) => name).join(", ")} not ready` : ill.length ? ill.map(([name, part]) => sentence(name, part.message)).join(" ") : "Ready";
  const title = Object.entries(parts).map(([name, part]) => `${name}: ${part.message || (part.healthy ? "works" : "not seen yet")}`).join("\n");
  return html`<details class="health"><summary title=${title}><i class=${needed.length ? "dot bad" : ill.length ? "dot warn" : "dot good"} aria-hidden="true"></i><span class="text">${text}</span></summary><p class="pre">${title}</p></details>`;
}

/** @param {string} name @param {string} message */
function sentence(name, message) {
  if (name !== "mlflow") return `${name}: ${message}.`;
  const last = /last seen ([\d.]+ s(?:econds)?) ago/.exec(message);
  return last ? `MLflow is slow: last answer ${last[1]} ago. Training is not affected.` : `MLflow: ${message}. Training is not affected.`;
}

render(html`<${App} />`, /** @type {Element} */ (document.getElementById("page")));
