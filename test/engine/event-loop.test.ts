import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import { resolveBackend } from '@whetstone/backend';
import { findTensorflow, findXlaPlugin } from '@whetstone/backend/install';
import { singleProcess } from '@whetstone/core/distributed';
import { trainStep } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import { createRandomModel } from '@whetstone/models';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { batchOf } from '@whetstone/testing';
import { expect, test } from 'vitest';
import { tinyLlama } from '../support/training.js';

const tensorflow = await findTensorflow();
const plugin = await findXlaPlugin();
const engines = [
  ['tensorflow', 'reasons' in tensorflow ? 'npx whetstone backend install cpu' : null],
  ['xla', 'reasons' in plugin ? 'npx whetstone backend install xla-cpu' : null],
] as const;

/** Large enough that computing a step takes much longer than recording it. */
const shape = {
  ...tinyLlama,
  vocab_size: 2048,
  hidden_size: 384,
  intermediate_size: 1024,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 3,
  head_dim: 64,
};

interface TimerTicks {
  readonly ticks: number;
  /** The longest time between two ticks in milliseconds. */
  readonly longest: number;
  /** The total time in milliseconds. */
  readonly total: number;
}

/** Measures how a timer of 10 ms runs during some work. */
async function timerTicksDuring(work: () => Promise<unknown>): Promise<TimerTicks> {
  const started = performance.now();
  let [ticks, longest, last] = [0, 0, started];
  const tick = (): void => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    ticks++;
  };
  const timer = setInterval(tick, 10);
  await work();
  clearInterval(timer);
  // A tick that was blocked until the end counts, too.
  tick();
  return { ticks, longest, total: performance.now() - started };
}

for (const [engine, command] of engines) {
  if (command !== null)
    console.warn(`SKIPPED: the event loop during a step on ${engine}. Fetch its library with: ${command}`);
  test.skipIf(command !== null)(
    `timers are served during the first step and later ones on ${engine}`,
    { timeout: 240_000 },
    async () => {
      const backend = await resolveBackend({ name: 'whetstone', engine, threads: null });
      const model = createRandomModel(shape, 0);
      const owner = await loraStrategy({ rank: 4, alpha: 8 }).attach(model, {
        seed: 0,
        totalSteps: 4,
        modelFolder: null,
      });
      const optimizer = createAdamW({ weightDecay: 0, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
      const parts = {
        model,
        owner,
        companions: [],
        sync: singleProcess,
        hooks: createHookRunner([]),
        optimizer,
        backend,
      };
      const rows = [1, 2, 3].map((row) => ({
        ids: Array.from({ length: 128 }, (_, column) => (row * 37 + column * 11) % shape.vocab_size),
        supervised: Array.from({ length: 128 }, () => true),
      }));
      try {
        for (let step = 0; step < 4; step++) {
          const { ticks, longest, total } = await timerTicksDuring(() => trainStep(parts, [batchOf(rows)], step, 1e-4));
          expect(ticks, `step ${step + 1} of ${total} ms`).toBeGreaterThan(5);
          expect(longest, `step ${step + 1} of ${total} ms`).toBeLessThan(total / 2);
        }
      } finally {
        for (const item of [owner, optimizer, model]) item.dispose();
      }
    },
  );
}
