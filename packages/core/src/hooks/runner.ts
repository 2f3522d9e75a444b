import { addN, type Tensor } from '@tensorflow/tfjs-core';
import {
  hookTable,
  isWhetstoneError,
  WhetstoneError,
  type Callback,
  type HookName,
  type HookOrder,
  type Json,
} from '../contract/index.js';
import { resultProblem } from './check-result.js';
import { createControlState, type ControlState } from './control-state.js';
import { mayRequest } from './may-request.js';
import type { HookMethods, HookRunner } from './types.js';
import { frozen, isRecord, jsonProblem, messageOf, ownValue } from '../util/index.js';

/** A callback with the name of its plugin. */
export interface HookedCallback {
  readonly plugin: string;
  readonly callback: Callback;
  /** The path of its options in the configuration; absent for a callback of the application. */
  readonly path?: string;
  /** True if the callback outlives the runner. The runner then does not dispose it. */
  readonly stays?: boolean;
}

/** A handler of a hook. */
interface Entry {
  readonly plugin: string;
  readonly order: HookOrder;
  readonly call: (...values: unknown[]) => unknown;
}

/** The handlers of one hook, in the order in which they are called. */
interface HookCalls {
  readonly hook: HookName;
  readonly entries: readonly Entry[];
  /** Throws the error of a handler, with plugin, hook and step. */
  fail(entry: Entry, cause: unknown): never;
  /** Receives the term of a handler of an `add` hook; undefined if it returned none. */
  seeTerm(entry: Entry, term: Tensor | undefined): void;
}

const rank: Readonly<Record<HookOrder, number>> = { pre: 0, normal: 1, post: 2 };
const isPromise = (value: unknown): boolean =>
  typeof (value as { then?: unknown } | null | undefined)?.then === 'function';

/** Returns the handlers of a hook in the order in which they are called. */
function entriesOf(
  hook: HookName,
  callbacks: readonly HookedCallback[],
  controlFor: ControlState['controlFor'],
): readonly Entry[] {
  const entries = callbacks.flatMap(({ plugin, callback }): Entry[] => {
    const member = callback[hook];
    if (member === undefined) return [];
    const [order, handler] =
      typeof member === 'function' ? (['normal', member] as const) : ([member.order, member.handler] as const);
    const control = hookTable[hook].control
      ? [controlFor(hook, { plugin, rollsBack: callback.rollsBack === true, requests: callback.requests })]
      : [];
    // `this` is the callback, so that methods of classes work.
    const call = (...values: unknown[]): unknown =>
      Reflect.apply(handler, callback, [...values, ...control]) as unknown;
    return [{ plugin, order, call }];
  });
  return entries.toSorted((a, b) => rank[a.order] - rank[b.order]);
}

/** Returns the error of a handler. A WhetstoneError, for example about a full disk, keeps its code, place and hint. */
function hookFailed({ plugin }: Entry, hook: HookName, step: number, cause: unknown): WhetstoneError {
  const {
    code = 'HOOK_FAILED',
    place,
    expected,
    found,
    hint,
    problems,
    details,
  }: Partial<WhetstoneError> = isWhetstoneError(cause) ? cause : {};
  return new WhetstoneError(code, `Hook ${hook} of '${plugin}' failed at step ${step}: ${messageOf(cause)}`, {
    place,
    expected,
    found,
    hint,
    problems,
    details: { ...details, plugin, hook, step },
    cause,
  });
}

/** Calls a handler that must not be async. */
function callSync({ hook, fail }: HookCalls, entry: Entry, values: readonly unknown[]): unknown {
  let result: unknown;
  try {
    result = entry.call(...values);
  } catch (cause) {
    return fail(entry, cause);
  }
  if (isPromise(result)) {
    // The promise is not awaited; its rejection must not end the process.
    void Promise.resolve(result).catch(() => undefined);
    fail(entry, new TypeError(`${hook} returned a promise, but ${hookTable[hook].kind} hooks are synchronous`));
  }
  return result;
}

/** Fails if a handler returned something else than the result of its hook. */
function checkResult(
  { hook, fail }: HookCalls,
  entry: Entry,
  result: unknown,
  given?: unknown,
  rest: readonly unknown[] = [],
): void {
  const problem = resultProblem(hook, result, given, rest);
  if (problem !== null) fail(entry, new TypeError(`${hook} ${problem}`));
}

/** The method of the runner for each kind of hook. */
const methodOf: Readonly<
  Record<(typeof hookTable)[HookName]['kind'], (calls: HookCalls) => (...values: unknown[]) => unknown>
> = {
  observe:
    ({ entries, fail }) =>
    async (...values) => {
      for (const value of values) frozen(value);
      for (const entry of entries) {
        try {
          await entry.call(...values);
        } catch (cause) {
          fail(entry, cause);
        }
      }
    },
  transform:
    (calls) =>
    (value, ...rest) =>
      calls.entries.reduce((current: unknown, entry) => {
        const result = callSync(calls, entry, [current, ...rest]);
        const nothing = `${calls.hook} returned nothing: it must return its first argument or a replacement`;
        if (result === undefined || result === null) return calls.fail(entry, new TypeError(nothing));
        checkResult(calls, entry, result, current, rest);
        return result;
      }, value),
  add:
    (calls) =>
    (...values) => {
      const terms = calls.entries.flatMap((entry): Tensor[] => {
        const result = callSync(calls, entry, values);
        if (result === undefined || result === null) {
          calls.seeTerm(entry, undefined);
          return [];
        }
        checkResult(calls, entry, result);
        calls.seeTerm(entry, result as Tensor);
        return [result as Tensor];
      });
      return terms.length <= 1 ? terms[0] : addN(terms);
    },
};

