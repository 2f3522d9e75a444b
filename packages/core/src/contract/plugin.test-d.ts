// Type tests: the build checks them; they never run. A line under `@ts-expect-error` must not compile.
import { definePlugin, type Callback, type FromSchema, type Plugin } from './index.js';

const configSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['patience'],
  properties: {
    patience: { type: 'integer' },
    minDelta: { type: 'number', default: 0 },
    mode: { enum: ['min', 'max'] },
    targets: { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }], default: 'all' },
    limit: { type: ['integer', 'null'], default: null },
    weights: { type: 'object', additionalProperties: { type: 'number' }, default: {} },
  },
} as const;

/** True if two types are identical. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Flat<T> = { [K in keyof T]: T[K] };
export const optionsFollowFromSchema: Same<
  Flat<FromSchema<typeof configSchema>>,
  {
    readonly patience: number;
    readonly minDelta: number;
    readonly targets: string | readonly string[];
    readonly limit: number | null;
    readonly weights: Readonly<Record<string, number>>;
    readonly mode?: 'min' | 'max';
  }
> = true;

export const fine = definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: 'fine',
  configSchema,
  create: ({ patience, minDelta }) => ({
    onStep: ({ loss }, control) => (loss > patience + minDelta ? control.stop('far') : undefined),
  }),
});

// Plugins with different options fit into one list.
export const list: readonly Plugin[] = [fine];

export const misspelledHook = definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: 'misspelled',
  configSchema,
  // @ts-expect-error the only hook is misspelled
  create: () => ({ onStpe: () => undefined }),
});

// @ts-expect-error the only hook is misspelled
export const misspelled: Callback = { onStpe: () => undefined };

export const unknownOption = definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: 'unknown-option',
  configSchema,
  // @ts-expect-error the schema does not declare this option
  create: ({ patence }) => ({ onStep: () => void patence }),
});

export const wrongKind = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'wrong-kind',
  configSchema,
  // @ts-expect-error a strategy is not an object of hooks
  create: () => ({ onStep: () => undefined }),
});

// @ts-expect-error a transform hook is synchronous
export const asyncTransform: Callback = { transformBatch: async (batch) => batch };

export const replyLength = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'reply-length',
  configSchema,
  create: ({ patience }) => ({
    needs: 'replies',
    createAccumulator: () => {
      let length = patience;
      return { add: ({ reply }) => void (length += reply.length), result: () => ({ length }) };
    },
  }),
});

export const undeclaredNeed = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'undeclared-need',
  configSchema,
  create: () => ({
    needs: 'none',
    // @ts-expect-error the samples of a metric that needs nothing have no reply
    createAccumulator: () => ({ add: ({ reply }) => void reply, result: () => ({}) }),
  }),
});

export const metricOfVersion1 = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'version-1',
  configSchema,
  // @ts-expect-error a metric receives its samples one after another
  create: () => ({ compute: () => ({ score: 1 }) }),
});

definePlugin({
  // @ts-expect-error a different version of the plugin contract
  apiVersion: 1,
  kind: 'callback',
  name: 'late',
  configSchema,
  create: () => ({ onStep: () => undefined }),
});
