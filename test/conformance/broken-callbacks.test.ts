import '@whetstone/core/tfjs-gradients';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keep, mul, ones, scalar, slice, type Scalar, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Callback, Hook, HookName, HookSignatures, Json, PluginContext } from '@whetstone/core/contract';
import { callbackChecks, type CallbackSubject, type Options, type TestedPlugin } from '@whetstone/testing';
import { useBackend } from '../support/backend.js';
import { allChecks, failureOf } from './run-checks.js';
import { smoothing, type SmoothingOptions } from './sound-callback.js';

beforeAll(() => useBackend('cpu'));

const noPattern = { match: '(' };

type CallbackPlugin = TestedPlugin<'callback'>;

const subjectOf = (plugin: CallbackPlugin, options: Options): CallbackSubject => ({
  plugin,
  options,
  settings: { options: {}, seeded: true },
});

/** The sound callback, created by another function. */
const creating = (
  create: (
    sound: (options?: Partial<SmoothingOptions>, context?: Partial<PluginContext>) => Callback,
    options: SmoothingOptions,
  ) => Callback,
): CallbackPlugin => ({
  ...smoothing,
  create: (options: SmoothingOptions, context) =>
    create(
      (otherOptions, otherContext) =>
        smoothing.create({ ...options, ...otherOptions } as never, { ...context, ...otherContext }) as Callback,
      options,
    ),
});

/** The sound callback, with some of its members replaced. */
const changed = (change: (sound: Callback) => Partial<Callback>): CallbackPlugin =>
  creating((sound) => {
    const callback = sound();
    return { ...callback, ...change(callback) };
  });

/** Calls a hook of the sound callback. */
const call = <K extends HookName>(callback: Callback, name: K): HookSignatures[K] => {
  const hook = callback[name] as Hook<HookSignatures[K]> | undefined;
  return typeof hook === 'function' ? hook : expect.fail(`The sound callback has no function ${name}.`);
};

const stateOf = async (sound: Callback): Promise<Readonly<Record<string, Json>>> =>
  (await sound.saveState?.()) as Readonly<Record<string, Json>>;

let sharedSteps = 0;

interface Fault {
  readonly plugin: CallbackPlugin;
  /** Name of the check that must fail. */
  readonly check: string;
  /** What the check must say. */
  readonly message: RegExp;
}

const SHAPES = 'returns values of the right shapes, and leaves its batch unchanged';
const EVALUATION = 'provides evaluation weights of its parameters, and keeps their tensors';
const ROLLBACK = 'returns to a state that it saved, after further steps';
const RESUME = 'resumes exactly: 5 + save + load + 5 steps are 10';

