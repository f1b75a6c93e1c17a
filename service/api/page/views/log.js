// What the workers of a trial print, as it comes.

import { html, useEffect, useRef, useState } from "../lib.js";
import { ask, poll } from "../api.js";
import { when } from "../format.js";

/** @typedef {import("../documents").LogLine} Line */

const SHOWN = 2000, SECONDS = 2;

/** All lines of a trial: read once, and then what is added until it has ended. @param {string} id @param {boolean} ended */
function useLines(id, ended) {
  const [found, setFound] = useState({ lines: /** @type {Line[]} */ ([]), dropped: 0, read: false }), place = useRef("0-0");
  useEffect(() => {
    let over = false;
    const look = async () => {
      for (let more = true; more && !over;) {
        const log = await ask(`/v1/trials/${id}/logs?only=output&after=${place.current}`);
        if (over) return;
        const last = log.lines[log.lines.length - 1];
        if (last) place.current = last.id;
        setFound((before) => {
          const all = [...before.lines, ...log.lines], dropped = Math.max(0, all.length - SHOWN);
          return last || !before.read ? { lines: all.slice(dropped), dropped: before.dropped + dropped, read: true } : before;
        });
        more = log.more_lines;
      }
      if (ended) end();
    };
    const end = poll(SECONDS, look);
    return () => { over = true; end(); };
  }, [id, ended]);
  return found;
}

/** @param {{id: string, ended: boolean}} props */
export function Log({ id, ended }) {
  const { lines, dropped, read } = useLines(id, ended), frame = useRef(/** @type {any} */ (null)), atEnd = useRef(true);
  useEffect(() => { if (frame.current && atEnd.current) frame.current.scrollTop = frame.current.scrollHeight; }, [lines]);
  const moved = (/** @type {any} */ event) => { const { scrollTop, scrollHeight, clientHeight } = event.currentTarget; atEnd.current = scrollHeight - scrollTop - clientHeight < 24; };
  const several = lines.length > 0 && lines[0].attempt !== lines[lines.length - 1].attempt;
  return html`<section class="card" aria-label="Log"><header class="card-head"><h2>Log</h2>
      <span class="quiet">${!read ? "Reading …" : !lines.length ? (ended ? "Its workers printed nothing that was kept." : "Its worker has printed nothing yet.") : `${dropped ? `the last ${SHOWN} lines; ` : ""}${ended ? "printed by its workers" : "as its worker prints it"}`}</span>
      ${lines.length ? html`<a class="button count" href=${`/v1/trials/${id}/logs?format=text`} download=${`${id}.log`}>Download</a>` : null}</header>
    ${lines.length ? html`<pre class="log" ref=${frame} onScroll=${moved} tabindex="0" role="log" aria-live="off" aria-label="What its workers printed">${lines.map((line) => html`<span key=${line.id} class=${kindOf(line)}><time datetime=${line.at} title=${`${when(line.at)}, attempt ${line.attempt}, ${line.stream}`}>${several ? `${line.attempt} ` : ""}${when(line.at).slice(11)}</time> ${line.text}${"\n"}</span>`)}</pre>` : null}</section>`;
}

/** How a line is drawn. @param {Line} line */
function kindOf(line) {
  if (line.level === "ERROR" || line.level === "CRITICAL") return "bad";
  if (line.level === "WARNING") return "warn";
  return line.stream === "note" ? "quiet" : "";
}
