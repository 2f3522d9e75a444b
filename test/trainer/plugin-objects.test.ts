import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { MODEL_LOADER, provide } from '@whetstone/core';
import {
  definePlugin,
  isWhetstoneError,
  OPTIMIZER,
  type Json,
  type Optimizer,
  type Plugin,
  type Strategy,
  type WhetstoneError,
} from '@whetstone/core/contract';
import { loadAdapter, mergeAdapter } from '@whetstone/strategies';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadedOf, tinyModel } from '../support/training.js';
import { builtIns, tinyTrainer } from './support.js';

beforeAll(() => tf.setBackend('cpu'));

const noOptions = { type: 'object', additionalProperties: false } as const;

/** Trains the final norm. */
const normStrategy: Strategy = {
  role: 'owner',
  attach: (model) => {
    const norm = model.parameters.get('model.norm.weight') ?? expect.fail('no norm');
    norm.trainable = true;
    return {
      trainable: new Map([['model.norm.weight', norm]]),
      saveState: () => ({ tensors: new Map(), values: null }),
      loadState: () => {},
      dispose: () => {},
    };
  },
};
const strategyPlugin = (instance: object): Plugin =>
  definePlugin({
    apiVersion: 2,
    kind: 'strategy',
    name: 'norm',
    configSchema: noOptions,
    create: () => ({ ...normStrategy, ...instance }),
  });
const schedulePlugin = (create: (inputs: unknown) => unknown): Plugin =>
  definePlugin({
    apiVersion: 2,
    kind: 'schedule',
    name: 'mine',
    configSchema: noOptions,
    create: () => create as never,
  });
const optimizer: Optimizer = {
  apply: () => {},
  saveState: () => ({ tensors: new Map(), values: null }),
  loadState: () => {},
  dispose: () => {},
};

/** A loader that also describes the model before it is loaded, so that strategies plan. */
const planning = provide(MODEL_LOADER, {
  load: async () => loadedOf(tinyModel()),
  outline: async () => tinyModel(),
});

/** Trains with plugins or services that must be refused, and returns the error and the number of steps. */
async function refusal(
  config: object,
  plugins: readonly Plugin[],
  services: readonly ReturnType<typeof provide>[] = [],
): Promise<{ readonly error: WhetstoneError; readonly steps: number }> {
  let steps = 0;
  const trainer = tinyTrainer(config, { plugins: [...builtIns, ...plugins], services: [planning, ...services] });
  trainer.on('step', () => steps++);
  const error: unknown = await trainer.run().catch((failure: unknown) => failure);
  if (!isWhetstoneError(error)) throw new Error(`no WhetstoneError but ${String(error)}`);
  return { error, steps };
}

const shapes = new Map([['model.norm.weight', [8]]]);

describe('a strategy is refused before its first step if it has', () => {
  it.each<[string, object, RegExp]>([
    ['a misspelled member', { plann: () => null }, /unknown key: plann.*Did you mean 'plan'\?/s],
    ['a member that is not known', { colour: 'red' }, /unknown key: colour.*Known keys: role, /s],
    ['a plan that is not a function', { plan: 3 }, /plan of the strategy 'norm' is not a function/],
    ['a name instead of a list', { changeableOptions: 'rank' }, /changeableOptions.*not a list of names/s],
    ['a plan without shapes', { plan: () => ({ trainable: {} }) }, /trainable of the plan is not a Map/],
    ['a plan that is nothing', { plan: () => undefined }, /invalid plan. It is not an object/],
    [
      'a plan with a misspelled key',
      { plan: () => ({ trainable: shapes, virtualToken: 3 }) },
      /unknown key: virtualToken.*Did you mean 'virtualTokens'\?/s,
    ],
    [
      'a plan with half a token',
      { plan: () => ({ trainable: shapes, virtualTokens: 0.5 }) },
      /virtualTokens is not a number of tokens.*0\.5/s,
    ],
    [
      'a plan with an option without a reason',
      { plan: () => ({ trainable: shapes, unusedOptions: [{ path: 'rank' }] }) },
      /unusedOptions has no path or no reason/,
    ],
    ['a plan with a name without a shape', { plan: () => ({ trainable: new Map([['a', 3]]) }) }, /not a shape/],
    [
      'an attachment that trains nothing',
      {
        attach: () => ({
          trainable: new Map(),
          saveState: () => ({ tensors: new Map(), values: null }),
          loadState: () => {},
          dispose: () => {},
        }),
      },
      /trains no parameter/,
    ],
    [
      'a plan that throws',
      {
        plan: () => {
          throw new TypeError('no layers');
        },
      },
      /plan of strategy 'norm' failed: no layers/,
    ],
    ['a check that returns names', { checkRun: () => ['rank'] }, /checkRun of 'norm' returned an invalid result/],
  ])('%s', async (_name, change, says) => {
    const { error, steps } = await refusal({ strategy: 'norm' }, [strategyPlugin(change)]);
    expect(String(error)).toMatch(says);
    expect(['PLUGIN_INVALID', 'PLUGIN_FAILED', 'STRATEGY_TARGETS_NOTHING']).toContain(error.code);
    expect(steps).toBe(0);
  });
});

