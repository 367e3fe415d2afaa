"use strict";
// Text of requests (models, keys, bodies) is set as text, never as HTML.

const KEPT = 200;
const POINTS = 360;
const rows = new Map(); // id -> row, those that ended in the order of their end
let points = [];
let stats = {};
let changed = true;

const $ = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const space = ["svg", "polyline", "rect", "title"].includes(name) ? "http://www.w3.org/2000/svg" : null;
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const count = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const shown = (value) => (value === null || value === undefined ? "-" : typeof value === "number" ? count.format(value) : String(value));
const seconds = (value) => (value === null || value === undefined ? "-" : value < 1 ? `${Math.round(value * 1000)} ms` : value < 10 ? `${value.toFixed(2)} s` : `${Math.round(value)} s`);
const usd = (value) => (value === null || value === undefined ? "-" : `$${value.toFixed(value < 1 ? 6 : 2)}`);
const clock = (text) => new Date(text).toLocaleTimeString();

function problem(text) {
  $("problem").hidden = !text;
  if ($("problem").textContent !== text) $("problem").textContent = text;
}

async function ask(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const text = await answer.text();
  let document = null;
  try { document = text ? JSON.parse(text) : null; } catch { /* an error of a proxy in front */ }
  if (!answer.ok) throw new Error(document?.error?.message ?? `${answer.status} ${answer.statusText}`);
  return document;
}

async function attempt(work) {
  try { problem(""); return await work(); } catch (error) { problem(error.message); return undefined; }
}

const send = (method, document) => ({ method, headers: { "content-type": "application/json" }, body: JSON.stringify(document) });

// ---- tables: a row keeps its elements, so that the focus and a reader's place stay

function table(id, columns, emptyId) {
  const head = $(id).tHead.rows[0], body = $(id).tBodies[0], known = new Map();
  for (const [title, , kind] of columns) head.append(make("th", { scope: "col", class: kind === "number" ? "number" : "" }, title));
  return (items, keyOf) => {
    const wanted = new Set();
    let at = 0;
    for (const item of items) {
      const key = keyOf(item);
      wanted.add(key);
      let line = known.get(key);
      if (!line) {
        line = make("tr");
        for (const [, , kind] of columns) line.append(make("td", { class: kind ?? "" }));
        known.set(key, line);
      }
      columns.forEach(([, cell], index) => {
        const value = cell(item), place = line.cells[index];
        if (value instanceof Node) { if (!place.firstChild) place.append(value); value.update?.(item); return; }
        const text = shown(value);
        if (place.textContent !== text) { place.textContent = text; if (columns[index][2] === "text") place.title = text; }
      });
      if (body.rows[at] !== line) body.insertBefore(line, body.rows[at] ?? null);
      at += 1;
    }
    for (const [key, line] of known) if (!wanted.has(key)) { line.remove(); known.delete(key); }
    if (emptyId) $(emptyId).hidden = items.length > 0;
  };
}

function button(text, label, act) {
  const made = make("button", { type: "button", "aria-label": label }, text);
  made.addEventListener("click", act);
  return made;
}

const tokens = (row) => `${row.estimated ? "~" : ""}${shown(row.output_tokens)}`;

const who = (row) => [row.key ?? "-", ...Object.entries(row.tags ?? {}).map(([name, value]) => `${name}=${value}`)].join(" ");

const showRunning = table("running", [
  ["Stop", (row) => button("Cancel", `Cancel ${row.model ?? row.endpoint} of ${row.key ?? "nobody"}, ${row.id}`, () => cancel(row))],
  ["Age", (row) => seconds(row.age_s + (performance.now() - row.at) / 1000), "number"],
  ["State", (row) => row.state],
  ["Key", who, "text"],
  ["Model", (row) => row.model, "text"],
  ["Endpoint", (row) => row.endpoint, "text"],
  ["Upstream", (row) => row.upstream, "text"],
  ["Tokens", tokens, "number"],
  ["Bytes", (row) => row.bytes_out, "number"],
  ["Attempts", (row) => row.attempts, "number"],
  ["Details", (row) => button("Show", `Show ${row.id}`, () => show(row.id))],
], "nothing-runs");

