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

// A value of the kind that a schema describes, to start from: what has to be there, and what the schema has a value for.
// Schemas can contain themselves: inside its own value each is left empty.
function example(reference, around = []) {
  if (around.includes(reference.$ref)) return null;
  const within = reference.$ref ? [...around, reference.$ref] : around;
  const schema = resolved(reference);
  const [shown] = schema.examples || [schema.default];
  if (shown !== undefined) return shown;
  if (schema.enum) return schema.enum[0];
  const variants = schema.oneOf || schema.anyOf;
  if (variants) return example(variants.find((variant) => variant.type !== "null") || variants[0], within);
  const type = Array.isArray(schema.type) ? schema.type.find((name) => name !== "null") : schema.type;
  if (type === "object") {
    const fields = Object.entries(schema.properties || {}).filter(([name, field]) =>
      (schema.required || []).includes(name) || field.examples || (field.default ?? null) !== null);
    return Object.fromEntries(fields.map(([name, field]) => [name, example(field, within)]));
  }
  if (type === "array") return [example(schema.items, within)].filter((item) => item !== null);
  return { integer: 0, number: 0, boolean: true, string: "" }[type] ?? null;
}

function statusTable(responses) {
  const rows = Object.entries(responses).map(([status, response]) =>
    element("tr", {}, element("td", {}, element("code", { textContent: status })),
      element("td", { textContent: response.description })));
  return element("table", {}, ...rows);
}

function row(label, field) {
  return element("p", {}, element("label", {}, `${label} `, field));
}

function input(label, properties) {
  const field = element("input", properties);
  return [field, row(label, field)];
}

function choice(label, values) {
  const field = element("select", {}, ...values.map((value) => element("option", { value, textContent: value })));
  field.value = values[0];
  return [field, row(label, field)];
}

// A field of a form, whose row says what it is for; what is left empty is not sent.
function formField(name, reference, required) {
  const schema = resolved(reference);
  const label = `${name}${required ? "" : " (optional)"}${schema.description ? ` – ${schema.description}` : ""}`;
  if (schema.format === "binary") {
    const [field, shown] = input(label, { type: "file", required });
    return { shown, add: (form) => field.files.length && form.append(name, field.files[0]) };
  }
  const values = schema.enum || (schema.type === "boolean" ? ["true", "false"] : null);
  const [field, shown] = values ? choice(label, required ? values : ["", ...values]) : input(label, { type: "text", required });
  return { shown, add: (form) => field.value && form.append(name, field.value) };
}

function formFields(reference) {
  const schema = resolved(reference);
  const fields = Object.entries(schema.properties).map(([name, field]) =>
    formField(name, field, (schema.required || []).includes(name)));
  const build = () => {
    const form = new FormData();
    fields.forEach(({ add }) => add(form));
    return { body: form };
  };
  return [fields.map(({ shown }) => shown), build];
}

function bodyFields(operation) {
  const content = (operation.requestBody || {}).content || {};
  if (content["multipart/form-data"]) return formFields(content["multipart/form-data"].schema);
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
    const [field, shown] = input(`${parameter.name} (${parameter.in})`, { type: "text", required: parameter.required });
    return { parameter, field, shown };
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
  return [fields.map(({ shown }) => shown), address, headers];
}

async function show(reply, output) {
  output.textContent = `${reply.status} ${reply.statusText}\n\n`;
  if (!reply.body) return; // as of a 204
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
