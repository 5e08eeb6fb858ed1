// Tables that sort: each heading of a table with three rows or more becomes a button. Numbers sort by value, the
// largest first; text from A to Z; the third press restores the order of the page. Rows of different questions
// (bodies of one table) never mix, and what is missing stays last.
"use strict";

(() => {
  const numbers = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  function text(cell) {
    const told = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL");
    const found = told.map((node) => node.textContent).join(" ").trim();
    return found || cell.textContent.trim();
  }

  // "1,797", "−0.5", "99.4 %" and "98.0 to 99.8 %" by their first number; "< 0.001" lies just below it.
  function number(cell) {
    const told = text(cell).replaceAll(",", "").replaceAll("\u2212", "-");
    const found = told.match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i);
    if (!found) return NaN;
    return parseFloat(found[0]) - (told.startsWith("<") ? 1e-9 : 0);
  }

  function compare(column, numeric, direction) {
    return (a, b) => {
      if (!numeric) return direction * numbers.compare(text(a.cells[column]), text(b.cells[column]));
      const [left, right] = [number(a.cells[column]), number(b.cells[column])];
      if (isNaN(left) || isNaN(right)) return isNaN(left) - isNaN(right);
      return direction * (left - right);
    };
  }

  function sort(table, order, column, numeric, direction) {
    for (const body of table.tBodies) {
      const rows = order.get(body).filter((row) => !row.querySelector("[scope=rowgroup]"));
      const sorted = direction ? [...rows].sort(compare(column, numeric, direction)) : rows;
      body.append(...sorted);
    }
  }

  function makeSortable(table) {
    const headings = [...table.querySelectorAll("thead th")];
    const order = new Map([...table.tBodies].map((body) => [body, [...body.rows]]));
    headings.forEach((heading, column) => {
      const numeric = !heading.classList.contains("text");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const turns = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
        const next = turns[turns.indexOf(heading.getAttribute("aria-sort")) + 1];
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        if (next) heading.setAttribute("aria-sort", next);
        sort(table, order, column, numeric, { ascending: 1, descending: -1 }[next] || 0);
      });
    });
  }

  for (const table of document.querySelectorAll("table:not(.matrix)")) {
    if (table.tHead && [...table.tBodies].some((body) => body.rows.length > 2)) makeSortable(table);
  }
})();
