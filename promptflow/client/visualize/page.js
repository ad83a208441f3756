"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const runs = data.runs;
  const many = runs.length > 1;
  const PAGE = 200;
  const $ = (id) => document.getElementById(id);

  // Text only ever enters the page as text nodes, so that no value can become markup.
  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (key === "onclick") node.addEventListener("click", value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((c) => c !== null && c !== undefined));
    return node;
  }
  const text = (value) => (typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value, null, 1));
  const short = (value) => {
    const shown = text(value);
    return shown.length > 600 ? shown.slice(0, 600) + "…" : shown;
  };
  const seconds = (s) => {
    if (s === null || s === undefined) return "–";
    if (s < 0.001) return Math.round(s * 1e6) + " µs";
    if (s < 1) return Math.round(s * 1000) + " ms";
    if (s < 120) return s.toFixed(s < 10 ? 2 : 1) + " s";
    return Math.floor(s / 60) + " min " + Math.round(s % 60) + " s";
  };
  const whole = (n) => (n === null || n === undefined ? "–" : n.toLocaleString("en-US"));
  const statusTag = (status) =>
    el("span", { class: "tag " + (status === "Completed" ? "ok" : status === "Failed" ? "bad" : "") }, status);

  // -- heading and cards
  $("title").textContent = many ? runs.length + " runs side by side" : runs[0].display_name || runs[0].name;
  $("subtitle").textContent = data.generated;

  function figure(value, label) {
    return el("div", { class: "figure" }, el("b", {}, value), el("span", {}, label));
  }
  runs.forEach((run) => {
    const share = el("div", { class: "share", role: "img", "aria-label": run.completed + " completed, " + run.failed + " failed" });
    const total = Math.max(1, run.completed + run.failed);
    const good = el("i"); good.style.width = (100 * run.completed) / total + "%";
    const bad = el("i"); bad.style.width = (100 * run.failed) / total + "%";
    share.append(good, bad);
    $("cards").append(
      el("article", { class: "card" },
        el("div", {}, statusTag(run.status), " ", many ? el("span", { class: "tag run" }, run.label) : null),
        el("div", { class: "name" }, run.display_name || run.name),
        el("div", { class: "sub" }, run.name === run.display_name ? run.created : run.name + " · " + run.created),
        el("div", { class: "sub" }, [run.flow, run.variant, run.data && "data: " + run.data, run.parent && "on run: " + run.parent].filter(Boolean).join(" · ")),
        el("div", { class: "figures" },
          figure(whole(run.completed), "rows completed"), figure(whole(run.failed), "rows failed"),
          figure(seconds(run.duration), "duration"), figure(whole(run.tokens.total_tokens), "tokens")),
        share,
        run.error ? el("p", { class: "problem" }, run.error) : null));
  });

  // -- metrics
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.metrics)))].sort();
  if (names.length) {
    const head = el("tr", {}, el("th", {}, "Metric"), ...runs.map((run) => el("th", { class: "number" }, many ? run.label : "Value")));
    const body = el("tbody");
    names.forEach((name) => {
      const values = runs.map((run) => run.metrics[name]);
      body.append(el("tr", {}, el("td", {}, name), ...values.map((value, i) => {
        let note = "";
        if (i > 0 && typeof value === "number" && typeof values[0] === "number" && value !== values[0]) {
          const change = value - values[0];
          note = "  (" + (change > 0 ? "+" : "−") + Math.abs(Number(change.toPrecision(3))) + ")";
        }
        const shown = typeof value === "number" ? String(Number(value.toPrecision(6))) : value === undefined ? "–" : text(value);
        return el("td", { class: "number" }, shown + note);
      })));
    });
    $("metrics").append(el("h2", {}, "Metrics"), el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), body)));
  }

  // -- rows: one per line number, with the line of every run
  const rows = new Map();
  runs.forEach((run, i) => run.lines.forEach((line) => {
    if (!rows.has(line.number)) rows.set(line.number, { number: line.number, lines: new Array(runs.length).fill(null) });
    rows.get(line.number).lines[i] = line;
  }));
  const union = (part) => [...new Set(runs.flatMap((run) => run.columns[part]))];
  const inputColumns = union("inputs");
  const outputColumns = union("outputs");
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const all = [...rows.values()];
  all.forEach((row) => {
    const present = row.lines.filter(Boolean);
    row.failed = present.some((line) => line.status !== "Completed");
    row.changed = new Set(outputColumns.filter((c) => present.some((line) => !same((line.outputs || {})[c], (present[0].outputs || {})[c]))));
    row.differs = many && (present.length < runs.length || row.changed.size > 0 || new Set(present.map((l) => l.status)).size > 1);
    row.inputs = Object.assign({}, ...present.map((line) => line.inputs).reverse());
    row.haystack = null;
  });
  all.sort((a, b) => (b.failed - a.failed) || a.number - b.number);

  const state = { filter: "all", query: "", page: 0 };
  const filters = [["all", "All", () => true], ["failed", "Failed", (r) => r.failed]];
  if (many) filters.push(["different", "Different", (r) => r.differs]);

  function matches(row) {
    if (!filters.find((f) => f[0] === state.filter)[2](row)) return false;
    if (!state.query) return true;
    if (row.haystack === null) {
      row.haystack = JSON.stringify([row.number, row.inputs, row.lines.map((l) => l && [l.outputs, l.error])]).toLowerCase();
    }
    return row.haystack.includes(state.query);
  }

  filters.forEach(([key, label, test]) => {
    const button = el("button", { type: "button", "aria-pressed": String(key === state.filter) }, label + " " + whole(all.filter(test).length));
    button.addEventListener("click", () => {
      state.filter = key; state.page = 0;
      [...$("filters").children].forEach((b) => b.setAttribute("aria-pressed", String(b === button)));
      draw();
    });
    $("filters").append(button);
  });
  $("search").addEventListener("input", (event) => {
    state.query = event.target.value.trim().toLowerCase(); state.page = 0; draw();
  });

  function outputCell(row, line, column) {
    if (!line) return el("td", { class: "value" }, el("div", {}, "–"));
    if (line.status !== "Completed") {
      return el("td", { class: "value failed" }, el("div", {}, column === outputColumns[0] || !outputColumns.length ? "failed: " + short(line.error ? line.error.message : line.status) : "failed"));
    }
    return el("td", { class: "value" + (many && row.changed.has(column) ? " differs" : "") }, el("div", {}, short((line.outputs || {})[column])));
  }

  function draw() {
    const found = all.filter(matches);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    $("count").textContent = whole(found.length) + " of " + whole(all.length) + " rows" + (data.truncated ? " (" + data.truncated + ")" : "");
    const shownOutputs = outputColumns.length ? outputColumns : ["output"];
    const head = el("tr", {}, el("th", { class: "number" }, "#"), el("th", {}, "Status"),
      ...inputColumns.map((c) => el("th", {}, c)),
      ...shownOutputs.flatMap((c) => runs.map((run) => el("th", {}, c, many ? " " : null, many ? el("span", { class: "tag run" }, run.label) : null))));
    const body = el("tbody");
    found.slice(state.page * PAGE, (state.page + 1) * PAGE).forEach((row) => {
      const tr = el("tr", { class: "row" + (row.failed ? " failed" : row.differs ? " differs" : ""), tabindex: "0" },
        el("td", { class: "number" }, String(row.number)),
        el("td", {}, row.failed ? el("span", { class: "tag bad" }, "failed") : el("span", { class: "tag ok" }, "ok"), row.differs ? " " : null, row.differs ? el("span", { class: "tag diff" }, "differs") : null),
        ...inputColumns.map((c) => el("td", { class: "value" }, el("div", {}, short(row.inputs[c])))),
        ...shownOutputs.flatMap((c) => row.lines.map((line) => outputCell(row, line, c))));
      tr.addEventListener("click", () => open(row, tr));
      tr.addEventListener("keydown", (event) => { if (event.key === "Enter") open(row, tr); });
      body.append(tr);
    });
    $("table").replaceChildren(found.length
      ? el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), body))
      : el("div", { class: "scroll empty" }, all.length ? "No row matches." : "There are no rows."));
    const go = (by) => () => { state.page += by; draw(); };
    $("pages").replaceChildren();
    if (pages > 1) {
      $("pages").append(
        el("button", { type: "button", disabled: state.page === 0, onclick: go(-1) }, "Previous"),
        el("span", {}, "Page " + (state.page + 1) + " of " + pages),
        el("button", { type: "button", disabled: state.page === pages - 1, onclick: go(1) }, "Next"));
    }
  }

  // -- drawer
  let opener = null;
  function values(object) {
    const entries = Object.entries(object || {});
    if (!entries.length) return el("p", { class: "sub" }, "none");
    return el("dl", {}, ...entries.flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, el("pre", {}, text(value)))]));
  }
  function timeline(line) {
    const end = Math.max(line.duration || 0, ...line.nodes.map((n) => n.start + n.duration), 0.000001);
    return line.nodes.map((node) => {
      const bar = el("i", { class: node.status === "Failed" ? "bad" : null });
      bar.style.left = (100 * node.start) / end + "%";
      bar.style.width = (100 * node.duration) / end + "%";
      return el("div", { class: "node" }, el("span", { class: "label" }, node.name), el("div", { class: "track", title: node.status }, bar),
        el("span", { class: "time" }, node.status === "Bypassed" ? "bypassed" : seconds(node.duration)));
    });
  }
  function open(row, from) {
    opener = from;
    const drawer = $("drawer");
    drawer.replaceChildren(
      el("div", { class: "top" }, el("h2", {}, "Row " + row.number), el("button", { type: "button", onclick: close, "aria-label": "Close" }, "Close")),
      el("h3", {}, "Inputs"), values(row.inputs),
      ...row.lines.map((line, i) => {
        const head = el("div", {}, many ? el("span", { class: "tag run" }, runs[i].label) : null, many ? " " : null, line ? statusTag(line.status) : "not in this run", " ", line ? el("span", { class: "sub" }, seconds(line.duration) + (line.tokens ? " · " + whole(line.tokens) + " tokens" : "")) : null);
        if (!line) return el("div", { class: "runblock" }, head);
        return el("div", { class: "runblock" }, head,
          ...(line.error ? [el("h3", {}, "Error"), el("div", { class: "error" }, line.error.message, line.error.trace ? el("pre", {}, line.error.trace) : null)] : [el("h3", {}, "Outputs"), values(line.outputs)]),
          ...(line.nodes.length ? [el("h3", {}, "Nodes"), ...timeline(line)] : []));
      }));
    drawer.hidden = false;
    drawer.scrollTop = 0;
    drawer.focus();
  }
  function close() {
    $("drawer").hidden = true;
    if (opener) opener.focus();
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !$("drawer").hidden) close(); });

  draw();
})();
