// What a mark of a drawing says, beside the pointer: the text that its <title> has.
(() => {
  for (const title of document.querySelectorAll("svg :not(svg) > title")) {
    title.parentElement.dataset.tip = title.textContent;
    title.remove();
  }
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    const wide = document.documentElement.clientWidth;
    tip.style.left = Math.max(4, Math.min(event.clientX + 12, wide - tip.offsetWidth - 8)) + "px";
    tip.style.top = event.clientY + 16 + "px";
  });
  // A chosen mark is said below its drawing, with the command that takes it, and its row of the table is tinted; a chosen
  // row shows its mark.
  const rows = [...document.querySelectorAll("table.rows tbody tr")];
  const marks = [...document.querySelectorAll("[data-row]:not(tr)")];
  const choose = (mark, row) => {
    rows.forEach((one) => one.classList.toggle("best", one === row));
    marks.forEach((one) => one.classList.toggle("chosen", one === mark));
    const told = (mark || row).closest("section")?.querySelector("p.chosen");
    if (!told) return;
    const said = mark ? mark.dataset.tip : [...row.cells].map((cell) => cell.textContent.trim()).join(", ");
    told.textContent = `${said}. `;
    const verb = mark?.closest("[data-verb]")?.dataset.verb;
    const name = said.split(", ")[0];
    if (!verb || /[\s<]/.test(name)) return;
    const code = document.createElement("code");
    code.textContent = `${verb} ${name}`;
    told.append(code);
  };
  document.addEventListener("click", (event) => {
    const mark = event.target.closest?.("svg.chart [data-tip]");
    if (mark && mark.closest("section")?.querySelector("p.chosen")) {
      choose(mark, rows.find((row) => mark.dataset.row && row.dataset.row === mark.dataset.row));
    }
  });
  rows.forEach((row) => {
    row.tabIndex = 0;
    const chosen = () => choose(marks.find((one) => one.dataset.row === row.dataset.row), row);
    row.addEventListener("click", chosen);
    row.addEventListener("keydown", (event) => event.key === "Enter" && event.target === row && chosen());
  });
})();
