// The session of aimock_run.py by the openai npm SDK: node aimock_session.mjs, base URL in AGENT_BASE, key in AGENT_KEY,
// the SDK's folder in OPENAI_NODE. Prints all that its user sees, in order, as one JSON array.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const at = (path) => pathToFileURL(`${process.env.OPENAI_NODE}/${path}`);
const { default: OpenAI } = await import(at("index.mjs"));
const { ResponsesWS } = await import(at("resources/responses/ws.mjs"));
const api = new OpenAI({ baseURL: process.env.AGENT_BASE, apiKey: process.env.AGENT_KEY, maxRetries: 0 });
const model = "gpt-4o", seen = [];
const hello = [{ role: "user", content: "hello" }], weather = [{ role: "user", content: "weather" }];
const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object" } } }];

seen.push(await api.chat.completions.create({ model, messages: hello }));
for await (const each of await api.chat.completions.create({ model, messages: hello, stream: true, stream_options: { include_usage: true } })) seen.push(each);
seen.push(await api.chat.completions.create({ model, messages: weather, tools }));
seen.push(await api.responses.create({ model, input: "hello" }));
for await (const each of await api.responses.create({ model, input: "hello", stream: true })) seen.push(each);

const socket = new ResponsesWS(api);
const asked = ["hello", "weather", "status-429"];
const ask = () => socket.send({ type: "response.create", model, input: asked.shift() });
ask();
for await (const event of socket) {
  if (event.type === "message") seen.push(event.message);
  const isError = event.type === "error";
  if (isError) seen.push({ type: "error", message: event.error.message });
  if (isError || event.message?.type === "response.completed") asked.length ? ask() : socket.close();
}

// The class for browsers always asks for TLS, which this run leaves out to see the bytes.
const { WebSocket } = createRequire(at("index.js"))("ws");
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url.replace(/^wss:/, "ws:"), protocols);
  }
};
const { OpenAIRealtimeWebSocket } = await import(at("realtime/websocket.mjs"));
const talk = new OpenAIRealtimeWebSocket({ model: "gpt-realtime" }, api);
await new Promise((over) => {
  talk.socket.addEventListener("open", () => {
    talk.send({ type: "session.update", session: { type: "realtime", output_modalities: ["text"] } });
    talk.send({ type: "conversation.item.create", item: { type: "message", role: "user", content: [{ type: "input_text", text: "hello" }] } });
    talk.send({ type: "response.create" });
  });
  talk.on("event", (event) => {
    seen.push(event);
    if (event.type === "response.done" || event.type === "error") over();
  });
  talk.on("error", (error) => seen.push({ type: "error", message: error.message }) && over());
});
talk.close();
console.log(JSON.stringify(seen));
