import '@tensorflow/tfjs-backend-cpu';
import { setBackend, type Variable } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import type { CheckpointSources } from '../checkpoint/index.js';
import type { MemoryLimit } from '../memory/index.js';
import { exceededLimit, memoryNeed } from './memory-need.js';
import type { TrainRun } from './train-run.js';

const GB = 1e9;

beforeAll(() => setBackend('cpu'));
const limit = (more: Partial<MemoryLimit> = {}): MemoryLimit => ({
  origin: 'of this machine',
  limitBytes: 16 * GB,
  usedBytes: 4 * GB,
  ownBytes: GB,
  ...more,
});

describe('exceededLimit', () => {
  it('counts what this process has already, which is part of what it needs', () => {
    // 16 − (4 − 1)
    expect(exceededLimit(13 * GB, [limit()], GB)).toBeNull();
    expect(exceededLimit(13.1 * GB, [limit()], GB)).toMatchObject({ needed: 13.1 * GB, usable: 13 * GB });
  });

  it('is the limit that is exceeded by most', () => {
    const cgroup = limit({ origin: 'of the cgroup /a', limitBytes: 8 * GB, usedBytes: 2 * GB });
    expect(exceededLimit(14 * GB, [limit(), cgroup], GB)?.limit.origin).toBe('of the cgroup /a');
  });

  it('counts the address space that is mapped but not resident', () => {
    const address = limit({
      origin: 'of this process (ulimit -v)',
      limitBytes: 10 * GB,
      usedBytes: 5 * GB,
      ownBytes: 5 * GB,
    });
    // 3 GB more than now are needed, and 4 GB are mapped in addition to the resident memory.
    expect(exceededLimit(4 * GB, [address], GB)).toBeNull();
    expect(exceededLimit(6.5 * GB, [address], GB)).toMatchObject({ needed: 10.5 * GB, usable: 10 * GB });
  });

  it('counts every process of the run on this machine', () => {
    // 3 of the 4 GB in use are those of the run.
    expect(exceededLimit(5 * GB, [limit()], GB, 3)).toBeNull();
    expect(exceededLimit(5.1 * GB, [limit()], GB, 3)).toMatchObject({ usable: 15 * GB });
  });

  it('is none without limits', () => {
    expect(exceededLimit(14 * GB, [], GB)).toBeNull();
  });
});

/** A variable of which only the size is known. */
const sized = (size: number, rank = 2): Variable => ({ size, rank, dataId: {} }) as unknown as Variable;

/** The linear layers of a layer of SmolLM2-135M: outputs and inputs. */
const linearLayers = [
  [576, 576],
  [192, 576],
  [192, 576],
  [576, 576],
  [1536, 576],
  [1536, 576],
  [576, 1536],
] as const;

interface Shape {
  readonly layers: number;
  readonly strategy: 'lora' | 'full' | 'frozen-layers';
  readonly rows: number;
  readonly length: number;
  readonly engine?: 'tensorflow' | 'xla';
  readonly dora?: boolean;
}

/** A run of SmolLM2-135M, or of its first layers, without tensors. */
function runOf({ layers, strategy, rows, length, engine = 'tensorflow', dora = false }: Shape) {
  const parameters = new Map([['model.embed_tokens.weight', sized(49_152 * 576)]]);
  const linearSites = new Map<string, object>();
  const adapter = new Map<string, Variable>();
  for (let layer = 0; layer < layers; layer++)
    for (const [index, [outFeatures, inFeatures]] of linearLayers.entries()) {
      const name = `model.layers.${layer}.linear${index}`;
      const weight = sized(outFeatures * inFeatures);
      parameters.set(`${name}.weight`, weight);
      linearSites.set(name, { name, weight, outFeatures, inFeatures, isOutput: false });
      adapter.set(`base_model.model.${name}.lora`, sized(8 * (outFeatures + inFeatures)));
    }
  const model = {
    layers,
    parameters,
    linearSites,
    embeddingSite: { name: 'model.embed_tokens' },
    attentionSites: [{ headDim: 64 }],
    hiddenSize: 576,
    vocabularySize: 49_152,
    maxLength: 2048,
  };
  const last = [...parameters].filter(
    ([name]) => name.startsWith(`model.layers.${layers - 1}.`) || name.startsWith(`model.layers.${layers - 2}.`),
  );
  const trainable = { full: parameters, lora: adapter, 'frozen-layers': new Map(last) }[strategy];
  const run = {
    config: {
      data: { maxLength: 2048, packing: false, tokensPerBatch: null },
      training: { perDeviceTrainBatchSize: rows, gradientAccumulationSteps: 1 },
      strategy: { use: strategy, options: { useDora: dora } },
    },
    trainData: { summary: { longest: length } },
    loaded: { model },
    backend: { backend: 'whetstone', engine },
    hooks: { has: () => false, rollsBack: false, evaluationWeights: [] },
  };
  const sources = {
    attachments: [{ instance: { trainable, saveState: () => ({ tensors: new Map(), values: null }) } }],
    optimizer: { instance: {} },
    loaded: run.loaded,
  };
  return memoryNeed(run as unknown as TrainRun, sources as unknown as CheckpointSources);
}

