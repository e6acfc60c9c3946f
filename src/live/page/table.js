// Knows how a table is sorted, filtered and kept up to date in place.

import { keyed, make, say } from "./dom.js";

const SHOWN_MAX = 100;

/**
 * A table in its own scrolling box. A column has `title`, `value(row)` to sort by, and either `text(row)` or `cell(td, row)`;
 * `number` says that it is one. `sorted` is the title of the first column to sort by, `filter` the label of a filter field.
 */
export class Table {
    #rows = [];
    #needle = "";

    constructor(parent, { label, columns, key, sorted, filter, empty }) {
        Object.assign(this, { columns, key, empty });
        this.by = columns.find((column) => column.title === sorted) ?? columns[0];
        this.down = Boolean(this.by.number);
        this.heads = columns.map((column) => this.#head(column));
        this.body = make("tbody");
        const head = make("thead", {}, make("tr", {}, ...this.heads));
        const caption = make("caption", {}, label);
        const table = make("table", {}, caption, head, this.body);
        this.count = make("p", { of: "hint count" });
        const box = make("div", { of: "box", attributes: { tabindex: "0", role: "region", "aria-label": `${label}: table` } }, table);
        if (filter) parent.append(this.#field(filter));
        parent.append(box, this.count);
        this.#arrows();
    }

    /** Shows these rows. */
    show(rows) {
        this.#rows = rows;
        this.#draw();
    }

    #head(column) {
        const button = make("button", { attributes: { type: "button" } }, column.title);
        button.addEventListener("click", () => {
            this.down = this.by === column ? !this.down : Boolean(column.number);
            this.by = column;
            this.#arrows();
            this.#draw();
        });
        return make("th", { of: column.number ? "number" : "", attributes: { scope: "col" } }, button);
    }

    #field(label) {
        const input = make("input", { attributes: { type: "search", autocomplete: "off", spellcheck: "false" } });
        input.addEventListener("input", () => {
            this.#needle = input.value.trim().toLowerCase();
            this.#draw();
        });
        return make("label", { of: "filter" }, label, " ", input);
    }

    #arrows() {
        this.columns.forEach((column, n) => {
            if (column === this.by) this.heads[n].setAttribute("aria-sort", this.down ? "descending" : "ascending");
            else this.heads[n].removeAttribute("aria-sort");
        });
    }

    #order(a, b) {
        const [left, right] = [this.by.value(a), this.by.value(b)];
        const known = (value) => value !== null && value !== undefined;
        // What is not known is last, whichever way the rest goes.
        if (!known(left) || !known(right)) return known(right) - known(left);
        const order = this.by.number ? left - right : String(left).localeCompare(String(right), "en", { numeric: true });
        return (this.down ? -order : order) || this.key(a).localeCompare(this.key(b), "en");
    }

    #draw() {
        const fits = this.#rows.filter((row) => this.key(row).toLowerCase().includes(this.#needle));
        const shown = fits.sort((a, b) => this.#order(a, b)).slice(0, SHOWN_MAX);
        keyed(this.body, shown, {
            key: this.key,
            create: () => make("tr", {}, ...this.columns.map(({ number }, n) => {
                const of = number ? "number" : "";
                return n ? make("td", { of }) : make("th", { of, attributes: { scope: "row" } });
            })),
            update: (line, row) => this.columns.forEach((column, n) => {
                if (column.cell) column.cell(line.children[n], row);
                else say(line.children[n], column.text(row));
            }),
        });
        say(this.count, this.#words(shown.length, fits.length));
    }

    #words(shown, fits) {
        const all = this.#rows.length;
        if (!all) return this.empty ?? "There are none.";
        if (!fits) return `None of ${all} fits the filter.`;
        if (shown < fits) return `${shown} of ${fits} are shown; sort or filter to see the others.`;
        return fits < all ? `${fits} of ${all} fit the filter.` : "";
    }
}
