// Charts, live updates and protection against double submission. All pages work without this script, except for charts.
"use strict";

(() => {
  const body = document.body;
  const say = (text) => {
    document.getElementById("said").textContent = text;
  };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const BY_ITSELF = { "x-saldo-by-itself": "1" };

  const json = async (url, byItself, signal) => {
    const answer = await fetch(url, { headers: byItself ? BY_ITSELF : {}, redirect: "error", signal });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  };

  // Keeps the keyboard focus on a link after an update. If the link is gone, its container gets the focus.
  const hold = (fresh, held) => {
    const same = [...fresh.querySelectorAll("a")].find((each) => each.href === held.href);
    if (!same) fresh.tabIndex = -1;
    (same ?? fresh).focus({ preventScroll: true });
  };

  // Fetches this page again and replaces the parts that may have changed. Form input is kept.
  const refresh = async () => {
    const answer = await fetch(location.href, { headers: BY_ITSELF });
    if (answer.redirected) {
      location.reload(); // to sign in
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelectorAll("[data-refresh]").forEach((old) => {
      const fresh = page.getElementById(old.id);
      if (!fresh || fresh.innerHTML === old.innerHTML) return;
      const held = old.contains(document.activeElement) ? document.activeElement : null;
      old.replaceWith(fresh);
      if (held) hold(fresh, held);
    });
  };

  // --- forms ------------------------------------------------------------------------------------

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.question && !window.confirm(form.dataset.question)) {
      event.preventDefault();
      return;
    }
    if (form.method === "post") {
      // This runs after the event, because a disabled button sends no value.
      setTimeout(() => form.querySelectorAll("button").forEach((each) => (each.disabled = true)));
    } else {
      // Leave out empty fields, so that the address is easier to read.
      const empty = [...form.elements].filter((each) => each.name && each.value === "");
      empty.forEach((each) => (each.disabled = true));
      setTimeout(() => empty.forEach((each) => (each.disabled = false)));
    }
  });

  // Enable the buttons again when the visitor comes back from another page.
  window.addEventListener("pageshow", () =>
    document.querySelectorAll("form[method=post] button").forEach((each) => (each.disabled = false)),
  );

  document.addEventListener("click", (event) => {
    const target = event.target.closest("button");
    if (!target) return;
    if ("print" in target.dataset) window.print();
    if (target.dataset.copy) {
      navigator.clipboard.writeText(document.getElementById(target.dataset.copy).textContent.trim());
      say(body.dataset.copied);
    }
  });

  // --- charts -----------------------------------------------------------------------------------

  const axis = (more) => ({
    stroke: () => colour("--soft"),
    grid: { stroke: () => colour("--grid"), width: 1 },
    ticks: { stroke: () => colour("--grid"), width: 1 },
    font: "12px system-ui, sans-serif",
    ...more,
  });

  const zoned = (zone) => {
    try {
      Intl.DateTimeFormat("en", { timeZone: zone });
    } catch {
      zone = "UTC";
    }
    return (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone);
  };

  const twice = (number) => String(number).padStart(2, "0");
  const written = (date) =>
    `${date.getFullYear()}-${twice(date.getMonth() + 1)}-${twice(date.getDate())} ` +
    `${twice(date.getHours())}:${twice(date.getMinutes())}:${twice(date.getSeconds())}`;

  const MINUTE = 60;
  const HOUR = 3600;
  const DAY = 86400;
  // Formats of the ticks that suit every language: 11-24, 09:30.
  const TIMES = [
    [DAY * 365, "{YYYY}", null, null, null, null, null, null, 1],
    [DAY * 28, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
    [DAY, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
    [HOUR, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
    [MINUTE, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
    [1, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
    [0.001, "{ss}.{fff}", "\n{YYYY}-{MM}-{DD} {HH}:{mm}", null, "\n{MM}-{DD} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
  ];

  class BalanceChart {
    constructor(element) {
      this.element = element;
      this.plotted = element.querySelector(".plot");
      this.state = element.querySelector(".chart-state");
      this.rows = document.getElementById("chart-rows");
      this.range = null; // null means the whole history or the period of a button
      this.name = "all";
      this.asking = null;
      this.texts = [];
      this.date = zoned(element.dataset.zone);
      element.addEventListener("keydown", (event) => this.key(event));
      document.querySelectorAll("[data-range]").forEach((button) =>
        button.addEventListener("click", () => this.named(button.dataset.range)),
      );
      document.querySelectorAll("[data-move]").forEach((button) =>
        button.addEventListener("click", () => this.moved(button.dataset.move)),
      );
      new ResizeObserver(() => this.resize()).observe(this.plotted);
      window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.plot?.redraw());
      this.load();
    }

    async load(byItself = false) {
      this.asking?.abort(); // its response is no longer needed
      const asking = (this.asking = new AbortController());
      const range = this.range ?? this.lately();
      const query = range ? `?from=${range[0].toFixed(3)}&to=${range[1].toFixed(3)}` : "";
      try {
        const found = await json(this.element.dataset.url + query, byItself, asking.signal);
        if (asking === this.asking) this.show(found);
      } catch {
        if (asking === this.asking) this.state.textContent = this.element.dataset.failed;
      }
    }

    // Returns the period of a button. It ends at the current time, so that new entries are included.
    lately() {
      const seconds = { day: DAY, week: 7 * DAY, month: 30 * DAY, year: 365 * DAY }[this.name];
      const now = Date.now() / 1000;
      return seconds ? [now - seconds, now] : null;
    }

    show(found) {
      this.shown = [found.from, found.to];
      this.texts = found.balances;
      this.state.textContent = found.summary;
      this.element.dataset.points = String(found.times.length);
      this.element.dataset.from = String(found.from);
      this.element.dataset.to = String(found.to);
      const data = [found.times, found.balances.map((text) => Number(text.plain))];
      this.table(found);
      if (!this.plot) this.create(data);
      else this.plot.setData(data, false);
      this.plot.setScale("x", { min: found.from, max: found.to });
    }

    create(data) {
      const { balance, time } = this.element.dataset;
      const money = (value) => value.toLocaleString(this.element.dataset.language);
      this.plot = new uPlot(
        {
          width: this.plotted.clientWidth,
          height: this.height(),
          tzDate: this.date,
          padding: [8, 24, 0, 0],
          cursor: { drag: { x: true, y: false, setScale: false, dist: 8 }, y: false, points: { size: 7 } },
          legend: { live: true },
          scales: { x: { time: true }, y: { range: (_, low, high) => this.bounds(low, high) } },
          axes: [
            axis({ values: TIMES, space: 70 }),
            axis({ size: (_, values) => 24 + 7 * Math.max(3, ...(values ?? []).map((each) => each.length)), values: (_, ticks) => ticks.map(money) }),
          ],
          series: [
            { label: time, value: (_, seconds) => (seconds == null ? "–" : written(this.date(seconds))) },
            {
              label: balance,
              stroke: () => colour("--chart-1"),
              fill: () => `color-mix(in srgb, ${colour("--chart-1")} 12%, transparent)`,
              width: 1.75,
              paths: uPlot.paths.stepped({ align: 1 }),
              points: { show: (_, __, first, last) => last - first < 60, size: 5 },
              value: (_, __, ___, index) => (index == null ? "–" : this.texts[index]?.text ?? "–"),
            },
          ],
          hooks: {
            setSelect: [
              (plot) => {
                const { left, width } = plot.select;
                if (width < 8) return;
                const range = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
                plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
                this.zoom(range);
              },
            ],
          },
        },
        data,
        this.plotted,
      );
      // The chart's own reset would show only the data that is already loaded.
      this.plot.over.addEventListener("dblclick", () => this.named("all"));
    }

    bounds(low, high) {
      if (low == null || low === high) return [0, high || 1];
      const room = (high - low) * 0.08;
      return [low - room < 0 || low < high * 0.35 ? 0 : low - room, high + room];
    }

    height() {
      return window.innerWidth < 640 ? 200 : 260;
    }

    resize() {
      this.plot?.setSize({ width: this.plotted.clientWidth, height: this.height() });
    }

    zoom(range) {
      const [from, to] = range;
      const middle = (from + to) / 2;
      const half = Math.max((to - from) / 2, 0.5);
      this.range = [middle - half, middle + half];
      this.press(null);
      this.load();
    }

    named(name) {
      this.range = null;
      this.press(name);
      this.load();
    }

    press(name) {
      this.name = name;
      document
        .querySelectorAll("[data-range]")
        .forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.range === name)));
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (this.moved(event.key)) event.preventDefault();
    }

    // Moves or zooms the range for a key or the button that stands for it. Returns whether the key has such a function.
    moved(key) {
      if (!this.shown) return false;
      // Start from the requested range, since its response may not have arrived yet.
      const [from, to] = this.range ?? this.lately() ?? this.shown;
      const part = (to - from) / 4;
      const moves = {
        "+": [from + part, to - part],
        "=": [from + part, to - part],
        "-": [from - 2 * part, to + 2 * part],
        ArrowLeft: [from - part, to - part],
        ArrowRight: [from + part, to + part],
      };
      if (key === "0") this.named("all");
      else if (moves[key]) this.zoom(moves[key]);
      else return false;
      return true;
    }

    table(found) {
      const part = document.getElementById("chart-table-part");
      const last = found.balances.map((each, index) => [found.times[index], each.text]).slice(-100).reverse();
      part.textContent = part.dataset.text.replace("{}", "100");
      this.rows.replaceChildren(
        ...last.map(([seconds, text]) => {
          const row = document.createElement("tr");
          const time = row.appendChild(document.createElement("td"));
          time.textContent = written(this.date(seconds));
          const balance = row.appendChild(document.createElement("td"));
          balance.className = "number";
          balance.textContent = text;
          return row;
        }),
      );
    }
  }

  const element = document.getElementById("chart");
  const chart = element && window.uPlot ? new BalanceChart(element) : null;

  // --- the overview ------------------------------------------------------------------------------

  const COLOURS = ["--chart-1", "--chart-2", "--chart-3"];

  const alone = (values) =>
    [...values.keys()].filter((at) => values[at] != null && values[at - 1] == null && values[at + 1] == null);

  class Lines {
    constructor(figure, source) {
      this.figure = figure;
      this.source = source;
      this.plotted = figure.querySelector(".plot");
      this.names = figure.dataset.lines.split(" ");
      new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.plotted);
    }

    size() {
      return { width: this.plotted.clientWidth, height: 170 };
    }

    show(found) {
      const data = [found.times, ...this.names.map((name) => found[name])];
      this.figure.dataset.points = String(found.times.length);
      if (!found.times.length) return;
      this.figure.querySelector(".chart-state").hidden = true;
      if (this.plot) this.plot.setData(data);
      else this.create(data);
    }

    create(data) {
      const { unit } = this.figure.dataset;
      const date = zoned(this.source.dataset.zone);
      const number = (value) => value.toLocaleString(this.source.dataset.language, { maximumFractionDigits: 2 });
      this.plot = new uPlot(
        {
          ...this.size(),
          tzDate: date,
          padding: [8, 8, 0, 0],
          cursor: { drag: { x: false, y: false }, y: false, points: { size: 6 } },
          scales: {
            // The axis shows at least five minutes, even if there are only few samples.
            x: { range: (plot) => [Math.min(plot.data[0][0], plot.data[0].at(-1) - 300), plot.data[0].at(-1)] },
            y: { range: (_, __, high) => [0, Math.max(high ?? 0, 1) * 1.1] },
          },
          axes: [axis({ values: TIMES, space: 60 }), axis({ size: 56, values: (_, ticks) => ticks.map(number) })],
          series: [
            { label: this.source.dataset.time, value: (_, seconds) => (seconds == null ? "–" : written(date(seconds)).slice(11)) },
            ...this.figure.dataset.labels.split("|").map((label, index) => ({
              label,
              stroke: () => colour(COLOURS[index]),
              dash: [undefined, [6, 4], [2, 3]][index],
              width: 1.75,
              // Adjacent values are connected by a line. A value without neighbours is drawn as a point to be visible.
              points: { show: true, filter: (plot, index) => alone(plot.data[index]), size: 5 },
              value: (_, value) => (value == null ? "–" : number(value) + unit),
            })),
          ],
        },
        data,
        this.plotted,
      );
    }
  }

  const series = document.getElementById("series");
  if (series && window.uPlot) {
    const lines = [...series.querySelectorAll("[data-lines]")].map((figure) => new Lines(figure, series));
    const mark = document.querySelector("[data-poll]");
    const seconds = Number(mark.dataset.poll);
    const date = zoned(series.dataset.zone);
    const rows = (found) => {
      const names = ["posted", "refused", "replayed", "p50", "p99", "queue"];
      const last = found.times.map((at, index) => [written(date(at)), ...names.map((name) => found[name][index])]);
      document.getElementById("series-rows").replaceChildren(
        ...last.slice(-60).reverse().map((values) => {
          const row = document.createElement("tr");
          values.forEach((value, index) => {
            const cell = row.appendChild(document.createElement("td"));
            cell.textContent = value == null ? "–" : typeof value === "number" ? value.toLocaleString(series.dataset.language) : value;
            if (index) cell.className = "number";
          });
          return row;
        }),
      );
    };
    const look = async (first) => {
      if (document.hidden && !first) return;
      try {
        const found = await json(series.dataset.url, true);
        lines.forEach((each) => each.show(found));
        rows(found);
        if (!first) await refresh();
        mark.dataset.state = "on";
        mark.textContent = body.dataset.live;
      } catch {
        mark.dataset.state = "lost";
        mark.textContent = body.dataset.liveLost;
      }
    };
    look(true);
    setInterval(() => look(false), seconds * 1000);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => lines.forEach((each) => each.plot?.redraw()));
  }

  // --- live updates -------------------------------------------------------------------------------

  class Live {
    // Only visible pages follow the stream: browsers limit the connections to a server, and each stream occupies one.
    constructor(mark) {
      this.mark = mark;
      this.timer = null;
      document.addEventListener("visibilitychange", () => this.follow());
      window.addEventListener("pagehide", () => this.close());
      window.addEventListener("pageshow", (event) => event.persisted && this.follow());
      this.follow();
    }

    follow() {
      if (document.hidden) {
        this.close();
        return;
      }
      if (this.stream) return;
      if (this.missed) this.changed();
      this.stream = new EventSource(`${document.body.dataset.events}?user_id=${this.mark.dataset.user}`);
      this.stream.onopen = () => this.tell("on");
      this.stream.onerror = () => {
        this.tell("lost");
        // The browser does not retry a stream that was rejected.
        if (this.stream?.readyState === EventSource.CLOSED) {
          this.close();
          setTimeout(() => this.follow(), 10000);
        }
      };
      for (const type of ["saldo.transaction.posted", "saldo.transaction.refused"]) {
        this.stream.addEventListener(type, () => this.soon());
      }
    }

    close() {
      this.stream?.close();
      this.stream = null;
      this.missed = true;
    }

    tell(state) {
      this.mark.dataset.state = state;
      this.mark.textContent = state === "on" ? body.dataset.live : body.dataset.liveLost;
    }

    soon() {
      // Events that arrive within a short time cause only one request for the page.
      this.timer ??= setTimeout(() => {
        this.timer = null;
        this.changed();
      }, 400);
    }

    async changed() {
      const known = new Set([...document.querySelectorAll("#rows tbody tr")].map((row) => row.cells[0].textContent));
      try {
        await refresh();
      } catch {
        this.tell("lost");
        return;
      }
      document.querySelectorAll("#rows tbody tr").forEach((row) => {
        if (!known.has(row.cells[0].textContent)) row.classList.add("new");
      });
      say(this.mark.dataset.changed.replace("{}", document.getElementById("balance-now").textContent));
      chart?.load(true);
    }
  }

  const mark = document.querySelector("[data-user]");
  if (mark) new Live(mark);
})();
