"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // The table of classes: a heading sorts, clicked again the order is reversed; undefined metrics stay last.
  const table = byId("class-table");
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    if (!button) return;
    const numeric = button.dataset.kind === "number";
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const direction = before === "none" ? (numeric ? "descending" : "ascending")
        : before === "ascending" ? "descending" : "ascending";
      const sign = direction === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
      };
      const rows = [...table.tBodies[0].rows].sort(compare);
      table.tBodies[0].append(...rows);
      headings.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", direction);
      byId("sorted").textContent = `Sorted by ${button.textContent}, ${direction}.`;
    });
  });

  // The gallery: three choices, kept in step with the buttons among the confusions.
  const choices = { kind: byId("filter-kind"), true: byId("filter-true"), predicted: byId("filter-predicted") };
  const cards = [...document.querySelectorAll(".card")];
  const filter = () => {
    let shown = 0;
    for (const card of cards) {
      card.hidden = Object.entries(choices).some(([key, select]) => select.value && select.value !== card.dataset[key]);
      shown += !card.hidden;
    }
    byId("shown").textContent = `${shown} of ${cards.length} images`;
    byId("none-shown").hidden = shown > 0;
  };
  const form = document.querySelector(".filters");
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  document.querySelectorAll("button[data-predicted]").forEach((button) => {
    button.addEventListener("click", () => {
      choices.kind.value = "mistake";
      choices.true.value = button.dataset.true;
      choices.predicted.value = button.dataset.predicted;
      filter();
      byId("gallery").scrollIntoView();
      choices.true.focus({ preventScroll: true });
    });
  });
  if (!cards.some((card) => card.dataset.kind === "mistake")) choices.kind.value = "";
  filter();
})();
