import '@whetstone/core/tfjs-gradients';
import {
  clone,
  customGrad,
  keep,
  mean,
  mul,
  norm,
  ones,
  randomUniform,
  scalar,
  sub,
  variable,
  zerosLike,
  type GradSaveFunc,
  type Scalar,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import type { AdapterFormat, Attachment, Json, LanguageModel, Strategy, StrategyRun } from '@whetstone/core/contract';
import { createRandomModel } from '@whetstone/models';
import { createFrom, strategyChecks, type Options, type StrategySubject, type TestedPlugin } from '@whetstone/testing';
import { useBackend } from '../support/backend.js';
import { allChecks, failureOf } from './run-checks.js';
import { anchoredLora, type AnchoredLoraOptions } from './sound-strategy.js';

beforeAll(() => useBackend('cpu'));

const config = {
  model_type: 'llama',
  vocab_size: 24,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  initializer_range: 0.3,
};
const nothingTargeted = { targetModules: ['wq'] };

type StrategyPlugin = TestedPlugin<'strategy'>;

const subjectOf = (plugin: StrategyPlugin, options: Options): StrategySubject => ({
  plugin,
  options,
  settings: {
    model: () => createRandomModel(config, 5),
    options: {},
    seeded: true,
  },
});

/** The sound strategy, with something changed in the strategy that it creates. */
const changed = (change: (sound: Strategy, options: AnchoredLoraOptions) => Partial<Strategy>): StrategyPlugin => ({
  ...anchoredLora,
  create: async (options: AnchoredLoraOptions, context) => {
    const sound = await anchoredLora.create(options as never, context);
    return { ...sound, ...change(sound, options) };
  },
});

/** The sound strategy, with something changed in its attachment. */
const attaching = (
  change: (sound: Attachment, model: LanguageModel, run: StrategyRun) => Partial<Attachment>,
): StrategyPlugin =>
  changed((strategy) => ({
    attach: async (model, run) => {
      const sound = await strategy.attach(model, run);
      return { ...sound, ...change(sound, model, run) };
    },
  }));

/** Sets each trained matrix whose name ends so to a function of itself. */
function replaceTrained({ trainable }: Attachment, end: string, by: (matrix: Tensor) => Tensor): void {
  for (const [name, matrix] of trainable) {
    if (!name.endsWith(end)) continue;
    const next = by(matrix);
    matrix.assign(next as typeof matrix);
    next.dispose();
  }
}

/** The sound strategy, with something changed in how it reads and merges adapters. */
const reading = (change: (sound: AdapterFormat) => Partial<AdapterFormat>): StrategyPlugin => {
  const sound = anchoredLora.adapter ?? expect.fail('no adapter');
  return { ...anchoredLora, adapter: { ...sound, ...change(sound) } };
};

const firstSite = (model: LanguageModel) => [...model.linearSites.values()][0] ?? expect.fail('no linear layer');

/** Passes the value on; its gradient is twice what it should be. */
const doubledGradient = customGrad((value, save) => {
  (save as GradSaveFunc)([]);
  return { value: clone(value as Tensor), gradFunc: (gradient: Tensor) => mul(gradient, 2) };
});

/** Changes the gradient that reaches the output of the first layer, which the strategy trains. */
const withOutputGradient =
  (change: (gradient: Tensor) => Tensor) =>
  (sound: Attachment, model: LanguageModel): Partial<Attachment> => {
    const changedGradient = customGrad((value, save) => {
      (save as GradSaveFunc)([]);
      return { value: clone(value as Tensor), gradFunc: (gradient: Tensor) => change(gradient) };
    });
    const undo = firstSite(model).wrap((base) => (input) => changedGradient(base(input)) as Tensor2D);
    return {
      dispose: () => {
        undo();
        sound.dispose();
      },
    };
  };

/** The sound strategy with another attachment, and without the key `adapter`: a built-in strategy reads it. */
const withoutReader = (change: (sound: Attachment) => Attachment): StrategyPlugin => {
  const { adapter: _omitted, ...plugin } = changed((strategy) => ({
    attach: async (model, run) => change(await strategy.attach(model, run)),
  }));
  return plugin;
};

let sharedUpdates = 0;

interface Fault {
  readonly plugin: StrategyPlugin;
  /** Name of the check that must fail. */
  readonly check: string;
  /** What the check must say. */
  readonly message: RegExp;
}

const ROLLBACK = 'returns to a state that it saved, after further steps';

const faults: Readonly<Record<string, Fault>> = {
  'is of another API version': {
    plugin: { ...anchoredLora, apiVersion: 1 },
    check: 'declares itself',
    message: /^apiVersion: expected 1 to be 2/,
  },
  'accepts unknown keys': {
    plugin: { ...anchoredLora, configSchema: { ...anchoredLora.configSchema, additionalProperties: true } },
    check: 'declares itself',
    message: /^configSchema: /,
  },
  'ignores a target that matches nothing': {
    plugin: changed(() => ({
      attach: async (model, run) => {
        const sound = await createFrom(anchoredLora, { targetModules: ['q_proj'] });
        return sound.attach(model, run);
      },
    })),
    check: 'refuses bad options',
    message: /^neither the schema nor the strategy refused the options/,
  },
  'refuses options by an error without a code': {
    plugin: changed((sound) => ({
      attach: async (model, run) => {
        try {
          return await sound.attach(model, run);
        } catch (error) {
          throw new Error('no such layer', { cause: error });
        }
      },
    })),
    check: 'refuses bad options',
    message: /^the error has no code, it is not a WhetstoneError: no such layer/,
  },
  'leaks a tensor when it refuses options': {
    plugin: changed((sound) => ({
      attach: (model, run) => {
        keep(scalar(1));
        return sound.attach(model, run);
      },
    })),
    check: 'refuses bad options',
    message: /^tensors left over by the refusal: /,
  },
  'starts as another model than the base': {
    plugin: attaching((sound) => {
      replaceTrained(sound, '.lora_B.weight', (matrix) => ones(matrix.shape));
      return {};
    }),
    check: 'starts as the base model',
    message: /^difference of a logit right after attaching: /,
  },
  'leaves a wrapper around a layer': {
    plugin: attaching((_sound, model) => {
      firstSite(model).wrap((base) => (input) => mul(base(input), 2));
      return {};
    }),
    check: 'gives the base model back',
    message: /^logits after dispose: /,
  },
  'leaves a parameter trainable': {
    plugin: attaching((sound, model) => ({
      dispose: () => {
        sound.dispose();
        firstSite(model).weight.trainable = true;
      },
    })),
    check: 'gives the base model back',
    message: /^parameters that are still trainable after dispose: /,
  },
  'changes its options': {
    plugin: changed((sound, options) => ({
      attach: (model, run) => {
        (options.targetModules as string[]).push('o_proj');
        return sound.attach(model, run);
      },
    })),
    check: 'leaves its options unchanged',
    message: /^options after a step: /,
  },
  'plans other shapes': {
    plugin: changed((sound) => ({
      plan: async (model, owner) => {
        const plan = await sound.plan?.(model, owner);
        return { trainable: new Map([...(plan?.trainable ?? [])].map(([name, shape]) => [name, [...shape, 1]])) };
      },
    })),
    check: 'does what it plans, if it makes a plan',
    message: /^planned shape of \S+lora_A\.weight: /,
  },
  'plans a parameter that it never trains': {
    plugin: changed((sound) => ({
      plan: async (model, owner) => {
        const plan = await sound.plan?.(model, owner);
        return { trainable: new Map([...(plan?.trainable ?? []), ['model.norm.weight', [8]]]) };
      },
    })),
    check: 'does what it plans, if it makes a plan',
    message: /^planned parameters that the attachment does not train: .*'model\.norm\.weight'/,
  },
  'trains a frozen weight': {
    plugin: attaching((sound, model) => ({
      afterUpdate: () => {
        sound.afterUpdate?.();
        const weight = model.parameters.get('model.norm.weight') ?? expect.fail('no norm');
        const next = mul(weight, 1.01);
        weight.assign(next as typeof weight);
        next.dispose();
      },
    })),
    check: 'changes what it trains and nothing else',
    message: /^change of model\.norm\.weight, which is not trainable: /,
  },
  'trains nothing': {
    plugin: attaching(() => ({ learningRateScale: () => 0 })),
    check: 'changes what it trains and nothing else',
    message: /^number of trainable parameters that three steps did not change /,
  },
  'has nothing to train': {
    plugin: attaching(() => ({ trainable: new Map() })),
    check: 'changes what it trains and nothing else',
    message: /^number of trainable parameters: expected 0 to be greater than 0/,
  },
  'leaks a tensor in each step': {
    plugin: attaching((sound) => ({
      afterUpdate: () => {
        sound.afterUpdate?.();
        keep(scalar(1));
      },
    })),
    check: 'keeps the number of tensors from step to step',
    message: /^tensors after two further steps: /,
  },
  'leaks a tensor that it makes in its first step': {
    plugin: attaching((sound) => {
      let made: Tensor | null = null;
      return {
        beforeStep: () => {
          made ??= keep(scalar(1));
        },
        dispose: () => sound.dispose(),
      };
    }),
    check: 'disposes every tensor that it makes',
    message: /^tensors left over after dispose: /,
  },
  'leaks a tensor when it exports': {
    plugin: attaching((sound) => ({
      exportAdapter: () => {
        keep(scalar(1));
        return sound.exportAdapter?.() ?? expect.fail('no adapter');
      },
    })),
    check: 'disposes every tensor that it makes',
    message: /^tensors left over after dispose: /,
  },
  'has twice the gradient of its penalty': {
    plugin: attaching((sound) => ({
      penalty: (step) => doubledGradient(sound.penalty?.(step) ?? scalar(0)) as Scalar,
    })),
    check: 'has the gradients of its loss',
    message: /lora_B\.weight: slope \S+ in a random direction, by its gradient /,
  },
  'has no gradient in one layer': {
    plugin: attaching(withOutputGradient((gradient) => mul(gradient, 0))),
    check: 'has the gradients of its loss',
    message: /q_proj\.lora_[AB]\.weight: slope \S+ in a random direction, by its gradient /,
  },
  'has a gradient in one layer that is 1 % too large': {
    plugin: attaching(withOutputGradient((gradient) => mul(gradient, 1.01))),
    check: 'has the gradients of its loss',
    message: /q_proj\.lora_[AB]\.weight: slope \S+ in a random direction, by its gradient /,
  },
  'has a gradient in training that is 1 % too large': {
    plugin: attaching((sound, model) =>
      withOutputGradient((gradient) => mul(gradient, model.training ? 1.01 : 1))(sound, model),
    ),
    check: 'has the gradients of its loss',
    message: /q_proj\.lora_[AB]\.weight: slope \S+ in a random direction, by its gradient /,
  },
  'has a gradient of every second output of a layer': {
    plugin: attaching(
      withOutputGradient((gradient) => {
        const width = gradient.shape.at(-1) ?? 1;
        return mul(
          gradient,
          Array.from({ length: width }, (_, output) => output % 2),
        );
      }),
    ),
    check: 'has the gradients of its loss',
    message: /q_proj\.lora_[AB]\.weight: slope \S+ in a random direction, by its gradient /,
  },
  'never trains a parameter': {
    plugin: attaching((sound) => {
      const [first] = sound.trainable.keys();
      return { learningRateScale: (name) => (name === first ? 0 : 1) };
    }),
    check: 'changes what it trains and nothing else',
    message: /^number of trainable parameters that three steps did not change \(\S+lora_[AB]\.weight\)/,
  },
  'trains variables that are not saved': {
    plugin: withoutReader(({ exportAdapter: _omitted, ...rest }) => rest),
    check: 'saves a model that gives the same logits when loaded',
    message: /^difference of a logit between the trained model and the saved model: /,
  },
  'exports another scale, which a built-in strategy reads': {
    plugin: withoutReader((sound) => ({
      ...sound,
      exportAdapter: () => {
        const { config: own, tensors } = sound.exportAdapter?.() ?? expect.fail('no adapter');
        return { tensors, config: { ...(own as Readonly<Record<string, Json>>), lora_alpha: 1 } };
      },
    })),
    check: 'exports an adapter that gives the same logits when loaded',
    message: /^difference of a logit between the trained model and the loaded adapter: /,
  },
  'exports a type that nothing reads': {
    plugin: withoutReader((sound) => ({
      ...sound,
      exportAdapter: () => {
        const { config: own, tensors } = sound.exportAdapter?.() ?? expect.fail('no adapter');
        return { tensors, config: { ...(own as Readonly<Record<string, Json>>), peft_type: 'ANCHORED_LORA' } };
      },
    })),
    check: 'exports an adapter that gives the same logits when loaded',
    message: /^No known strategy reads adapters of this type/,
  },
  'lists a variable that the loss does not depend on': {
    plugin: attaching((sound) => {
      const zero = scalar(0);
      const unused = variable(zero, true);
      zero.dispose();
      return {
        trainable: new Map([...sound.trainable, ['unused', unused]]),
        dispose: () => {
          unused.dispose();
          sound.dispose();
        },
      };
    }),
    check: 'has the gradients of its loss',
    message: /^parameters that have a gradient: /,
  },
  'centres a layer over its batch': {
    plugin: attaching((sound, model) => {
      const undo = firstSite(model).wrap((base) => (input) => {
        const output = base(input);
        return sub<Tensor2D>(output, mean(output, 0, true));
      });
      return {
        dispose: () => {
          undo();
          sound.dispose();
        },
      };
    }),
    check: 'gives 1×8, 2×4 and 4×2 microbatches the same gradients',
    message: /^relative difference of the gradient of \S+ in 2 batches: /,
  },
  'does not save its numbers': {
    plugin: attaching((sound) => ({ saveState: () => ({ ...sound.saveState(), values: { updates: 0 } }) })),
    check: 'resumes exactly: 5 + save + load + 5 steps are 10',
    message: /^parameters after a resumed run: /,
  },
  'does not restore its tensors': {
    plugin: attaching((sound) => ({ loadState: (state) => sound.loadState({ ...state, tensors: new Map() }) })),
    check: 'resumes exactly: 5 + save + load + 5 steps are 10',
    message: /^parameters after a resumed run: /,
  },
  'uses the tensors of a loaded state after it was disposed': {
    plugin: attaching((sound) => {
      let loaded: ReadonlyMap<string, Tensor> = new Map();
      return {
        loadState: (state) => {
          loaded = state.tensors;
          sound.loadState(state);
        },
        beforeStep: () => {
          for (const tensor of loaded.values()) tensor.dataSync();
        },
      };
    }),
    check: 'resumes exactly: 5 + save + load + 5 steps are 10',
    message: /Tensor is disposed/,
  },
  'keeps its averages in a rollback': {
    plugin: attaching((sound) => {
      let updates = 0;
      return {
        afterUpdate: () => {
          updates++;
          sound.afterUpdate?.();
        },
        loadState: (state) => sound.loadState(updates === 0 ? state : { ...state, tensors: new Map() }),
      };
    }),
    check: ROLLBACK,
    message: /^parameters after a rollback: /,
  },
  'does not restore a number that has no effect on its parameters': {
    plugin: attaching((sound) => {
      let updates = 0;
      return {
        afterUpdate: () => {
          updates++;
          sound.afterUpdate?.();
        },
        saveState: () => {
          const { tensors, values } = sound.saveState();
          return { tensors, values: { ...(values as Readonly<Record<string, Json>>), total: updates } };
        },
        loadState: (state) => {
          if (updates === 0) updates = (state.values as { readonly total: number }).total;
          sound.loadState(state);
        },
      };
    }),
    check: ROLLBACK,
    message: /^saveState\(\) after a rollback: /,
  },
  'leaks a tensor in each rollback': {
    plugin: attaching((sound) => {
      let updates = 0;
      return {
        afterUpdate: () => {
          updates++;
          sound.afterUpdate?.();
        },
        loadState: (state) => {
          if (updates > 0) keep(scalar(1));
          sound.loadState(state);
        },
      };
    }),
    check: ROLLBACK,
    message: /^tensors after a rollback: /,
  },
  'restores another state than it saved': {
    plugin: attaching((sound) => ({
      loadState: (state) => sound.loadState({ ...state, values: { updates: 1_000_000 } }),
    })),
    check: 'reads the state that it writes',
    message: /^saveState\(\)\.values after loadState: /,
  },
  'restores other tensors than it saved': {
    plugin: attaching((sound) => ({ loadState: (state) => sound.loadState({ ...state, tensors: new Map() }) })),
    check: 'reads the state that it writes',
    message: /^saveState\(\)\.tensors after loadState: /,
  },
  'writes state that it cannot read': {
    plugin: attaching((sound) => ({ saveState: () => ({ ...sound.saveState(), values: { count: 3 } }) })),
    check: 'reads the state that it writes',
    message: /^loadState threw for what saveState returned: The checkpoint lacks the number of updates/,
  },
  'writes state that JSON does not keep': {
    plugin: attaching((sound) => ({
      saveState: () => {
        const { tensors, values } = sound.saveState();
        return { tensors, values: { ...(values as Readonly<Record<string, Json>>), best: NaN } };
      },
    })),
    check: 'reads the state that it writes',
    message: /^saveState returned values that JSON does not keep: /,
  },
  'draws initial values without a seed': {
    plugin: attaching((sound) => {
      replaceTrained(sound, '.lora_A.weight', (matrix) => randomUniform(matrix.shape, -0.3, 0.3));
      return {};
    }),
    check: 'trains the same again from the same seed',
    message: /^parameters of a second run from the same seed: /,
  },
  'ignores its seed': {
    plugin: changed((sound) => ({ attach: (model, run) => sound.attach(model, { ...run, seed: 1 }) })),
    check: 'trains differently from another seed',
    message: /^parameters of a run from another seed: /,
  },
  'counts the updates of all its attachments': {
    plugin: attaching((sound) => ({
      afterUpdate: () => {
        sound.afterUpdate?.();
        sharedUpdates++;
      },
      learningRateScale: () => 1 / (1 + sharedUpdates),
    })),
    check: 'shares nothing with another attachment',
    message: /^parameters of the attachment that was trained second: /,
  },
  'exports other weights than it trained': {
    plugin: attaching((sound) => ({
      exportAdapter: () => {
        replaceTrained(sound, '.lora_B.weight', (matrix) => mul(matrix, 1.1));
        return sound.exportAdapter?.() ?? expect.fail('no adapter');
      },
    })),
    check: 'exports an adapter that gives the same logits when loaded',
    message: /^difference of a logit between the trained model and the loaded adapter: /,
  },
  'exports a configuration with another scale': {
    plugin: attaching((sound) => ({
      exportAdapter: () => {
        const { config: own, tensors } = sound.exportAdapter?.() ?? expect.fail('no adapter');
        return { tensors, config: { ...(own as Readonly<Record<string, Json>>), lora_alpha: 1 } };
      },
    })),
    check: 'exports an adapter that gives the same logits when merged',
    message: /^difference of a logit between the trained model and the merged adapter: /,
  },
  'exports a matrix of its least trained layer as it was at the start': {
    plugin: attaching((sound) => ({
      exportAdapter: () => {
        const { config: own, tensors } = sound.exportAdapter?.() ?? expect.fail('no adapter');
        const sizeOf = (value: Tensor): number => norm(value).dataSync()[0] ?? NaN;
        const [least] = [...tensors]
          .filter(([name]) => name.endsWith('.lora_B.weight'))
          .toSorted(([, one], [, other]) => sizeOf(one) - sizeOf(other));
        const [name, value] = least ?? expect.fail('no matrix');
        return { tensors: new Map([...tensors, [name, zerosLike(value)]]), config: own };
      },
    })),
    check: 'exports an adapter that gives the same logits when loaded',
    message: /^difference of a logit between the trained model and the loaded adapter: /,
  },
  'exports a configuration that JSON does not keep': {
    plugin: attaching((sound) => ({
      exportAdapter: () => {
        const { config: own, tensors } = sound.exportAdapter?.() ?? expect.fail('no adapter');
        return { tensors, config: { ...(own as Readonly<Record<string, Json>>), anchor_weight: Infinity } };
      },
    })),
    check: 'exports an adapter that gives the same logits when loaded',
    message: /^exportAdapter returned values that JSON does not keep: /,
  },
  'exports no adapter': {
    plugin: changed((sound) => ({
      attach: async (model, run) => {
        const { exportAdapter: _omitted, ...rest } = await sound.attach(model, run);
        return rest;
      },
    })),
    check: 'exports an adapter that gives the same logits when loaded',
    message: /^the attachment exports no adapter/,
  },
  'exports a type that it does not read': {
    plugin: reading(() => ({ peftTypes: ['ANCHORED_LORA'] })),
    check: 'exports an adapter of a type that it reads',
    message: /^types that the plugin's adapter reads: expected .*ANCHORED_LORA/,
  },
  'changes the model when it reads an adapter': {
    plugin: reading((sound) => ({
      load: async (model, files) => {
        const prepared = await sound.load(model, files);
        prepared.attach();
        return prepared;
      },
    })),
    check: 'exports an adapter that gives the same logits when loaded',
    message: /^logits after adapter\.load, before attach: /,
  },
  'leaves an adapter on the model': {
    plugin: reading((sound) => ({
      load: async (model, files) => {
        const { attach, dispose } = await sound.load(model, files);
        return { attach: () => (attach(), () => {}), dispose };
      },
    })),
    check: 'exports an adapter that gives the same logits when loaded',
    message: /^logits after an adapter was attached and detached: /,
  },
  'leaks a tensor when it reads an adapter': {
    plugin: reading((sound) => ({
      load: (model, files) => {
        keep(scalar(1));
        return sound.load(model, files);
      },
    })),
    check: 'exports an adapter that gives the same logits when loaded',
    message: /^tensors left over by the loaded adapter: /,
  },
  'merges some layers only': {
    plugin: reading((sound) => ({
      merge: async (model, files) => new Map([...((await sound.merge?.(model, files)) ?? [])].slice(1)),
    })),
    check: 'exports an adapter that gives the same logits when merged',
    message: /^difference of a logit between the trained model and the merged adapter: /,
  },
  'changes the model when it merges': {
    plugin: reading((sound) => ({
      merge: async (model, files) => {
        (await sound.load(model, files)).attach();
        return new Map();
      },
    })),
    check: 'exports an adapter that gives the same logits when merged',
    message: /^logits of the base model after merging: /,
  },
};

const checks = allChecks(strategyChecks, nothingTargeted);

describe('a sound strategy', () => {
  it.each(checks)('$name', async ({ run, applies, options }) => {
    const subject = subjectOf(anchoredLora, options);
    expect(applies?.(subject) ?? true).toBe(true);
    await run(subject);
  });
});

describe('a strategy that', () => {
  it.each(Object.entries(faults))('%s fails the check for it', async (_fault, { plugin, check: name, message }) => {
    const check = checks.find((each) => each.name === name) ?? expect.fail(`There is no check "${name}".`);
    expect(await failureOf(check, subjectOf(plugin, check.options))).toMatch(message);
  });
});

const rollbackFaults = Object.entries(faults).filter(([, { check }]) => check === ROLLBACK);

describe('only the check of rollbacks finds a strategy that', () => {
  it.each(rollbackFaults)('%s', async (_fault, { plugin }) => {
    for (const { name, run, options } of checks) if (name !== ROLLBACK) await run(subjectOf(plugin, options));
  });
});

it('each check of the suite is failed by a faulty strategy', () => {
  const failed = new Set(Object.values(faults).map(({ check }) => check));
  expect(checks.map(({ name }) => name).filter((name) => !failed.has(name))).toEqual([]);
});
