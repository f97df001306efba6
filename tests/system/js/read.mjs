// Asks a question and reads the answer with eventsource-parser: node read.mjs URL AUTHORIZATION
import { createParser } from "eventsource-parser";

const [url, authorization] = process.argv.slice(2);
const events = [];
const retries = [];
const errors = [];
const parser = createParser({
  onEvent: ({ id, event, data }) => events.push({ id, event, data }),
  onRetry: (milliseconds) => retries.push(milliseconds),
  onError: (error) => errors.push(String(error)),
});

const reply = await fetch(url, {
  method: "POST",
  headers: { accept: "text/event-stream", "content-type": "application/json", authorization },
  body: JSON.stringify({ message: "Hello" }),
});
for await (const text of reply.body.pipeThrough(new TextDecoderStream())) parser.feed(text);

console.log(JSON.stringify({ status: reply.status, events, retries, errors }));