const faults: Readonly<Record<string, Fault>> = {
  'is of another API version': {
    plugin: { ...smoothing, apiVersion: 1 },
    check: 'declares itself',
    message: /^apiVersion: expected 1 to be 2/,
  },
  'accepts unknown keys': {
    plugin: { ...smoothing, configSchema: { ...smoothing.configSchema, additionalProperties: true } },
    check: 'declares itself',
    message: /^configSchema: /,
  },
  'has no name': {
    plugin: { ...smoothing, name: '' },
    check: 'declares itself',
    message: /^name: /,
  },
  'ignores an invalid pattern': {
    plugin: creating((sound) => sound({ match: '.' })),
    check: 'refuses bad options',
    message: /^neither the schema nor the callback refused the options/,
  },
  'refuses options by an error without a code': {
    plugin: creating((sound, { match }) => {
      // Throws a SyntaxError.
      RegExp(match);
      return sound();
    }),
    check: 'refuses bad options',
    message: /^the error has no code, it is not a WhetstoneError: Invalid regular expression/,
  },
  'leaks a tensor when it refuses options': {
    plugin: creating((sound) => {
      keep(scalar(1));
      return sound();
    }),
    check: 'refuses bad options',
    message: /^tensors left over by the refusal: /,
  },
  'has a hook that does not exist': {
    plugin: creating((sound) => Object.assign(sound(), { onStepEnd: () => {} })),
    check: 'has hooks, all of which exist',
    message: /^members that are neither hooks nor known: .*onStepEnd/,
  },
  'has no hooks': {
    plugin: creating(() => ({ dispose: () => {} })),
    check: 'has hooks, all of which exist',
    message: /^number of hooks: expected 0 to be greater than 0/,
  },
  'saves state but does not load it': {
    plugin: creating((sound) => {
      const { loadState: _omitted, ...rest } = sound();
      return rest;
    }),
    check: 'has hooks, all of which exist',
    message: /^whether it has saveState, as it has loadState: expected true to be false/,
  },
  'changes the batch that it is given': {
    plugin: changed(() => ({
      transformBatch: (batch) => {
        batch.ids.fill(1);
        return batch;
      },
    })),
    check: SHAPES,
    message: /^the batch that transformBatch was given: /,
  },
  'returns a batch with too few labels': {
    plugin: changed(() => ({ transformBatch: (batch) => ({ ...batch, labels: batch.labels.slice(1) }) })),
    check: SHAPES,
    message: /^length of labels from transformBatch: /,
  },
  'returns logits of fewer tokens': {
    plugin: changed(() => ({
      transformLogits: (logits) => slice(logits, [0, 0], [-1, logits.shape[1] - 1]) as Tensor2D,
    })),
    check: SHAPES,
    message: /^shape of the logits from transformLogits: /,
  },
  'adds a loss that is a vector': {
    plugin: changed(() => ({ addLoss: () => ones([2]) as unknown as Scalar })),
    check: SHAPES,
    message: /^shape of the loss from addLoss: /,
  },
  'leaves out a gradient': {
    plugin: changed(() => ({ transformGradients: (gradients) => new Map([...gradients].slice(1)) })),
    check: SHAPES,
    message: /^names of the gradients from transformGradients: /,
  },
  'returns a gradient of another shape': {
    plugin: changed(() => ({
      transformGradients: (gradients) => new Map([...gradients].map(([name]) => [name, scalar(0)])),
    })),
    check: SHAPES,
    message: /^shape of the gradient a from transformGradients: /,
  },
  'removes a gradient from the map that it is given': {
    plugin: changed(() => ({
      transformGradients: (gradients) => {
        (gradients as Map<string, Tensor>).delete('a');
        return gradients;
      },
    })),
    check: SHAPES,
    message: /^the gradients that transformGradients was given: /,
  },
  'changes the loss of a report': {
    plugin: changed((sound) => ({
      onStep: (report, control) => {
        (report as { loss: number }).loss = 0;
        return call(sound, 'onStep')(report, control);
      },
    })),
    check: SHAPES,
    message: /^the report that onStep was given: /,
  },
  'changes the metrics of an evaluation': {
    plugin: changed((sound) => ({
      onEvaluate: (report, control) => {
        (report.metrics as Record<string, number>)['mine'] = 1;
        return call(sound, 'onEvaluate')(report, control);
      },
    })),
    check: SHAPES,
    message: /^the report that onEvaluate was given: /,
  },
  'changes its options': {
    plugin: creating((sound, options) => {
      (options.ignored as number[]).push(5);
      return sound();
    }),
    check: 'leaves its options unchanged',
    message: /^options after two steps: /,
  },
  'leaks a tensor in each step': {
    plugin: changed((sound) => ({
      transformGradients: (...parameters) => {
        keep(scalar(1));
        return call(sound, 'transformGradients')(...parameters);
      },
    })),
    check: 'keeps the number of tensors from step to step',
    message: /^tensors after two further steps: /,
  },
  'does not dispose its tensors': {
    plugin: changed(() => ({ dispose: () => {} })),
    check: 'disposes every tensor that it makes',
    message: /^tensors left over after dispose: /,
  },
  'does not save its numbers': {
    plugin: changed((sound) => ({ saveState: async () => ({ ...(await stateOf(sound)), best: null, waited: 0 }) })),
    check: RESUME,
    message: /^what it does in a resumed run: /,
  },
  'does not save its averages': {
    plugin: changed((sound) => ({ saveState: async () => ({ ...(await stateOf(sound)), averages: [] }) })),
    check: RESUME,
    message: /^what it does in a resumed run: /,
  },
  'does not save what its loss depends on': {
    plugin: changed(() => {
      let calls = 0;
      return { addLoss: () => scalar(++calls) };
    }),
    check: RESUME,
    message: /^what it does in a resumed run: /,
  },
  'does not save what its logits depend on': {
    plugin: changed(() => {
      let calls = 0;
      return { transformLogits: (logits) => mul(logits, 1 / ++calls) };
    }),
    check: RESUME,
    message: /^what it does in a resumed run: /,
  },
  'does not save what its batches depend on': {
    plugin: changed(() => {
      let calls = 0;
      return {
        transformBatch: (batch) => {
          calls++;
          return { ...batch, ids: batch.ids.map((id) => (id + calls) % 12) };
        },
      };
    }),
    check: RESUME,
    message: /^what it does in a resumed run: /,
  },
  'ignores the state of a rollback': {
    plugin: changed((sound) => {
      let steps = 0;
      return {
        onStep: (...parameters) => {
          steps++;
          return call(sound, 'onStep')(...parameters);
        },
        loadState: (state) => (steps === 0 ? sound.loadState?.(state) : undefined),
      };
    }),
    check: ROLLBACK,
    message: /^what it does after a rollback: /,
  },
  'leaks a tensor in each rollback': {
    plugin: changed((sound) => {
      let steps = 0;
      return {
        onStep: (...parameters) => {
          steps++;
          return call(sound, 'onStep')(...parameters);
        },
        loadState: (state) => {
          if (steps > 0) keep(scalar(1));
          sound.loadState?.(state);
        },
      };
    }),
    check: ROLLBACK,
    message: /^tensors after a rollback: /,
  },
  'leaks a tensor when its state is saved': {
    plugin: changed((sound) => ({
      saveState: async () => {
        keep(scalar(1));
        return stateOf(sound);
      },
    })),
    check: 'disposes every tensor that it makes',
    message: /^tensors left over after dispose: /,
  },
  'leaks a tensor when a run is resumed': {
    plugin: changed((sound) => ({
      loadState: (state) => {
        keep(scalar(1));
        sound.loadState?.(state);
      },
    })),
    check: 'disposes every tensor that it makes',
    message: /^tensors left over after the dispose of a resumed run: /,
  },
  'sets a learning rate that is not finite': {
    plugin: changed((sound) => ({
      onStep: (report, control) => {
        control.setLearningRate(report.learningRate / 0, 'too slow');
        return call(sound, 'onStep')(report, control);
      },
    })),
    check: 'makes valid requests',
    message: /^learning rates that are not finite numbers of at least 0: /,
  },
  'requests a rollback without declaring it': {
    plugin: changed((sound) => ({
      onStep: (report, control) => {
        control.rollback('the loss rose');
        return call(sound, 'onStep')(report, control);
      },
    })),
    check: 'makes valid requests',
    message: /^rollbacks requested without rollsBack: expected 5 to be /,
  },
  'provides evaluation weights of an unknown parameter': {
    plugin: changed((sound) => ({
      evaluationWeights: () =>
        new Map([...(sound.evaluationWeights?.() ?? [])].map(([name, value]) => [`${name}2`, value])),
    })),
    check: EVALUATION,
    message: /^parameters, one of which has the evaluation weight: .*'a2'/,
  },
  'provides evaluation weights of a wrong shape': {
    plugin: changed((sound) => ({
      evaluationWeights: () =>
        new Map(
          [...(sound.evaluationWeights?.() ?? [])].map(([name, _value], index, all) => [
            name,
            all[1 - index]?.[1] as Tensor,
          ]),
        ),
    })),
    check: EVALUATION,
    message: /^shape of the evaluation weight a: /,
  },
  'makes new tensors whenever its evaluation weights are read': {
    plugin: changed(() => ({ evaluationWeights: () => new Map([['a', ones([2])]]) })),
    check: EVALUATION,
    message: /^tensors after reading the evaluation weights: /,
  },
  'restores another state than it saved': {
    plugin: changed((sound) => ({
      loadState: (state) => sound.loadState?.({ ...(state as Readonly<Record<string, Json>>), best: 0 }),
    })),
    check: 'reads the state that it writes',
    message: /^saveState after loadState: /,
  },
  'writes state that it cannot read': {
    plugin: changed((sound) => ({ saveState: async () => ({ ...(await stateOf(sound)), averages: null }) })),
    check: 'reads the state that it writes',
    message: /^loadState threw for what saveState returned: .*not iterable/,
  },
  'writes state that JSON does not keep': {
    plugin: changed((sound) => ({ saveState: async () => ({ ...(await stateOf(sound)), best: Infinity }) })),
    check: 'reads the state that it writes',
    message: /^saveState returned values that JSON does not keep: /,
  },
  'rejects when its state is saved': {
    plugin: changed(() => ({ saveState: () => Promise.reject(new Error('no state')) })),
    check: 'reads the state that it writes',
    message: /^no state$/,
  },
  'draws noise without a seed': {
    plugin: creating((sound) => sound({}, { seed: Math.floor(Math.random() * 1e9) })),
    check: 'does the same again from the same seed',
    message: /^what it does in a second run: /,
  },
  'ignores its seed': {
    plugin: creating((sound) => sound({}, { seed: 1 })),
    check: 'does something else from another seed',
    message: /^what it does in a run from another seed: /,
  },
  'counts the steps of all callbacks': {
    plugin: changed((sound) => ({
      onStep: (...parameters) => {
        sharedSteps++;
        return call(sound, 'onStep')(...parameters);
      },
      transformGradients: (...parameters) => {
        const gradients = call(sound, 'transformGradients')(...parameters);
        return new Map([...gradients].map(([name, gradient]) => [name, mul(gradient, 1 / (1 + sharedSteps))]));
      },
    })),
    check: 'shares nothing with another callback of the same plugin',
    message: /^what the callback does that is played second: /,
  },
  'leaks a tensor when a run fails': {
    plugin: changed((sound) => ({
      onRunError: (error) => {
        keep(scalar(1));
        return call(sound, 'onRunError')(error);
      },
    })),
    check: 'leaves nothing open after runs that end and that fail',
    message: /^tensors left over after a run that fails: /,
  },
  'leaks a tensor when a run ends': {
    plugin: changed((sound) => ({
      onRunEnd: (report) => {
        keep(scalar(1));
        return call(sound, 'onRunEnd')(report);
      },
    })),
    check: 'leaves nothing open after runs that end and that fail',
    message: /^tensors left over after a run that ends: /,
  },
  // The suite sees open files only if the system lists them.
  ...(existsSync('/proc/self/fd')
    ? {
        'leaves its file open when a run fails': {
          plugin: changed(() => ({ onRunError: () => {} })),
          check: 'leaves nothing open after runs that end and that fail',
          message: /^files left open after a run that fails: /,
        },
      }
    : {}),
};