const showLast = table("last", [
  ["Began", (row) => clock(row.started)],
  ["Outcome", (row) => (row.outcome === "complete" ? shown(row.status) : `${row.outcome} ${row.status ?? ""}`)],
  ["Key", who, "text"],
  ["Model", (row) => row.model, "text"],
  ["Endpoint", (row) => row.endpoint, "text"],
  ["Upstream", (row) => row.upstream, "text"],
  ["Took", (row) => seconds(row.age_s), "number"],
  ["First byte", (row) => seconds(row.first_byte_s), "number"],
  ["Tokens in", (row) => row.input_tokens, "number"],
  ["Tokens out", tokens, "number"],
  ["Cost", (row) => usd(row.cost_usd), "number"],
  ["Details", (row) => button("Show", `Show ${row.id}`, () => show(row.id))],
]);

async function cancel(row) {
  if (!window.confirm(`Cancel ${row.model ?? row.endpoint} of ${row.key ?? "nobody"}?`)) return;
  if (rows.get(row.id)?.state === "ended") return problem("It had ended already.");
  await attempt(() => ask(`/admin/exchanges/${encodeURIComponent(row.id)}`, { method: "DELETE" }));
}

// ---- one exchange

async function show(id) {
  const one = await attempt(() => ask(`/admin/exchanges/${encodeURIComponent(id)}`));
  if (!one) return;
  $("one-title").textContent = `${one.method} ${one.path}`;
  const line = one.timeline, total = Math.max(one.age_s, 0.000001), first = line.first_byte_s ?? one.age_s;
  const parts = [["queued", line.queued_s, "waited here"], ["connecting", line.connect_s, "connecting"], ["waiting", Math.max(first - line.queued_s - line.connect_s, 0), "until the first byte"], ["streaming", line.streaming_s ?? 0, "streaming"]];
  const words = parts.map(([, value, text]) => `${text} ${seconds(value)}`).join(", ");
  const drawing = make("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": `Timeline: ${words}` });
  let at = 0;
  for (const [kind, value] of parts) {
    const width = Math.min((value / total) * 100, 100 - at);
    drawing.append(make("rect", { class: kind, x: at, y: 2, width: Math.max(width, 0), height: 6 }));
    at += width;
  }
  $("timeline").replaceChildren(drawing, make("p", {}, `${words}; waited for the upstream ${seconds(line.upstream_s)}; attempts ${one.attempts}`));
  const facts = ["id", "connection", "turn", "state", "outcome", "status", "error_code", "key", "end_user", "model", "upstream", "started", "input_tokens", "output_tokens", "bytes_out", "request_bytes", "cost_usd", "cache_result", "upstream_failure"];
  const listed = facts.filter((name) => one[name] !== null && one[name] !== undefined).flatMap((name) => [make("dt", {}, name), make("dd", {}, String(one[name]))]);
  for (const name of ["retry_reasons", "failed_upstreams"]) if (one[name].length) listed.push(make("dt", {}, name), make("dd", {}, one[name].join(", ")));
  $("facts").replaceChildren(...listed);
  $("conversation").replaceChildren(...conversation(one));
  if (!$("one").open) $("one").showModal();
}

function conversation(one) {
  if (!("request" in one)) return [make("p", {}, "The conversation is not kept (live.capture_bytes).")];
  const asked = one.request?.body, received = one.response?.body, parts = [];
  const text = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
  for (const message of Array.isArray(asked?.messages) ? asked.messages : []) parts.push([message.role ?? "message", text(message.content ?? message)]);
  if (!parts.length) parts.push(["request", text(asked)]);
  const choices = Array.isArray(received?.choices) ? received.choices : [];
  for (const choice of choices) parts.push(["answer", text(choice?.message?.content ?? choice?.text ?? choice)]);
  if (!choices.length) parts.push(["answer", text(received)]);
  return [make("h3", {}, "Conversation"), ...parts.flatMap(([who, said]) => [make("h4", {}, String(who)), make("pre", { tabindex: 0 }, said ?? "-")])];
}

// ---- plots

