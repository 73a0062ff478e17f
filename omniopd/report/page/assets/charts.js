// Curves, by uPlot, each with its numbers as a table.

const Charts = {
  HEIGHT: 220,
  DASHES: [[], [8, 5], [2, 4], [10, 4, 2, 4]], // lines are told apart by pattern too

  async show() {
    const charts = await Data.payload("charts");
    const shown = [];
    for (const figure of document.querySelectorAll("figure[data-chart]")) {
      const chart = charts[Number(figure.dataset.chart)];
      const plot = { chart, place: figure.querySelector(".plot"), drawn: null };
      shown.push(plot);
      Charts.draw(plot);
      new ResizeObserver(() => plot.drawn.setSize({ width: plot.place.clientWidth, height: Charts.HEIGHT })).observe(plot.place);
      const details = figure.querySelector("details");
      details.addEventListener("toggle", () => Charts.tabulate(chart, details.querySelector(".scroll")), { once: true });
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown.forEach(Charts.draw));
  },

  draw(plot) {
    plot.drawn?.destroy();
    const { chart, place } = plot;
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { stroke: colour("--ink"), grid: { stroke: colour("--rule"), width: 1 }, ticks: { stroke: colour("--rule") } };
    const series = chart.lines.map((line, i) => ({
      label: line.name, stroke: colour(`--line-${i % 4}`), width: 2, dash: Charts.DASHES[i % 4], spanGaps: true,
      value: (_, value) => Data.number(value),
    }));
    const options = {
      width: place.clientWidth, height: Charts.HEIGHT, scales: { x: { time: false }, y: { range: Charts.range } },
      series: [{ label: chart.x_name, value: (_, value) => Data.number(value) }, ...series],
      axes: [{ ...axis, label: chart.x_name, labelSize: 20, size: 34 }, { ...axis, label: chart.y_name, labelSize: 20, size: 56 }],
    };
    plot.drawn = new uPlot(options, [chart.x, ...chart.lines.map((line) => line.values)], place);
  },

  /** The ends of the axis: a tenth of room around the lines; around one that is flat, so that it is seen to be. */
  range(_, low, high) {
    if (low === null) return [0, 1];
    if (low !== high) return uPlot.rangeNum(low, high, 0.1, true);
    return low === 0 ? [0, 1] : [Math.min(0, 2 * low), Math.max(0, 2 * low)];
  },

  tabulate(chart, place) {
    const head = [chart.x_name, ...chart.lines.map((line) => line.name)];
    const rows = chart.x.map((x, i) => [x, ...chart.lines.map((line) => line.values[i])]);
    const cell = (value) => Data.element("td", { class: "number" }, Data.number(value));
    place.replaceChildren(Data.element("table", {},
      Data.element("thead", {}, Data.element("tr", {}, ...head.map((name) => Data.element("th", { scope: "col" }, name)))),
      Data.element("tbody", {}, ...rows.map((row) => Data.element("tr", {}, ...row.map(cell))))));
  },
};
