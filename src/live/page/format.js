// Knows how numbers, times and names are written, and how a person writes bytes.

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
/** What stands where a value is not known. */
export const UNKNOWN = "–";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

function digits(value) {
    const size = Math.abs(value);
    return size >= 100 || size === 0 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function bytes(value) {
    if (!isNumber(value)) return UNKNOWN;
    let unit = 0;
    while (Math.abs(value) >= 1024 && unit < BINARY.length - 1) {
        value /= 1024;
        unit += 1;
    }
    return `${unit ? digits(value) : value.toFixed(0)}\u00a0${BINARY[unit]}`;
}

export const rate = (value) => (isNumber(value) ? `${bytes(value)}/s` : UNKNOWN);

export function percent(ratio) {
    if (!isNumber(ratio)) return UNKNOWN;
    const value = ratio * 100;
    // Something is not nothing.
    if (value > 0 && value < 0.05) return "<0.1\u00a0%";
    return `${value >= 9.95 || value === 0 ? value.toFixed(0) : value.toFixed(1)}\u00a0%`;
}

export const number = (value) => (isNumber(value) ? digits(value) : UNKNOWN);
export const count = (value) => (isNumber(value) ? String(value) : UNKNOWN);

const pad = (value) => String(value).padStart(2, "0");

/** The time of day; with the date where it is not clear which day's. */
export function clock(seconds, withSeconds = true) {
    if (!isNumber(seconds)) return UNKNOWN;
    const at = new Date(seconds * 1000);
    const time = `${pad(at.getHours())}:${pad(at.getMinutes())}${withSeconds ? `:${pad(at.getSeconds())}` : ""}`;
    return Math.abs(Date.now() - at) < 43_200_000 ? time : `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${time}`;
}

/** A length of time, rounded. */
export function span(seconds) {
    if (!isNumber(seconds)) return UNKNOWN;
    if (seconds > 0 && seconds < 1) return `${Math.round(seconds * 1000)}\u00a0ms`;
    if (seconds < 60) return `${Math.max(0, Math.round(seconds))}\u00a0s`;
    if (seconds < 3600) return `${Math.round(seconds / 60)}\u00a0min`;
    if (seconds < 172800) return `${Math.round(seconds / 3600)}\u00a0h`;
    return `${Math.round(seconds / 86400)}\u00a0days`;
}

/** A name as it may be shown: what would turn the line around, break it or be unseen becomes visible. */
export function name(text) {
    return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, "\ufffd");
}

/** Bytes that a person wrote, such as 500MiB; or why they are none. */
export function parseBytes(text) {
    const found = /^(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?$/i.exec(text.trim());
    if (!found || (found[2] && !/b$/i.test(text.trim()))) return { error: "Bytes are written such as 500MiB, 2GB or 1048576." };
    const [, value, letter, binary] = found;
    const power = letter ? "kmgt".indexOf(letter.toLowerCase()) + 1 : 0;
    const whole = Math.round(Number(value) * (binary ? 1024 : 1000) ** power);
    if (whole < 1) return { error: "More than 0 bytes must be asked for." };
    if (!Number.isSafeInteger(whole)) return { error: "That is more than any machine has." };
    return { bytes: whole };
}
