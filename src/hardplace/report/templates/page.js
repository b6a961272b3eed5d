const drawn = [];
for (const data of document.querySelectorAll('script[type="application/json"]')) {
  const place = document.getElementById(data.id.replace("data-", "figure-"));
  const figure = JSON.parse(data.textContent);
  Plotly.newPlot(place, figure.data, figure.layout, {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false, // on by default since plotly.js 4: a page that needs no network offers none
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  });
  drawn.push(place);
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", `figure: ${data.id.replace("data-", "")}`);
  const told = place.parentElement.querySelector(".chosen");
  if (told) {
    const rows = [...document.querySelectorAll("table.rows tbody tr")];
    place.on("plotly_click", (event) => {
      const point = event.points[0];
      rows.forEach((row, number) => row.classList.toggle("best", number === point.pointIndex));
      if (rows.length) {
        told.textContent = `Row: ${rows[point.pointIndex]?.textContent.trim().replaceAll(/\s*\n\s*/g, ", ")}`;
        return;
      }
      if (!point.text) return;
      told.textContent = `${point.text.replaceAll("<br>", "; ")}: ${point.x.toPrecision(4)} mm², ${point.y.toPrecision(4)} samples/s. `;
      const code = document.createElement("code");
      code.textContent = `hardplace chip ${point.text}`;
      if (!/[\s<]/.test(point.text)) told.append(code);
    });
  }
}
// Figures do not follow the width of a sheet of paper by themselves.
addEventListener("beforeprint", () => drawn.forEach((place) => Plotly.relayout(place, { width: 680 })));
addEventListener("afterprint", () => drawn.forEach((place) => Plotly.relayout(place, { width: null, autosize: true })));
