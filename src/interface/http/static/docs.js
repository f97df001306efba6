// Shows the API's own OpenAPI document and lets you try it. Everything that comes from elsewhere is put in as text.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
let openapi;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function resolved(schema) {
  return schema && schema.$ref ? resolved(openapi.components.schemas[schema.$ref.split("/").pop()]) : schema || {};
}

// A value of the kind that a schema describes, to start from.
function example(reference) {
  const schema = resolved(reference);
  if (schema.default !== undefined) return schema.default;
  const variants = schema.oneOf || schema.anyOf;
  if (variants) return example(variants.find((variant) => variant.type !== "null") || variants[0]);
  const type = Array.isArray(schema.type) ? schema.type.find((name) => name !== "null") : schema.type;
  if (type === "object") {
    const fields = Object.entries(schema.properties || {});
    return Object.fromEntries(fields.map(([name, field]) => [name, example(field)]));
  }
  if (type === "array") return [example(schema.items)];
  return { integer: 0, number: 0, boolean: true, string: "" }[type] ?? null;
}

function statusTable(responses) {
  const rows = Object.entries(responses).map(([status, response]) =>
    element("tr", {}, element("td", {}, element("code", { textContent: status })),
      element("td", { textContent: response.description })));
  return element("table", {}, ...rows);
}

function input(label, properties) {
  const field = element("input", properties);
  return [field, element("p", {}, element("label", {}, `${label} `, field))];
}

function bodyFields(operation) {
  const content = (operation.requestBody || {}).content || {};
  if (content["multipart/form-data"]) {
    const [kb, kbRow] = input("kb_id", { type: "text" });
    const [file, fileRow] = input("file", { type: "file" });
    const build = () => {
      const form = new FormData();
      form.append("kb_id", kb.value);
      if (file.files.length) form.append("file", file.files[0]);
      return { body: form };
    };
    return [[kbRow, fileRow], build];
  }
  if (content["application/json"]) {
    const text = JSON.stringify(example(content["application/json"].schema), null, 2);
    const area = element("textarea", { value: text, rows: text.split("\n").length, spellcheck: false });
    area.setAttribute("aria-label", "body");
    return [[area], () => ({ body: area.value, headers: { "Content-Type": "application/json" } })];
  }
  return [[], () => ({})];
}

function parameterFields(parameters) {
  const fields = parameters.map((parameter) => {
    const [field, row] = input(`${parameter.name} (${parameter.in})`, { type: "text", required: parameter.required });
    return { parameter, field, row };
  });
  const address = (path) => {
    const query = new URLSearchParams();
    for (const { parameter, field } of fields) {
      if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(field.value));
      else if (parameter.in === "query" && field.value) query.append(parameter.name, field.value);
    }
    return query.size ? `${path}?${query}` : path;
  };
  const headers = () => Object.fromEntries(
    fields.filter(({ parameter, field }) => parameter.in === "header" && field.value)
      .map(({ parameter, field }) => [parameter.name, field.value]));
  return [fields.map(({ row }) => row), address, headers];
}

async function show(reply, output) {
  output.textContent = `${reply.status} ${reply.statusText}\n\n`;
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) output.append(piece.value);
}

function operationView(method, path, operation) {
  const [parameters, address, given] = parameterFields(operation.parameters || []);
  const [body, build] = bodyFields(operation);
  const output = element("pre", { hidden: true });
  const send = element("button", { textContent: "Send" });
  send.addEventListener("click", async () => {
    const { headers: typed, ...request } = build();
    const headers = { ...typed, ...given() };
    const token = document.getElementById("token").value.trim();
    if (token && operation.security) headers.Authorization = `Bearer ${token}`;
    output.hidden = false;
    output.textContent = "…";
    try {
      await show(await fetch(address(path), { method: method.toUpperCase(), headers, ...request }), output);
    } catch (error) {
      output.append(`\n${error}`);
    }
  });
  const heading = element("summary", {},
    element("span", { className: "method", textContent: method.toUpperCase() }),
    element("code", { textContent: path }), ` – ${(operation.description || "").split("\n")[0]}`);
  const note = element("p", { className: "note", textContent: operation.security ? "Asks for a token." : "Open to everybody." });
  return element("details", {}, heading,
    element("div", {}, note, ...parameters, ...body, element("p", {}, send), output, statusTable(operation.responses)));
}

async function start() {
  openapi = await (await fetch("/schema/openapi.json")).json();
  document.title = document.getElementById("title").textContent = `${openapi.info.title} ${openapi.info.version}`;
  document.getElementById("description").textContent = openapi.info.description;
  const groups = new Map();
  for (const [path, operations] of Object.entries(openapi.paths)) {
    for (const method of METHODS.filter((name) => name in operations)) {
      const tag = (operations[method].tags || ["Others"])[0];
      groups.set(tag, [...(groups.get(tag) || []), operationView(method, path, operations[method])]);
    }
  }
  const order = ["Users", "Conversations", "Chat", "Knowledge bases", "Health"];
  const place = (tag) => (order.indexOf(tag) + order.length + 1) % (order.length + 1);
  const sections = [...groups].sort(([one], [other]) => place(one) - place(other));
  document.getElementById("operations").replaceChildren(
    ...sections.flatMap(([tag, views]) => [element("h2", { textContent: tag }), ...views]));
}

start().catch((error) => document.getElementById("operations").replaceChildren(String(error)));
