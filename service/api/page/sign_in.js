// Who is signed in, and the form by which one signs in with a token. The token is sent once and kept nowhere: the
// answer sets a cookie that no script can read.

import { make } from "./dom.js";

export class SignedOut extends Error {}

// The form, which calls `done` after it has signed in.
export function signInForm(done) {
  const token = make("input", { type: "password", name: "token", autocomplete: "current-password", required: true,
    placeholder: "srs_...", "aria-label": "Token", size: "60" });
  const message = make("p", { class: "bad", role: "alert" });
  const form = make("form", { class: "row" }, token, make("button", { type: "submit" }, "Sign in"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const sent = token.value.trim();
    token.value = "";
    const answer = await fetch("/v1/session", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: sent }),
    }).catch(() => null);
    if (answer?.ok) return done();
    message.textContent = answer ? (await answer.json()).detail : "The service does not answer.";
    token.focus();
  });
  return [make("h1", {}, "Sign in"), make("p", {}, "This service needs a token. An administrator makes one with this command:"),
    make("pre", {}, "spectral token create --owner NAME"), form, message];
}

// Show in `place` who is signed in, with a button that signs out and calls `done`.
export async function showWho(place, done) {
  const answer = await fetch("/v1/tokens/self");
  const who = answer.ok ? await answer.json() : null;
  if (!who?.token_id) return place.replaceChildren();
  const leave = async () => {
    await fetch("/v1/session", { method: "DELETE" });
    place.replaceChildren();
    done();
  };
  place.replaceChildren(make("span", { class: "quiet" }, `${who.owner} (${who.scope})`), " ",
    make("button", { onclick: leave }, "Sign out"));
}