function plot(caption, lines, format) {
  const title = make("b"), drawing = make("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img" });
  const drawn = lines.map((_, index) => make("polyline", { class: index ? "line second" : "line" }));
  drawing.append(...drawn);
  const figure = make("figure", {}, make("figcaption", {}, caption, title), drawing);
  figure.redraw = (now) => {
    const values = lines.map((of) => points.map(of));
    const top = Math.max(...values.flat().filter((each) => each !== null && each !== undefined), 0.000001);
    values.forEach((series, index) => {
      const step = 100 / Math.max(POINTS - 1, 1), begin = 100 - step * (series.length - 1);
      drawn[index].setAttribute("points", series.map((value, n) => (value === null || value === undefined ? null : `${(begin + n * step).toFixed(2)},${(29 - (value / top) * 27).toFixed(2)}`)).filter(Boolean).join(" "));
    });
    const text = format(now);
    if (title.textContent !== text) title.textContent = text;
    drawing.setAttribute("aria-label", `${caption} in the last hour; now ${text}, at most ${shown(top)}`);
  };
  $("plots").append(figure);
  return figure;
}

const errorsOf = (errors) => Object.values(errors ?? {}).reduce((sum, each) => sum + each, 0);
const plots = [
  plot("Requests per second", [(point) => point.requests_per_s], (now) => shown(now.requests_per_s ?? 0)),
  plot("In flight", [(point) => point.in_flight], (now) => shown(now.in_flight ?? 0)),
  plot("Tokens per second", [(point) => point.tokens_per_s], (now) => shown(now.tokens_per_s ?? 0)),
  plot("Cost today", [(point) => point.cost_usd], (now) => usd(now.cost_today_usd ?? 0)),
  plot("Errors, last minute", [(point) => errorsOf(point.errors)], (now) => Object.entries(now.errors ?? {}).map(([kind, number]) => `${kind} ${number}`).join(", ") || "none"),
  plot("Duration p50, p99", [(point) => point.duration_p99_s, (point) => point.duration_p50_s], (now) => `${seconds(now.duration_p50_s)}, ${seconds(now.duration_p99_s)}`),
  plot("First byte p50, p99", [(point) => point.first_byte_p99_s, (point) => point.first_byte_p50_s], (now) => `${seconds(now.first_byte_p50_s)}, ${seconds(now.first_byte_p99_s)}`),
];

// ---- spending

const money = (first, name) => [
  [first, (row) => row[name] ?? "-", "text"],
  ["Requests", (row) => row.requests, "number"],
  ["Tokens in", (row) => row.input_tokens, "number"],
  ["Tokens out", (row) => row.output_tokens, "number"],
  ["From cache", (row) => row.cached_requests, "number"],
  ["Without a price", (row) => row.unpriced_requests, "number"],
  ["Cost", (row) => usd(row.cost_usd), "number"],
];
const showByKey = table("by-key", money("Key", "key"));
const showByModel = table("by-model", money("Model", "model"));
const showByDay = table("by-day", money("Day", "day"));

const budgetOf = (row) => row.group === undefined ? row.key : `group ${row.group}`;
function bar(row) {
  const made = make("meter", { min: 0, max: 1, low: 0.8, high: 0.95, optimum: 0 });
  made.update = (now) => { made.value = now.budget_usd ? (now.spent_usd + now.reserved_usd) / now.budget_usd : 1; made.setAttribute("aria-label", `${Math.round(made.value * 100)} % of the budget of ${budgetOf(now)} is spent or set aside`); };
  made.update(row);
  return made;
}
const showBudgets = table("budgets", [
  ["Key", budgetOf, "text"],
  ["Period", (row) => row.period],
  ["Used", (row) => bar(row)],
  ["Spent", (row) => usd(row.spent_usd), "number"],
  ["Set aside", (row) => usd(row.reserved_usd), "number"],
  ["Left", (row) => usd(row.remaining_usd), "number"],
  ["Budget", (row) => usd(row.budget_usd), "number"],
]);

