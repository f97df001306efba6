// Runs the script of /docs over an OpenAPI document, in the smallest DOM that it needs, and prints what the page has: for
// each operation the fields by their labels with what is in them, and what Send would send.
// node docs_page.mjs docs.js openapi.json
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

const [script, openapi] = process.argv.slice(2).map((name) => readFileSync(name, "utf8"));

class Element {
  constructor(tag) {
    Object.assign(this, { tag, children: [], listeners: {}, attributes: {}, files: [] });
  }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  setAttribute(name, value) { this.attributes[name] = value; }
}

const known = Object.fromEntries(["title", "description", "token", "operations"].map((id) => [id, new Element(id)]));
known.token.value = "a-token";
globalThis.document = { createElement: (tag) => new Element(tag), getElementById: (id) => known[id] };
let sent;
globalThis.fetch = async (address, request) => {
  if (address === "/schema/openapi.json") return { json: async () => JSON.parse(openapi) };
  const body = request.body instanceof FormData ? Object.fromEntries(request.body) : request.body;
  sent = { address, ...request, body };
  return { status: 204, statusText: "No Content", body: null };
};

const within = (element) => [element, ...element.children.filter((child) => child instanceof Element).flatMap(within)];
const tagged = (element, ...tags) => within(element).filter(({ tag }) => tags.includes(tag));
const settled = () => new Promise((resolve) => setTimeout(resolve));

async function described(details) {
  const [path] = tagged(details, "code");
  const [method] = tagged(details, "span");
  const labels = tagged(details, "label").map(({ children: [text, field] }) =>
    [text.trim(), { type: field.type || field.tag, value: field.value, options: field.children.map(({ value }) => value) }]);
  for (const field of tagged(details, "input")) {
    if (field.type === "file") field.files = [new Blob(["x"])];
    else field.value = "";
  }
  sent = null;
  tagged(details, "button")[0].listeners.click();
  await settled();
  const text = tagged(details, "textarea")[0]?.value;
  const output = tagged(details, "pre")[0];
  return {
    name: `${method.textContent} ${path.textContent}`, fields: Object.fromEntries(labels), body: text, sent,
    output: [output.textContent, ...output.children].join(""),
  };
}

runInThisContext(script);
while (!known.operations.children.length) await settled();
const [first] = known.operations.children;
if (typeof first === "string") throw new Error(first);
const operations = [];
for (const details of known.operations.children.filter(({ tag }) => tag === "details")) operations.push(await described(details));
console.log(JSON.stringify(operations));
