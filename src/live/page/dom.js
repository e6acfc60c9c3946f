// Knows how elements are made and changed. Text from the feed is set as text and never read as markup.

export const byId = (id) => document.getElementById(id);

/** An element with a class, attributes and children (elements or text). */
export function make(tag, { of = "", attributes = {} } = {}, ...children) {
    const element = document.createElement(tag);
    if (of) element.className = of;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
}

/** Sets the text if it is another one: what stays the same is not laid out again, and not read out again. */
export function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

const known = new WeakMap();

/** Makes the children of `parent` those of `items`, in their order. What stays keeps its element, so its focus and its state. */
export function keyed(parent, items, { key, create, update }) {
    const before = known.get(parent) ?? new Map();
    const after = new Map();
    for (const item of items) {
        let name = key(item);
        while (after.has(name)) name += "\u0000";
        after.set(name, { item, element: before.get(name)?.element });
    }
    for (const [name, { element }] of before) {
        if (!after.has(name)) element.remove();
    }
    let place = parent.firstElementChild;
    for (const entry of after.values()) {
        entry.element ??= create(entry.item);
        update(entry.element, entry.item);
        if (entry.element === place) place = place.nextElementSibling;
        else parent.insertBefore(entry.element, place);
    }
    known.set(parent, after);
}
