// Knows which theme was chosen. No module: it runs before the page is drawn, so that nothing flashes.
(() => {
    const KEY = "headroom-theme";
    const NEXT = { auto: "dark", dark: "light", light: "auto" };
    let theme = "auto";
    try {
        const kept = localStorage.getItem(KEY);
        theme = kept in NEXT ? kept : "auto";
    } catch {
        // A browser may keep nothing; then the choice lasts as long as the page.
    }
    document.documentElement.dataset.theme = theme;

    document.addEventListener("DOMContentLoaded", () => {
        const button = document.getElementById("theme");
        const show = () => {
            document.documentElement.dataset.theme = theme;
            button.textContent = `Theme: ${theme}`;
            document.dispatchEvent(new Event("theme"));
        };
        button.addEventListener("click", () => {
            theme = NEXT[theme];
            try {
                localStorage.setItem(KEY, theme);
            } catch {
                // As above.
            }
            show();
        });
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
        show();
    });
})();
