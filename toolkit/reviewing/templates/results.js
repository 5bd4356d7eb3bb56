"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const OK = 0, UNSURE = 1, FAILED = 2, EMPTY = 3, PAGE = 96;
  const decisions = new Map(Object.entries(data.decisions).map(([id, label]) => [Number(id), label]));
  const rows = data.rows.map(([path, label, confidence, status, error, truth, image, candidate], id) => ({
    id, path, confidence, status, error, image,
    label: label < 0 ? "" : data.labels[label],
    truth: truth < 0 ? "" : data.labels[truth],
    candidate: candidate < 0 ? "" : data.labels[candidate],
  }));
  const element = (name, options = {}, ...inside) => {
    const made = Object.assign(document.createElement(name), options);
    made.append(...inside);
    return made;
  };
  const percent = (value) => value === null ? "" : `${(100 * value).toFixed(1)} %`;
  const unsure = (row) => row.candidate ? `unsure: ${row.candidate}` : "unsure";
  const named = (label) => label === "" ? "none of these" : label;

  // Which rows the filters leave, in which order.
  const filters = {
    status: byId("filter-status"), label: byId("filter-label"), from: byId("filter-from"), to: byId("filter-to"),
    path: byId("filter-path"), order: byId("order"),
  };
  const labelOf = (row) => decisions.has(row.id) ? decisions.get(row.id) : row.label;
  const suggestion = (row) => labelOf(row) || (decisions.has(row.id) ? "" : row.candidate);
  const passes = (row, low, high, text) => {
    const status = filters.status.value;
    if (status === "differs" && (!row.truth || row.status === FAILED || row.truth === row.label)) return false;
    if (status === "open" && decisions.has(row.id)) return false;
    if (status === "decided" && !decisions.has(row.id)) return false;
    if ("0123".includes(status) && status !== "" && row.status !== Number(status)) return false;
    if (filters.label.value && labelOf(row) !== filters.label.value) return false;
    if (row.confidence !== null && (row.confidence < low || row.confidence > high)) return false;
    if (row.confidence === null && (low > 0 || high < 1)) return false;
    return !text || row.path.toLowerCase().includes(text);
  };
  const orders = {
    given: null,
    low: (a, b) => (a.confidence ?? 2) - (b.confidence ?? 2),
    high: (a, b) => (b.confidence ?? -1) - (a.confidence ?? -1),
    path: (a, b) => a.path < b.path ? -1 : a.path > b.path ? 1 : 0,
  };
  let shown = [], drawn = 0, current = -1;
  const cards = byId("cards"), cardOf = new Map();

  const limit = (input, empty) => input.value === "" || Number.isNaN(Number(input.value)) ? empty : Number(input.value) / 100;
  const filter = () => {
    const [low, high] = [limit(filters.from, 0), limit(filters.to, 1)];
    const text = filters.path.value.trim().toLowerCase();
    shown = rows.filter((row) => passes(row, low, high, text));
    const order = orders[filters.order.value];
    if (order) shown.sort(order);
    cards.replaceChildren();
    cardOf.clear();
    drawn = 0;
    more();
    byId("shown").textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} images`;
    byId("none-shown").hidden = shown.length > 0;
    for (const button of byId("counts").querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset.label === filters.label.value));
  };
  const more = () => {
    const next = shown.slice(drawn, drawn + PAGE);
    cards.append(...next.map(card));
    drawn += next.length;
    byId("more").hidden = drawn >= shown.length;
  };

  const fill = (made, row) => {
    const decided = decisions.has(row.id);
    made.className = `card${["", " unsure", " failed", " empty"][row.status]}${decided ? " decided" : ""}${row.id === current ? " current" : ""}`;
    const label = decided ? named(decisions.get(row.id)) : row.label || ["", unsure(row), "failed", "empty"][row.status];
    made.querySelector(".name").textContent = label;
    made.querySelector(".name").title = label;
    const before = decided ? ["decided"] : [];
    if (decided && row.label && row.label !== decisions.get(row.id)) before[0] = `decided, was ${row.label}`;
    if (row.truth && row.truth !== row.label) before.push(`folder: ${row.truth}`);
    made.querySelector(".tag").textContent = row.error || before.join(" · ");
  };
  const card = (row) => {
    const source = data.server ? (row.status === FAILED ? "" : `thumbnail/${row.id}`) : row.image;
    const inside = source
      ? element("img", { src: source, alt: row.path, loading: "lazy", decoding: "async" })
      : element("span", { className: "nothing", textContent: row.status === FAILED ? "no image" : "the file could not be read" });
    inside.addEventListener("error", () => inside.replaceWith(element("span", { className: "nothing", textContent: "the file could not be read" })));
    const thumb = element("div", { className: "thumb" });
    if (data.server) {
      const open = element("button", { type: "button", ariaLabel: `Review ${row.path}` }, inside);
      open.addEventListener("click", () => go(row.id));
      thumb.append(open);
    } else thumb.append(inside);
    const path = element("button", { type: "button", className: "link path", textContent: row.path, title: "Copy this path" });
    path.addEventListener("click", () => copy([row.path]));
    const made = element("li", {}, thumb,
      element("p", { className: "verdict" }, element("span", { className: "name" }), element("span", { className: "rate", textContent: percent(row.confidence) })),
      element("p", { className: "tag" }), path);
    made.dataset.id = row.id;
    cardOf.set(row.id, made);
    fill(made, row);
    return made;
  };

  const copy = async (paths) => {
    const text = paths.join("\n");
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = element("textarea", { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    byId("shown").textContent = `${paths.length.toLocaleString("en")} ${paths.length === 1 ? "path" : "paths"} copied`;
  };

  const form = byId("filters");
  for (const choice of form.querySelectorAll("select")) choice.addEventListener("change", filter);
  for (const field of form.querySelectorAll("input")) field.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  byId("copy").addEventListener("click", () => copy(shown.map((row) => row.path)));
  byId("show-more").addEventListener("click", more);
  new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && drawn < shown.length && more(), { rootMargin: "600px" }).observe(byId("more"));
  for (const button of byId("counts").querySelectorAll("button"))
    button.addEventListener("click", () => {
      filters.label.value = filters.label.value === button.dataset.label ? "" : button.dataset.label;
      filter();
      byId("images").scrollIntoView();
    });
  filter();
  if (!data.server) return;

  // Review: one image at a time; every decision is on the server's disk before the next image comes.
  const problem = (text) => {
    byId("problem").textContent = text;
    byId("problem").hidden = !text;
  };
  const send = async (place, content) => {
    const answer = await fetch(place, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
    if (!answer.ok) throw new Error(await answer.text());
  };
  const buttons = byId("label-buttons");
  const addButton = (label, i) => {
    const button = element("button", { type: "button" }, label);
    if (i < 9) button.append(" ", element("kbd", { textContent: i + 1 }));
    button.dataset.label = label;
    button.addEventListener("click", () => decide(label));
    buttons.append(button);
  };
  data.buttons.forEach(addButton);
  const readable = (row) => row.status !== FAILED;
  const count = () => { byId("n-decided").textContent = `${decisions.size.toLocaleString("en")} decided`; };
  const draw = (id) => {
    const row = rows[id], made = cardOf.get(id);
    if (made) fill(made, row);
  };
  const go = (id) => {
    const before = current;
    current = id;
    if (before >= 0) draw(before);
    const row = rows[id];
    const large = byId("large");
    large.hidden = row === undefined;
    byId("large-none").hidden = row !== undefined;
    if (row === undefined) {
      byId("large-none").textContent = "Every image that fits the filters is decided.";
      byId("current-path").textContent = byId("current-says").textContent = "";
      return;
    }
    large.src = `image/${id}`;
    large.alt = row.path;
    byId("current-path").textContent = row.path;
    tell(row);
    draw(id);
    if (row.status === UNSURE && !row.candidate) ask(row);
  };
  const tell = (row) => {
    const id = row.id;
    const says = row.label || row.status === UNSURE ? `${row.label || unsure(row)} ${percent(row.confidence)}` : row.error || "empty: no box with a size that is sure enough (--min-detection)";
    byId("current-says").textContent = decisions.has(id) ? `${says} · decided: ${named(decisions.get(id))}` : says;
    byId("accept").disabled = !suggestion(row) && !decisions.has(id);
    for (const button of buttons.children) button.setAttribute("aria-pressed", String(suggestion(row) === button.dataset.label));
  };
  // The table does not say what an unsure image is most likely; the model may.
  const ask = async (row) => {
    const answer = await fetch(`candidate/${row.id}`).catch(() => null);
    row.candidate = answer?.ok ? (await answer.json()).label : "";
    if (!row.candidate) return;
    draw(row.id);
    if (row.id === current) tell(row);
  };
  const step = (by, wanted = readable) => {
    let at = shown.findIndex((row) => row.id === current);
    for (at += by; at >= 0 && at < shown.length; at += by)
      if (wanted(shown[at])) return go(shown[at].id);
    return undefined;
  };
  const advance = () => {
    const open = (row) => readable(row) && !decisions.has(row.id);
    const at = shown.findIndex((row) => row.id === current);
    const next = shown.slice(at + 1).find(open) ?? shown.find(open);
    go(next ? next.id : -1);
  };
  let busy = Promise.resolve();
  const change = (id, act, place, content) => {
    busy = busy.then(async () => {
      try {
        await send(place, content);
        problem("");
        act();
        draw(id);
        count();
      } catch (error) {
        problem(`Not saved: ${error.message || "the server does not answer; start toolkit review again"}`);
        go(id);
      }
    });
  };
  const decide = (label) => {
    const id = current;
    if (id < 0) return;
    if (label !== "" && !data.labels.includes(label)) {
      data.labels.push(label);
      data.buttons.push(label);
      addButton(label, data.buttons.length - 1);
      byId("known").append(element("option", { value: label }));
      filters.label.append(element("option", { textContent: label }));
    }
    change(id, () => decisions.set(id, label), "decide", { image: id, label });
    busy = busy.then(() => { if (current === id && decisions.get(id) === label) advance(); });
  };
  const takeBack = () => {
    const id = current;
    if (id < 0 || !decisions.has(id)) return;
    change(id, () => { decisions.delete(id); go(id); }, "take-back", { image: id });
  };
  const accept = () => {
    if (current < 0) return;
    const label = suggestion(rows[current]);
    if (label || decisions.has(current)) decide(label);
  };
  byId("accept").addEventListener("click", accept);
  byId("none-of-these").addEventListener("click", () => decide(""));
  byId("take-back").addEventListener("click", takeBack);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("other").addEventListener("submit", (event) => {
    event.preventDefault();
    const label = byId("other-label").value.trim();
    if (label) decide(label);
    byId("other-label").value = "";
    byId("other-label").blur();
  });
  byId("finish").addEventListener("click", () => {
    busy = busy.then(() => send("finish", {})).then(
      () => problem(`Finished: ${decisions.size.toLocaleString("en")} decisions are saved. You can close this page.`),
      (error) => problem(error.message),
    );
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const digit = event.key >= "1" && event.key <= "9" ? Number(event.key) : 0;
    if (digit && digit <= data.buttons.length) decide(data.buttons[digit - 1]);
    else if (event.key === "Enter" && !event.target.closest("button")) accept();
    else if (event.key === "x" || event.key === "X") decide("");
    else if (event.key === "u" || event.key === "U") takeBack();
    else if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else return;
    event.preventDefault();
  });
  count();
  advance();
})();
