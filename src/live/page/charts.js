// Knows which charts there are, how they are drawn, and what each says in words.

import { byId, make, say } from "./dom.js";
import { bytes, clock, percent, rate } from "./format.js";

const HOUR = 3600;
const HEIGHT = 132;
/** Lines in the order of a chart: what they have in common with other charts, and what tells them apart without colour. */
const STROKES = [["--first", []], ["--second", [6, 3]]];
const POWERS = Array.from({ length: 50 }, (_, n) => 2 ** n);

const CHARTS = [
    {
        title: "Memory that can be had",
        write: bytes,
        binary: true,
        series: [["memory_available", "available"], ["swap_used", "swap used"]],
        top: ({ memory }) => memory.total,
    },
    { title: "Processors", write: percent, series: [["cpu_busy", "busy"]], top: () => 1, more: processors },
    { title: "Time waited for memory", write: percent, least: 0.05, series: [["memory_some", "some tasks"], ["memory_full", "all tasks"]] },
    { title: "Time waited for other things", write: percent, least: 0.05, series: [["io_some", "disks"], ["cpu_some", "processors"]] },
    { title: "Disks", write: rate, binary: true, least: 65536, series: [["disk_read", "read"], ["disk_written", "written"]] },
    { title: "Network", write: rate, binary: true, least: 65536, series: [["network_received", "received"], ["network_sent", "sent"]] },
];

function processors({ cpu, load1 }) {
    const parts = ["user", "system", "iowait", "steal"].filter((part) => cpu[part] !== null);
    const split = parts.map((part) => `${part} ${percent(cpu[part])}`).join(", ");
    const many = cpu.count === null ? "" : `${cpu.count}\u00a0CPUs`;
    const load = load1 === null ? "" : `load ${load1.toFixed(2)}`;
    return [split, many, load].filter(Boolean).join(" · ");
}

let probe;
/** A colour of the theme that is on: the canvas knows no variables. */
function colour(name) {
    probe ??= document.body.appendChild(make("span", { attributes: { hidden: "" } }));
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
}

class Chart {
    #data = [[]];

    constructor(kind) {
        this.kind = kind;
        this.top = null;
        this.plotted = make("div", { of: "plot", attributes: { role: "img" } });
        this.values = kind.series.map(() => make("b"));
        const keys = kind.series.map(([, word], n) => {
            const swatch = make("i", { of: `key k${n}`, attributes: { "aria-hidden": "true" } });
            return make("li", {}, swatch, make("span", {}, word), " ", this.values[n]);
        });
        this.more = make("p", { of: "hint" });
        this.at = make("span", { of: "at" });
        const title = make("h3", {}, kind.title, " ", this.at);
        this.figure = make("figure", {}, title, make("ul", { of: "keys" }, ...keys), this.plotted, this.more);
    }

    draw(data) {
        this.#data = data;
        const { width } = this.plotted.getBoundingClientRect();
        if (!this.plot && width > 0) this.plot = new uPlot(this.#options(Math.floor(width)), data, this.plotted);
        else this.plot?.setData(data);
        this.plotted.setAttribute("aria-label", this.#words());
    }

    now(now, latest) {
        this.top = this.kind.top?.(now) ?? null;
        this.latest = latest;
        if (!this.at.textContent) this.#figures(latest);
        say(this.more, this.kind.more?.(now) ?? "");
    }

    resize() {
        const width = Math.floor(this.plotted.getBoundingClientRect().width);
        if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    }

    #figures(values) {
        this.values.forEach((element, n) => say(element, this.kind.write(values[n])));
    }

    /** What was at the place that is pointed at; what is now, where it is none. */
    #point(index) {
        const at = index === null || index === undefined ? undefined : this.#data[0][index];
        say(this.at, at === undefined ? "" : `at ${clock(at)}`);
        this.#figures(at === undefined ? this.latest ?? [] : this.#data.slice(1).map((values) => values[index]));
    }

    #words() {
        const { title, write, series } = this.kind;
        const each = series.map(([, word], n) => {
            const known = (this.#data[n + 1] ?? []).filter((value) => value !== null);
            if (!known.length) return `${word}: not known`;
            return `${word}: now ${write(known.at(-1))}, between ${write(Math.min(...known))} and ${write(Math.max(...known))}`;
        });
        return `${title}, the last hour. ${each.join("; ")}.`;
    }

    #options(width) {
        const { series, write, binary, least = 0 } = this.kind;
        const round = (value) => write(value).replace(/\.0+(?=\D)/, "");
        const axis = {
            stroke: () => colour("--muted"),
            font: "11px system-ui, sans-serif",
            grid: { stroke: () => colour("--line"), width: 1 },
            ticks: { show: false },
        };
        return {
            width,
            height: HEIGHT,
            padding: [8, 8, 0, 0],
            legend: { show: false },
            cursor: { sync: { key: "hour" }, drag: { x: false, y: false }, points: { size: 6 } },
            hooks: { setCursor: [(plot) => this.#point(plot.cursor.left < 0 ? null : plot.cursor.idx)] },
            scales: {
                x: { range: () => this.#hour() },
                y: { range: (_, __, most) => [0, this.top ?? (Math.max(most ?? 0, least) * 1.1 || 1)] },
            },
            axes: [
                { ...axis, size: 24, space: 64, values: (_, times) => times.map((time) => clock(time, false).slice(-5)) },
                { ...axis, size: 62, space: 26, values: (_, values) => values.map(round), ...(binary ? { incrs: POWERS } : {}) },
            ],
            series: [{}, ...series.map(([, label], n) => ({
                label,
                stroke: () => colour(STROKES[n][0]),
                dash: STROKES[n][1],
                width: 1.5,
                points: { show: false },
            }))],
        };
    }

    #hour() {
        const last = this.#data[0].at(-1) ?? Date.now() / 1000;
        return [last - HOUR, last];
    }
}

const charts = CHARTS.map((kind) => new Chart(kind));

/** Puts the charts on the page. */
export function begin() {
    byId("charts").append(...charts.map((chart) => chart.figure));
    document.addEventListener("theme", () => charts.forEach((chart) => chart.plot?.redraw()));
    new ResizeObserver(() => charts.forEach((chart) => chart.resize())).observe(byId("charts"));
}

/** Shows the figures of now. */
export function now(news, figures) {
    charts.forEach((chart) => chart.now(news, chart.kind.series.map(([name]) => figures[name])));
}

/** Draws the hour anew. */
export function draw(history) {
    const nothing = history.at.map(() => null);
    charts.forEach((chart) => chart.draw([history.at, ...chart.kind.series.map(([name]) => history.machine.get(name) ?? nothing)]));
}
