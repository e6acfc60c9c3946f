// Knows the state of the connection: opens it, closes it while the page is hidden, and tries again when it is lost.

import { clock } from "./format.js";

/** Nothing heard for so long means that it is lost, whatever the socket says. */
const SILENCE_MILLIS = 10_000;
const AGAIN_MILLIS = 3_000;

/** Calls `on.about`, `on.history`, `on.now` with what arrives, and `on.connection(state, words, since)` when it changes. */
export function connect(on) {
    let source = null;
    let silence = 0;
    let again = 0;
    let heardAt = Date.now() / 1000;

    const tell = (state, words) => on.connection(state, words, heardAt);
    const close = () => {
        source?.close();
        source = null;
        clearTimeout(silence);
        clearTimeout(again);
    };
    const lost = (why) => {
        close();
        tell("lost", `Connection lost at ${clock(heardAt)}${why}`);
        again = setTimeout(open, AGAIN_MILLIS);
    };
    const listen = () => {
        clearTimeout(silence);
        silence = setTimeout(() => lost(": nothing is heard any more"), SILENCE_MILLIS);
    };
    const heard = () => {
        heardAt = Date.now() / 1000;
        listen();
    };
    const open = () => {
        close();
        source = new EventSource("/live/events");
        listen();
        // It would try again by itself, but not after each kind of failure; so all of them are handled in one way.
        source.onerror = () => lost("");
        for (const kind of ["about", "history", "now"]) {
            source.addEventListener(kind, (event) => {
                heard();
                on[kind](JSON.parse(event.data));
                if (kind === "now") tell("live", "Live");
            });
        }
        // The server is there, and cannot look at the machine.
        source.addEventListener("trouble", (event) => {
            listen();
            tell("trouble", `No numbers since ${clock(heardAt)}: ${JSON.parse(event.data)}`);
        });
    };
    document.addEventListener("visibilitychange", () => {
        if (document.hidden) {
            close();
            tell("hidden", "Rests while hidden");
        } else {
            tell("connecting", "Connecting");
            open();
        }
    });
    if (!document.hidden) open();
}