async function loadSpending() {
  const days = Number($("days").elements.days.value) || 30;
  const from = new Date(Date.now() - (days - 1) * 86400e3).toISOString().slice(0, 10);
  $("csv").href = `/admin/usage?format=csv&from=${from}`;
  const usage = await attempt(() => ask(`/admin/usage?from=${from}`));
  if (!usage) return;
  $("since").textContent = `In all ${usd(usage.total.cost_usd)} for ${shown(usage.total.requests)} requests${usage.since ? `, since the start of this process on ${usage.since}` : ""}.`;
  const dear = (list) => [...list].sort((one, other) => other.cost_usd - one.cost_usd || other.requests - one.requests);
  showByKey(dear(usage.by_key), (row) => String(row.key));
  showByModel(dear(usage.by_model), (row) => String(row.model));
  showByDay([...usage.by_day].reverse(), (row) => row.day);
  showBudgets(usage.budgets, (row) => `${budgetOf(row)} ${row.period}`);
  const top = Math.max(...usage.by_day.map((row) => row.cost_usd), 0.000001), width = 100 / Math.max(days, 1);
  const drawing = make("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": `Cost by day, at most ${usd(top)}; the table below has the numbers` });
  for (const row of usage.by_day) {
    const n = Math.round((Date.parse(row.day) - Date.parse(from)) / 86400e3), height = (row.cost_usd / top) * 28;
    drawing.append(make("rect", { class: "bar", x: n * width, y: 30 - height, width: width * 0.8, height }));
  }
  $("by-day-plot").replaceChildren(make("figure", {}, make("figcaption", {}, "Cost by day", make("b", {}, `at most ${usd(top)}`)), drawing));
}

// ---- upstreams, keys, configuration

const showUpstreams = table("upstream-table", [
  ["Name", (row) => row.name, "text"],
  ["State", (row) => (row.up ? "up" : "down")],
  ["In flight", (row) => row.in_flight, "number"],
  ["Open circuits", (row) => (row.circuits ?? []).map((each) => `${each.model ?? "all models"}: ${each.state}${each.reason ? ` (${each.reason})` : ""}`).join("; ") || "none", "wrap"],
  ["Why", (row) => row.reason ?? "-", "wrap"],
]);

const words = (key) => [key.models ? `models ${key.models.join(", ")}` : null, key.group ? `group ${key.group}` : null, key.expires ? `expires ${key.expires}` : null, key.note ?? null].filter(Boolean).join("; ");
const showKeys = table("key-table", [
  ["Name", (key) => key.name, "text"],
  ["State", (key) => key.state],
  ["Source", (key) => key.source],
  ["Budget", (key) => (key.budget_usd === null || key.budget_usd === undefined ? "-" : `${usd(key.budget_usd)} a ${key.budget_period ?? "month"}`)],
  ["Spent", (key) => usd(key.spent_usd), "number"],
  ["Last used", (key) => (key.last_used ? new Date(key.last_used).toLocaleString() : "-")],
  ["Rules", words, "wrap"],
  ["Change", (key) => keyButtons(key)],
]);

function keyButtons(key) {
  const block = button("", "", () => change(key.name, () => ask(path(key.name), send("PATCH", { blocked: block.textContent === "Block" }))));
  const rotate = button("Rotate", `Give ${key.name} a new secret`, () => change(key.name, () => {
    const grace = window.prompt(`For how many hours shall the present secret of ${key.name} still work?`, "24");
    if (grace === null) return null;
    const hours = grace.trim() === "" ? NaN : Number(grace);
    if (!(hours >= 0)) throw new Error(`'${grace}' is no number of hours: nothing was changed.`); // null would mean 0
    return ask(`${path(key.name)}/rotate`, send("POST", { grace_s: Math.round(hours * 3600) }));
  }));
  const revoke = button("Revoke", `Revoke ${key.name}`, () => change(key.name, () => (window.confirm(`Revoke ${key.name}? Its requests get 401 at once.`) ? ask(path(key.name), { method: "DELETE" }) : null)));
  const made = make("span", {}, block, " ", rotate, " ", revoke);
  made.update = (now) => {
    made.hidden = now.source !== "store";
    block.textContent = now.state === "blocked" ? "Unblock" : "Block";
    block.setAttribute("aria-label", `${block.textContent} ${now.name}`);
  };
  made.update(key);
  return made;
}

const path = (name) => `/admin/keys/${encodeURIComponent(name)}`;

async function change(name, work) {
  const made = await attempt(work);
  $("secret").textContent = made?.key ? `The secret of ${made.name ?? name}, shown this once: ${made.key}` : "";
  await loadKeys();
}

async function loadKeys() {
  try {
    const answer = await ask("/admin/keys");
    const keys = answer.keys ?? answer.data ?? [];
    showKeys(keys, (key) => key.name);
  } catch (error) { problem(error.message); }
}

