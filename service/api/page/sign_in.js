// Who is signed in, and the form by which one signs in with a token. The token is sent once and kept nowhere: the
// answer sets a cookie that no script can read.

import { html, useState } from "./lib.js";
import { service } from "./api.js";
import { Code } from "./pieces.js";
import { useWatched } from "./watched.js";

/** The form, which calls `done` after it has signed in. @param {{done: () => void}} props */
export function SignIn({ done }) {
  const [problem, setProblem] = useState("");
  const send = async (/** @type {any} */ event) => {
    event.preventDefault();
    const field = event.target.elements.token, sent = field.value.trim();
    field.value = "";
    const answer = await fetch("/v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: sent }) }).catch(() => null);
    if (answer?.ok) return done();
    setProblem(answer ? (await answer.json()).detail : "The service does not answer.");
    return field.focus();
  };
  return html`<div class="nothing"><h1>Sign in</h1><p>This service needs a token. An administrator makes one with this command:</p>
    <${Code} text="spectral token create --owner NAME" label="the command" />
    <form class="row" onSubmit=${send}><input type="password" name="token" autocomplete="current-password" required placeholder="srs_..." aria-label="Token" size="40" /><button class="primary" type="submit">Sign in</button></form>
    <p class="bad" role="alert">${problem}</p></div>`;
}

/** @param {{done: () => void}} props */
export function Who({ done }) {
  useWatched(service);
  if (!service.who?.token_id) return null;
  const leave = async () => { await fetch("/v1/session", { method: "DELETE" }); service.who = null; done(); };
  return html`<span class="who"><span class="quiet">${service.who.owner} (${service.who.scope})</span> <button class="plain" onClick=${leave}>Sign out</button></span>`;
}
