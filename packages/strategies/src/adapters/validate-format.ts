import type { Tensor } from '@tensorflow/tfjs-core';
import {
  isWhetstoneError,
  WhetstoneError,
  type LanguageModel,
  type PreparedAdapter,
  type Problem,
} from '@whetstone/core/contract';
import { isRecord, messageOf, sameShape, unknownMembers } from '@whetstone/core/util';

/** Throws the error of a plugin that reads adapters of a type. */
function invalid(peftType: string, method: 'load' | 'merge', [first, ...rest]: readonly Problem[]): void {
  if (first === undefined) return;
  throw new WhetstoneError(
    'PLUGIN_INVALID',
    `adapter.${method} of the plugin for adapters of the type ${peftType} returned an invalid result. ${first.message}`,
    { ...first, problems: rest, details: { peftType, method } },
  );
}

/** Calls a method of a plugin that reads adapters. An error without a code becomes `PLUGIN_FAILED`. */
export async function callFormat<T>(peftType: string, method: string, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw failure(peftType, method, cause);
  }
}

/** Returns the error of a method of a plugin; one with a code is returned as it is. */
function failure(peftType: string, method: string, cause: unknown): unknown {
  if (isWhetstoneError(cause)) return cause;
  return new WhetstoneError(
    'PLUGIN_FAILED',
    `${method} of the plugin for adapters of the type ${peftType} failed: ${messageOf(cause)}`,
    { details: { peftType, method }, cause },
  );
}

const methods = ['attach', 'dispose'];

/** Checks what `adapter.load` returned. @throws `PLUGIN_INVALID` with all problems */
export function validatePrepared(value: unknown, peftType: string): PreparedAdapter {
  const problems: Problem[] = isRecord(value)
    ? [
        ...unknownMembers(value, methods).map(({ name, hint }) => ({
          message: `It has an unknown key: ${name}.`,
          place: { path: `load().${name}` },
          hint,
        })),
        ...methods
          .filter((name) => typeof value[name] !== 'function')
          .map((name) => ({
            message: `It has no function ${name}.`,
            place: { path: `load().${name}` },
            expected: 'a function',
            found: typeof value[name],
          })),
      ]
    : [{ message: 'It is not an object.', expected: 'an object with attach and dispose', found: typeof value }];
  invalid(peftType, 'load', problems);
  return value as unknown as PreparedAdapter;
}

/** Checks that `attach` returned a function that detaches. @throws `PLUGIN_INVALID` */
export function validateDetach(value: unknown, peftType: string): () => void {
  if (typeof value !== 'function')
    invalid(peftType, 'load', [
      {
        message: 'attach did not return a function.',
        place: { path: 'load().attach()' },
        expected: 'a function that restores the model',
        found: typeof value,
      },
    ]);
  return value as () => void;
}

const isTensor = (value: unknown): value is Tensor =>
  isRecord(value) && Array.isArray(value['shape']) && typeof value['dataSync'] === 'function';

/** Returns the problem of one merged weight. */
function weightProblem(model: LanguageModel, name: unknown, value: unknown): Problem[] {
  const place = { path: 'merge()', tensor: String(name) };
  const site = model.linearSites.get(String(name).replace(/\.weight$/, ''));
  const shape = model.parameters.get(String(name))?.shape ?? (site?.isOutput === true ? site.weight.shape : undefined);
  if (shape === undefined)
    return [{ message: 'It contains a weight that the model does not have.', place, found: String(name) }];
  if (!isTensor(value) || value.isDisposed)
    return [{ message: 'It contains a value that is not a tensor.', place, expected: 'a tensor that is not disposed' }];
  return sameShape(value.shape, shape)
    ? []
    : [
        {
          message: 'It contains a weight with another shape than that of the model.',
          place,
          expected: `[${shape.join(', ')}]`,
          found: `[${value.shape.join(', ')}]`,
        },
      ];
}

/** Checks what `adapter.merge` returned. @throws `PLUGIN_INVALID` with all problems */
export function validateMerged(value: unknown, model: LanguageModel, peftType: string): ReadonlyMap<string, Tensor> {
  if (!(value instanceof Map)) {
    invalid(peftType, 'merge', [
      { message: 'It is not a Map.', expected: 'a Map of tensors by parameter name', found: typeof value },
    ]);
    return new Map();
  }
  const entries = [...(value as ReadonlyMap<unknown, unknown>)];
  const problems: readonly Problem[] =
    value.size === 0
      ? [{ message: 'It is empty.', expected: 'the weights that the adapter changes' }]
      : entries.flatMap(([name, each]) => weightProblem(model, name, each));
  if (problems.length > 0) for (const [, each] of entries) if (isTensor(each) && !each.isDisposed) each.dispose();
  invalid(peftType, 'merge', problems);
  return value as ReadonlyMap<string, Tensor>;
}