$("new-key").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements, wanted = { name: form.name.value };
  const models = form.models.value.split(",").map((each) => each.trim()).filter(Boolean);
  if (models.length) wanted.models = models;
  if (form.budget_usd.value) wanted.budget_usd = Number(form.budget_usd.value);
  if (form.expires.value) wanted.expires = form.expires.value;
  change(wanted.name, async () => { const made = await ask("/admin/keys", send("POST", wanted)); event.target.reset(); return made; });
});

async function loadConfiguration() {
  const configuration = await attempt(() => ask("/admin/config"));
  if (configuration) $("settings").textContent = configuration.text;
}

// ---- sections

const loaders = { spending: loadSpending, keys: loadKeys, configuration: loadConfiguration };
let section = "now";

function choose() {
  const wanted = location.hash.slice(1);
  if (wanted && !document.querySelector(`main > section[id="${CSS.escape(wanted)}"]`)) return;
  section = wanted || "now";
  for (const each of document.querySelectorAll("main > section")) each.hidden = each.id !== section;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${section}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  $("secret").textContent = "";
  problem("");
  changed = true;
  loaders[section]?.();
}
window.addEventListener("hashchange", choose);
$("days").addEventListener("submit", (event) => event.preventDefault());
$("days").addEventListener("change", loadSpending);
$("filter").addEventListener("input", () => { changed = true; });
$("filter").addEventListener("reset", () => setTimeout(() => { changed = true; draw(); }));
$("filter").addEventListener("submit", (event) => event.preventDefault());
setInterval(() => { if (!document.hidden && (section === "spending" || section === "keys")) loaders[section](); }, 15000);

// ---- what happens

function keep(row) {
  row.at = performance.now();
  if (row.state === "ended") rows.delete(row.id); // to the end of the order
  rows.set(row.id, row);
  changed = true;
}

function forget() {
  let ended = 0;
  for (const row of rows.values()) if (row.state === "ended") ended += 1;
  for (const row of rows.values()) {
    if (ended <= KEPT) break;
    if (row.state === "ended") { rows.delete(row.id); ended -= 1; }
  }
}

const has = (value, wanted) => !wanted || String(value ?? "").toLowerCase().includes(wanted.toLowerCase());

function draw() {
  if (document.hidden) return;
  forget();
  const all = [...rows.values()];
  if (section === "now") {
    showRunning(all.filter((row) => row.state !== "ended").sort((one, other) => one.at - one.age_s * 1000 - (other.at - other.age_s * 1000)).slice(0, KEPT), (row) => row.id);
    for (const each of plots) each.redraw(stats);
  }
  if (section === "ended" && changed) {
    const wanted = $("filter").elements;
    showLast(all.filter((row) => row.state === "ended" && has(who(row), wanted.key.value) && has(row.model, wanted.model.value) && has(row.endpoint, wanted.endpoint.value) && has(`${row.outcome} ${row.status}`, wanted.outcome.value)).reverse(), (row) => row.id);
  }
  if (section === "upstreams") showUpstreams(stats.upstreams ?? [], (row) => row.name);
  changed = false;
}
setInterval(draw, 500);

let pointAt = 0;
function read() {
  const source = new EventSource("/admin/live");
  const on = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data)));
  source.addEventListener("open", () => { $("state").textContent = "Live"; $("state").className = ""; });
  source.addEventListener("error", () => {
    $("state").textContent = "Connection lost, trying again";
    $("state").className = "lost";
    if (source.readyState === EventSource.CLOSED) setTimeout(read, 3000);
  });
  on("snapshot", (snapshot) => {
    rows.clear();
    for (const row of [...snapshot.exchanges].reverse()) keep(row);
    points = snapshot.points;
    stats = snapshot.stats;
    pointAt = performance.now();
    draw();
  });
  on("started", (row) => { if (rows.get(row.id)?.state !== "ended") keep(row); });
  on("progress", (row) => { if (rows.get(row.id)?.state !== "ended") keep(row); });
  on("ended", keep);
  on("stats", (now) => {
    stats = now;
    if (performance.now() - pointAt >= 10000) {
      pointAt = performance.now();
      points.push({ ...now, time: Date.now() / 1000, cost_usd: now.cost_usd / 6, errors: now.errors });
      points = points.slice(-POINTS);
    }
  });
}

$("page").hidden = false;
$("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
choose();
read();
