// A program for the openai SDK of TypeScript; its address and key are those of the environment.

import OpenAI, { toFile } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

let model;
const city = z.object({ name: z.string(), people: z.number().int() });
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const client = new OpenAI({ maxRetries: 0 });
const picture = Buffer.from(process.env.PICTURE, "base64");
const url = `data:image/png;base64,${process.env.PICTURE}`;

async function completions() {
  const ask = (content, more = {}) =>
    client.chat.completions.create({ model, messages: [{ role: "user", content }], ...more });
  const said = await ask("Hello");
  let text = "";
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await ask("Hello", options)) {
    text += chunk.choices[0]?.delta.content ?? "";
  }
  const get_weather = ({ city }) => `rain in ${city}`;
  const tool = {
    type: "function",
    function: { name: "get_weather", parameters, function: get_weather, parse: JSON.parse },
  };
  const asked = { model, messages: [{ role: "user", content: "get_weather in Paris" }] };
  const streamed = client.chat.completions.stream({
    ...asked,
    tools: [{ type: "function", function: { name: "get_weather", parameters } }],
  });
  const calls = (await streamed.finalChatCompletion()).choices[0].message.tool_calls;
  const parsed = await client.chat.completions.parse({
    model,
    messages: [{ role: "user", content: "Where?" }],
    response_format: zodResponseFormat(city, "city"),
  });
  const parts = [
    { type: "text", text: "Look" },
    { type: "image_url", image_url: { url } },
  ];
  return {
    chat: said.choices[0].message.content,
    has_usage: said.usage.prompt_tokens > 0,
    stream: text,
    tool: await client.chat.completions.runTools({ ...asked, tools: [tool] }).finalContent(),
    streamed_tool: calls.map((call) => call.function.name),
    schema: Object.keys(parsed.choices[0].message.parsed).sort(),
    picture: (await ask(parts)).choices[0].message.content,
  };
}

async function responses() {
  const ask = (input, more = {}) => client.responses.create({ model, input, ...more });
  const said = await ask("Hello");
  let text = "";
  for await (const event of await ask("Hello", { stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  const tools = [{ type: "function", name: "get_weather", parameters, strict: true }];
  const input = [{ role: "user", content: "get_weather in Paris" }];
  const called = await ask(input, { tools });
  const call = called.output.find((item) => item.type === "function_call");
  const output = `rain in ${JSON.parse(call.arguments).city}`;
  const answer = { type: "function_call_output", call_id: call.call_id, output };
  const streamed = await client.responses.stream({ model, input, tools }).finalResponse();
  const parsed = await client.responses.parse({
    model,
    input: "Where?",
    text: { format: zodTextFormat(city, "city") },
  });
  const content = [
    { type: "input_text", text: "Look" },
    { type: "input_image", image_url: url, detail: "auto" },
  ];
  return {
    chat: said.output_text,
    has_usage: said.usage.input_tokens > 0,
    stream: text,
    tool: (await ask([...input, ...called.output, answer], { tools })).output_text,
    streamed_tool: streamed.output.map((item) => item.name),
    schema: Object.keys(parsed.output_parsed).sort(),
    picture: (await ask([{ role: "user", content }])).output_text,
  };
}

async function media() {
  const image = { model: "gpt-image-2.5-flare", prompt: "A lighthouse" };
  const drawn = await client.images.generate(image);
  const file = await toFile(picture, "a.png", { type: "image/png" });
  const edited = await client.images.edit({ ...image, image: [file] });
  const speech = await client.audio.speech.create({
    model: "gpt-4o-mini-tts",
    voice: "alloy",
    input: "Hello",
  });
  const clip = Buffer.from(await speech.arrayBuffer());
  const heard = await client.audio.transcriptions.create({
    model: "gpt-transcribe",
    file: await toFile(clip, "a.mp3"),
  });
  const floats = { model: "text-embedding-3-small", input: ["a", "b"] };
  return {
    pictures: [drawn, edited].map((made) => made.data[0].b64_json.slice(0, 6)),
    speech: speech.headers.get("content-type"),
    heard: heard.text.includes(`${clip.length} bytes`),
    embeddings: (await client.embeddings.create(floats)).data.length,
    models: (await Array.fromAsync(client.models.list())).some((each) => each.id === model),
  };
}

async function refused() {
  try {
    await client.chat.completions.create({ model: "no/model", messages: "none" });
  } catch (error) {
    return [error.constructor.name, error.status, error.type];
  }
}

const results = {};
for (model of process.env.MODELS.split(" ")) {
  results[model] = {
    completions: await completions(),
    responses: await responses(),
    media: await media(),
    refused: await refused(),
  };
}
process.stdout.write(JSON.stringify(results));
