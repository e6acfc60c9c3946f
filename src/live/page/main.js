// Knows what happens when something arrives: the beginning of the page.

import * as alerts from "./alerts.js";
import * as charts from "./charts.js";
import { byId, make, say } from "./dom.js";
import { connect } from "./feed.js";
import { name } from "./format.js";
import { History, figures } from "./history.js";
import * as memory from "./memory.js";
import * as optimizer from "./optimizer.js";
import { tables } from "./tables.js";

/** Charts are drawn anew with each so-many-eth arrival: they show an hour, and nobody sees two seconds of it. */
const DRAW_EACH = 5;

const history = new History();
const lists = tables(history);
let arrived = 0;
let host = "Headroom";
let version = null;

function about(news) {
    host = name(news.host ?? host);
    say(byId("host"), host);
    say(byId("system"), [news.os, news.kernel && `kernel ${news.kernel}`].filter(Boolean).map(name).join(" · "));
    say(byId("version"), name(news.version));
    // An address of this server alone.
    if (/^\/[^/\\]/.test(news.telemetry_path)) byId("metrics").setAttribute("href", news.telemetry_path);
    if (version !== null && version !== news.version) location.reload();
    version = news.version;
}

function now(news) {
    const opened = history.add(news);
    memory.show(news);
    charts.now(news, figures(news));
    const firing = alerts.show(news);
    optimizer.show(news);
    lists.show(news);
    if (opened || arrived % DRAW_EACH === 0) charts.draw(history);
    arrived += 1;
    document.title = `${firing ? `(${firing}) ` : ""}${host} – Headroom`;
}

function connection(state, words) {
    const lost = state === "lost" || state === "trouble";
    byId("connection").dataset.state = lost ? "lost" : state;
    say(byId("connection"), { lost: "Connection lost", trouble: "No numbers" }[state] ?? words);
    // What is shown is old until the next numbers are there, whatever the connection says.
    if (lost || state === "live") document.body.classList.toggle("old", lost);
    if (lost === Boolean(byId("banner").firstChild)) return;
    const more = " What is shown is from before that. The page tries again by itself.";
    byId("banner").replaceChildren(...(lost ? [make("p", {}, make("strong", {}, `${words}.`), more)] : []));
    if (lost) document.title = `${byId("connection").textContent}: ${host}`;
}

charts.begin();
optimizer.begin();
connect({ about, history: (news) => history.load(news), now, connection });
