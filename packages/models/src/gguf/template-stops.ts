import { isWhetstoneError, type Json } from '@whetstone/core/contract';
import { isRecord } from '@whetstone/core/util';
import { createRenderer } from '../chat-template/renderer.js';
import { createTokenizer } from '../tokenizer/tokenizer.js';
import type { TokenizerOutput } from './tokenizer-from-gguf.js';

type Fields = Readonly<Record<string, Json>>;
type TokenizerContents = Parameters<typeof createTokenizer>[0]['tokenizer'];

/**
 * Adds the tokens with which the chat template ends the assistant's turns to `eos_token_id` of generation_config.json.
 * Few files name them: llama.cpp recognises them by their text.
 */
export function withTemplateStops(output: TokenizerOutput): TokenizerOutput {
  const stops = templateStops(output);
  if (!isRecord(output.generationConfig) || stops.length === 0) return output;
  const generationConfig = output.generationConfig as Fields;
  const listed = [generationConfig['eos_token_id'] ?? []].flat();
  const all = [...listed, ...stops.filter((id) => !listed.includes(id))];
  return {
    ...output,
    generationConfig: { ...generationConfig, eos_token_id: all.length === 1 ? (all[0] ?? null) : all },
  };
}

/** Returns the stop tokens of the chat template; none if the template or the tokenizer cannot be used. */
function templateStops(output: TokenizerOutput): readonly number[] {
  if (output.chatTemplate === null) return [];
  const specialTokens = output.specialTokensMap as Readonly<Record<string, string>>;
  try {
    const tokenizer = createTokenizer({
      folder: '.',
      tokenizer: output.tokenizer as unknown as TokenizerContents,
      config: output.tokenizerConfig as Fields,
      specialTokens,
    });
    const templates = new Map([['default', output.chatTemplate], ...output.namedTemplates]);
    return createRenderer(templates, { specialTokens, tokenizer }).stopTokenIds;
  } catch (error) {
    // The import keeps a template that cannot be used.
    if (isWhetstoneError(error)) return [];
    throw error;
  }
}
