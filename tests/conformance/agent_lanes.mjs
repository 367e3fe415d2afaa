// What the openai npm SDK does over WebSockets. Run by agents_run.py: node agent_lanes.mjs lanes|restarts|realtime|web,
// base URL in AGENT_BASE, key in AGENT_KEY, turns of each lane in AGENT_TURNS, the SDK's folder in OPENAI_NODE. Prints one JSON object.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const at = (path) => pathToFileURL(`${process.env.OPENAI_NODE}/${path}`);
const { default: OpenAI } = await import(at("index.mjs"));
const api = new OpenAI({ baseURL: process.env.AGENT_BASE, apiKey: process.env.AGENT_KEY, maxRetries: 0 });
const LANES = 8, TURNS = Number(process.env.AGENT_TURNS);
const told = { turns: 0, errors: [], texts: [], closed: null, reconnected: [], cut: 0 };

async function lanes() {
  const { ResponsesWS } = await import(at("resources/responses/ws.mjs"));
  const socket = new ResponsesWS(api);
  const left = new Map();
  const ask = (lane, previous) =>
    socket.send({ type: "response.create", model: "gpt-agent", input: `turn of ${lane}`, stream_id: lane, ...(previous ? { previous_response_id: previous } : {}) });
  for (let number = 0; number < LANES; number++) {
    left.set(`lane-${number}`, TURNS);
    ask(`lane-${number}`);
  }
  const over = (lane) => {
    left.delete(lane);
    if (!left.size) socket.close();
  };
  for await (const event of socket) {
    if (event.type === "error") {
      const error = event.error?.error ?? event.error;
      told.errors.push({ code: error?.error?.code ?? error?.code ?? null, message: String(error?.error?.message ?? error?.message ?? error) });
      over(error?.stream_id ?? [...left.keys()][0]);
    } else if (event.type === "message" && event.message.type === "error") {
      told.errors.push({ code: event.message.code ?? event.message.error?.code, message: event.message.message ?? event.message.error?.message });
      over(event.message.stream_id);
    } else if (event.type === "message" && event.message.type === "response.completed") {
      told.turns += 1;
      const lane = event.message.stream_id;
      told.texts.push(event.message.response.output[0].content[0].text);
      left.set(lane, left.get(lane) - 1);
      if (left.get(lane)) ask(lane, event.message.response.id);
      else over(lane);
    } else if (event.type === "close") told.closed = event.code;
  }
}

// As lanes, through restarts of the daemon: what was refused because it stops, or asked as the connection ended, is
// asked anew on the next one, which the SDK opens by itself.
async function restarts() {
  const { ResponsesWS } = await import(at("resources/responses/ws.mjs"));
  const left = new Map(), begun = new Set(), last = new Map();
  const reconnect = {
    maxRetries: 20,
    onReconnecting: ({ attempt, closeCode }) => {
      if (attempt !== 1) return;
      told.reconnected.push(closeCode);
      told.cut += begun.size;
      begun.clear();
      for (const lane of left.keys()) ask(lane);
    },
  };
  const socket = new ResponsesWS(api, { reconnect });
  const ask = (lane) =>
    socket.send({ type: "response.create", model: "gpt-agent", input: `turn of ${lane}`, stream_id: lane, ...(last.has(lane) ? { previous_response_id: last.get(lane) } : {}) });
  for (let number = 0; number < LANES; number++) left.set(`lane-${number}`, TURNS);
  for (const lane of left.keys()) ask(lane);
  for await (const event of socket) {
    const lane = event.message?.stream_id;
    if (event.type === "error") {
      const error = event.error?.error?.error ?? event.error?.error ?? event.error;
      if (error?.code === "shutting_down" || error?.message === "cannot send on a closed WebSocket") continue;
      told.errors.push({ code: error?.code ?? null, message: String(error?.message ?? error) });
      socket.close();
    } else if (event.type === "message" && event.message.type === "response.created") begun.add(lane);
    else if (event.type === "message" && event.message.type === "response.completed") {
      told.turns += 1;
      begun.delete(lane);
      last.set(lane, event.message.response.id);
      left.set(lane, left.get(lane) - 1);
      if (left.get(lane)) ask(lane);
      else left.delete(lane);
      if (!left.size) socket.close();
    } else if (event.type === "close") told.closed = event.code;
  }
}

function realtime(socket, opened) {
  return new Promise((resolve) => {
    let left = TURNS;
    const ask = () => {
      socket.send({ type: "conversation.item.create", item: { type: "message", role: "user", content: [{ type: "input_text", text: "hi" }] } });
      socket.send({ type: "response.create" });
    };
    opened(() => {
      socket.send({ type: "session.update", session: { type: "realtime", model: "gpt-agent" } });
      ask();
    });
    socket.on("error", (error) => {
      told.errors.push({ code: error.error?.code ?? null, message: String(error.message) });
      socket.close();
      resolve();
    });
    socket.on("response.done", () => {
      told.turns += 1;
      left -= 1;
      if (left) ask();
      else {
        socket.close();
        resolve();
      }
    });
  });
}

const kind = process.argv[2];
if (kind === "lanes") await lanes();
else if (kind === "restarts") await restarts();
else if (kind === "realtime") {
  const { OpenAIRealtimeWS } = await import(at("realtime/ws.mjs"));
  const socket = new OpenAIRealtimeWS({ model: "gpt-agent" }, api);
  await realtime(socket, (begin) => socket.socket.on("open", begin));
} else {
  // The class for browsers, which sends its key as a subprotocol; Node 20 has no WebSocket of its own. The class
  // always asks for TLS, which this run leaves out to see the bytes.
  const { WebSocket } = createRequire(at("index.js"))("ws");
  globalThis.WebSocket = class extends WebSocket {
    constructor(url, protocols) {
      super(url.replace(/^wss:/, "ws:"), protocols);
    }
  };
  const { OpenAIRealtimeWebSocket } = await import(at("realtime/websocket.mjs"));
  const socket = new OpenAIRealtimeWebSocket({ model: "gpt-agent" }, api);
  await realtime(socket, (begin) => socket.socket.addEventListener("open", begin));
}
console.log(JSON.stringify(told));
