// A session with openai's library for Node; prints each response as its bytes came: status, headers, [seconds, base64].
//
//     OPENAI_BASE_URL=... OPENAI_API_KEY=... node node_session.mjs      in a directory with node_modules/openai

import OpenAI, { toFile } from 'openai';

const seen = [];

async function recordingFetch(url, init) {
  if (String(url).startsWith('data:')) return fetch(url, init); // the library tries what fetch can do
  const began = performance.now();
  const response = await fetch(url, init);
  const told = { url: new URL(url).pathname, status: response.status, headers: [...response.headers], chunks: [] };
  seen.push(told);
  if (!response.body) return response;
  const watched = response.body.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        told.chunks.push([(performance.now() - began) / 1000, Buffer.from(chunk).toString('base64')]);
        controller.enqueue(chunk);
      },
    }),
  );
  return new Response(watched, { status: response.status, headers: response.headers });
}

const client = new OpenAI({ fetch: recordingFetch, maxRetries: 0 });
const messages = [{ role: 'user', content: 'Say six words back to me, please: ä ö ü' }];
const tools = [
  {
    type: 'function',
    function: {
      name: 'weather',
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    },
  },
];

await client.models.list();
await client.chat.completions.create({ model: 'mock-text', messages });
for await (const _ of await client.chat.completions.create({ model: 'mock-echo', messages, stream: true }));
await client.chat.completions.stream({ model: 'mock-tools', messages, tools }).finalChatCompletion();
await client.responses.create({ model: 'mock-echo', input: 'one two three' });
for await (const _ of await client.responses.create({ model: 'mock-text', input: 'one two', stream: true }));
await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'], dimensions: 8 });
await client.files.create({ file: await toFile(Buffer.from('{"a": 1}\n'), 'a.jsonl'), purpose: 'batch' });
await Buffer.from(await (await client.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'hi' })).arrayBuffer());
await client.chat.completions.create({ model: 'mock-429', messages }).then(
  () => process.exit(3),
  (error) => error instanceof OpenAI.RateLimitError || process.exit(4),
);
console.log(JSON.stringify(seen));
