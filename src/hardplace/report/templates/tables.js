// Tables of class "sortable": a click on a heading sorts, a field above filters. Rows that open go with the row before.
(() => {
  const scale = { n: 1e-9, "µ": 1e-6, m: 1e-3, "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
  const value = (text) => {
    const found = text.trim().match(/^([-+]?[\d,.]+)[*×]?\s*([nµmkMGTP]?)(?=[A-Za-z%]|$)/);
    return found ? Number(found[1].replaceAll(",", "")) * scale[found[2]] : null;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const groups = [];
    for (const row of body.rows) {
      if (row.classList.contains("more")) groups[groups.length - 1].push(row);
      else groups.push([row]);
    }
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = ([row]) => row.cells[place].dataset.value ?? row.cells[place].textContent;
        const numbers = groups.every((group) => value(key(group)) !== null || /^[\s-]*$/.test(key(group)));
        groups.sort((one, other) =>
          numbers ? (value(key(one)) ?? -1) - (value(key(other)) ?? -1) : key(one).localeCompare(key(other)));
        if (down) groups.reverse();
        for (const group of groups) body.append(...group);
      });
    });
    if (groups.length > 8) {
      const label = document.createElement("label");
      label.className = "filter";
      const field = document.createElement("input");
      field.type = "search";
      const count = document.createElement("span");
      count.setAttribute("role", "status");
      label.append("Rows with ", field, count);
      table.closest(".wide").before(label);
      field.addEventListener("input", () => {
        const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        let shown = 0;
        for (const group of groups) {
          const text = group[0].textContent.toLowerCase();
          const fits = words.every((word) => text.includes(word));
          shown += fits;
          group[0].hidden = !fits;
          for (const row of group.slice(1)) row.hidden = true;
          group[0].querySelector("button[aria-expanded]")?.setAttribute("aria-expanded", "false");
        }
        count.textContent = ` ${shown} of ${groups.length}`;
      });
    }
    for (const button of table.querySelectorAll("button[aria-expanded]")) {
      const rest = button.closest("tr").nextElementSibling;
      rest.hidden = button.getAttribute("aria-expanded") === "false";
      button.hidden = false;
      button.addEventListener("click", () => {
        const open = button.getAttribute("aria-expanded") !== "true";
        button.setAttribute("aria-expanded", String(open));
        rest.hidden = !open;
      });
    }
  }
})();
