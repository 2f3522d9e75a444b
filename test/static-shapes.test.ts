import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { findXlaPlugin, resolveBackend, type WhetstoneBackend } from '@whetstone/backend';
import { generateIds } from '@whetstone/models';
import { describe, expect, it } from 'vitest';
import { tinyModel } from './support/training.js';

const plugin = await findXlaPlugin();
const missing = 'reasons' in plugin;
if (missing) console.warn(`SKIPPED: generation on static shapes is tested on an XLA plugin. Fetch it with: npx whetstone backend install xla-cpu (${plugin.reasons.join(', ')})`);

const prompts = [[5, 7, 9, 11, 3], [8, 2]];
const maxNewTokens = 80;

/** 80 tokens after prompts of unlike length, row by row. */
async function generate(): Promise<number[][]> {
  const model = tinyModel();
  const rows: number[][] = prompts.map(() => []);
  for await (const { row, id } of generateIds(model, prompts, { maxNewTokens })) rows[row]?.push(id);
  model.dispose();
  return rows;
}

describe.skipIf(missing)('generation where every shape is compiled', () => {
  it('gives the tokens of the cpu backend, and compiles no module for each position', { timeout: 300_000 }, async () => {
    await tf.setBackend('cpu');
    const expected = await generate();
    await resolveBackend({ name: 'whetstone', engine: 'xla', threads: null });
    const { compiles } = (tf.backend() as WhetstoneBackend).counters();
    expect(await generate()).toEqual(expected);
    // 32 tokens of prompt; then room for 64 and for 128 keys, each with and without the growing.
    expect((tf.backend() as WhetstoneBackend).counters().compiles - compiles).toBeLessThan(16);
  });
});
