"use strict";
// Draws every figure in the colours of the scheme that the reader prefers, and again when it changes.
// Figures with the same `meta.x` have one x axis: who zooms or pans one of them, moves them all.
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// What the reader chose to see, by `meta.x`; nothing until then, or once it is all again.
const shown = new Map();

function together(x) {
  return x ? Object.keys(figures).filter((id) => figures[id].layout.meta.x === x) : [];
}

function follow(id, change) {
  const x = figures[id].layout.meta.x;
  if (!x || !Object.keys(change).some((key) => key.startsWith("xaxis."))) return;
  const all = change["xaxis.autorange"];
  const range = all ? figures[id].layout.xaxis.range : document.getElementById(id).layout.xaxis.range;
  const before = shown.get(x) || figures[id].layout.xaxis.range;
  if (!all && range[0] === before[0] && range[1] === before[1]) return; // another's move, followed
  shown.set(x, [...range]);
  for (const other of together(x)) {
    if (other !== id || all) Plotly.relayout(other, { "xaxis.range": [...range] });
  }
}

function axis(of) {
  return {
    separatethousands: true,
    gridcolor: colour("grid"),
    linecolor: colour("rule"),
    zerolinecolor: colour("rule"),
    ...of,
    title: { ...of.title, font: { size: 12, color: colour("muted") }, standoff: 8 },
  };
}

function shape(of) {
  if (of.type === "rect") return { ...of, fillcolor: colour(of.name) };
  const line = { ...of.line, color: colour("muted") };
  return { ...of, line, label: { ...of.label, font: { size: 11, color: colour("muted") } } };
}

function themed(layout) {
  return {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    colorway: layout.meta.colours.map(colour),
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("rule"),
      font: { color: colour("text") } },
    xaxis: axis({ ...layout.xaxis, ...(shown.has(layout.meta.x) && { range: shown.get(layout.meta.x) }) }),
    yaxis: axis(layout.yaxis),
    shapes: (layout.shapes || []).map(shape),
  };
}

function draw() {
  for (const [id, figure] of Object.entries(figures)) {
    const box = document.getElementById(id);
    Plotly.react(box, structuredClone(figure.data), themed(figure.layout),
      { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false });
  }
}

draw();
for (const id of Object.keys(figures)) {
  document.getElementById(id).on("plotly_relayout", (change) => follow(id, change));
}
dark.addEventListener("change", draw);
