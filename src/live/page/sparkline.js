// Knows how a small line of the last hour is drawn.

import { bytes } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 96;
const HEIGHT = 20;
const drawn = new WeakMap();

/** The points of a polyline; gaps are left out. The floor is 0, so that heights of one line may be compared. */
export function points(values) {
    const known = values.filter((value) => value !== null);
    const most = known.length ? Math.max(...known) : 0;
    const step = WIDTH / Math.max(1, values.length - 1);
    const at = (value, n) => `${(n * step).toFixed(1)},${(HEIGHT - 1 - (most ? value / most : 0) * (HEIGHT - 2)).toFixed(1)}`;
    return values.map((value, n) => (value === null ? "" : at(value, n))).filter(Boolean).join(" ");
}

/** Draws it into a cell, and says in words what it shows; anew only for another name or another time of the last point. */
export function sparkline(cell, values, version) {
    let svg = cell.firstElementChild;
    if (!svg) {
        svg = document.createElementNS(SVG, "svg");
        svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
        svg.setAttribute("class", "sparkline");
        svg.setAttribute("role", "img");
        svg.append(document.createElementNS(SVG, "polyline"));
        cell.append(svg);
    }
    if (drawn.get(svg) === version) return;
    drawn.set(svg, version);
    const known = (values ?? []).filter((value) => value !== null);
    const words = known.length ? `between ${bytes(Math.min(...known))} and ${bytes(Math.max(...known))}` : "not known";
    svg.setAttribute("aria-label", words);
    svg.firstElementChild.setAttribute("points", points(values ?? []));
}
