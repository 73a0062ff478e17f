// A list of what a form finds, a page of it at a time, walked by arrow keys; one line is open.

const List = {
  PER_PAGE: 50,
  found: [],
  page: 0,
  open: null, // the row that is read

  /** num: rows in all; button: the three texts of a row; refresh: finds anew, and calls `set`. */
  begin({ num, button, onOpen, refresh }) {
    Object.assign(List, { num, button, onOpen });
    const form = document.getElementById("find");
    let timer = 0;
    const soon = () => {
      document.getElementById("list").setAttribute("aria-busy", "true");
      clearTimeout(timer);
      timer = setTimeout(refresh, 120);
    };
    form.addEventListener("input", soon);
    form.addEventListener("reset", soon);
    form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("pages").addEventListener("click", (event) => List.turn(Number(event.target.dataset.step)));
    document.getElementById("list").addEventListener("keydown", List.onKey);
    refresh();
  },

  set(found) {
    List.found = found;
    List.page = 0;
    List.draw();
  },

  turn(step) {
    if (!step) return;
    List.page += step;
    List.draw();
    document.querySelector("#list button")?.focus();
  },

  draw() {
    const first = List.page * List.PER_PAGE;
    const shown = List.found.slice(first, first + List.PER_PAGE);
    const list = document.getElementById("list");
    list.replaceChildren(...shown.map((row) => Data.element("li", {}, List.line(row))));
    list.setAttribute("aria-busy", "false");
    const count = (number) => number.toLocaleString("en");
    document.getElementById("count").textContent = `${count(List.found.length)} of ${count(List.num)} match`;
    const last = Math.max(0, Math.ceil(List.found.length / List.PER_PAGE) - 1);
    document.getElementById("page").textContent = `page ${List.page + 1} of ${last + 1}`;
    const [back, forth] = document.querySelectorAll("#pages button");
    back.disabled = List.page === 0;
    forth.disabled = List.page >= last;
  },

  line(row) {
    const [title, ...more] = List.button(row);
    const made = Data.element("button", { type: "button", "aria-current": String(row === List.open) },
      title, ...more.map((text) => Data.element("small", {}, text)));
    made.addEventListener("click", () => List.show(row));
    return made;
  },

  show(row) {
    List.open = row;
    const at = List.found.indexOf(row);
    if (at >= 0) List.page = Math.floor(at / List.PER_PAGE);
    List.draw();
    List.onOpen(row);
    const article = document.getElementById("reading");
    article.focus({ preventScroll: true });
    article.scrollIntoView({ block: "nearest" });
  },

  /** Back to the list, at what is open, or else at its first line. */
  focus() {
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
