// Knows what the page must do with the optimizer: tokens, its record, holding, and reclaim by hand.

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { api, close, expect, live, open, released, says, signal, startApp, tokens, until, useToken } from "./stage.mjs";

const kept = (tab) => tab.evaluate(() => [Object.values(sessionStorage), Object.keys(localStorage)]);
const button = (tab, name) => tab.getByRole("button", { name, exact: true });
const run = (tab, text) => tab.locator("#runs li").filter({ hasText: text }).first();
const confirm = (tab, dialog, name) => tab.locator(`#${dialog}-dialog`).getByRole("button", { name }).click();

export function optimizer() {
    let tab;
    before(async () => {
        tab = await open();
    });
    after(() => close(tab));

    it("shows nothing of the record without a token", async () => {
        assert.ok(!await tab.locator("#opened").isVisible());
        const field = tab.getByLabel("Token", { exact: true });
        assert.deepEqual([await field.getAttribute("type"), await field.getAttribute("autocomplete")], ["password", "off"]);
    });

    it("says that a token is wrong, and does not keep it", async () => {
        expect(tab, /status of 401 .*\/api\/v1\//);
        await useToken(tab, "wrong");
        await says(tab, "#optimizer-said", /^This token is wrong\.$/);
        await useToken(tab, "wrång");
        await says(tab, "#optimizer-said", /neither spaces nor special/);
        assert.deepEqual((await kept(tab))[0], []);
        assert.ok(!await tab.locator("#opened").isVisible());
    });

    it("shows the record to a token for reading, and says plainly that it changes nothing", async () => {
        expect(tab, /status of 40[13] .*\/api\/v1\//);
        await useToken(tab, tokens.read);
        await tab.locator("#opened").waitFor();
        await button(tab, "Preview").click();
        await says(tab, "#reclaim-said", /^This token may read the record, and change nothing\.$/);
        await button(tab, "Hold all actions").click();
        await tab.getByLabel("Reason").fill("not mine to hold");
        await confirm(tab, "hold", "Hold all actions");
        await says(tab, "#optimizer-said", /^This token may read the record, and change nothing\.$/);
        assert.equal((await api("pause")).paused, false);
        await button(tab, "Forget the token").click();
        assert.deepEqual((await kept(tab))[0], []);
        assert.ok(!await tab.locator("#opened").isVisible());
        assert.equal(await tab.locator("#runs li").count(), 0);
    });

    it("keeps the right token in this tab alone", async () => {
        await useToken(tab, tokens.write);
        await tab.locator("#opened").waitFor();
        await tab.reload();
        await live(tab);
        await tab.locator("#opened").waitFor();
        const [session, local] = await kept(tab);
        assert.deepEqual([session, local], [[tokens.write], []]);
        assert.deepEqual(await tab.locator("#reclaim-target option").allTextContents(), ["demo-cache"]);
        assert.deepEqual(await tab.locator("#reclaim-actions label").allTextContents(), [" app hook"]);
    });

    it("holds all actions only for a reason, and not when one thinks better of it", async () => {
        await button(tab, "Hold all actions").click();
        await tab.keyboard.press("Escape");
        assert.ok(!await tab.locator("#hold-dialog").isVisible());
        await button(tab, "Hold all actions").click();
        await confirm(tab, "hold", "Hold all actions");
        assert.ok(await tab.locator("#hold-dialog").isVisible(), "a reason is asked for");
        await tab.getByLabel("Reason").fill("maintenance <b>tonight</b>");
        await confirm(tab, "hold", "Hold all actions");
        await says(tab, "#optimizer-words", /^All actions are held: maintenance <b>tonight<\/b>$/);
        assert.deepEqual(await api("pause"), { paused: true, reason: "maintenance <b>tonight</b>" });
    });

    it("shows an alert that fires, and the run that waits because actions are held", async () => {
        await startApp(240);
        const alert = tab.locator("#alerts-table tbody tr").filter({ hasText: "ProcessGroupMemoryOverBudget" });
        await alert.filter({ hasText: "firing" }).waitFor();
        assert.match(await alert.textContent(), /firingwarning.*groupname=demo-cache/);
        await says(tab, "#firing", /^\d+ alerts? fires?$/);
        await says(tab, "#alerts-words", /^[1-9]\d* firing, \d+ pending\./);
        assert.match(await tab.title(), /^\([1-9]\d*\) /);
        await run(tab, "ProcessGroupMemoryOverBudget").filter({ hasText: "waiting" }).waitFor();
        assert.equal(await released(), 0);
    });

    it("lets actions run again, and shows the run with its gain and the alert's end", async () => {
        await button(tab, "Let actions run again").click();
        await confirm(tab, "resume", "Let actions run");
        const row = run(tab, "ProcessGroupMemoryOverBudget").filter({ hasText: /effective|exhausted/ });
        await row.waitFor();
        assert.match(await row.locator(".gained").textContent(), /^\+\d/);
        await row.locator("summary").focus();
        await tab.keyboard.press("Enter");
        const step = row.locator(".steps tbody tr");
        await step.waitFor();
        assert.match((await step.textContent()).replaceAll("\u00a0", " "), /^app hook(freed|harmful)\S+ MiB\S+ MiB → \S+ MiB.*the application says/);
        await tab.locator("#alerts-table tbody tr").filter({ hasText: "ProcessGroupMemoryOverBudget" }).waitFor({ state: "detached" });
        await says(tab, "#optimizer-words", /^Actions may begin/);
        assert.ok(await row.locator("details").evaluate((details) => details.open), "what was opened stays open");
    });

    it("refuses bytes that are none, and asks nobody about them", async () => {
        const before = (await api("actions?limit=20")).entries.length;
        await tab.getByLabel("Bytes").fill("a lot");
        await button(tab, "Preview").click();
        await says(tab, "#reclaim-said", /^Bytes are written such as 500MiB/);
        assert.equal(await tab.getByLabel("Bytes").getAttribute("aria-invalid"), "true");
        assert.equal((await api("actions?limit=20")).entries.length, before);
    });

    it("reclaims only after a preview of the same thing, which changes nothing", async () => {
        const act = tab.locator("#act");
        await signal("app", "SIGKILL");
        await startApp(100);
        const before = await released();
        await tab.getByLabel("Bytes").fill("40MiB");
        assert.ok(await act.isDisabled());
        await button(tab, "Preview").click();
        await says(tab, "#reclaim-said", /^Preview, dry run: app_hook would have been asked for 40\.0.MiB.*target demo-cache/);
        assert.equal(await released(), before);
        assert.ok(await act.isEnabled());
        await tab.getByLabel("Bytes").fill("41MiB");
        assert.ok(await act.isDisabled(), "another wish has not been previewed");
        await tab.getByLabel("app hook").check();
        await button(tab, "Preview").click();
        await says(tab, "#reclaim-said", /^Preview, dry run: app_hook would have been asked for 41\.0.MiB/);
        await button(tab, "Reclaim 41.0\u00a0MiB now").click();
        await says(tab, "#reclaim-said", /^Run \d+: (effective|exhausted)\. .*freed/);
        assert.ok(await released() - before >= 41 * 1024 * 1024);
        const [entry] = (await api("actions?limit=1")).entries;
        assert.ok(entry.origin === "hand" && entry.freed_bytes > 0 && entry.request.dry_run === false, JSON.stringify(entry));
        const shown = run(tab, "by hand, 41.0\u00a0MiB wanted").filter({ hasNotText: "preview" });
        await until("the page has the run", async () => /^\+\d/.test(await shown.locator(".gained").textContent()));
        assert.ok(await act.isDisabled(), "once, and not twice, for one preview");
    });
}
