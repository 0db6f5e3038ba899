"use strict";
// Draws every figure in the colours of the scheme that the reader prefers, and again when it changes.
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
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
    xaxis: axis(layout.xaxis),
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
dark.addEventListener("change", draw);
