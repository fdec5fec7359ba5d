// A program for Vercel's ai with its OpenAI provider; its address and key are those of the environment.

import { openai } from "@ai-sdk/openai";
import {
  Output,
  embedMany,
  generateImage,
  generateSpeech,
  generateText,
  isStepCount,
  streamText,
  tool,
  transcribe,
} from "ai";
import { z } from "zod";

const picture = Buffer.from(process.env.PICTURE, "base64");
const city = z.object({ name: z.string(), people: z.number().int() });
const tools = {
  get_weather: tool({
    description: "Tells the weather",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `rain in ${city}`,
  }),
};

async function resultsOf(model) {
  const asked = { model, maxRetries: 0 };
  const said = await generateText({ ...asked, prompt: "Hello" });
  let text = "";
  for await (const piece of streamText({ ...asked, prompt: "Hello" }).textStream) text += piece;
  const weather = { ...asked, prompt: "get_weather in Paris", tools, stopWhen: isStepCount(3) };
  const content = [
    { type: "text", text: "Look" },
    { type: "file", data: picture, mediaType: "image/png" },
  ];
  // By the Responses API it would else refer to earlier answers by their ids.
  const stateless = { ...asked, providerOptions: { openai: { store: false } } };
  const question = { role: "user", content: "server_time please" };
  const answered = await generateText({ ...stateless, messages: [question] });
  const again = { role: "user", content: "Hello" };
  const messages = [question, ...answered.response.messages, again];
  const object = await generateText({
    ...asked,
    prompt: "Where?",
    output: Output.object({ schema: city }),
  });
  return {
    chat: said.text,
    conversation: (await generateText({ ...stateless, messages })).text,
    has_usage: said.usage.inputTokens > 0,
    stream: text,
    tool: (await generateText(weather)).text,
    streamed_tool: await streamText(weather).text,
    schema: Object.keys(object.output).sort(),
    picture: (await generateText({ ...asked, messages: [{ role: "user", content }] })).text,
  };
}

async function media() {
  const model = openai.image("gpt-image-2.5-flare");
  const drawn = await generateImage({ model, prompt: "A lighthouse" });
  const edited = await generateImage({ model, prompt: { text: "In red", images: [picture] } });
  const speech = openai.speech("gpt-4o-mini-tts");
  const { audio } = await generateSpeech({ model: speech, text: "Hello", voice: "alloy" });
  const ears = openai.transcription("gpt-transcribe");
  const heard = await transcribe({ model: ears, audio: audio.uint8Array });
  const vectors = openai.embedding("text-embedding-3-small");
  return {
    pictures: [drawn, edited].map((made) => made.image.base64.slice(0, 6)),
    speech: audio.mediaType,
    heard: heard.text.includes(`${audio.uint8Array.length} bytes`),
    embeddings: (await embedMany({ model: vectors, values: ["a", "b"] })).embeddings.length,
  };
}

const results = {};
for (const name of process.env.MODELS.split(" ")) {
  results[name] = {
    completions: await resultsOf(openai.chat(name)),
    // The name of a model alone has it use the Responses API.
    responses: await resultsOf(openai(name)),
    media: await media(),
  };
}
process.stdout.write(JSON.stringify(results));
