import '@tensorflow/tfjs-backend-cpu';
import { existsSync, readdirSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { definePlugin, isWhetstoneError, type WhetstoneError } from '@whetstone/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';
import { builtIns, tinyTrainer } from './support.js';

beforeAll(() => tf.setBackend('cpu'));

/** Trains the final norm, and returns an attachment with the members of `change` instead of valid ones. */
const strategyWith = (change: (norm: tf.Variable) => object) =>
  definePlugin({
    apiVersion: 2,
    kind: 'strategy',
    name: 'norm',
    configSchema: { type: 'object', additionalProperties: false },
    create: () => ({
      role: 'owner',
      attach: (model) => {
        const norm = model.parameters.get('model.norm.weight') ?? expect.fail('no norm');
        norm.trainable = true;
        return {
          trainable: new Map([['model.norm.weight', norm]]),
          saveState: () => ({ tensors: new Map(), values: null }),
          loadState: () => {},
          dispose: () => {},
          ...change(norm),
        };
      },
    }),
  });

interface Outcome {
  readonly error: WhetstoneError;
  readonly steps: number;
  readonly folder: string;
}

/** Trains three steps with a strategy that must fail. */
async function train(change: (norm: tf.Variable) => object, training: object = {}): Promise<Outcome> {
  const folder = await temporaryFolder();
  let steps = 0;
  const trainer = tinyTrainer(
    { strategy: 'norm', output: { folder }, training: { maxSteps: 3, saveStrategy: 'no', ...training } },
    { plugins: [...builtIns, strategyWith(change)] },
  ).on('step', () => steps++);
  const error: unknown = await trainer.run().catch((failure: unknown) => failure);
  if (!isWhetstoneError(error)) throw new Error(`no WhetstoneError but ${String(error)}`);
  return { error, steps, folder };
}

const state = (values: unknown, tensors: unknown = new Map()) => ({ saveState: () => ({ tensors, values }) });
const adapter = (change: object) => (norm: tf.Variable) => ({
  exportAdapter: () => ({ tensors: new Map([['norm', norm]]), config: { peft_type: 'NORM' }, ...change }),
});

/** What is wrong, and what the error says: message, found, hint. */
const faults: Readonly<Record<string, readonly [change: (norm: tf.Variable) => object, says: RegExp]>> = {
  'a misspelled member': [() => ({ penality: () => tf.scalar(0) }), /unknown key: penality.*Did you mean 'penalty'\?/s],
  'a member that is not known': [() => ({ colour: 'red' }), /unknown key: colour.*Known keys: trainable, /s],
  'no dispose': [() => ({ dispose: undefined }), /dispose is missing/],
  'no saveState': [() => ({ saveState: undefined }), /saveState is missing/],
  'a member that is not a function': [() => ({ loadState: 3 }), /loadState is not a function.*found: +3$/s],
  'variables in an object': [() => ({ trainable: {} }), /trainable is not a Map.*a Map of variables/s],
  'a tensor instead of a variable': [
    () => ({ trainable: new Map([['norm', tf.ones([2])]]) }),
    /trainable contains a value that is not one of the variables/,
  ],
  'a variable with two names': [
    (norm) => ({
      trainable: new Map([
        ['model.norm.weight', norm],
        ['again', norm],
      ]),
    }),
    /a variable has two names.*model\.norm\.weight and again/is,
  ],
  'an unknown dtype': [() => ({ savedAs: 'float16' }), /savedAs.*'float32' or 'bfloat16'.*"float16"/s],
  'an export without anything': [() => ({ exportAdapter: () => undefined }), /did not return an adapter.*nothing/s],
  'an export that is a promise': [() => ({ exportAdapter: async () => ({}) }), /did not return an adapter.*a promise/s],
  'an export that throws': [
    () => ({
      exportAdapter: () => {
        throw new TypeError('no layer');
      },
    }),
    /exportAdapter of strategy 'norm' failed: no layer/,
  ],
  'an export with a misspelled key': [
    adapter({ tensor: new Map() }),
    /unknown key: tensor\..*Did you mean 'tensors'\?/s,
  ],
  'an export without a configuration': [adapter({ config: undefined }), /config is not an object.*nothing/s],
  'a configuration with undefined': [
    adapter({ config: { peft_type: 'NORM', inner: { size: undefined } } }),
    /config\.inner\.size.*is not plain JSON.*undefined/s,
  ],
  'a configuration without a type': [adapter({ config: { r: 8 } }), /peft_type.*has no type/s],
  'a configuration that selects other modules': [
    (norm) => ({
      exportAdapter: () => ({
        tensors: new Map([['base_model.model.model.norm.scale', norm]]),
        config: { peft_type: 'NORM', target_modules: ['input_layernorm'] },
      }),
    }),
    /selects model\.layers\.0\.input_layernorm.*does not select model\.norm/s,
  ],
  'virtual tokens of another number': [
    (norm) => ({
      exportAdapter: () => ({
        tensors: new Map([['prompt_embeddings', norm]]),
        config: { peft_type: 'PROMPT_TUNING', num_virtual_tokens: 2, token_dim: 16 },
      }),
    }),
    /virtual tokens differ from the configuration.*\[2, 16\].*\[16\]/s,
  ],
  'tensors in an object': [adapter({ tensors: {} }), /tensors is not a Map/],
  'no tensor': [adapter({ tensors: new Map() }), /tensors is empty/],
  'a disposed tensor': [
    () => {
      const gone = tf.ones([2]);
      gone.dispose();
      return adapter({ tensors: new Map([['gone', gone]]) })(gone as tf.Variable);
    },
    /tensor gone.*contains a disposed tensor/s,
  ],
  'a file that leaves the folder': [adapter({ files: { '../other.json': {} } }), /invalid file name.*other\.json/s],
  'an adapter that is not finite': [
    () => adapter({ tensors: new Map([['norm', tf.tensor1d([1, NaN])]]) })(tf.variable(tf.ones([1]))),
    /exportAdapter\(\)\.tensors.*not finite.*NaN at index 1/s,
  ],
  'a tensor with the name of the header': [
    (norm) => adapter({ tensors: new Map([['__metadata__', norm]]) })(norm),
    /invalid name.*a name other than __metadata__/s,
  ],
  'a file that names the plugin': [adapter({ files: { 'whetstone.json': {} } }), /invalid file name.*whetstone\.json/s],
  'a file that differs in case': [adapter({ files: { 'Adapter_Config.json': {} } }), /invalid file name/],
  'a file of the adapter itself': [adapter({ files: { 'adapter_config.json': {} } }), /invalid file name/],
  'a state that is a number': [() => ({ saveState: () => 3 }), /did not return a state.*found: +3$/s],
  'a state without values': [
    () => ({ saveState: () => ({ tensors: new Map() }) }),
    /values is not plain JSON.*undefined/s,
  ],
  'a state with NaN': [() => state({ averages: [1, NaN] }), /averages\[1\].*NaN/s],
  'a state with a Map': [() => state(new Map([['a', 1]])), /not plain JSON.*an instance of Map/s],
  'a state that is nested too deeply to be read again': [
    () => {
      let values: unknown = 1;
      for (let level = 0; level < 20_000; level++) values = [values];
      return state(values);
    },
    /not plain JSON.*nested deeper than \d+ levels/s,
  ],
  'a state with a symbol as key': [() => state({ a: { [Symbol('best')]: 1 } }), /values\.a.*a key that is a symbol/s],
  'a state with a named member of a list': [
    () => state(Object.assign([1], { best: 2 })),
    /not plain JSON.*a list with the member best/s,
  ],
  'a state with a function': [() => state({ read: () => 1 }), /values\.read.*a function/s],
  'a state that contains itself': [
    () => {
      const values: Record<string, unknown> = {};
      values['self'] = values;
      return state(values);
    },
    /values\.self.*an object that contains it/s,
  ],
  'a tensor with infinity': [
    () => state(null, new Map([['scale', tf.tensor1d([1, Infinity])]])),
    /tensor scale.*not finite.*Infinity at index 1/s,
  ],
};

describe('a run refuses before its first step', () => {
  it.each(Object.entries(faults))('%s', async (_name, [change, says]) => {
    const { error, steps, folder } = await train(change);
    expect(String(error)).toMatch(says);
    expect(String(error)).toContain("'norm'");
    expect(['PLUGIN_INVALID', 'PLUGIN_FAILED']).toContain(error.code);
    expect(steps).toBe(0);
    // Only the recorded error, which is not part of a run.
    expect(existsSync(folder) ? readdirSync(folder) : []).toEqual(['.last-error.json']);
  });
});

describe("the plugin's own reader of adapters", () => {
  const reading = (adapter: object, type = 'MINE') => {
    const plugin = strategyWith((norm) => ({
      exportAdapter: () => ({ tensors: new Map([['norm', norm]]), config: { peft_type: type } }),
    }));
    const steps: number[] = [];
    const trainer = tinyTrainer(
      { strategy: 'norm', training: { maxSteps: 1, saveStrategy: 'no' } },
      { plugins: [...builtIns, { ...plugin, adapter: { peftTypes: ['MINE'], ...adapter } as never }] },
    ).on('step', ({ step }) => steps.push(step));
    return { run: () => trainer.run(), steps };
  };
  const sound = { load: () => ({ attach: () => () => {}, dispose: () => {} }) };

  it('must read what the strategy exports, before the first step', async () => {
    const load = () => {
      throw new TypeError('no tensor scale');
    };
    const { run, steps } = reading({ load });
    await expect(run()).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      message: "adapter.load of strategy 'norm' does not read what the strategy exports: no tensor scale",
    });
    expect(steps).toEqual([]);
  });

  it('must read the type that the strategy exports', async () => {
    const { run, steps } = reading(sound, 'OTHER');
    await expect(run()).rejects.toMatchObject({
      code: 'PLUGIN_INVALID',
      expected: 'a type of adapter.peftTypes: MINE',
      found: 'OTHER',
    });
    expect(steps).toEqual([]);
  });

  it('is called once, and what it returns is disposed', async () => {
    const calls: string[] = [];
    const load = (_: unknown, { tensors }: { readonly tensors: ReadonlyMap<string, unknown> }) => {
      calls.push(`load ${[...tensors.keys()].join()}`);
      return { attach: () => () => {}, dispose: () => void calls.push('dispose') };
    };
    expect((await reading({ load }).run()).steps).toBe(1);
    expect(calls).toEqual(['load norm', 'dispose']);
  });
});

