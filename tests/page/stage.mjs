// Knows what the tests run on: the servers, the browser, and what must not happen in it.

import { spawn } from "node:child_process";
import { openSync, readFileSync, writeFileSync } from "node:fs";
import { chromium } from "playwright-core";

const { HEADROOM, WORK, PAGE, APP, CHROMIUM, PICTURES } = process.env;
/** Generous: the machine may be busy with other things. */
const PATIENCE_MILLIS = 90_000;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const page = PAGE;
export const headroom = HEADROOM;
export const picture = (name) => `${PICTURES}/${name}.png`;
export const tokens = Object.fromEntries(["write", "read"].map((right) => [right, readFileSync(`${WORK}/${right}-token`, "utf8").trim()]));
/** Whatever no page may do: errors, refusals of the policy, requests to others. */
export const trouble = [];

const children = new Map();
const expected = new WeakMap();
let browser;

/** Starts a program; it is ended with the tests. */
export function start(name, program, args, options = {}) {
    const log = openSync(`${WORK}/${name}.log`, "a");
    const child = spawn(program, args, { stdio: ["ignore", log, log], ...options });
    child.ended = new Promise((resolve) => child.once("exit", resolve));
    writeFileSync(`${WORK}/${name}.pid`, `${child.pid}\n`);
    children.set(name, child);
    return child;
}

/** Sends a signal; waits for the end where that is what it brings. */
export async function signal(name, what) {
    const child = children.get(name);
    child.kill(what);
    if (what === "SIGKILL" || what === "SIGTERM") {
        await child.ended;
        children.delete(name);
        writeFileSync(`${WORK}/${name}.pid`, "");
    }
}

/** Waits until something is so, and returns it. */
export async function until(what, look) {
    const deadline = Date.now() + PATIENCE_MILLIS;
    for (;;) {
        let found;
        try {
            found = await look();
        } catch (error) {
            if (Date.now() > deadline) throw error;
        }
        if (found) return found;
        if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
        await new Promise((wake) => setTimeout(wake, 200));
    }
}

export async function startServer() {
    start("headroom", HEADROOM, ["up", "--config", `${WORK}/headroom.yaml`]);
    await until("the server answers", async () => (await fetch(`${PAGE}/-/ready`)).ok);
}

/** Starts the cache, which has a budget of 120 MiB, and waits until it holds so many. */
export async function startApp(mebibytes) {
    start("app", `${WORK}/demo-cache`, ["demo-app", "--listen", APP, "--grow", "100", "--most", String(mebibytes)]);
    await until("the application is full", async () => await ofApp("demo_cache_bytes") === mebibytes * 2 ** 20);
}

/** What the cache says that it gave back, in bytes. */
export const released = () => ofApp("demo_cache_released_bytes_total");

async function ofApp(metric) {
    const text = await (await fetch(`http://${APP}/metrics`)).text();
    return Number(new RegExp(`^${metric} (\\S+)`, "m").exec(text)[1]);
}

/** The optimizer's answer to a request that is not the page's. */
export async function api(path) {
    const answer = await fetch(`${PAGE}/api/v1/${path}`, { headers: { Authorization: `Bearer ${tokens.write}` } });
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.json();
}

export async function begin() {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    await startServer();
}

export async function end() {
    await browser?.close();
    for (const name of [...children.keys()]) {
        children.get(name).kill("SIGCONT");
        await signal(name, "SIGKILL");
    }
}

/** Allows errors of this form from now on: what a test provokes is no trouble. */
export const expect = (tab, form) => expected.set(tab, form);

/** Opens the page in a profile of its own. With a token the optimizer's part is opened, too. */
export async function open({ width = 1366, height = 800, theme = "light", token = null, motion = "reduce" } = {}) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, reducedMotion: motion });
    context.setDefaultTimeout(PATIENCE_MILLIS);
    context.on("request", (request) => {
        const { origin, protocol } = new URL(request.url());
        if (origin !== PAGE && protocol !== "data:") trouble.push(`a request to ${request.url()}`);
    });
    await context.addInitScript(() => {
        document.addEventListener("securitypolicyviolation", (event) => console.error(`the policy refuses ${event.violatedDirective} ${event.blockedURI}`));
    });
    const tab = await context.newPage();
    tab.on("pageerror", (error) => trouble.push(error.stack));
    tab.on("dialog", (dialog) => {
        trouble.push(`a dialogue: ${dialog.message()}`);
        dialog.dismiss();
    });
    tab.on("console", (message) => {
        if (!["error", "warning"].includes(message.type())) return;
        const text = `${message.text()} (${message.location().url})`;
        if (!expected.get(tab)?.test(text)) trouble.push(text);
    });
    await tab.goto(`${PAGE}/`);
    await live(tab);
    if (token) await useToken(tab, token);
    return tab;
}

export const close = (tab) => tab.context().close();
/** Closes whatever a test that failed has left open: what comes later is no fault of its page. */
export const closeAll = () => Promise.all(browser.contexts().map((context) => context.close()));
export const live = (tab) => tab.locator("#connection[data-state=live]").waitFor();

export async function useToken(tab, token) {
    await tab.getByLabel("Token", { exact: true }).fill(token);
    await tab.getByRole("button", { name: "Use this token" }).click();
}

/** Waits until the text of an element fits, and returns it. */
export async function says(tab, selector, form) {
    try {
        return await until(selector, async () => {
            const text = (await tab.locator(selector).allTextContents()).join("\n");
            return form.test(text) && text;
        });
    } catch (error) {
        error.message += `: ${form}, but it says ${JSON.stringify(await tab.locator(selector).allTextContents())}`;
        throw error;
    }
}
