// Knows how a person asks for memory: a preview first, and only then the same thing in earnest.

import { ask, runs } from "./api.js";
import { byId, keyed, make, say } from "./dom.js";
import { bytes, name, parseBytes } from "./format.js";
import { reason, spoken } from "./runs.js";

const LOOK_MILLIS = 500;
const LOOKS = 120;

let targets = [];
/** What the preview was about, as the request that would follow it. */
let previewed = null;
/** Counts what was asked: an answer to what is not asked any more is not shown. */
let asked = 0;

const said = (text, as = "") => {
    const element = byId("reclaim-said");
    element.className = `said ${as}`;
    say(element, text);
};

function chosen() {
    const boxes = byId("reclaim-actions").querySelectorAll("input:checked");
    return [...boxes].map((box) => box.value);
}

/** Without a preview nothing can be done in earnest; a change of what is asked for takes it away. */
function forget() {
    asked += 1;
    previewed = null;
    byId("act").disabled = true;
    say(byId("act"), "Reclaim now");
    said("");
}

function showActions() {
    const target = targets.find((each) => each.name === byId("reclaim-target").value);
    keyed(byId("reclaim-actions"), target?.actions ?? [], {
        key: (action) => action,
        create: (action) => {
            const box = make("input", { attributes: { type: "checkbox", value: action } });
            return make("label", { of: "choice" }, box, ` ${action.replaceAll("_", " ")}`);
        },
        update: () => {},
    });
}

/** The run when it has ended, or null if it was not waited for any more. */
async function ended(run, mine) {
    for (let look = 0; look < LOOKS && mine === asked; look += 1) {
        const entry = (await runs()).find((each) => each.id === run);
        if (entry?.state === "ended") return entry;
        if (entry?.state === "waiting") said(`Run ${run} waits: ${name(entry.reason ?? "")}`);
        await new Promise((wake) => setTimeout(wake, LOOK_MILLIS));
    }
    return null;
}

async function send(request, dry) {
    asked += 1;
    const mine = asked;
    byId("preview").disabled = true;
    byId("act").disabled = true;
    said(dry ? "Asking what would be done…" : `Reclaiming ${bytes(request.bytes)} from ${name(request.target)}…`);
    try {
        const { run } = await ask("POST", "reclaim", { ...request, dry_run: dry });
        const entry = await ended(run, mine);
        if (mine !== asked) return;
        if (!entry) said(`Run ${run} has not ended yet; the record will show it.`, "warning");
        else if (dry) showPreview(request, entry);
        else said(`Run ${run}: ${spoken(entry.result)}. ${name(entry.reason ?? "")}`, entry.freed_bytes ? "gain" : "warning");
    } catch (refused) {
        if (mine === asked) said(refused.message, "critical");
    } finally {
        byId("preview").disabled = false;
    }
}

function showPreview(request, entry) {
    if (entry.result !== "dry_run") {
        said(`Nothing would be done (${spoken(entry.result)}): ${name(entry.reason ?? "")}`, "warning");
        return;
    }
    previewed = request;
    said(`Preview, ${reason(entry)}. Further actions follow only if that is not enough.`);
    say(byId("act"), `Reclaim ${bytes(request.bytes)} now`);
    byId("act").disabled = false;
}

/** Makes the form work. */
export function begin() {
    const form = byId("reclaim");
    form.addEventListener("input", forget);
    byId("reclaim-target").addEventListener("change", showActions);
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        const { bytes: wanted, error } = parseBytes(byId("reclaim-bytes").value);
        forget();
        byId("reclaim-bytes").setAttribute("aria-invalid", String(Boolean(error)));
        if (error) said(error, "critical");
        else send({ target: byId("reclaim-target").value, bytes: wanted, ladder: chosen() }, true);
    });
    byId("act").addEventListener("click", () => {
        const request = previewed;
        previewed = null;
        if (request) send(request, false);
    });
}

/** Takes the targets that may be asked for. */
export function offer(all) {
    targets = all;
    const select = byId("reclaim-target");
    keyed(select, all, {
        key: (target) => target.name,
        create: (target) => make("option", { attributes: { value: target.name } }, name(target.name)),
        update: () => {},
    });
    showActions();
    for (const id of ["preview", "reclaim-target", "reclaim-bytes"]) byId(id).disabled = !all.length;
    if (!all.length) said("No target is configured (optimizer.targets), so nothing can be asked for.");
}