describe('a run fails rather than write', () => {
  const after = <T>(calls: number, before: T, later: T) => {
    let count = 0;
    return () => (++count > calls ? later : before);
  };
  const each = { saveStrategy: 'steps', saveSteps: 1 };

  it('an adapter that became malformed', async () => {
    const { error, folder } = await train((norm) => {
      const tensors = new Map([['norm', norm]]);
      return {
        exportAdapter: after(1, { tensors, config: { peft_type: 'NORM' } }, { tensors, config: undefined as never }),
      };
    });
    expect(error.code).toBe('PLUGIN_FAILED');
    expect(String(error)).toMatch(/config is not an object/);
    expect(readdirSync(folder)).not.toContain('adapter');
  });

  it.each([
    ['numbers that JSON does not keep', { tensors: new Map(), values: [Infinity] }, /values\[0\].*Infinity/s],
    [
      'tensors that are not finite',
      { tensors: new Map([['mean', tf.tensor1d([NaN], 'float32')]]), values: null },
      /tensor mean.*not finite.*NaN at index 0/s,
    ],
  ])('a state of %s', async (_name, later, says) => {
    const sound = { tensors: new Map(), values: null };
    const { error, steps } = await train(() => ({ saveState: after<object>(1, sound, later) }), each);
    expect(error.code).toBe('PLUGIN_FAILED');
    expect(String(error)).toMatch(says);
    expect(String(error)).toContain("'norm'");
    expect(steps).toBe(1);
  });
});