/** Creates the hook runner of a run. It has one method for every entry of the hook table. */
export function createHookRunner(callbacks: readonly HookedCallback[]): HookRunner {
  const controlState = createControlState();
  const state: Pick<HookRunner, 'step' | 'seeTerm'> = { step: 0, seeTerm: null };
  const calls = (Object.keys(hookTable) as HookName[]).map((hook): HookCalls => ({
    hook,
    entries: entriesOf(hook, callbacks, controlState.controlFor),
    fail: (entry, cause) => {
      throw hookFailed(entry, hook, state.step, cause);
    },
    seeTerm: ({ plugin }, term) => state.seeTerm?.(plugin, term),
  }));
  const present = new Set(calls.flatMap(({ hook, entries }) => (entries.length > 0 ? [hook] : [])));
  const methods = Object.fromEntries(
    calls.map((each) => [each.hook, methodOf[hookTable[each.hook].kind](each)]),
  ) as unknown as HookMethods;

  return Object.assign(state, methods, {
    requests: controlState.requests,
    skipsNonFinite: callbacks.some(({ callback }) => callback.nonFinite === 'skip'),
    evaluationWeights: callbacks.flatMap(({ plugin, callback }) =>
      callback.evaluationWeights === undefined
        ? []
        : [{ plugin, weights: () => callback.evaluationWeights?.() ?? new Map<string, Tensor>() }],
    ),
    marksBest: callbacks.some(({ callback }) => mayRequest(callback, 'markBest')),
    rollsBack: callbacks.some(({ callback }) => callback.rollsBack === true),
    has: (hook: HookName) => present.has(hook),
    saveState: () => saveStates(callbacks),
    loadState: (saved: Json) => loadStates(callbacks, saved),
    dispose: () => disposeAll(callbacks),
  });
}

/** Returns callbacks with unique keys: `early-stopping`, and `early-stopping#2` for the second callback of a plugin. */
function withKeys(callbacks: readonly HookedCallback[]): readonly (readonly [string, HookedCallback])[] {
  const seen = new Map<string, number>();
  return callbacks.map((entry) => {
    const occurrence = (seen.get(entry.plugin) ?? 0) + 1;
    seen.set(entry.plugin, occurrence);
    return [occurrence === 1 ? entry.plugin : `${entry.plugin}#${occurrence}`, entry] as const;
  });
}

const memberFailed = (plugin: string, member: string, cause: unknown): WhetstoneError =>
  new WhetstoneError('PLUGIN_FAILED', `${member} of '${plugin}' failed: ${messageOf(cause)}`, {
    details: { plugin },
    cause,
  });

/** Calls `action` and converts its error to `PLUGIN_FAILED`. A promise is an error, too, because it is not awaited. */
function attempt(plugin: string, member: string, action: () => unknown): void {
  try {
    const result = action();
    if (!isPromise(result)) return;
    void Promise.resolve(result).catch(() => undefined);
    throw new TypeError('it returned a promise, which is not awaited');
  } catch (cause) {
    throw memberFailed(plugin, member, cause);
  }
}

async function saveStates(callbacks: readonly HookedCallback[]): Promise<Json> {
  const states: Record<string, Json> = {};
  for (const [key, { plugin, callback }] of withKeys(callbacks)) {
    if (callback.saveState === undefined) continue;
    try {
      states[key] = jsonOf((await callback.saveState()) ?? null);
    } catch (cause) {
      throw memberFailed(plugin, 'saveState', cause);
    }
  }
  return states;
}

/**
 * Returns a state, or throws if JSON would drop or change a part of it: it would be lost without a word.
 *
 * @throws `TypeError`
 */
function jsonOf(state: Json): Json {
  const problem = jsonProblem(state);
  if (problem === null) return state;
  const place = problem.path === '' ? '' : ` at ${problem.path}`;
  throw new TypeError(`it returned ${problem.found}${place}, which JSON cannot hold`);
}

function loadStates(callbacks: readonly HookedCallback[], saved: Json): void {
  if (!isRecord(saved)) throw new WhetstoneError('CHECKPOINT_INVALID', 'The state of the callbacks is not an object.');
  const states = saved as { readonly [key: string]: Json };
  for (const [key, { plugin, callback }] of withKeys(callbacks)) {
    const state = ownValue(states, key);
    if (state !== undefined) attempt(plugin, 'loadState', () => callback.loadState?.(state));
  }
}

/** Disposes all callbacks in reverse order, then throws the first error that occurred. */
function disposeAll(callbacks: readonly HookedCallback[]): void {
  const failures: unknown[] = [];
  for (const { plugin, callback, stays } of callbacks.toReversed()) {
    if (stays === true) continue;
    try {
      attempt(plugin, 'dispose', () => callback.dispose?.());
    } catch (failure) {
      failures.push(failure);
    }
  }
  if (failures.length > 0) throw failures[0];
}
