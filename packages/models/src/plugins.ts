/** The model plugins: names and options. The code that loads a model is loaded when a plugin is created. */
import { definePlugin, type Plugin } from '@whetstone/core/contract';

const configSchema = { type: 'object', properties: {}, additionalProperties: false } as const;

/** The model plugin `hugging-face`: folders with config.json, safetensors, tokenizer.json and a chat template. */
export const huggingFacePlugin: Plugin<'model'> = definePlugin({
  apiVersion: 1,
  kind: 'model',
  name: 'hugging-face',
  description: 'Models from Hugging Face folders: gpt2 and the llama family.',
  configSchema,
  create: async () => (await import('./load-model.js')).huggingFaceLoader,
});

/** Every model plugin that comes with Whetstone. */
export const modelPlugins: readonly Plugin[] = [huggingFacePlugin];
