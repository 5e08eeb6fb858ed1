// Plots that zoom: each chart of the page, a picture until it comes into view, is drawn anew by uPlot from the
// numbers beside it. Drag to zoom, double-click to go back; buttons and keys (+, −, arrows, 0) do the same. The
// picture stays in the page for print; its words become the plot's label.
"use strict";

(() => {
  const style = () => getComputedStyle(document.documentElement);
  const colour = (name) => style().getPropertyValue(`--${name}`).trim();
  const strokes = { first: "accent", second: "second", bound: "soft" };
  const BAR = 28; // the height of the row of buttons, which the drawing gives up: nothing below it moves
  const short = (value) => (value === null ? "–" : String(+value.toPrecision(4)));

  function axis(label, size) {
    const font = "11px system-ui, sans-serif";
    const ink = () => colour("soft");
    const line = { stroke: () => colour("line"), width: 1 };
    return { label, size, font, labelFont: font, labelSize: 16, labelGap: 0, gap: 3, stroke: ink, grid: line, ticks: { show: false } };
  }

  function line({ name, style: kind, n }) {
    const dash = kind === "bound" ? [4, 3] : undefined;
    const width = n ? 0 : kind === "bound" ? 1 : 2;
    return { label: name, stroke: () => colour(strokes[kind]), width, dash, points: { show: false } };
  }

  // Calibration: a mark's area shows its n, and the diagonal is where confidence and accuracy agree.
  function drawMarks(plot, told) {
    const { ctx } = plot;
    const most = Math.max(...told.lines[0].n);
    const at = (x, y) => [plot.valToPos(x, "x", true), plot.valToPos(y, "y", true)];
    ctx.save();
    ctx.beginPath();
    // A little beyond the frame, so that a mark on its edge is seen whole.
    const beyond = 10 * devicePixelRatio;
    ctx.rect(plot.bbox.left - beyond, plot.bbox.top - beyond, plot.bbox.width + 2 * beyond, plot.bbox.height + 2 * beyond);
    ctx.clip();
    ctx.strokeStyle = colour("soft");
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(...at(0, 0));
    ctx.lineTo(...at(1, 1));
    ctx.stroke();
    ctx.fillStyle = colour("accent");
    ctx.globalAlpha = 0.65;
    told.x.forEach((x, i) => {
      ctx.beginPath();
      ctx.arc(...at(x, told.lines[0].y[i]), (3 + 7 * Math.sqrt(told.lines[0].n[i] / most)) * devicePixelRatio, 0, 7);
      ctx.fill();
    });
    ctx.restore();
  }

  function said(plot, told) {
    const i = plot.cursor.idx;
    if (i === null || i === undefined) return "";
    const values = told.lines.map((one) => `${one.name} ${short(one.y[i])}` + (one.n ? `, n = ${one.n[i]}` : ""));
    return `${told.labels[0]} ${short(told.x[i])}: ${values.join(", ")}`;
  }

  function controls(plot, told) {
    const [left, right, bottom, top] = told.frame;
    const range = () => [plot.scales.x.min, plot.scales.x.max];
    const bar = document.createElement("div");
    const show = (from, to) => {
      const width = Math.min(to - from, right - left);
      const start = Math.min(Math.max(from, left), right - width);
      if (width > (right - left) * 0.999) reset();
      else plot.setScale("x", { min: start, max: start + width });
    };
    const zoom = (factor) => {
      const [from, to] = range();
      const [middle, half] = [(from + to) / 2, ((to - from) / 2) * factor];
      if (half > (right - left) / 1000) show(middle - half, middle + half);
    };
    const pan = (share) => {
      const [from, to] = range();
      show(from + share * (to - from), to + share * (to - from));
    };
    const reset = () => plot.batch(() => {
      plot.setScale("x", { min: left, max: right });
      plot.setScale("y", { min: bottom, max: top });
    });
    const actions = new Map([
      ["+", () => zoom(0.5)], ["-", () => zoom(2)], ["ArrowLeft", () => pan(-0.5)], ["ArrowRight", () => pan(0.5)], ["0", reset],
    ]);
    const words = [["+", "+", "Zoom in"], ["-", "−", "Zoom out"], ["ArrowLeft", "◂", "Move left"], ["ArrowRight", "▸", "Move right"], ["0", "reset", "Show the whole plot"]];
    for (const [key, sign, name] of words) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: sign, title: name, className: key === "+" ? "in" : "" });
      button.setAttribute("aria-label", name);
      button.addEventListener("click", () => {
        actions.get(key)();
        // Back at the whole plot most buttons are hidden: the focus must not be lost with them.
        queueMicrotask(() => button.offsetParent || bar.firstChild.focus());
      });
      bar.append(button);
    }
    bar.className = "zoom";
    return { bar, actions, reset };
  }

  function options(told, width, height, hooks) {
    const [left, right, bottom, top] = told.frame;
    const whole = (plot) => plot.scales.x.min <= left && plot.scales.x.max >= right;
    const padded = (plot, low, high) => {
      if (low === null || whole(plot)) return [bottom, top];
      const margin = 0.08 * (high - low) || 0.05 * Math.max(Math.abs(high), 1e-9);
      return [low - margin, high + margin];
    };
    return {
      width, height, hooks,
      legend: { show: false },
      padding: [10, 14, 0, 0],
      cursor: { drag: { x: true, y: true, uni: 20 }, points: { size: 6 } },
      scales: { x: { time: false, range: (plot, low, high) => [low, high] }, y: { range: padded } },
      axes: [axis(told.labels[0], 20), axis(told.labels[1], 42)],
      series: [{}, ...told.lines.map(line)],
    };
  }

  function upgrade(svg) {
    const told = JSON.parse(svg.dataset.chart);
    const { width, height } = svg.getBoundingClientRect();
    const holder = document.createElement("div");
    const spoken = document.createElement("p");
    const tell = (plot) => {
      const { x, y } = plot.scales;
      const [left, right, bottom, top] = told.frame;
      const zoomed = x.min > left || x.max < right || y.min > bottom || y.max < top;
      const shown = zoomed ? `${told.labels[0]} ${short(x.min)} to ${short(x.max)}` : "";
      holder.classList.toggle("zoomed", zoomed);
      spoken.textContent = said(plot, told) || shown;
    };
    const draw = told.lines[0].n ? [(plot) => drawMarks(plot, told)] : [];
    const hooks = { setCursor: [tell], setScale: [tell], draw };
    const plot = new uPlot(options(told, width, height - BAR, hooks), [told.x, ...told.lines.map((one) => one.y)], holder);
    const { bar, actions, reset } = controls(plot, told);
    plot.over.addEventListener("dblclick", reset);
    reset();
    Object.assign(holder, { className: "plot", tabIndex: 0 });
    holder.setAttribute("role", "group");
    const keys = "Plus and minus zoom, arrows move, 0 shows all.";
    holder.setAttribute("aria-label", `${svg.getAttribute("aria-label")} ${keys}`);
    holder.addEventListener("keydown", (event) => {
      const act = actions.get(event.key === "=" ? "+" : event.key);
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
    spoken.className = "readout";
    spoken.setAttribute("role", "status");
    plot.root.setAttribute("aria-hidden", "true");
    holder.prepend(bar);
    holder.append(spoken);
    svg.after(holder);
    svg.classList.add("printed");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw());
    addEventListener("resize", () => {
      const room = Math.min(340, holder.parentElement.clientWidth);
      if (room > 0 && room !== plot.width) plot.setSize({ width: room, height: room * (height / width) - BAR });
    });
  }

  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      upgrade(target);
    }
  }, { rootMargin: "200px" });
  document.querySelectorAll("svg[data-chart]").forEach((svg) => seen.observe(svg));
})();
