// Knows where the machine's memory is, as one bar and in words.

import { byId, keyed, make, say } from "./dom.js";
import { bytes, percent } from "./format.js";

const WORDS = {
    anonymous: "processes",
    shared: "shared memory",
    kernel: "kernel",
    other: "other, not to be given back",
    cache: "cache that gives way",
    free: "free",
};

/** Parts of all memory that add up to it. What the kernel did not say is in none of its own and so in `other`. */
export function parts(memory) {
    const { total, available, free } = memory;
    if (total === null || available === null) return [];
    const unused = Math.min(free ?? 0, available);
    const told = { anonymous: memory.anonymous, shared: memory.shared, kernel: memory.kernel };
    const held = Object.values(told).reduce((sum, value) => sum + (value ?? 0), 0);
    const other = Math.max(0, total - available - held);
    const all = { ...told, other, cache: free === null ? null : available - unused, free: free === null ? null : unused };
    return Object.entries(all).filter(([, value]) => value).map(([part, value]) => ({ part, value, share: value / total }));
}

/** One sentence that says what matters. */
export function words(memory) {
    const { total, available, free } = memory;
    if (total === null || available === null) return "The kernel does not say how much memory can still be had.";
    const cache = free === null ? 0 : Math.max(0, available - free);
    const more = cache > 0 ? `; ${bytes(cache)} of it is cache that gives way` : "";
    return `${bytes(available)} of ${bytes(total)} can still be had without swapping${more}.`;
}

function bar(parent, shown) {
    keyed(parent, shown, {
        key: ({ part }) => part,
        create: ({ part }) => make("span", { of: `part ${part}` }),
        update: (element, { share }) => {
            element.style.flexGrow = share.toFixed(5);
        },
    });
}

/** Shows a `now`. */
export function show({ memory }) {
    const shown = parts(memory);
    say(byId("memory-words"), words(memory));
    bar(byId("memory-bar"), shown);
    keyed(byId("memory-parts"), shown, {
        key: ({ part }) => part,
        create: ({ part }) => {
            const swatch = make("span", { of: `part ${part}`, attributes: { "aria-hidden": "true" } });
            return make("li", {}, swatch, make("span", { of: "word" }, WORDS[part]), " ", make("b"), " ", make("small"));
        },
        update: (element, { value, share }) => {
            say(element.querySelector("b"), bytes(value));
            say(element.querySelector("small"), percent(share));
        },
    });
    showSwap(memory);
}

function showSwap({ swap_total: total, swap_free: free }) {
    const known = total !== null && free !== null;
    const used = known ? total - free : 0;
    const text = !known ? "The kernel does not say how much swap there is."
        : total === 0 ? "There is no swap."
        : `Swap: ${bytes(used)} of ${bytes(total)} used (${percent(used / total)}).`;
    say(byId("swap-words"), text);
    const shares = total ? [{ part: "swap", share: used / total }, { part: "free", share: free / total }] : [];
    byId("swap-bar").hidden = !shares.length;
    bar(byId("swap-bar"), shares.filter(({ share }) => share > 0));
}
