// OpenAI's client for Node. The server and a key are in its environment.

import assert from "node:assert/strict";
import test from "node:test";

import OpenAI, { toFile } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { ResponsesWS } from "openai/resources/responses/ws";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });
const model = "plausible";
const hello = [{ role: "user", content: "Hello" }];
const inParis = [{ role: "user", content: "How is the weather in Paris?" }];
const pixel = "data:image/png;base64,iVBORw0KGgo=";
const parameters = { type: "object", properties: { place: { type: "string" } }, required: ["place"] };
const weather = { type: "function", function: { name: "get_weather", parameters } };

async function collected(pages) {
  const all = [];
  for await (const each of pages) all.push(each);
  return all;
}

test("models", async () => {
  const ids = (await collected(client.models.list())).map(({ id }) => id);

  for (const id of ["demo", "plausible", "hash-1024"]) assert(ids.includes(id), id);
  assert.equal((await client.models.retrieve("demo")).id, "demo");
  await assert.rejects(client.models.retrieve("kb:nothing"), { status: 404, code: "model_not_found" });
});

test("completion", async () => {
  const { data, request_id } = await client.chat.completions.create({ model, messages: hello }).withResponse();

  assert.equal(data.choices[0].message.content, "You said: Hello");
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
  assert(request_id);
});

test("streamed completion with usage", async () => {
  const options = { stream: true, stream_options: { include_usage: true } };

  const chunks = await collected(await client.chat.completions.create({ model, messages: hello, ...options }));

  const last = chunks.pop();
  assert.equal(chunks.map(({ choices }) => choices[0].delta.content ?? "").join(""), "You said: Hello");
  assert.deepEqual(last.choices, []);
  assert(last.usage.total_tokens > 0);
});

test("stream helper", async () => {
  const stream = client.chat.completions.stream({ model, messages: hello });

  assert.equal(await stream.finalContent(), "You said: Hello");
});

test("tools that run by themselves", async () => {
  const run = { ...weather.function, parse: JSON.parse, function: ({ place }) => `Sunny in ${place}` };

  const runner = client.chat.completions.runTools({ model, messages: inParis, tools: [{ ...weather, function: run }] });

  assert.equal(await runner.finalContent(), "The tool says: Sunny in Paris");
});

test("streamed tool call", async () => {
  const stream = client.chat.completions.stream({ model, messages: inParis, tools: [weather] });

  const [call] = (await stream.finalMessage()).tool_calls;

  assert.deepEqual(JSON.parse(call.function.arguments), { place: "Paris" });
});

test("structured output", async () => {
  const joke = zodResponseFormat(z.object({ setup: z.string(), punchline: z.string() }), "joke");

  const reply = await client.chat.completions.parse({ model, messages: hello, response_format: joke });

  assert.deepEqual(Object.keys(reply.choices[0].message.parsed), ["setup", "punchline"]);
});

test("image", async () => {
  const content = [{ type: "text", text: "What is it?" }, { type: "image_url", image_url: { url: pixel } }];

  const reply = await client.chat.completions.create({ model, messages: [{ role: "user", content }] });

  assert.equal(reply.choices[0].message.content, "I see image_url.");
});

test("embeddings", async () => {
  const asked = { model: "hash-1024", input: ["hello", "world"] };

  const byDefault = await client.embeddings.create(asked);
  const floats = await client.embeddings.create({ ...asked, encoding_format: "float" });
  const ofTokens = await client.embeddings.create({ model: "hash-1024", input: [[1, 2], [3]], dimensions: 256 });

  assert.deepEqual(byDefault.data[0].embedding.map(Math.fround), floats.data[0].embedding.map(Math.fround));
  assert.deepEqual(ofTokens.data.map(({ embedding }) => embedding.length), [256, 256]);
});

test("a wrong key", async () => {
  await assert.rejects(client.withOptions({ apiKey: "sk-wrong" }).models.list(), OpenAI.AuthenticationError);
});

test("a bad request", async () => {
  await assert.rejects(client.chat.completions.create({ model, messages: [] }), { status: 400, param: "messages" });
});

test("an unknown path", async () => {
  await assert.rejects(client.images.generate({ prompt: "A cat" }), OpenAI.NotFoundError);
});

test("files", async () => {
  const content = "The seller delivers within ten days.";

  const file = await client.files.create({ file: await toFile(Buffer.from(content), "notes.txt"), purpose: "user_data" });

  assert.equal((await client.files.retrieve(file.id)).filename, "notes.txt");
  assert.equal(await (await client.files.content(file.id)).text(), content);
  assert((await collected(client.files.list({ limit: 1 }))).some(({ id }) => id === file.id));
  assert((await client.files.delete(file.id)).deleted);
  await assert.rejects(client.files.retrieve(file.id), OpenAI.NotFoundError);
});