describe('memoryNeed', () => {
  // Peak resident memory in GB: own runs of two steps, and bench/RESULTS.md.
  it.each<[number, Shape]>([
    [0.744, { layers: 6, strategy: 'lora', rows: 1, length: 64 }],
    [1.251, { layers: 6, strategy: 'lora', rows: 4, length: 256 }],
    [1.553, { layers: 6, strategy: 'lora', rows: 8, length: 256 }],
    [1.743, { layers: 6, strategy: 'lora', rows: 2, length: 1024 }],
    [1.469, { layers: 6, strategy: 'lora', rows: 4, length: 256, dora: true }],
    [1.314, { layers: 6, strategy: 'full', rows: 1, length: 64 }],
    [1.673, { layers: 6, strategy: 'full', rows: 4, length: 256 }],
    [2.057, { layers: 6, strategy: 'full', rows: 8, length: 256 }],
    [2.141, { layers: 6, strategy: 'full', rows: 2, length: 1024 }],
    [1.145, { layers: 6, strategy: 'frozen-layers', rows: 4, length: 256 }],
    [1.649, { layers: 6, strategy: 'lora', rows: 4, length: 256, engine: 'xla' }],
    [2.329, { layers: 6, strategy: 'lora', rows: 8, length: 256, engine: 'xla' }],
    [2.207, { layers: 6, strategy: 'full', rows: 4, length: 256, engine: 'xla' }],
    [1.243, { layers: 30, strategy: 'lora', rows: 1, length: 64 }],
    [3.046, { layers: 30, strategy: 'lora', rows: 2, length: 512 }],
    [2.43, { layers: 30, strategy: 'lora', rows: 4, length: 256 }],
    [2.769, { layers: 30, strategy: 'full', rows: 1, length: 64 }],
    [3.22, { layers: 30, strategy: 'full', rows: 4, length: 256 }],
    [2.9, { layers: 30, strategy: 'lora', rows: 4, length: 256, engine: 'xla' }],
    [4.1, { layers: 30, strategy: 'full', rows: 4, length: 256, engine: 'xla' }],
  ])('is near the measured peak of %d GB: %j', (measured, shape) => {
    const ratio = runOf(shape).bytes / (measured * GB);
    expect(ratio).toBeGreaterThan(0.9);
    expect(ratio).toBeLessThan(1.18);
  });

  it('consists of the tensors of the run', () => {
    const { parts } = runOf({ layers: 6, strategy: 'lora', rows: 1, length: 64 });
    // 7 layers of 8 · (outputs + inputs) numbers, six times.
    const adapter = 4 * 6 * 8 * linearLayers.flat().reduce((a, b) => a + b, 0);
    const linear = 4 * 6 * linearLayers.reduce((sum, [a, b]) => sum + a * b, 0);
    expect(parts).toMatchObject({
      weights: linear + 4 * 49_152 * 576,
      linearWeights: linear,
      float32Weights: linear + 4 * 49_152 * 576,
      adapter,
      gradients: adapter,
      optimizer: 2 * adapter,
      states: 0,
    });
  });
});
