// Knows what the page must do when nothing arrives any more, and while nobody looks at it.

import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { close, expect, live, open, picture, says, signal, startServer, tokens } from "./stage.mjs";

const lost = (tab) => tab.locator("#connection[data-state=lost]").waitFor();
const isOld = (tab) => tab.evaluate(() => document.body.classList.contains("old"));

export function connection() {
    let tab;
    before(async () => {
        tab = await open({ token: tokens.write });
        expect(tab, /Failed to load resource: net::ERR_/);
    });
    after(() => close(tab));

    it("costs the host nothing while it is hidden", async () => {
        const hide = (hidden) => tab.evaluate((value) => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
            document.dispatchEvent(new Event("visibilitychange"));
        }, hidden);
        const closed = tab.waitForEvent("requestfailed", (request) => request.url().endsWith("/live/events"));
        await hide(true);
        await closed;
        await says(tab, "#connection", /^Rests while hidden$/);
        assert.equal(await tab.locator("#banner p").count(), 0, "that is no trouble");
        await hide(false);
        await live(tab);
    });

    it("says that it hears nothing, even if the connection stands", async () => {
        await signal("headroom", "SIGSTOP");
        await lost(tab);
        await says(tab, "#banner", /^Connection lost at \d\d:\d\d:\d\d: nothing is heard any more\. What is shown is from before that\./);
        await signal("headroom", "SIGCONT");
        await live(tab);
        assert.equal(await tab.locator("#banner p").count(), 0);
    });

    it("says that the server is gone, shows that its numbers are old, and comes back by itself", async () => {
        await signal("headroom", "SIGKILL");
        await lost(tab);
        await says(tab, "#banner", /^Connection lost at \d\d:\d\d:\d\d\. What is shown is from before that\. The page tries again by itself\.$/);
        assert.ok(await isOld(tab));
        // However far down one has read.
        await tab.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
        assert.ok(await tab.locator("#banner p").evaluate((words) => words.getBoundingClientRect().top >= 0));
        assert.match(await tab.title(), /^Connection lost: /);
        await tab.screenshot({ path: picture("lost") });
        await startServer();
        await live(tab);
        assert.ok(!await isOld(tab));
        assert.equal(await tab.locator("#banner p").count(), 0);
        assert.ok(await tab.locator("#runs li").count() > 0, "the record is there, and the token, too");
    });
}
