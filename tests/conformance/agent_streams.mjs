// What the openai npm SDK makes of one stream. Run by silence_run.py: node agent_streams.mjs chat|responses|chat-helper|responses-helper,
// base URL in AGENT_BASE, key in AGENT_KEY, the SDK's folder in OPENAI_NODE. Prints one JSON object: the events, or the error.
import { pathToFileURL } from "node:url";

const { default: OpenAI } = await import(pathToFileURL(`${process.env.OPENAI_NODE}/index.mjs`));
const api = new OpenAI({ baseURL: process.env.AGENT_BASE, apiKey: process.env.AGENT_KEY });
const messages = [{ role: "user", content: "hi" }];
const usage = { include_usage: true };
const kinds = {
  chat: () => api.chat.completions.create({ model: "m", messages, stream: true, stream_options: usage }),
  responses: () => api.responses.create({ model: "m", input: "hi", stream: true }),
  "chat-helper": () => api.chat.completions.stream({ model: "m", messages, stream_options: usage }),
  "responses-helper": () => api.responses.stream({ model: "m", input: "hi" }),
};
const told = { events: [], error: null };
try {
  for await (const event of await kinds[process.argv[2]]()) told.events.push(event);
} catch (error) {
  told.error = `${error.constructor.name}: ${error.message}`;
}
console.log(JSON.stringify(told));