const checks = allChecks(callbackChecks, noPattern);

describe('a sound callback', () => {
  it.each(checks)('$name', async ({ run, applies, options }) => {
    const subject = subjectOf(smoothing, options);
    expect(applies?.(subject) ?? true).toBe(true);
    await run(subject);
  });
});

describe('a callback that', () => {
  it.each(Object.entries(faults))('%s fails the check for it', async (_fault, { plugin, check: name, message }) => {
    const check = checks.find((each) => each.name === name) ?? expect.fail(`There is no check "${name}".`);
    expect(await failureOf(check, subjectOf(plugin, check.options))).toMatch(message);
  });
});

it('a callback is played in an output folder that exists', async () => {
  const written: string[] = [];
  const plugin: typeof smoothing = {
    ...smoothing,
    create: async (options, context) => {
      if (context.outputFolder !== null) {
        const file = join(context.outputFolder, 'notes.txt');
        writeFileSync(file, 'a note');
        written.push(file);
      }
      return smoothing.create(options, context);
    },
  };
  const check = checks.find(({ name }) => name === 'leaves nothing open after runs that end and that fail');
  await check?.run(subjectOf(plugin, {}));
  expect(written).toHaveLength(2);
});

it('each check of the suite is failed by a faulty callback', () => {
  const failed = new Set(Object.values(faults).map(({ check }) => check));
  expect(checks.map(({ name }) => name).filter((name) => !failed.has(name))).toEqual([]);
});
