/** The model plugins: names and options. Their implementation is imported when a plugin is created. */
import { definePlugin, type Plugin } from '@whetstone/core/contract';

const configSchema = { type: 'object', properties: {}, additionalProperties: false } as const;

/** The model plugin `hugging-face`: loads folders with config.json, safetensors, tokenizer.json and a chat template. */
const huggingFacePlugin: Plugin<'model'> = definePlugin({
  apiVersion: 2,
  kind: 'model',
  name: 'hugging-face',
  description: 'Loads models from Hugging Face folders: GPT-2, Llama, Mistral, Qwen, Phi-3, Gemma.',
  configSchema,
  create: async () => (await import('./load-model.js')).huggingFaceLoader,
});

/** The built-in model plugins. */
export const modelPlugins: readonly Plugin[] = [huggingFacePlugin];
