import { expect } from 'vitest';
import { isWhetstoneError, PLUGIN_API_VERSION, type JsonSchema } from '@whetstone/core/contract';
import { messageOf } from '@whetstone/core/util';

/** One check of a conformance suite. It uses vitest's `expect`, so it runs inside a vitest test. */
export interface Check<Subject> {
  /** Completes the sentence "the plugin …", as `disposes every tensor that it makes`. */
  readonly name: string;
  /** Returns whether the check is meant for the subject; it is meant for all subjects if this is absent. */
  applies?(subject: Subject): boolean;
  /** Rejects with a description of the fault if the subject fails the check. */
  run(subject: Subject): Promise<void>;
}

/** The checks of a conformance suite, by what they are repeated for. */
export interface Checks<Subject> {
  /** Run once for the plugin. */
  readonly plugin: readonly Check<Subject>[];
  /** Run for each set of options that the plugin accepts. */
  readonly options: readonly Check<Subject>[];
  /** Run for each set of options that the plugin must refuse. */
  readonly badOptions: readonly Check<Subject>[];
}

/** Fails unless the plugin declares this API version, one of the kinds, a name and a schema without further keys. */
export function expectDeclaration(
  plugin: {
    readonly apiVersion: number;
    readonly kind: string;
    readonly name: string;
    readonly configSchema: JsonSchema;
  },
  kinds: readonly string[],
): void {
  expect(plugin.apiVersion, 'apiVersion').toBe(PLUGIN_API_VERSION);
  expect(kinds, 'kinds, one of which the plugin is').toContain(plugin.kind);
  expect(plugin.name, 'name').not.toBe('');
  expect(plugin.configSchema, 'configSchema').toMatchObject({ type: 'object', additionalProperties: false });
}

/** Fails unless the error that refused bad options can be shown to a user: an error with a code. */
export function expectCoded(error: unknown): void {
  expect(isWhetstoneError(error), `the error has no code, it is not a WhetstoneError: ${messageOf(error)}`).toBe(true);
}

/**
 * Returns values as a file gives them back; fails if JSON does not keep them as they are.
 *
 * @param from the function that returned them
 */
export function throughJson<T>(values: T, from = 'saveState'): T {
  const text = JSON.stringify(values) as string | undefined;
  expect(text, `${from} returned a value that JSON cannot hold`).toBeDefined();
  const read = JSON.parse(text ?? 'null') as T;
  expect(read, `${from} returned values that JSON does not keep`).toStrictEqual(values);
  return read;
}

/** Fails if `load` throws, which calls `loadState` with what `saveState` returned. */
export function expectReadable(load: () => void): void {
  try {
    load();
  } catch (error) {
    expect.fail(`loadState threw for what saveState returned: ${messageOf(error)}`);
  }
}
