// Which trajectories are listed: filters, search, order, pages.

const Find = {
  PER_PAGE: 50,
  trajectories: null, // {prompts, tokens, rows}
  found: [],
  page: 0,
  open: null, // the row that is read

  begin(trajectories, onOpen) {
    Find.trajectories = trajectories;
    Find.onOpen = onOpen;
    const form = document.getElementById("find");
    Find.offer(form.elements.round, new Set(trajectories.rows.map((row) => String(row.round))));
    Find.offer(form.elements.failure, new Set(trajectories.rows.flatMap(Find.failures)));
    let timer = 0;
    const soon = () => { clearTimeout(timer); timer = setTimeout(Find.refresh, 120); };
    form.addEventListener("input", soon);
    form.addEventListener("reset", soon);
    form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("pages").addEventListener("click", (event) => Find.turn(Number(event.target.dataset.step)));
    document.getElementById("list").addEventListener("keydown", Find.onKey);
    Find.refresh();
  },

  offer(select, values) {
    for (const value of [...values].sort(new Intl.Collator("en", { numeric: true }).compare))
      select.append(Data.element("option", { value }, value));
  },

  /** The response's text: its tokens joined, unless it is kept whole. */
  response(row) {
    return row.response ?? row.tokens.map((place) => Find.trajectories.tokens[place]).join("");
  },

  prompt: (row) => Find.trajectories.prompts[row.prompt],
  failures: (row) => [row.failure, ...row.audits.map((audit) => audit.failure)].filter(Boolean),

  /** The share of a chunk's audit that its replies do not bear out: 1 − k_sem / N. */
  apart: (audit) => (audit.failure || !audit.n ? undefined : 1 - audit.k / audit.n),

  haystack(row) {
    row.haystack ??= [Find.prompt(row), Find.response(row), ...row.audits.flatMap((audit) => audit.replies)].join("\n").toLowerCase();
    return row.haystack;
  },

  wanted() {
    const own = Object.fromEntries(new FormData(document.getElementById("find")));
    const number = (text) => (text === "" ? undefined : Number(text));
    return { ...own, text: own.text.toLowerCase(), low: number(own.low), high: number(own.high), apart: number(own.apart) };
  },

  /** Whether a row is wanted; of an audit's limits one audit has to keep them all. */
  matches(row, wanted) {
    if (wanted.round !== "" && String(row.round) !== wanted.round) return false;
    if (wanted.prompt && !row.prompt_id.includes(wanted.prompt)) return false;
    if (wanted.failure && !Find.failures(row).includes(wanted.failure)) return false;
    const limits = [wanted.low, wanted.high, wanted.apart];
    if (limits.some((limit) => limit !== undefined) && !row.audits.some((audit) => Find.within(audit, wanted))) return false;
    return !wanted.text || Find.haystack(row).includes(wanted.text);
  },

  within(audit, { low, high, apart }) {
    if (low !== undefined && !(audit.value >= low)) return false;
    if (high !== undefined && !(audit.value <= high)) return false;
    return apart === undefined || Find.apart(audit) >= apart;
  },

  sorted(rows, order) {
    if (!order) return rows;
    const least = (row) => Math.min(...row.audits.map((audit) =>
      (order === "low" ? audit.value : -Find.apart(audit))).filter(Number.isFinite));
    const keys = new Map(rows.map((row) => [row, least(row)]));
    return [...rows].sort((one, other) => (keys.get(one) === keys.get(other) ? 0 : keys.get(one) - keys.get(other)));
  },

  refresh() {
    const wanted = Find.wanted();
    Find.found = Find.sorted(Find.trajectories.rows.filter((row) => Find.matches(row, wanted)), wanted.order);
    Find.page = 0;
    Find.list();
  },

  turn(step) {
    if (!step) return;
    Find.page += step;
    Find.list();
    document.querySelector("#list button")?.focus();
  },

  list() {
    const first = Find.page * Find.PER_PAGE;
    const shown = Find.found.slice(first, first + Find.PER_PAGE);
    document.getElementById("list").replaceChildren(...shown.map((row) => Data.element("li", {}, Find.button(row))));
    const all = Find.trajectories.rows.length.toLocaleString("en");
    document.getElementById("count").textContent = `${Find.found.length.toLocaleString("en")} of ${all} match`;
    const last = Math.max(0, Math.ceil(Find.found.length / Find.PER_PAGE) - 1);
    document.getElementById("page").textContent = `page ${Find.page + 1} of ${last + 1}`;
    const [back, forth] = document.querySelectorAll("#pages button");
    back.disabled = Find.page === 0;
    forth.disabled = Find.page >= last;
  },

  button(row) {
    const said = Find.failures(row).length ? `, ${Find.failures(row).length} failed` : "";
    const reward = row.reward ? `, reward ${Data.number(row.reward.value)}` : "";
    const made = Data.element("button", { type: "button", "aria-current": String(row === Find.open) },
      `round ${row.round} · ${row.prompt_id}`,
      Data.element("small", {}, Find.prompt(row).slice(0, 80)),
      Data.element("small", {}, `${row.len} tokens, ${row.audits.length} audits${said}${reward}`));
    made.addEventListener("click", () => Find.show(row, { focus: true }));
    return made;
  },

  show(row, { focus = false } = {}) {
    Find.open = row;
    const at = Find.found.indexOf(row);
    if (at >= 0) Find.page = Math.floor(at / Find.PER_PAGE);
    Find.list();
    Find.onOpen(row, focus);
  },

  /** Back to the list, at what is open, or else at its first line. */
  focusList() {
    (document.querySelector("#list [aria-current=true]") ?? document.querySelector("#list button"))?.focus();
  },

  onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...document.querySelectorAll("#list button")];
    buttons[buttons.indexOf(document.activeElement) + step]?.focus();
    event.preventDefault();
  },
};
