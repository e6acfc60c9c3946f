// Knows the last hour: what the server sent of it, and the points that the page adds.

const KEPT_SECONDS = 3600;
const STEP_SECONDS = 30;
const SERIES_MAX = 2000;

/**
 * The numbers of a `now` that charts show, by the names of the server's history. Loopback is no network, and what a mapped
 * disk does, the disk below it does too: as there, neither is added up.
 */
export function figures(now) {
    const sum = (list, field) => {
        const own = (list ?? []).filter((each) => each.name !== "lo" && !each.name.startsWith("dm-"));
        const known = own.map((each) => each[field]).filter((value) => value !== null && value !== undefined);
        return known.length ? known.reduce((a, b) => a + b, 0) : null;
    };
    const { memory, cpu, pressure } = now;
    const swap = memory.swap_total === null || memory.swap_free === null ? null : memory.swap_total - memory.swap_free;
    return {
        memory_available: memory.available,
        swap_used: swap,
        cpu_busy: cpu.busy,
        memory_some: pressure.memory_some,
        memory_full: pressure.memory_full,
        io_some: pressure.io_some,
        cpu_some: pressure.cpu_some,
        disk_read: sum(now.disks, "read"),
        disk_written: sum(now.disks, "written"),
        network_received: sum(now.network, "received"),
        network_sent: sum(now.network, "sent"),
    };
}

/** All times, and for each series as many values, null where nothing is known. The last point is still being added to. */
export class History {
    at = [];
    machine = new Map();
    groups = new Map();
    cgroups = new Map();
    #inLast = 0;

    /** Takes the server's hour; what was there before goes. */
    load(sent) {
        this.at = [...sent.at];
        this.#inLast = 0;
        const length = this.at.length;
        const whole = (values) => this.at.map((_, n) => values?.[n] ?? null);
        this.machine = new Map(Object.entries(sent.machine).map(([name, values]) => [name, whole(values)]));
        for (const kind of ["groups", "cgroups"]) {
            const all = length ? Object.entries(sent[kind]).slice(0, SERIES_MAX) : [];
            this[kind] = new Map(all.map(([name, { memory }]) => [name, whole(memory)]));
        }
    }

    /** Adds what is now; says whether a point was completed by it. */
    add(now) {
        // The clock was set back: lines cannot go on before their end.
        if (now.at < this.at.at(-1)) this.load({ at: [], machine: {}, groups: {}, cgroups: {} });
        const opens = this.#inLast === 0 || now.at - this.at.at(-1) >= STEP_SECONDS;
        if (opens) this.#open(now.at);
        this.#inLast += 1;
        for (const [name, value] of Object.entries(figures(now))) this.#note(this.machine, name, value);
        for (const kind of ["groups", "cgroups"]) {
            for (const { name, memory } of now[kind] ?? []) this.#note(this[kind], name, memory);
        }
        return opens;
    }

    #all() {
        return [this.machine, this.groups, this.cgroups];
    }

    #open(at) {
        this.#inLast = 0;
        this.at.push(at);
        const old = this.at.findIndex((time) => time >= at - KEPT_SECONDS);
        this.at.splice(0, old);
        for (const series of this.#all()) {
            for (const [name, values] of series) {
                values.push(null);
                values.splice(0, old);
                if (series !== this.machine && values.every((value) => value === null)) series.delete(name);
            }
        }
    }

    /** The last point is the mean of what came since it was opened. */
    #note(series, name, value) {
        if (value === null || value === undefined) return;
        let values = series.get(name);
        if (!values) {
            if (series.size >= SERIES_MAX) return;
            values = this.at.map(() => null);
            series.set(name, values);
        }
        const last = values.length - 1;
        const before = values[last];
        values[last] = before === null ? value : before + (value - before) / this.#inLast;
    }
}
