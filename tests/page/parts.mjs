// Knows what single modules of the page must do, in the browser that runs them.

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { close, open } from "./stage.mjs";

export function parts() {
    let tab;
    before(async () => {
        tab = await open();
    });
    after(() => close(tab));

    it("reads bytes as people write them", async () => {
        const texts = ["500MiB", "2GB", "1048576", "1.5 gib", "1b", "0", "0MiB", "500M", "-1", "1e9", "MiB", "", "9999999TiB", "1,5MiB"];
        const read = await tab.evaluate(async (all) => {
            const { parseBytes } = await import("/live/format.js");
            return all.map((text) => parseBytes(text).bytes ?? null);
        }, texts);
        assert.deepEqual(read, [524288000, 2e9, 1048576, 1610612736, 1, ...Array(9).fill(null)]);
    });

    it("writes numbers so that they can be read, and says when one is not known", async () => {
        const written = await tab.evaluate(async () => {
            const { bytes, name, percent, rate, span } = await import("/live/format.js");
            const all = [bytes(0), bytes(1023), bytes(1536), bytes(25276510208), bytes(null), percent(0.004), percent(0.0001), percent(0.34), rate(undefined), span(0.09), span(200)];
            return [...all.map((text) => text.replaceAll("\u00a0", " ")), name("a\u202eb\nc")];
        });
        assert.deepEqual(written, ["0 B", "1023 B", "1.50 KiB", "23.5 GiB", "–", "0.4 %", "<0.1 %", "34 %", "–", "90 ms", "3 min", "a\ufffdb\ufffdc"]);
    });

    it("makes parts that add up to all memory, whatever the kernel leaves out", async () => {
        const cases = [
            { total: 100, available: 60, free: 20, anonymous: 25, shared: 5, kernel: 4 },
            { total: 100, available: 60, free: 70, anonymous: null, shared: null, kernel: null },
            { total: 100, available: 60, free: null, anonymous: 30, shared: null, kernel: 10 },
        ];
        const found = await tab.evaluate(async (all) => {
            const { parts: split, words } = await import("/live/memory.js");
            return all.map((memory) => [Object.fromEntries(split(memory).map(({ part, value }) => [part, value])), words(memory).includes("cache")]);
        }, cases);
        assert.deepEqual(found, [
            [{ anonymous: 25, shared: 5, kernel: 4, other: 6, cache: 40, free: 20 }, true],
            [{ other: 40, free: 60 }, false],
            [{ anonymous: 30, kernel: 10 }, false],
        ]);
    });

    it("says that the server has no numbers, when it says so", async () => {
        const told = await tab.evaluate(async () => {
            const { connect } = await import("/live/feed.js");
            const [real, heard, said] = [globalThis.EventSource, {}, []];
            globalThis.EventSource = class {
                addEventListener(kind, listener) {
                    heard[kind] = listener;
                }
                close() {}
            };
            const nothing = () => {};
            connect({ about: nothing, history: nothing, now: nothing, connection: (...words) => said.push(words) });
            globalThis.EventSource = real;
            heard.trouble({ data: JSON.stringify("the pass hangs") });
            return said.map(([state, words]) => [state, words.replace(/\d\d:\d\d:\d\d/, "TIME")]);
        });
        assert.deepEqual(told, [["trouble", "No numbers since TIME: the pass hangs"]]);
    });

    it("keeps an hour and no more, however long it is open", async () => {
        const kept = await tab.evaluate(async () => {
            const { History } = await import("/live/history.js");
            const history = new History();
            history.load({ at: [0, 30], machine: { cpu_busy: [0.5, null] }, groups: { old: { memory: [1, 2] } }, cgroups: {} });
            const now = (at) => ({
                at,
                memory: { available: at, swap_total: null, swap_free: null },
                cpu: { busy: at % 60 < 30 ? 1 : null },
                pressure: {},
                disks: [{ name: "sda", read: 1 }, { name: "sdb", read: 2 }, { name: "dm-0", read: 3 }, { name: "sdc", read: null }],
                groups: [{ name: "a", memory: at }, { name: `once ${at}`, memory: 1 }],
                cgroups: null,
            });
            for (let at = 60; at < 20000; at += 2) history.add(now(at));
            const lengths = [...history.machine.values(), ...history.groups.values()].map((values) => values.length);
            return {
                points: history.at.length,
                equal: lengths.every((length) => length === history.at.length),
                old: history.groups.has("old"),
                groups: history.groups.size,
                read: history.machine.get("disk_read").at(-1),
                mean: history.machine.get("memory_available").at(-2) - history.at.at(-2),
                gaps: history.machine.get("cpu_busy").includes(null),
            };
        });
        assert.ok(kept.points >= 119 && kept.points <= 122, `${kept.points} points`);
        assert.ok(kept.groups <= 2000, `${kept.groups} groups`);
        assert.deepEqual([kept.equal, kept.old, kept.read, kept.mean, kept.gaps], [true, false, 3, 14, true]);
    });

    it("shows a hundred rows and says how many there are", async () => {
        const shown = await tab.evaluate(async () => {
            const { Table } = await import("/live/table.js");
            const parent = document.createElement("div");
            const columns = [{ title: "Name", value: (row) => row.name, text: (row) => row.name }, { title: "Size", number: true, value: (row) => row.size, text: (row) => String(row.size) }];
            const table = new Table(parent, { label: "x", columns, key: (row) => row.name, sorted: "Size", filter: "Filter" });
            table.show(Array.from({ length: 250 }, (_, n) => ({ name: `n${n}`, size: n === 7 ? null : n })));
            const read = () => [...parent.querySelectorAll("tbody tr")].map((row) => row.cells[1].textContent);
            const first = read();
            parent.querySelectorAll("thead button")[1].click();
            return { first: first.slice(0, 3), count: first.length, words: parent.querySelector(".count").textContent, rising: read().slice(0, 3) };
        });
        assert.deepEqual(shown, { first: ["249", "248", "247"], count: 100, words: "100 of 250 are shown; sort or filter to see the others.", rising: ["0", "1", "2"] });
    });

    it("keeps the elements of what stays, and so the focus", async () => {
        const kept = await tab.evaluate(async () => {
            const { keyed, make } = await import("/live/dom.js");
            const list = document.body.appendChild(make("ul"));
            const how = { key: (item) => item, create: () => make("li", {}, make("button")), update: (element, item) => element.firstChild.replaceChildren(item) };
            keyed(list, ["b", "c", "d"], how);
            list.children[1].firstChild.focus();
            const [, c] = list.children;
            keyed(list, ["a", "c", "d", "d"], how);
            const result = [list.textContent, list.children[1] === c, document.activeElement === c.firstChild];
            list.remove();
            return result;
        });
        assert.deepEqual(kept, ["acdd", true, true]);
    });

    it("says why alerts are not known, and counts none that fires by design", async () => {
        const said = await tab.evaluate(async () => {
            const { show } = await import("/live/alerts.js");
            const alert = (name, severity, state, since) => ({ name, severity, state, since, summary: "<b>x</b>", labels: { alertname: name, severity, place: name } });
            const look = (alerts, error = null) => {
                const firing = show({ at: 100, alerts, alerts_error: error });
                const rows = [...document.querySelectorAll("#alerts-table tbody tr")].map((row) => row.textContent.replace(/\d{4}-.*\)/, ""));
                return [firing, document.getElementById("alerts-words").textContent, rows, document.getElementById("firing").hidden];
            };
            const watchdog = alert("Watchdog", "none", "firing", 1);
            return [
                look(null),
                look(null, "the monitor does not answer"),
                look([watchdog]),
                look([alert("P", "critical", "pending", 9), watchdog, alert("W", "warning", "firing", 5), alert("C", "critical", "firing", 3)]),
            ];
        });
        assert.deepEqual(said, [
            [0, "Alerts are not known here: nobody evaluates the rules in this process.", [], true],
            [0, "Alerts are not known here: the monitor does not answer", [], true],
            [0, "No alerts. Watchdog fires as it always should.", [], true],
            [2, "2 firing, 1 pending. Watchdog fires as it always should.", ["firingcriticalC<b>x</b>place=C", "firingwarningW<b>x</b>place=W", "pendingcriticalP<b>x</b>place=P"], false],
        ]);
    });

    it("tells harm, failures and what was never measured as what they are", async () => {
        const said = await tab.evaluate(async () => {
            const { show } = await import("/live/runs.js");
            const step = { id: 1, action: "cgroup_reclaim", state: "done", verdict: "freed", freed_bytes: 2 ** 20, detail: "<i>d</i>", before: { target: { bytes: 2 ** 21 } }, after: null, begun_at_millis: 0, ended_at_millis: 1500, harm: "it read much in again" };
            const run = { id: 7, alertname: "A", labels: {}, state: "ended", result: "failed", reason: "why", policy: null, target: null, queued_at_millis: 0, origin: "pressure", request: { bytes: 2 ** 22 }, freed_bytes: 0, steps: [step] };
            show([run]);
            const row = document.querySelector("#runs li");
            return [row.querySelector("summary").textContent, row.querySelector(".badge").className, [...row.querySelectorAll("tbody tr > *")].map((cell) => cell.textContent)].map((text) => JSON.parse(JSON.stringify(text).replaceAll("\u00a0", " ")));
        });
        assert.match(said[0], /by a stall, 4\.00 MiB wantedno targetfailednothing gainedharmful$/);
        assert.deepEqual(said.slice(1), ["badge critical", ["cgroup reclaim", "harmful", "1.00 MiB", "2.00 MiB → –", "2 s", "<i>d</i>. Harm: it read much in again"]]);
    });

    it("says that no optimizer is here", async () => {
        const said = await tab.evaluate(async () => {
            const { show } = await import("/live/optimizer.js");
            show({ optimizer: null });
            return [document.getElementById("optimizer-words").textContent, document.getElementById("optimizer-body").hidden];
        });
        assert.deepEqual(said, ["No optimizer is served at this address.", true]);
    });
}
