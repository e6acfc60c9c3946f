// Knows the optimizer's API and the token with which it is asked.

const KEY = "headroom-token";
const TIMEOUT_MILLIS = 10_000;
let held = null;
try {
    held = sessionStorage.getItem(KEY);
} catch {
    // A browser may keep nothing; then the token lasts as long as the page.
}

/** An answer that is none: its status (0 where there was no answer) and why, in words. */
export class Refused extends Error {
    constructor(status, why) {
        super(why);
        this.status = status;
    }
}

export const hasToken = () => held !== null;

/** Keeps the token in this tab, or forgets it. */
export function keepToken(token) {
    held = token;
    try {
        if (token === null) sessionStorage.removeItem(KEY);
        else sessionStorage.setItem(KEY, token);
    } catch {
        // As above.
    }
}

/** Why this can be no token; null if it can. */
export const notAToken = (text) => (/^[\x21-\x7e]+$/.test(text) ? null : "A token has neither spaces nor special characters.");

function why(status, text) {
    if (status === 401) return "This token is wrong.";
    if (status === 403) return "This token may read the record, and change nothing.";
    return text.slice(0, 500) || `The server answers ${status}.`;
}

/** Asks, and returns the JSON of the answer. */
export async function ask(method, path, body, token = held) {
    const headers = { Authorization: `Bearer ${token}` };
    if (body) headers["Content-Type"] = "application/json";
    let answer;
    let text;
    try {
        const signal = AbortSignal.timeout(TIMEOUT_MILLIS);
        answer = await fetch(`/api/v1/${path}`, { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal });
        text = await answer.text();
    } catch {
        throw new Refused(0, "The server does not answer.");
    }
    if (!answer.ok) throw new Refused(answer.status, why(answer.status, text));
    try {
        return JSON.parse(text);
    } catch {
        throw new Refused(answer.status, "The answer is not understood; is the server of another version?");
    }
}

/** The newest runs. */
export const runs = async () => (await ask("GET", "actions?limit=20")).entries;
