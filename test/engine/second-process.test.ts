import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findXlaPlugin } from '@whetstone/backend/install';
import { expect, it } from 'vitest';

const plugin = await findXlaPlugin();
const root = fileURLToPath(new URL('../..', import.meta.url));
const built = existsSync(join(root, 'packages/cli/dist/main.js'));
if ('reasons' in plugin)
  console.warn(
    'SKIPPED: testing modules on disk needs an XLA plugin. Fetch it with: npx whetstone backend install ' +
      `xla-cpu (${plugin.reasons.join(', ')})`,
  );
if (!built) console.warn('SKIPPED: the packages are not built. Build them with: npm run build');

/** Trains two steps of LoRA in a separate process, and counts the modules that it compiled and those found on disk. */
async function train(
  path: string,
  folder: string,
): Promise<{ readonly losses: readonly number[]; readonly compiled: number; readonly fromDisk: number }> {
  const script = `
    import '@whetstone/core/tfjs-gradients';
    import { registerWhetstoneBackend } from '@whetstone/backend';
    import { createHookRunner } from '@whetstone/core/hooks';
    import { createAdamW } from '@whetstone/core/optimizers';
    import { singleProcess } from '@whetstone/core/distributed';
    import { trainStep } from '@whetstone/core/training';
    import { createRandomModel } from '@whetstone/models';
    import { loraStrategy } from './packages/strategies/dist/lora/lora.js';
    import { batchOf, randomRows } from './packages/testing/dist/batches.js';
    const backend = await registerWhetstoneBackend({
      engine: 'xla',
      plugin: ${JSON.stringify(path)},
      moduleFolder: ${JSON.stringify(folder)},
    });
    const config = {
      model_type: 'llama',
      vocab_size: 64,
      hidden_size: 16,
      intermediate_size: 32,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 4,
      tie_word_embeddings: true,
      rope_theta: 10000,
      rms_norm_eps: 1e-6,
      max_position_embeddings: 64,
      hidden_act: 'silu',
      initializer_range: 0.2,
    };
    const model = createRandomModel(config, 0);
    const strategy = loraStrategy({ rank: 2, alpha: 4 });
    const owner = await strategy.attach(model, { seed: 0, totalSteps: 2, modelFolder: null });
    const optimizer = createAdamW({ weightDecay: 0, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
    const hooks = createHookRunner([]);
    const services = { model, owner, companions: [], sync: singleProcess, hooks, optimizer, backend };
    const losses = [];
    for (let step = 0; step < 2; step++) {
      const { loss } = await trainStep(services, [batchOf(randomRows(4, 64, 3))], step, 1e-2);
      losses.push(loss);
    }
    await backend.settle();
    console.log(JSON.stringify({ losses, ...backend.engine.moduleCounters }));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise((resolve) => child.on('close', resolve));
  expect(code).toBe(0);
  return JSON.parse(output) as Awaited<ReturnType<typeof train>>;
}

it.skipIf('reasons' in plugin || !built)(
  'a second process compiles no module of the first, and concurrent processes do not conflict',
  { timeout: 300_000 },
  async () => {
    if ('reasons' in plugin) return;
    const folder = mkdtempSync(join(tmpdir(), 'whetstone-modules-'));
    try {
      const [first, beside] = await Promise.all([train(plugin.path, folder), train(plugin.path, folder)]);
      expect(first.compiled + beside.compiled).toBeGreaterThan(0);
      const second = await train(plugin.path, folder);
      expect(second.compiled).toBe(0);
      expect(second.fromDisk).toBe(first.compiled + first.fromDisk);
      expect([beside.losses, second.losses]).toEqual([first.losses, first.losses]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
