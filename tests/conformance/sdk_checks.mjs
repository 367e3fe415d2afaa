// What the openai npm SDK sees. Run by sdk_smoke.py: node sdk_checks.mjs, base URL (without /v1) in AIMOCK_BASE,
// the SDK's folder in OPENAI_NODE. Every check runs with and without /v1; one line per check.
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const { default: OpenAI, toFile } = await import(pathToFileURL(`${process.env.OPENAI_NODE}/index.mjs`));
const HELLO = "Hello from the mock server, in several chunks: äöü €";
const messages = [{ role: "user", content: "hello" }];
const STATUSES = { 400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 429: "RateLimitError", 500: "InternalServerError" };

const checks = {
  async chat(api) {
    const answer = await api.chat.completions.create({ model: "gpt-4o", messages });
    assert.equal(answer.choices[0].message.content, HELLO);
  },
  async "chat streamed"(api) {
    let text = "";
    for await (const chunk of await api.chat.completions.create({ model: "gpt-4o", messages, stream: true }))
      text += chunk.choices[0]?.delta?.content ?? "";
    assert.equal(text, HELLO);
  },
  async "chat asResponse"(api) {
    const response = await api.chat.completions.create({ model: "gpt-4o", messages }).asResponse();
    assert.equal(response.status, 200);
    assert.ok(response.headers.get("x-request-id"));
    assert.equal((await response.json()).choices[0].message.content, HELLO);
  },
  async "chat abandoned stream"(api) {
    const stream = await api.chat.completions.create({ model: "gpt-4o", messages, stream: true });
    for await (const _ of stream) break;
    await checks.chat(api);
  },
  async "responses streamed"(api) {
    let text = "";
    for await (const event of await api.responses.create({ model: "gpt-4o", input: "hello", stream: true }))
      if (event.type === "response.output_text.delta") text += event.delta;
    assert.equal(text, HELLO);
  },
  async responses(api) {
    assert.equal((await api.responses.create({ model: "gpt-4o", input: "hello" })).output_text, HELLO);
  },
  async embeddings(api) {
    const answer = await api.embeddings.create({ model: "e", input: "hello", encoding_format: "float" });
    assert.deepEqual(answer.data[0].embedding, [0.25, -0.5, 0.125]);
  },
  async models(api) {
    const names = [];
    for await (const model of api.models.list()) names.push(model.id);
    assert.ok(names.includes("gpt-4o"));
  },
  async files(api) {
    const content = Buffer.alloc(300000, "ä\u0000line\n");
    const made = await api.files.create({ file: await toFile(content, "f.bin"), purpose: "user_data" });
    assert.equal(made.bytes, content.length);
    const back = Buffer.from(await (await api.files.content(made.id)).arrayBuffer());
    assert.ok(back.equals(content));
  },
  async speech(api) {
    const answer = await api.audio.speech.create({ model: "tts-1", voice: "alloy", input: "say this" });
    assert.deepEqual([...new Uint8Array(await answer.arrayBuffer()).slice(0, 4)], [0xff, 0xe3, 0x48, 0xc4]);
  },
  async transcription(api) {
    const file = await toFile(Buffer.alloc(99000), "a.wav");
    assert.equal((await api.audio.transcriptions.create({ model: "whisper-1", file })).text, "What was said.");
  },
  async images(api) {
    assert.equal((await api.images.generate({ model: "gpt-image-1", prompt: "a cat" })).data[0].b64_json, "aGVsbG8=");
  },
  async moderations(api) {
    assert.equal((await api.moderations.create({ input: "hello" })).results[0].flagged, false);
  },
};
for (const [status, name] of Object.entries(STATUSES))
  checks[`error ${status}`] = async (api) => {
    const asked = [{ role: "user", content: `status-${status}` }];
    await assert.rejects(api.chat.completions.create({ model: "gpt-4o", messages: asked }), (error) => {
      assert.equal(error.status, Number(status));
      assert.ok(error instanceof OpenAI[name], `${error.constructor.name} is no ${name}`);
      return true;
    });
  };

let passed = 0, failed = 0;
for (const [name, check] of Object.entries(checks))
  for (const suffix of process.env.ONLY_V1 ? ["/v1"] : ["/v1", ""]) {
    const api = new OpenAI({ baseURL: process.env.AIMOCK_BASE + suffix, apiKey: "sk-conformance", maxRetries: 0, timeout: 20000 });
    const label = `${name} (base URL ${suffix ? "with" : "without"} /v1)`;
    try {
      await check(api);
      passed++;
      console.log(`PASS ${label}`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${label}: ${String(error.message).slice(0, 400)}`);
    }
  }
console.log(`node: ${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