test("vector store", async () => {
  const store = await client.vectorStores.create({ name: "Contracts" });
  const upload = await toFile(Buffer.from("The seller delivers within ten days."), "seller.txt");
  const file = await client.vectorStores.files.uploadAndPoll(store.id, upload);

  const hits = await collected(client.vectorStores.search(store.id, { query: "When does the seller deliver?" }));

  assert.equal(file.status, "completed");
  assert.deepEqual(hits.map(({ filename }) => filename), ["seller.txt"]);
  assert((await client.vectorStores.delete(store.id)).deleted);
});

test("file batch", async () => {
  const store = await client.vectorStores.create({ name: "Batch" });
  const names = ["0.txt", "1.txt", "2.txt"];
  const files = await Promise.all(names.map((name) => toFile(Buffer.from(`This is ${name}.`), name)));

  const batch = await client.vectorStores.fileBatches.uploadAndPoll(store.id, { files });

  assert.equal(batch.file_counts.completed, 3);
});

// Responses and conversations

test("response", async () => {
  const response = await client.responses.create({ model, input: "Hello", instructions: "Be brief." });

  assert.deepEqual([response.status, response.output_text], ["completed", "You said: Hello"]);
  assert.equal((await client.responses.retrieve(response.id)).output_text, response.output_text);
  assert.equal((await collected(client.responses.inputItems.list(response.id))).length, 1);
  await client.responses.delete(response.id);
  await assert.rejects(client.responses.retrieve(response.id), OpenAI.NotFoundError);
});

test("streamed response", async () => {
  const stream = client.responses.stream({ model, input: "Hello" });

  const numbers = (await collected(stream)).map(({ sequence_number }) => sequence_number);

  assert.deepEqual(numbers, [...numbers.keys()]);
  assert.equal((await stream.finalResponse()).output_text, "You said: Hello");
});

test("response resumed after every event", async () => {
  const events = await collected(await client.responses.create({ model, input: "Hello", stream: true, background: true }));

  for (const number of events.keys()) {
    const options = { stream: true, starting_after: number };
    const rest = await collected(await client.responses.retrieve(events[0].response.id, options));
    assert.deepEqual(rest, events.slice(number + 1));
  }
});

test("response that goes on", async () => {
  const first = await client.responses.create({ model, input: "Hello" });

  const second = await client.responses.create({ model, input: "And now?", previous_response_id: first.id });

  assert.equal(second.output_text, "You said: And now?");
});

test("tool call of a response", async () => {
  const tools = [{ type: "function", strict: false, ...weather.function }];
  const first = await client.responses.create({ model, input: inParis[0].content, tools });
  const call = first.output.find(({ type }) => type === "function_call");
  const input = [{ type: "function_call_output", call_id: call.call_id, output: "Sunny" }];

  const second = await client.responses.create({ model, input, tools, previous_response_id: first.id });

  assert.deepEqual(JSON.parse(call.arguments), { place: "Paris" });
  assert.equal(second.output_text, "The tool says: Sunny");
});

test("structured output of a response", async () => {
  const format = zodTextFormat(z.object({ setup: z.string(), punchline: z.string() }), "joke");

  const response = await client.responses.parse({ model, input: "Hello", text: { format } });

  assert.deepEqual(Object.keys(response.output_parsed), ["setup", "punchline"]);
});

test("image in a response", async () => {
  const content = [{ type: "input_text", text: "What is it?" }, { type: "input_image", image_url: pixel, detail: "auto" }];

  const response = await client.responses.create({ model, input: [{ role: "user", content }] });

  assert.equal(response.output_text, "I see image_url.");
});

test("conversation", async () => {
  const conversation = await client.conversations.create({ items: [{ role: "user", content: "Call me Ada." }] });
  await client.responses.create({ model, input: "Hello", conversation: conversation.id });

  const items = await collected(client.conversations.items.list(conversation.id, { order: "asc", limit: 1 }));

  assert.deepEqual(items.map(({ role }) => role), ["user", "user", "assistant"]);
  assert((await client.conversations.delete(conversation.id)).deleted);
});

test("websocket", async () => {
  const socket = new ResponsesWS(client);
  const done = new Promise((resolve, reject) => socket.on("response.completed", resolve).on("error", reject));
  socket.on("error", () => {});

  socket.send({ type: "response.create", model, input: "Hello" });

  assert.equal((await done).response.output[0].content[0].text, "You said: Hello");
  socket.close();
});
