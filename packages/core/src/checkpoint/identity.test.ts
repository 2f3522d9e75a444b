import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { openWeights, writeWeights } from '../safetensors/index.js';
import { hashBase } from '../safetensors/base-hash.js';
import { compareRuns } from './identity.js';

const model = fileURLToPath(new URL('../../../../test/versions/0.1.0/model', import.meta.url));
const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

/** Writes the weights of the model to another folder, after a change. Returns the folder. */
async function rewritten(change: (values: Float32Array, name: string) => void): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'whetstone-base-'));
  folders.push(folder);
  const reader = await openWeights(model);
  const tensors = [];
  for (const [name, { shape }] of reader.tensors) {
    const values = await reader.readFloat32(name);
    change(values, name);
    tensors.push({ name, dtype: 'F32' as const, shape, data: values });
  }
  await reader.close();
  await writeWeights(folder, tensors);
  return folder;
}

describe('the hash of a base model', () => {
  it('depends on the weights, not on the folder', async () => {
    const hash = await hashBase(model);
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(await hashBase(await rewritten(() => undefined))).toBe(hash);
    const other = await rewritten((values, name) => {
      if (name.endsWith('k_proj.weight')) values[0] = (values[0] ?? 0) + 1;
    });
    expect(await hashBase(other)).not.toBe(hash);
  });

  it('is null without safetensors files', async () => {
    expect(await hashBase(null)).toBeNull();
    expect(await hashBase(tmpdir())).toBeNull();
  });
});

describe('an adapter that resumes on another base model', () => {
  const plugins = { strategies: ['lora'], optimizer: 'adamw', schedule: 'constant' };
  const identity = { plugins, architecture: 'llama', rendererHash: 'r', dataHash: 'd' };
  const compare = (saved: string | null | undefined, present: string | null): void => {
    const sources: unknown = {
      config: { training: { resumeDespite: ['data', 'template'] } },
      loaded: { model: { architecture: 'llama' }, renderer: { hash: 'r' } },
      owner: { instance: {} },
      attachments: [{ plugin: 'lora' }],
      optimizer: { plugin: 'adamw' },
      schedule: { plugin: 'constant' },
      backend: { backend: 'cpu', engine: 'cpu' },
      workers: { count: 1 },
      dataHash: 'd',
      baseHash: present,
    };
    compareRuns(
      { identity: saved === undefined ? identity : { ...identity, baseHash: saved }, config: {}, file: 'state.json' },
      sources as Parameters<typeof compareRuns>[1],
      () => undefined,
    );
  };

  it('is refused', () => {
    expect(() => compare('one', 'other')).toThrow(
      expect.objectContaining({
        code: 'CHECKPOINT_INVALID',
        message: expect.stringContaining('base model') as string,
        expected: expect.stringContaining('other') as string,
        found: expect.stringContaining('one') as string,
      }),
    );
    expect(() => compare('one', 'one')).not.toThrow();
  });

  it('is not refused if a hash is unknown, as in checkpoints of earlier versions', () => {
    expect(() => compare(undefined, 'other')).not.toThrow();
    expect(() => compare('one', null)).not.toThrow();
  });
});

describe('a strategy of another version', () => {
  const warningsOf = (saved: object, version: string | null | undefined): readonly string[] => {
    const warnings: string[] = [];
    const identity = {
      plugins: { strategies: ['scales'], optimizer: 'adamw', schedule: 'constant' },
      architecture: 'llama',
      rendererHash: 'r',
      dataHash: 'd',
    };
    const sources: unknown = {
      config: { training: { resumeDespite: [] }, strategy: { use: 'whetstone-plugin-scales' } },
      loaded: { model: { architecture: 'llama' }, renderer: { hash: 'r' } },
      owner: { instance: {}, ...(version === undefined ? {} : { origin: { version } }) },
      attachments: [{ plugin: 'scales' }],
      optimizer: { plugin: 'adamw' },
      schedule: { plugin: 'constant' },
      backend: { backend: 'cpu', engine: 'cpu' },
      workers: { count: 1 },
      dataHash: 'd',
      evalData: null,
      baseHash: null,
    };
    // The plugin was a file when the checkpoint was written.
    const config = { strategy: { use: './scales.js' }, training: { resumeDespite: [] } };
    compareRuns(
      { identity: { ...identity, ...saved }, config, file: 'state.json' },
      sources as Parameters<typeof compareRuns>[1],
      (message) => warnings.push(message),
    );
    return warnings;
  };

  it('is reported, and its plugin may come from another place', () => {
    expect(warningsOf({ strategyVersion: '1.0.0' }, '2.0.0')).toEqual([
      "The checkpoint was written with version 1.0.0 of the strategy 'scales', and is read with version 2.0.0.",
    ]);
    expect(warningsOf({ strategyVersion: null }, '2.0.0')).toHaveLength(1);
    expect(warningsOf({ strategyVersion: '2.0.0' }, '2.0.0')).toEqual([]);
  });

  it('is unknown in checkpoints of earlier versions, and of strategies that no plugin makes', () => {
    expect(warningsOf({}, '2.0.0')).toEqual([]);
    expect(warningsOf({ strategyVersion: '1.0.0' }, undefined)).toEqual([]);
  });
});
