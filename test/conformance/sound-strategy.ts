import {
  add,
  mul,
  scalar,
  square,
  sub,
  sum,
  tidy,
  variable,
  zerosLike,
  type Scalar,
  type Variable,
} from '@tensorflow/tfjs-core';
import { definePlugin, WhetstoneError, type Attachment, type Json } from '@whetstone/core/contract';
import { mergeLora, prepareLora } from '../../packages/strategies/src/lora/adapter.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';

const updatesIn = (values: Json): number => {
  const updates = (values as { readonly updates?: Json } | null)?.updates;
  if (typeof updates === 'number') return updates;
  throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks the number of updates.');
};

/** Adds to the attachment of LoRA a penalty on the distance of each B from its own average over the updates. */
function withAnchor(lora: Attachment, weight: number): Attachment {
  const matrices = [...lora.trainable].filter(([name]) => name.endsWith('.lora_B.weight'));
  const averages = new Map(
    matrices.map(([name, matrix]) => {
      const zeros = zerosLike(matrix);
      const average = variable(zeros, false);
      zeros.dispose();
      return [name, average] as const;
    }),
  );
  let updates = 0;
  return {
    ...lora,
    penalty: () =>
      tidy(() =>
        matrices
          .map(([name, matrix]) => sum<Scalar>(square(sub(matrix, averages.get(name) ?? matrix))))
          .reduce((total, distance) => add<Scalar>(total, mul(distance, weight)), scalar(0)),
      ),
    afterUpdate: () => {
      updates++;
      for (const [name, matrix] of matrices) {
        const average = averages.get(name);
        const next = tidy(() => add(mul(average ?? matrix, 1 - 1 / updates), mul(matrix, 1 / updates)));
        average?.assign(next);
        next.dispose();
      }
    },
    saveState: () => ({ tensors: averages, values: { updates } }),
    loadState: ({ tensors, values }) => {
      updates = updatesIn(values);
      for (const [name, saved] of tensors) averages.get(name)?.assign(saved as Variable);
    },
    dispose: () => {
      for (const average of averages.values()) average.dispose();
      lora.dispose();
    },
  };
}

/** The options of {@link anchoredLora}, with the defaults of its schema. */
export interface AnchoredLoraOptions {
  readonly rank: number;
  readonly weight: number;
  readonly targetModules: readonly string[];
}

/**
 * A strategy that has everything that the conformance suite checks: seeded initial values, a penalty, a plan, an
 * adapter, and state of numbers and tensors. The faulty strategies of `broken-strategies.test.ts` change one thing
 * each.
 */
export const anchoredLora = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'anchored-lora',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      rank: { type: 'integer', minimum: 1, default: 2 },
      weight: { type: 'number', minimum: 0, default: 0.5 },
      targetModules: { type: 'array', items: { type: 'string' }, default: ['q_proj', 'down_proj'] },
    },
  },
  adapter: { peftTypes: ['LORA'], load: prepareLora, merge: mergeLora },
  create: ({ rank, weight, targetModules }) => {
    const lora = loraStrategy({ rank, alpha: 2 * rank, targetModules });
    return {
      role: 'owner',
      plan: async (model, owner) => (await lora.plan?.(model, owner)) ?? { trainable: new Map() },
      attach: async (model, run) => withAnchor(await lora.attach(model, run), weight),
    };
  },
});
