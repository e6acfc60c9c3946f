// Knows the optimizer's part of the page: whether it is held, with which token it is asked, and when to read its record again.

import { Refused, ask, hasToken, keepToken, notAToken, runs } from "./api.js";
import { byId, say } from "./dom.js";
import { name } from "./format.js";
import * as reclaim from "./reclaim.js";
import { show as showRuns } from "./runs.js";

let stamp = null;
let reads = false;

function said(text, as = "") {
    byId("optimizer-said").className = `said ${as}`;
    say(byId("optimizer-said"), text);
}

function showHeld() {
    byId("token-form").hidden = hasToken();
    byId("token-held").hidden = !hasToken();
    byId("opened").hidden = !hasToken();
    say(byId("token-words"), hasToken() ? "A token is kept in this tab." : "");
}

function forget() {
    keepToken(null);
    byId("token").value = "";
    showRuns([]);
    showHeld();
}

/** What could not be done, in words; a token that is not valid any more is forgotten. */
function refused(why) {
    if (!(why instanceof Refused)) throw why;
    if (why.status === 401 && hasToken()) forget();
    said(why.message, "critical");
}

/** Reads the record, once at a time; what changes meanwhile is read after that. */
async function read() {
    if (!hasToken() || reads) return;
    reads = true;
    let read;
    try {
        do {
            read = stamp;
            showRuns(await runs());
        } while (read !== stamp && hasToken());
    } catch (why) {
        refused(why);
    } finally {
        reads = false;
    }
}

async function targets() {
    try {
        reclaim.offer((await ask("GET", "targets")).targets);
    } catch (why) {
        refused(why);
    }
}

async function take(event) {
    event.preventDefault();
    const token = byId("token").value.trim();
    const wrong = notAToken(token);
    if (wrong) return said(wrong, "critical");
    said("");
    try {
        await ask("GET", "pause", undefined, token);
    } catch (why) {
        return refused(why);
    }
    byId("token").value = "";
    keepToken(token);
    showHeld();
    byId("forget").focus();
    await Promise.all([read(), targets()]);
}

/** Opens a dialogue; what it asks for is done when it is confirmed. */
function confirm(button, what, act) {
    const dialog = byId(`${what}-dialog`);
    byId(button).addEventListener("click", () => {
        said("");
        dialog.showModal();
    });
    dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
    byId(`${what}-form`).addEventListener("submit", async (event) => {
        event.preventDefault();
        dialog.close();
        try {
            showPause(await act());
        } catch (why) {
            refused(why);
        }
    });
}

function showPause({ paused, reason }) {
    const why = reason ? `: ${name(reason)}` : "";
    say(byId("optimizer-words"), paused ? `All actions are held${why}` : "Actions may begin when alerts or stalls ask for them.");
    byId("optimizer-words").classList.toggle("trouble", paused);
    byId("hold").hidden = paused;
    byId("resume").hidden = !paused;
}

/** Makes forms and buttons work. */
export function begin() {
    reclaim.begin();
    byId("token-form").addEventListener("submit", take);
    byId("forget").addEventListener("click", () => {
        forget();
        said("The token is forgotten.");
        byId("token").focus();
    });
    confirm("hold", "hold", () => ask("PUT", "pause", { reason: byId("hold-reason").value.trim() }));
    confirm("resume", "resume", () => ask("DELETE", "pause"));
    showHeld();
    if (hasToken()) targets();
}

/** Shows a `now`; reads the record again where that says that it changed. */
export function show({ optimizer }) {
    byId("optimizer-body").hidden = !optimizer;
    if (!optimizer) return say(byId("optimizer-words"), "No optimizer is served at this address.");
    showPause(optimizer);
    if (optimizer.stamp === stamp) return undefined;
    stamp = optimizer.stamp;
    return read();
}
