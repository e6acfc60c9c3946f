// Knows how the record's runs are told: who asked, what was done, what it gained and what it harmed.

import { byId, keyed, make, say } from "./dom.js";
import { bytes, clock, name, span } from "./format.js";

const ORIGINS = { hand: "by hand", pressure: "by a stall", alert: "by an alert" };
const GOOD = ["effective", "freed", "applied"];
const BAD = ["failed", "interrupted"];
const CALM = ["dry_run", "resolved", "silenced", "stale", "queued", "acting", "begun"];

/** What a result means, as one of the page's colours. */
function meaning(word) {
    if (GOOD.includes(word)) return "gain";
    if (BAD.includes(word)) return "critical";
    return CALM.includes(word) ? "calm" : "warning";
}

/** A word of the API as people say it. */
export const spoken = (word) => name(word ?? "").replaceAll("_", " ");

function badge(element, word, as = meaning(word)) {
    element.className = `badge ${as}`;
    say(element, spoken(word));
}

const result = (run) => run.result ?? run.state;
const harmed = (run) => run.steps.some((step) => step.harm);

/** What was asked for, in a few words. */
function wanted(run) {
    const asked = run.request?.bytes;
    const dry = run.request?.dry_run ? ", preview" : "";
    const who = run.origin === "alert" ? name(run.alertname) : ORIGINS[run.origin] ?? name(run.origin);
    return `${who}${asked ? `, ${bytes(asked)} wanted` : ""}${dry}`;
}

/** A plan without its braces and quotes: it is read by people here. */
function plain(value, key = "") {
    if (key.endsWith("bytes")) return bytes(value);
    if (key.endsWith("_millis")) return span(value / 1000);
    if (typeof value !== "object") return String(value);
    const all = Object.entries(value).filter(([, inner]) => inner !== null);
    const word = (inside) => (Array.isArray(value) ? "" : `${inside.replace(/_millis$/, "").replaceAll("_", " ")} `);
    const each = all.map(([inside, inner]) => `${word(inside)}${plain(inner, inside)}`);
    return key ? `(${each.join(", ")})` : each.join(", ");
}

/** A reason, with the plan in it made readable. */
export function reason(run) {
    const text = run.reason ?? "";
    const brace = text.indexOf(": {");
    if (run.result !== "dry_run" || brace < 0) return name(text);
    try {
        return name(`${text.slice(0, brace)}: ${plain(JSON.parse(text.slice(brace + 2)))}`);
    } catch {
        return name(text);
    }
}

function item() {
    const parts = ["when", "what", "target", "badge", "gained", "badge harm"].map((of) => make("span", { of }));
    const terms = make("dl");
    const body = make("tbody");
    const titles = ["Action", "Verdict", "Gained", "Target before and after", "Took", "Said"];
    const heads = titles.map((title) => make("th", { attributes: { scope: "col" } }, title));
    const table = make("table", {}, make("caption", {}, "Steps"), make("thead", {}, make("tr", {}, ...heads)), body);
    const box = make("div", { of: "box steps", attributes: { tabindex: "0", role: "region", "aria-label": "Steps" } }, table);
    return make("li", {}, make("details", {}, make("summary", {}, ...parts), terms, box));
}

const terms = (run) => [
    ["Run", String(run.id)],
    ["Asked", `${ORIGINS[run.origin] ?? name(run.origin)}${run.origin === "alert" ? ` ${name(run.alertname)}` : ""}`],
    ["Wanted", run.request?.bytes ? bytes(run.request.bytes) : null],
    ["Policy", run.policy],
    ["Why", reason(run)],
    ["Labels", Object.entries(run.labels ?? {}).map(([key, value]) => `${key}=${value}`).join("  ")],
].filter(([, value]) => value);

function stepLine() {
    const numbers = Array.from({ length: 3 }, () => make("td", { of: "number" }));
    const action = make("th", { attributes: { scope: "row" } });
    return make("tr", {}, action, make("td", {}, make("span")), ...numbers, make("td", { of: "prose" }));
}

function fillStep(line, step) {
    const [action, verdict, gained, sizes, took, said] = line.children;
    const word = step.verdict ?? step.state;
    say(action, spoken(step.action));
    badge(verdict.firstElementChild, step.harm ? "harmful" : word, step.harm ? "critical" : meaning(word));
    say(gained, bytes(step.freed_bytes));
    say(sizes, `${bytes(step.before?.target?.bytes)} → ${bytes(step.after?.target?.bytes)}`);
    say(took, step.ended_at_millis ? span((step.ended_at_millis - step.begun_at_millis) / 1000) : "");
    say(said, name([step.detail, step.harm && `Harm: ${step.harm}`].filter(Boolean).join(". ")));
}

function fill(element, run) {
    const details = element.firstElementChild;
    const [summary, list, box] = details.children;
    const [when, what, target, state, gained, harm] = summary.children;
    say(when, clock(run.queued_at_millis / 1000));
    say(what, wanted(run));
    say(target, name(run.target ?? "no target"));
    badge(state, result(run));
    // A run that goes on has gained nothing yet, and one that was not measured may have gained anything.
    const known = run.state === "ended" && (run.steps ?? []).some((step) => step.freed_bytes !== null && step.freed_bytes !== undefined);
    say(gained, run.freed_bytes ? `+${bytes(run.freed_bytes)}` : known ? "nothing gained" : "–");
    gained.classList.toggle("gain", run.freed_bytes > 0);
    harm.hidden = !harmed(run);
    badge(harm, harmed(run) ? "harmful" : "", "critical harm");
    keyed(list, terms(run), {
        key: ([term]) => term,
        create: ([term]) => make("div", {}, make("dt", {}, term), make("dd")),
        update: (each, [, value]) => say(each.lastElementChild, name(value)),
    });
    box.hidden = !run.steps.length;
    keyed(box.querySelector("tbody"), run.steps, {
        key: (step) => String(step.id),
        create: stepLine,
        update: fillStep,
    });
}

/** Shows the record's newest runs. */
export function show(runs) {
    say(byId("runs-words"), runs.length ? "" : "Nothing is on record yet.");
    keyed(byId("runs"), runs, { key: (run) => String(run.id), create: item, update: fill });
}