describe('a run fails instead of training other numbers, if', () => {
  const results: Readonly<Record<string, readonly [change: () => object, says: RegExp]>> = {
    'a penalty is a number': [() => ({ penalty: () => 0.5 }), /penalty.*a float32 scalar.*0\.5/s],
    'a penalty is a vector': [() => ({ penalty: () => tf.ones([2]) }), /penalty.*a float32 scalar/s],
    'a penalty is a promise': [() => ({ penalty: async () => tf.scalar(0) }), /penalty.*a promise/s],
    'a penalty throws': [
      () => ({
        penalty: () => {
          throw new TypeError('no mean');
        },
      }),
      /penalty of strategy 'norm' failed: no mean/,
    ],
    'a scale of the learning rate is NaN': [() => ({ learningRateScale: () => NaN }), /learningRateScale.*NaN/s],
    'a scale of the learning rate is negative': [() => ({ learningRateScale: () => -1 }), /learningRateScale.*-1/s],
    'a scale of the learning rate is text': [() => ({ learningRateScale: () => '2' }), /learningRateScale.*"2"/s],
    'beforeStep is async': [
      () => ({
        beforeStep: async () => {
          throw new TypeError('lost');
        },
      }),
      /beforeStep.*it is not awaited.*a promise/s,
    ],
    'afterUpdate is async': [() => ({ afterUpdate: async () => {} }), /afterUpdate.*a promise/s],
    'wrapData returns nothing': [() => ({ wrapData: () => undefined }), /wrapData.*a source of batches.*nothing/s],
    'wrapData is async': [() => ({ wrapData: async (source: object) => source }), /wrapData.*a promise/s],
  };

  it.each(Object.entries(results))('%s', async (_name, [change, says]) => {
    const { error, steps, folder } = await train(change);
    expect(error.code).toBe('PLUGIN_FAILED');
    expect(String(error)).toMatch(says);
    expect(String(error)).toContain("'norm'");
    expect(steps).toBe(0);
    expect(readdirSync(folder)).not.toContain('model');
  });

  it('a dispose fails, which does not replace the error of the run', async () => {
    const dispose = () => {
      throw new TypeError('gone');
    };
    expect(String((await train(() => ({ dispose }))).error)).toMatch(/dispose of strategy 'norm' failed: gone/);
    const { error } = await train(() => ({ dispose, learningRateScale: () => NaN }));
    expect(String(error)).toMatch(/learningRateScale/);
  });
});

