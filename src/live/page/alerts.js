// Knows which alerts there are, in which order, and how their state is said.

import { byId, keyed, make, say } from "./dom.js";
import { clock, name, span } from "./format.js";

const STATES = ["firing", "pending"];
const SEVERITIES = ["critical", "warning", "info"];
/** What fires all the time, to show that rules are evaluated: nobody's trouble. */
const QUIET = "none";
/** What is said elsewhere in the row. */
const SAID = ["alertname", "severity"];

const place = (list, value) => (list.includes(value) ? list.indexOf(value) : list.length);
const order = (a, b) => place(STATES, a.state) - place(STATES, b.state)
    || place(SEVERITIES, a.severity) - place(SEVERITIES, b.severity)
    || b.since - a.since;

const labels = (alert) => Object.entries(alert.labels ?? {}).filter(([key]) => !SAID.includes(key));
const written = (alert) => labels(alert).map(([key, value]) => `${name(key)}=${name(value)}`).join("  ");

let body;

function begin() {
    const titles = ["State", "Severity", "Alert", "Since", "What it says"];
    const heads = titles.map((title) => make("th", { attributes: { scope: "col" } }, title));
    body = make("tbody");
    const table = make("table", {}, make("caption", {}, "Alerts"), make("thead", {}, make("tr", {}, ...heads)), body);
    const attributes = { tabindex: "0", role: "region", "aria-label": "Alerts: table" };
    byId("alerts-table").append(make("div", { of: "box", attributes }, table));
}

function line(alert) {
    const badge = make("td", {}, make("span", { of: "badge" }));
    const says = make("td", { of: "prose" }, make("span"), make("small"));
    return make("tr", {}, badge, make("td"), make("th", { attributes: { scope: "row" } }), make("td"), says);
}

function fill(element, alert, at) {
    const [state, severity, title, since, says] = element.children;
    const badge = state.firstElementChild;
    badge.className = `badge ${alert.state === "firing" ? place(SEVERITIES, alert.severity) ? "warning" : "critical" : "calm"}`;
    say(badge, alert.state);
    say(severity, alert.severity ?? "");
    say(title, name(alert.name));
    say(since, `${clock(alert.since)} (${span(at - alert.since)})`);
    say(says.firstElementChild, name(alert.summary ?? ""));
    say(says.lastElementChild, written(alert));
}

function words(now, alerts, firing) {
    const why = now.alerts_error ? ` ${name(now.alerts_error)}` : "";
    if (!now.alerts) return `Alerts are not known here: ${why.trim() || "nobody evaluates the rules in this process."}`;
    const quiet = now.alerts.filter(({ severity }) => severity === QUIET).map((alert) => name(alert.name));
    const more = quiet.length ? ` ${quiet.join(", ")} fires as it always should.` : "";
    return `${alerts.length ? `${firing} firing, ${alerts.length - firing} pending.` : "No alerts."}${more}${why}`;
}

/** Shows the alerts of a `now`, and in the header how many fire. Returns how many those are. */
export function show(now) {
    if (!body) begin();
    const alerts = (now.alerts ?? []).filter(({ severity }) => severity !== QUIET).sort(order);
    const firing = alerts.filter(({ state }) => state === "firing").length;
    say(byId("alerts-words"), words(now, alerts, firing));
    byId("alerts-words").classList.toggle("trouble", Boolean(now.alerts_error));
    byId("alerts-table").hidden = !alerts.length;
    keyed(body, alerts, {
        key: (alert) => `${alert.name} ${written(alert)}`,
        create: line,
        update: (element, alert) => fill(element, alert, now.at),
    });
    const chip = byId("firing");
    chip.hidden = !firing;
    chip.dataset.state = alerts.some((alert) => alert.state === "firing" && alert.severity === "critical") ? "critical" : "warning";
    say(chip, `${firing} ${firing === 1 ? "alert fires" : "alerts fire"}`);
    return firing;
}
