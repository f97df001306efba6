// The Vercel AI SDK with `@ai-sdk/openai-compatible` and `@ai-sdk/openai`. The server and a key are in its environment.

import assert from "node:assert/strict";
import test from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.env.OPENAI_BASE_URL;
const apiKey = process.env.OPENAI_API_KEY;
const compatible = createOpenAICompatible({
  name: "llm-backend", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL, apiKey });
const maxRetries = 0;
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const tools = {
  get_weather: tool({
    description: "What the weather is like in a place",
    inputSchema: z.object({ place: z.string() }),
    execute: async ({ place }) => `Sunny in ${place}`,
  }),
};
const models = {
  "openai-compatible": compatible("plausible"),
  "openai, chat": openai.chat("plausible"),
  "openai, responses": openai.responses("plausible"),
};

for (const [name, model] of Object.entries(models)) {
  test(`${name}: text`, async () => {
    const { text, usage } = await generateText({ model, prompt: "Hello", maxRetries });

    assert.equal(text, "You said: Hello");
    assert(usage.totalTokens > 0);
  });

  test(`${name}: streamed text`, async () => {
    const result = streamText({ model, prompt: "Hello", maxRetries });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);

    assert.equal(pieces.join(""), "You said: Hello");
    assert((await result.usage).totalTokens > 0);
  });

  test(`${name}: tools over several steps`, async () => {
    const prompt = "How is the weather in Paris?";

    const { text } = await generateText({ model, tools, prompt, stopWhen: stepCountIs(3), maxRetries });

    assert.match(text, /The tool says: .*Sunny in Paris/);
  });

  test(`${name}: streamed tools over several steps`, async () => {
    const prompt = "How is the weather in Paris?";

    const result = streamText({ model, tools, prompt, stopWhen: stepCountIs(3), maxRetries });

    assert.match(await result.text, /The tool says: .*Sunny in Paris/);
  });

  test(`${name}: structured output`, async () => {
    const output = Output.object({ schema: z.object({ setup: z.string(), punchline: z.string() }) });

    const result = await generateText({ model, output, prompt: "Tell me a joke", maxRetries });

    assert.deepEqual(Object.keys(result.output), ["setup", "punchline"]);
  });

  test(`${name}: image`, async () => {
    const content = [{ type: "text", text: "What is it?" }, { type: "file", data: pixel, mediaType: "image/png" }];

    const { text } = await generateText({ model, messages: [{ role: "user", content }], maxRetries });

    assert.equal(text, "I see image_url.");
  });
}

test("openai, responses: several turns by reference", async () => {
  const bodies = [];
  const watched = (url, init) => bodies.push(init.body) && fetch(url, init);
  const model = createOpenAI({ baseURL, apiKey, fetch: watched })("plausible");
  const messages = [{ role: "user", content: "Hello" }];
  const { response } = await generateText({ model, messages, maxRetries });
  messages.push(...response.messages, { role: "user", content: "How is the weather in Paris?" });
  const called = await generateText({ model, tools, messages, stopWhen: stepCountIs(3), maxRetries });
  messages.push(...called.response.messages, { role: "user", content: "Bye" });

  const { text } = await generateText({ model, messages, maxRetries });

  assert.equal(text, "You said: Bye");
  assert.match(bodies.at(-1), /item_reference/);
});

test("openai-compatible: embeddings", async () => {
  const model = compatible.embeddingModel("hash-1024");

  const { embeddings } = await embedMany({ model, values: ["hello", "world"], maxRetries });

  assert.deepEqual(embeddings.map(({ length }) => length), [1024, 1024]);
});

test("openai: embeddings", async () => {
  const model = openai.embedding("hash-1024");

  const { embeddings } = await embedMany({ model, values: ["hello", "world"], maxRetries });

  assert.deepEqual(embeddings.map(({ length }) => length), [1024, 1024]);
});

test("an error is told", async () => {
  const model = compatible("kb:nothing");

  await assert.rejects(generateText({ model, prompt: "Hello", maxRetries }), { statusCode: 404 });
});
