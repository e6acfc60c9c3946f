// Knows what the page must show of a machine, and how it is sorted, filtered and read.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import os from "node:os";
import { after, before, it } from "node:test";
import { close, headroom, live, open, page, says, signal, start, until } from "./stage.mjs";

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HOSTILE = "<img src=x onerror=alert(1)>";
const BYTES_MAX = 150_000;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes as the page wrote them. */
const number = (text) => {
    const [value, unit] = text.split("\u00a0");
    return Number(value) * 1024 ** UNITS.indexOf(unit);
};
const column = (tab, table, n) => tab.locator(`#${table}-table tbody tr > :nth-child(${n})`).allTextContents();
const isSorted = (values) => values.every((value, n) => n === 0 || values[n - 1] <= value);

export function machine() {
    let tab;
    before(async () => {
        tab = await open();
    });
    after(() => close(tab));

    it("is small, and what the page may do is said strictly", async () => {
        const sizes = [];
        const fresh = await open();
        fresh.on("response", (answer) => {
            if (!answer.url().endsWith("/events")) sizes.push(answer.body().then((body) => body.length));
        });
        const answer = await fresh.reload();
        assert.equal(answer.headers()["content-security-policy"], POLICY);
        await live(fresh);
        const bytes = (await Promise.all(sizes)).reduce((a, b) => a + b);
        assert.ok(sizes.length > 15 && bytes > 60_000 && bytes < BYTES_MAX, `${sizes.length} files, ${bytes} bytes`);
        await close(fresh);
    });

    it("says whose numbers these are", async () => {
        assert.equal(await tab.locator("#host").textContent(), os.hostname());
        const version = execFileSync(headroom, ["--version"], { encoding: "utf8" });
        assert.ok(version.includes(await tab.locator("#version").textContent()), version);
        const link = await tab.locator("#metrics").getAttribute("href");
        assert.match(await (await fetch(page + link)).text(), /^node_memory_MemAvailable_bytes /m);
    });

    it("says where memory is, in words and as a bar of which nothing is missing", async () => {
        const words = await tab.locator("#memory-words").textContent();
        const [, available, total] = /^([\d.]+\u00a0\S+) of ([\d.]+\u00a0\S+) can still be had without swapping/.exec(words);
        assert.ok(Math.abs(number(total) / os.totalmem() - 1) < 0.02, words);
        assert.ok(number(available) > 0 && number(available) < number(total), words);
        const shares = await tab.locator("#memory-bar .part").evaluateAll((all) => all.map((part) => Number(part.style.flexGrow)));
        const sum = shares.reduce((a, b) => a + b, 0);
        assert.ok(shares.length >= 4 && Math.abs(sum - 1) < 0.03, `${shares}`);
        const named = await tab.locator("#memory-parts li").allTextContents();
        assert.equal(named.length, shares.length);
    });

    it("draws the hour, and says it to those who do not see it", async () => {
        await tab.locator("#charts canvas").nth(5).waitFor();
        const labels = await tab.locator("#charts .plot").evaluateAll((all) => all.map((plot) => plot.getAttribute("aria-label")));
        assert.equal(labels.length, 6);
        await until("the processors are known", async () => {
            const label = await tab.locator("#charts .plot").nth(1).getAttribute("aria-label");
            return /^Processors, the last hour\. busy: now \S+ %, between \S+ % and \S+ %\.$/.test(label.replaceAll("\u00a0", " "));
        });
        // Something is really drawn: pixels that are not empty.
        const drawn = await tab.locator("#charts canvas").evaluateAll((all) => all.map((canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value)));
        assert.deepEqual(drawn, Array(6).fill(true));
    });

    it("follows the machine, without making rows anew, and shows hostile names as what they are", async () => {
        const row = tab.locator("#groups-table tbody tr").filter({ hasText: HOSTILE });
        const processes = () => row.locator("td").last().textContent();
        start("hostile-1", "sleep", ["600"], { argv0: HOSTILE });
        await until("one process", async () => (await processes()) === "1");
        assert.equal(await row.locator("th").textContent(), HOSTILE);
        await row.evaluate((element) => Object.assign(window, { row: element }));
        start("hostile-2", "sleep", ["600"], { argv0: HOSTILE });
        await until("two processes", async () => (await processes()) === "2");
        assert.ok(await row.evaluate((element) => window.row === element));
        assert.equal(await tab.locator("img").count(), 0);
        await signal("hostile-1", "SIGKILL");
        await signal("hostile-2", "SIGKILL");
    });

    it("has each disk, file system and interface in a table", async () => {
        const kinds = [["filesystems", "/"], ["network", null], ["disks", null]];
        for (const [kind, wanted] of kinds) {
            const names = await column(tab, kind, 1);
            const words = await tab.locator(`#${kind}-table .count`).textContent();
            assert.ok(names.length || words === "There are none.", kind);
            if (wanted && names.length) assert.ok(names.includes(wanted), `${kind}: ${names}`);
        }
        const root = tab.locator("#filesystems-table tbody tr").first();
        if (await root.count()) assert.match(await root.locator("td").first().textContent(), /^\d/);
    });

    it("sorts by numbers, with the mouse and with the keyboard, and keeps the focus", async () => {
        const head = (title) => tab.locator("#groups-table thead").getByRole("button", { name: title });
        const sorted = (title) => tab.locator("#groups-table thead th").filter({ hasText: title });
        assert.equal(await sorted("Memory").getAttribute("aria-sort"), "descending");
        // What was written is rounded; what was sorted is not.
        const sizes = async () => (await column(tab, "groups", 2)).filter((text) => text !== "–").map(number);
        const falling = await sizes();
        assert.ok(falling.length > 3 && isSorted([...falling].reverse()), `${falling}`);
        await head("Memory").click();
        assert.equal(await sorted("Memory").getAttribute("aria-sort"), "ascending");
        assert.ok(isSorted(await sizes()));
        await head("Name").focus();
        await tab.keyboard.press("Enter");
        assert.equal(await sorted("Name").getAttribute("aria-sort"), "ascending");
        assert.equal(await sorted("Memory").getAttribute("aria-sort"), null);
        const names = await column(tab, "groups", 1);
        assert.deepEqual(names, [...names].sort((a, b) => a.localeCompare(b, "en", { numeric: true })));
        await tab.keyboard.press("Space");
        assert.equal(await sorted("Name").getAttribute("aria-sort"), "descending");
        await updates(tab);
        assert.ok(await head("Name").evaluate((button) => button === document.activeElement));
    });

    it("filters, and says so when nothing fits", async () => {
        const field = tab.getByLabel("Filter by name");
        const [first] = await column(tab, "groups", 1);
        await field.fill(first.toUpperCase());
        const names = await column(tab, "groups", 1);
        assert.ok(names.length && names.every((name) => name.toLowerCase().includes(first.toLowerCase())), `${names}`);
        await field.fill("no group has this name");
        assert.match(await tab.locator("#groups-table .count").textContent(), /^None of \d+ fits the filter\.$/);
        await updates(tab);
        assert.equal(await field.inputValue(), "no group has this name");
        await field.fill("");
    });

    it("is dark or light as the system is, until one is chosen, which is kept", async () => {
        const ground = () => tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const light = await ground();
        await tab.emulateMedia({ colorScheme: "dark" });
        const dark = await ground();
        assert.notEqual(dark, light);
        await tab.emulateMedia({ colorScheme: "light" });
        const button = tab.getByRole("button", { name: "Theme: auto" });
        await button.focus();
        await tab.keyboard.press("Enter");
        assert.equal(await ground(), dark);
        await tab.reload();
        await live(tab);
        assert.equal(await ground(), dark);
        await tab.getByRole("button", { name: "Theme: dark" }).click();
        await tab.emulateMedia({ colorScheme: "dark" });
        assert.equal(await ground(), light);
        await tab.getByRole("button", { name: "Theme: light" }).click();
        assert.equal(await ground(), dark);
        await tab.emulateMedia({ colorScheme: "light" });
    });

    it("lets the keyboard skip to what matters, and shows where it is", async () => {
        await tab.reload();
        await live(tab);
        await tab.keyboard.press("Tab");
        const skip = tab.getByRole("link", { name: "Skip to the machine" });
        assert.ok(await skip.evaluate((link) => link === document.activeElement && link.getBoundingClientRect().left >= 0));
        assert.notEqual(await skip.evaluate((link) => getComputedStyle(link).outlineStyle), "none");
        await tab.keyboard.press("Enter");
        assert.equal(await tab.evaluate(() => document.activeElement.id), "main");
    });
}

/** Waits until numbers have come twice more. */
async function updates(tab) {
    const seen = new Set();
    await until("two updates", async () => {
        seen.add(await says(tab, "#charts", /busy/));
        return seen.size > 2;
    });
}
