
"use strict";
(async () => {
  const PAGE = 100;
  const at = (id) => document.getElementById(id);
  if (!("DecompressionStream" in window)) {
    at("count").textContent = "This part needs a browser of 2023 or later.";
    return;
  }
  const packed = Uint8Array.from(atob(at("data").textContent), (one) => one.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = await new Response(unpacked).json();
  const model = at("model"), filter = at("filter"), sort = at("sort"), find = at("find");
  let shown = PAGE;

  // texts are set as text, so that nothing in them is read as HTML
  function element(kind, className, text) {
    const made = document.createElement(kind);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  data.models.forEach((name, index) => {
    const option = element("option", "", name);
    option.value = index;
    model.append(option);
  });

  const change = (query) => query.values[Number(model.value) + 1] - query.values[0];
  const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(3);
  const tone = (value) => (value > 0 ? "up" : value < 0 ? "down" : "");

  function wanted(query) {
    const moved = change(query);
    const kinds = {
      all: true, losses: moved < 0, wins: moved > 0, ties: moved === 0, lost: query.found === 0,
    };
    const text = find.value.trim().toLowerCase();
    return kinds[filter.value] && (!text || `${query.id} ${query.text}`.toLowerCase().includes(text));
  }

  function item(place, number, steps, whereTo, grades) {
    const row = element("li");
    row.append(element("span", "place", place));
    const arrow = steps > 0 ? `▲ ${steps}` : steps < 0 ? `▼ ${-steps}` : "=";
    const moved = element("span", `moved ${tone(steps)}`, arrow);
    moved.title = whereTo;
    row.append(moved);
    const cell = element("div", "document");
    const grade = grades[number];
    if (grade !== undefined) {
      cell.append(element("span", grade > 0 ? "grade" : "grade not", grade > 0 ? `relevant ${grade}` : "not relevant"));
    }
    const [id, text] = data.documents[number];
    cell.append(element("span", "id", id), text);
    if (data.images[number]) {
      const image = element("img");
      image.src = data.images[number];
      image.alt = `image of ${id}`;
      image.loading = "lazy";
      cell.append(image);
    }
    row.append(cell);
    return row;
  }

  function lists(query) {
    const own = query.models[Number(model.value)];
    const both = element("div", "lists");
    const before = element("div"), after = element("div");
    before.append(element("h3", "", `no reranking: ${query.values[0].toFixed(3)}; ${query.found} of ${query.relevant} relevant documents are candidates`));
    after.append(element("h3", "", `${data.models[model.value]}: ${query.values[Number(model.value) + 1].toFixed(3)}`));
    const left = element("ol"), right = element("ol");
    query.before.forEach((number, index) => {
      left.append(item(index + 1, number, index + 1 - own.to[index], `now ${own.to[index]}`, query.grades));
    });
    own.after.forEach(([number, from], index) => {
      right.append(item(index + 1, number, from - index - 1, `was ${from}`, query.grades));
    });
    before.append(left);
    after.append(right);
    both.append(before, after);
    return both;
  }

  function line(query) {
    const row = element("details", "query");
    const head = element("summary");
    const moved = change(query);
    head.append(element("span", "text", query.text));
    head.append(element("span", "values", `${query.values[0].toFixed(3)} → ${query.values[Number(model.value) + 1].toFixed(3)}`));
    head.append(element("span", `change ${tone(moved)}`, moved === 0 ? "=" : signed(moved)));
    row.append(head);
    row.addEventListener("toggle", () => {
      if (row.open && row.childElementCount === 1) row.append(lists(query));
    });
    return row;
  }

  function show() {
    const found = data.queries.filter(wanted);
    if (sort.value !== "order") {
      const sign = sort.value === "best" ? -1 : 1;
      found.sort((one, other) => sign * (change(one) - change(other)));
    }
    at("count").textContent = `${found.length} of ${data.queries.length} queries`;
    at("queries").replaceChildren(...found.slice(0, shown).map(line));
    at("more").hidden = found.length <= shown;
  }

  [model, filter, sort, find].forEach((one) => one.addEventListener("input", () => { shown = PAGE; show(); }));
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  at("more").addEventListener("click", () => { shown += PAGE; show(); });
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const one of [filter, sort, model]) {
    if (asked.has(one.id)) one.value = asked.get(one.id);
  }
  show();
  if (asked.has("open")) document.querySelectorAll(".query")[Number(asked.get("open"))].open = true;
})();