describe('an optimizer is refused before its first step if it has', () => {
  it.each<[string, object, RegExp, isService?: boolean]>([
    ['a misspelled member', { evaluationWeight: () => new Map() }, /Did you mean 'evaluationWeights'\?/],
    ['no loadState', { loadState: undefined }, /an object with apply, saveState, loadState, dispose/, true],
    ['a state that is a number', { saveState: () => 3 }, /did not return a state/, true],
    [
      'a state that throws',
      {
        saveState: () => {
          throw new TypeError('no moments');
        },
      },
      /saveState of optimizer .* failed: no moments/,
    ],
  ])('%s', async (_name, change, says, isService = false) => {
    const mine = { ...optimizer, ...change };
    const plugin = definePlugin({
      apiVersion: 2,
      kind: 'optimizer',
      name: 'mine',
      configSchema: noOptions,
      create: () => mine,
    });
    const { error, steps } = isService
      ? await refusal({ strategy: 'full' }, [], [provide(OPTIMIZER, mine)])
      : await refusal({ strategy: 'full', optimizer: 'mine' }, [plugin]);
    expect(String(error)).toMatch(says);
    expect(['PLUGIN_INVALID', 'PLUGIN_FAILED']).toContain(error.code);
    expect(steps).toBe(0);
  });
});

describe('a schedule is refused before its first step if it', () => {
  it.each<[string, (inputs: unknown) => unknown, RegExp]>([
    ['returns a number', () => 1, /did not return a function.*number/s],
    ['returns NaN at a step', () => (step: number) => (step < 2 ? 1 : NaN), /returned no number at step [2-5].*NaN/s],
    [
      'throws',
      () => {
        throw new TypeError('no steps');
      },
      /The schedule 'mine' failed: no steps/,
    ],
  ])('%s', async (_name, create, says) => {
    const { error, steps } = await refusal({ strategy: 'full', schedule: 'mine' }, [schedulePlugin(create)]);
    expect(String(error)).toMatch(says);
    expect(['PLUGIN_INVALID', 'PLUGIN_FAILED']).toContain(error.code);
    expect(steps).toBe(0);
  });
});

describe('what a plugin reads from an adapter folder is checked', () => {
  const read = async (method: 'load' | 'merge', result: () => unknown): Promise<WhetstoneError> => {
    const model = tinyModel();
    const before = tf.memory().numTensors;
    const plugin = {
      ...strategyPlugin({}),
      adapter: { peftTypes: ['MINE'], load: () => ({ attach: () => () => {}, dispose: () => {} }), [method]: result },
    } as Plugin;
    const scale = tf.ones([2]);
    const files = { config: { peft_type: 'MINE' } as Json, tensors: new Map([['scale', scale]]) };
    try {
      await (method === 'load' ? loadAdapter : mergeAdapter)(model, files, [plugin]);
    } catch (error) {
      scale.dispose();
      if (!isWhetstoneError(error)) throw error;
      expect(tf.memory().numTensors).toBe(before);
      return error;
    } finally {
      model.dispose();
    }
    throw new Error('was accepted');
  };

  it.each<[string, () => unknown, RegExp]>([
    ['nothing', () => undefined, /adapter\.load .* type MINE returned an invalid result\. It is not an object/],
    ['no dispose', () => ({ attach: () => () => {} }), /It has no function dispose/],
    [
      'a misspelled method',
      () => ({ atach: () => {}, attach: () => () => {}, dispose: () => {} }),
      /unknown key: atach.*Did you mean 'attach'\?/s,
    ],
    [
      'an attach that returns nothing',
      () => ({ attach: () => {}, dispose: () => {} }),
      /attach did not return a function/,
    ],
    [
      'an error without a code',
      () => {
        throw new TypeError('no such layer');
      },
      /adapter\.load of the plugin for adapters of the type MINE failed: no such layer/,
    ],
  ])('load: %s', async (_name, result, says) => {
    const error = await read('load', result);
    expect(String(error)).toMatch(says);
    expect(['PLUGIN_INVALID', 'PLUGIN_FAILED']).toContain(error.code);
  });

  it.each<[string, () => unknown, RegExp]>([
    ['nothing', () => undefined, /adapter\.merge .* type MINE returned an invalid result\. It is not a Map/],
    ['no weight', () => new Map(), /It is empty/],
    ['a weight of another model', () => new Map([['nowhere', tf.ones([1])]]), /does not have.*nowhere/s],
    ['a number', () => new Map([['model.norm.weight', 3]]), /not a tensor/],
    ['another shape', () => new Map([['model.norm.weight', tf.ones([3])]]), /another shape.*\[16\].*\[3\]/s],
    [
      'an error without a code',
      () => {
        throw new TypeError('no such layer');
      },
      /adapter\.merge .* failed: no such layer/,
    ],
  ])('merge: %s', async (_name, result, says) => {
    const error = await read('merge', result);
    expect(String(error)).toMatch(says);
    expect(['PLUGIN_INVALID', 'PLUGIN_FAILED']).toContain(error.code);
  });
});
