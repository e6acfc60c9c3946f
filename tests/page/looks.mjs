// Knows how the page must look and be reachable: widths, themes, names and contrasts; and takes its pictures.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { afterEach, it } from "node:test";
import { close, closeAll, open, picture, tokens } from "./stage.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** What the checker finds, one line for each. */
async function findings(tab) {
    await tab.evaluate(AXE);
    const { violations, passes } = await tab.evaluate((values) => axe.run({ runOnly: { type: "tag", values } }), RULES);
    const passed = passes.map(({ id }) => id);
    assert.ok(["color-contrast", "label", "region"].every((id) => passed.includes(id)), `the checker saw too little: ${passed}`);
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 200)} ${failureSummary}`));
}

const overflow = (tab) => tab.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);

async function opened(width, theme) {
    const tab = await open({ width, theme, height: width < 600 ? 844 : 768, token: tokens.write });
    await tab.locator("#runs li").first().waitFor();
    await tab.locator("#charts canvas").nth(5).waitFor();
    const run = tab.locator("#runs li").filter({ hasText: "ProcessGroupMemoryOverBudget" }).first();
    await run.locator("summary").click();
    return tab;
}

export function looks() {
    afterEach(closeAll);

    for (const width of [1366, 390]) {
        for (const theme of ["light", "dark"]) {
            it(`fits ${width} pixels in the ${theme} theme, and everybody can read and reach it`, async () => {
                const tab = await opened(width, theme);
                assert.ok(await overflow(tab) <= 0, "the page scrolls sideways");
                assert.deepEqual(await findings(tab), []);
                await tab.screenshot({ path: picture(`${width}-${theme}`), fullPage: true });
                await close(tab);
            });
        }
    }

    it("scrolls wide tables in their own boxes, which the keyboard reaches", async () => {
        const tab = await opened(390, "light");
        const box = tab.locator("#groups-table .box");
        assert.ok(await box.evaluate((element) => element.scrollWidth > element.clientWidth));
        await box.focus();
        await tab.keyboard.press("ArrowRight");
        await tab.waitForFunction(() => document.querySelector("#groups-table .box").scrollLeft > 0);
        await close(tab);
    });

    it("asks in dialogues that everybody can read and reach", async () => {
        const tab = await opened(390, "dark");
        await tab.getByRole("button", { name: "Hold all actions", exact: true }).click();
        await tab.locator("#hold-dialog").waitFor();
        assert.ok(await tab.getByLabel("Reason").evaluate((field) => field === document.activeElement));
        assert.ok(await overflow(tab) <= 0);
        await tab.evaluate(AXE);
        const { violations } = await tab.evaluate(() => axe.run("#hold-dialog"));
        assert.deepEqual(violations.map(({ id }) => id), []);
        await tab.getByRole("button", { name: "Leave it as it is" }).click();
        await close(tab);
    });

    it("moves nothing where no motion is wanted", async () => {
        const durations = async (motion) => {
            const tab = await open({ motion });
            const found = await tab.locator("#memory-bar .part").first().evaluate((part) => getComputedStyle(part).transitionDuration);
            await close(tab);
            return found;
        };
        assert.deepEqual([await durations("reduce"), await durations("no-preference")], ["0s", "0.4s"]);
    });

    it("is what the manual shows", async () => {
        const tab = await opened(1366, "light");
        // Another machine's name, and nothing of what runs on this one.
        await tab.evaluate(() => {
            document.getElementById("host").textContent = "web1";
            document.getElementById("system").textContent = "Debian GNU/Linux";
        });
        const end = await tab.locator(".pair").evaluate((element) => element.getBoundingClientRect().top + window.scrollY);
        await tab.screenshot({ path: picture("manual"), fullPage: true, clip: { x: 0, y: 0, width: 1366, height: Math.floor(end) } });
        await close(tab);
    });
}
