// Knows the columns of what the machine consists of: groups, disks, file systems, network.

import { byId } from "./dom.js";
import { bytes, count, name, number, percent, rate } from "./format.js";
import { sparkline } from "./sparkline.js";
import { Table } from "./table.js";

/** A column of a number. */
const figure = (title, write, value) => ({ title, number: true, value, text: (row) => write(value(row)) });
const field = (title, write, key) => figure(title, write, (row) => row[key]);
const named = (title, key = "name") => ({ title, value: (row) => row[key], text: (row) => name(row[key]) });
const used = ({ size, available }) => (size && available !== null ? 1 - available / size : null);

/** The tables, filled by `show`. */
export function tables(history) {
    const hour = (kind) => ({
        title: "Last hour",
        number: true,
        value: (row) => Math.max(...(history[kind].get(row.name) ?? []).map((value) => value ?? 0), 0),
        cell: (cell, row) => sparkline(cell, history[kind].get(row.name), history.at.at(-1)),
    });
    const make = (id, options) => new Table(byId(id), { key: (row) => row.name, sorted: "Memory", ...options });
    const all = {
        groups: make("groups-table", {
            label: "Process groups",
            filter: "Filter by name",
            empty: "No process group is configured (process_groups).",
            columns: [
                named("Name"),
                field("Memory", bytes, "memory"),
                hour("groups"),
                field("Cores", number, "cpu"),
                field("Swap", bytes, "swap"),
                field("Processes", count, "processes"),
            ],
        }),
        cgroups: make("cgroups-table", {
            label: "Control groups",
            filter: "Filter by path",
            empty: "No control group is seen here.",
            columns: [
                named("Path"),
                field("Memory", bytes, "memory"),
                hour("cgroups"),
                { ...field("Limit", bytes, "limit"), text: ({ limit }) => (limit === null ? "none" : bytes(limit)) },
                field("Cores", number, "cpu"),
                field("Pressure", percent, "some"),
            ],
        }),
        disks: make("disks-table", {
            label: "Disks",
            sorted: "Disk",
            columns: [named("Disk"), field("Read", rate, "read"), field("Written", rate, "written"), field("Busy", percent, "busy")],
        }),
        filesystems: make("filesystems-table", {
            label: "File systems",
            sorted: "Used",
            key: (row) => row.mount,
            columns: [
                named("Mounted at", "mount"),
                figure("Used", percent, used),
                field("Left", bytes, "available"),
                field("Size", bytes, "size"),
                named("Type", "type"),
            ],
        }),
        network: make("network-table", {
            label: "Network",
            sorted: "Interface",
            columns: [named("Interface"), field("Received", rate, "received"), field("Sent", rate, "sent")],
        }),
    };
    return {
        show(now) {
            for (const [kind, table] of Object.entries(all)) table.show([...(now[kind] ?? [])]);
        },
    };
}