describe('a run fails with the name of the hook, if', () => {
  type Tensors = ReadonlyMap<string, tf.Tensor>;
  const gradients = (change: (name: string, gradient: tf.Tensor) => readonly [string, unknown]) => ({
    transformGradients: (given: Tensors) => new Map([...given].map(([name, gradient]) => change(name, gradient))),
  });
  const batch = (change: (given: { readonly labels: Int32Array }) => object) => ({
    transformBatch: (given: { readonly labels: Int32Array }) => ({ ...given, ...change(given) }),
  });
  const hooks: Readonly<Record<string, readonly [object, RegExp]>> = {
    'a batch is a number': [{ transformBatch: () => 3 }, /transformBatch must return a batch, not the number 3/],
    'labels are missing for tokens': [
      batch(({ labels }) => ({ labels: labels.slice(1) })),
      /labels is not an Int32Array/,
    ],
    'labels are not integers': [batch(({ labels }) => ({ labels: Array.from(labels) })), /labels is not an Int32Array/],
    'weights are NaN': [
      batch(({ labels }) => ({ weights: new Float32Array(labels.length).fill(NaN) })),
      /weights are not a Float32Array of \d+ finite/,
    ],
    'logits lack part of the vocabulary': [
      { transformLogits: (logits: tf.Tensor2D) => tf.slice(logits, [0, 0], [-1, 3]) },
      /transformLogits must return float32 logits of shape/,
    ],
    'a loss is a number': [{ addLoss: () => 0.5 }, /addLoss must return a scalar.*the number 0\.5/],
    'a loss is an integer': [{ addLoss: () => tf.scalar(1, 'int32') }, /addLoss must return a scalar.*int32/],
    'gradients are an object': [
      { transformGradients: (given: Tensors) => Object.fromEntries(given) },
      /transformGradients must return a Map/,
    ],
    'there are no gradients': [{ transformGradients: () => new Map() }, /no gradient: call control\.skipUpdate/],
    'a gradient has an unknown name': [gradients((name, gradient) => [`${name}.x`, gradient]), /which is not trained/],
    'a gradient has another shape': [gradients((name) => [name, tf.ones([1])]), /not a float32 tensor of shape/],
    'a gradient is a number': [gradients((name) => [name, 1]), /the number 1 as the gradient of/],
  };

  it.each(Object.entries(hooks))('%s', async (_name, [callback, says]) => {
    const plugin = definePlugin({
      apiVersion: 2,
      kind: 'callback',
      name: 'mine',
      configSchema: { type: 'object', additionalProperties: false },
      create: () => callback as never,
    });
    const trainer = tinyTrainer(
      { callbacks: ['mine'], training: { maxSteps: 1, saveStrategy: 'no' } },
      { plugins: [...builtIns, plugin] },
    );
    const error: unknown = await trainer.run().catch((failure: unknown) => failure);
    expect(error).toMatchObject({ code: 'HOOK_FAILED', details: { plugin: 'mine' } });
    expect(String(error)).toMatch(says);
  });
});

it('accepts an attachment of a class with members of its own', async () => {
  class NormAttachment {
    private readonly norm: tf.Variable;
    readonly notes: string[] = [];
    constructor(norm: tf.Variable) {
      this.norm = norm;
    }
    get trainable() {
      return new Map([['model.norm.weight', this.norm]]);
    }
    saveState() {
      return { tensors: new Map(), values: { notes: this.notes } };
    }
    loadState() {}
    describe() {
      return this.norm.name;
    }
    dispose() {}
  }
  const plugin = {
    ...strategyWith(() => ({})),
    create: () => ({
      role: 'owner' as const,
      attach: (model: { parameters: ReadonlyMap<string, tf.Variable> }) => {
        const norm = model.parameters.get('model.norm.weight') ?? expect.fail('no norm');
        norm.trainable = true;
        return new NormAttachment(norm);
      },
    }),
  };
  const trainer = tinyTrainer(
    { strategy: 'norm', training: { maxSteps: 1, saveStrategy: 'no' } },
    { plugins: [...builtIns, plugin] },
  );
  expect((await trainer.run()).steps).toBe(1);
});
