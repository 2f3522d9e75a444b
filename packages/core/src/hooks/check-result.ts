import type { HookName } from '../contract/index.js';
import { isRecord, isTensorLike, sameShape } from '../util/index.js';

/** Returns what is wrong with the result of a hook, or null. `given` is the value that the hook received. */
type Check = (result: unknown, given: unknown, rest: readonly unknown[]) => string | null;

const describe = (value: unknown): string => {
  if (isTensorLike(value))
    return value.isDisposed ? 'a disposed tensor' : `a ${value.dtype} tensor of shape [${String(value.shape)}]`;
  if (typeof value !== 'object' || value === null) return `the ${typeof value} ${String(value)}`;
  return Array.isArray(value) ? 'an array' : `a ${value.constructor?.name ?? 'object'}`;
};

const isTensorOf = (value: unknown, shape: readonly number[]): boolean =>
  isTensorLike(value) && !value.isDisposed && value.dtype === 'float32' && sameShape(value.shape, shape);

/** The arrays of a batch, with a number for each of its tokens. */
const batchArrays = { ids: Int32Array, labels: Int32Array, segmentIds: Int32Array, positionIds: Int32Array } as const;

function batchProblem(result: unknown, given: unknown): string | null {
  if (!isRecord(result)) return `must return a batch, not ${describe(result)}`;
  const { rows, length, weights } = result;
  const size = Number(rows) * Number(length);
  for (const [name, type] of Object.entries(batchArrays)) {
    const array = result[name];
    if (isRecord(given) && !(name in given)) continue;
    if (!(array instanceof type) || array.length !== size)
      return `returned a batch whose ${name} is not an ${type.name} of rows × length = ${size} numbers`;
  }
  if (weights === undefined) return null;
  return weights instanceof Float32Array &&
    weights.length === size &&
    weights.every((weight) => Number.isFinite(weight))
    ? null
    : `returned a batch whose weights are not a Float32Array of ${size} finite numbers`;
}

function gradientsProblem(result: unknown, given: unknown, [context]: readonly unknown[]): string | null {
  if (!(result instanceof Map)) return `must return a Map of gradients by parameter name, not ${describe(result)}`;
  if (result.size === 0 && given instanceof Map && given.size > 0)
    return 'returned no gradient: call control.skipUpdate to skip an update';
  const parameters: unknown = isRecord(context) ? context['parameters'] : undefined;
  if (!(parameters instanceof Map)) return null;
  for (const [name, gradient] of result as ReadonlyMap<unknown, unknown>) {
    const parameter: unknown = parameters.get(name);
    if (!isTensorLike(parameter)) return `returned a gradient of ${String(name)}, which is not trained`;
    if (!isTensorOf(gradient, parameter.shape))
      return (
        `returned ${describe(gradient)} as the gradient of ${String(name)}, not a float32 tensor of shape ` +
        `[${String(parameter.shape)}]`
      );
  }
  return null;
}

const checks: Partial<Record<HookName, Check>> = {
  transformBatch: batchProblem,
  transformLogits: (result, given) =>
    isTensorLike(given) && !isTensorOf(result, given.shape)
      ? `must return float32 logits of shape [${String(given.shape)}], not ${describe(result)}`
      : null,
  addLoss: (result) =>
    isTensorOf(result, []) ? null : `must return a scalar of type float32 or nothing, not ${describe(result)}`,
  transformGradients: gradientsProblem,
};

/** Returns what is wrong with the result of a hook: it would train other numbers, or fail without its name. */
export const resultProblem = (
  hook: HookName,
  result: unknown,
  given?: unknown,
  rest: readonly unknown[] = [],
): string | null => checks[hook]?.(result, given, rest) ?? null;
