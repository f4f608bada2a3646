"use strict";
// All that comes from a user or a model is put in as text (textContent), never as HTML.

const at = (id) => document.getElementById(id);

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

let models = [];

async function ask(path, body) {
  const headers = {};
  const token = at("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (response.status === 401) at("token-field").hidden = false;
  if (!response.ok) throw new Error(answer.error || `status ${response.status}`);
  return answer;
}

function fail(error) {
  at("result").replaceChildren(element("p", error.message, "error"));
}

function chosen() {
  return models.find((model) => model.name === at("model").value);
}

function showColumns() {
  const model = chosen();
  at("about").textContent = `${model.name}: ${model.task || model.head}`;
  const fields = model.columns.filter((column) => ["text", "tokens"].includes(column.type));
  at("columns").replaceChildren(
    ...fields.map((column) => {
      const label = element("label", column.name + (column.required ? "" : " (optional)"));
      const area = element("textarea", undefined, column.name === "context" ? "long" : "");
      area.id = `column-${column.name}`;
      area.name = column.name;
      label.append(area);
      return label;
    }),
  );
}

async function loadModels() {
  models = (await ask("models")).models;
  at("model").replaceChildren(...models.map((model) => element("option", model.name)));
  at("model-field").hidden = models.length < 2;
  showColumns();
}

// Positions count characters, strings of JavaScript half of some.
function highlighted(text, spans) {
  const characters = Array.from(text);
  const passage = element("p", undefined, "passage");
  let done = 0;
  for (const [start, end, title] of spans) {
    const mark = element("mark", characters.slice(start, end).join(""));
    if (title) mark.title = title;
    passage.append(characters.slice(done, start).join(""), mark);
    done = end;
  }
  passage.append(characters.slice(done).join(""));
  return passage;
}

function shares(probabilities) {
  const sorted = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  return sorted.map(([label, share]) => {
    const line = element("div", undefined, "share");
    const bar = element("progress");
    bar.value = share;
    line.append(element("span", label), bar, element("span", `${(100 * share).toFixed(1)} %`));
    return line;
  });
}

function showAnswer(row, found) {
  const parts = [];
  if ("answer" in found) {
    parts.push(element("p", found.answer || "(no answer)", "answer"));
    const spans = found.start === null ? [] : [[found.start, found.end]];
    parts.push(highlighted(row.context, spans));
  } else if ("label" in found) {
    parts.push(element("p", String(found.label), "answer"));
  }
  if (found.probabilities && !Array.isArray(found.probabilities)) {
    parts.push(...shares(found.probabilities));
  }
  const details = element("details");
  details.open = parts.length === 0;
  details.append(element("summary", "JSON"), element("pre", JSON.stringify(found, null, 2)));
  at("result").replaceChildren(...parts, details);
  at("result").scrollIntoView({ block: "nearest" });
}

async function predict() {
  if (models.length === 0) await loadModels();
  const row = {};
  for (const area of at("columns").querySelectorAll("textarea")) {
    if (area.value) row[area.name] = area.value;
  }
  const name = encodeURIComponent(chosen().name);
  showAnswer(row, await ask(`models/${name}/predict`, row));
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  at("send").disabled = true;
  predict()
    .catch(fail)
    .finally(() => {
      at("send").disabled = false;
    });
});
at("model").addEventListener("change", showColumns);
at("token").addEventListener("change", () => loadModels().catch(fail));
loadModels().catch(fail);
