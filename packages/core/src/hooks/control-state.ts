import { WhetstoneError, type Control, type HookName, type RequestName } from '../contract/index.js';
import type { ControlRequests, LearningRateRequest } from './types.js';

/** The requests that only some hooks may make. */
const allowedHooks: Readonly<Record<'skipUpdate' | 'markBest' | 'setLearningRate' | 'rollback', readonly HookName[]>> =
  {
    skipUpdate: ['transformGradients'],
    markBest: ['onEvaluate', 'onStep'],
    // Not onSave: the checkpoint would lack the rate.
    setLearningRate: ['onRunStart', 'onEpochStart', 'onStep', 'onEvaluate'],
    rollback: ['onStep', 'onEvaluate'],
  };

/** A callback that makes requests. */
interface Requester {
  readonly plugin: string;
  readonly rollsBack: boolean;
  /** The requests that it declares; absent if it declares none. */
  readonly requests?: readonly RequestName[] | undefined;
}

/** The pending requests of all callbacks. */
export interface ControlState {
  readonly requests: ControlRequests;
  /** Returns the `control` argument of a callback's hook. */
  controlFor(hook: HookName, requester: Requester): Control;
}

function checkHook(request: keyof typeof allowedHooks, hook: HookName): void {
  const allowed = allowedHooks[request];
  if (allowed.includes(hook)) return;
  const names = allowed.length === 1 ? allowed.join('') : `${allowed.slice(0, -1).join(', ')} or ${allowed.at(-1)}`;
  throw new WhetstoneError('CONFIG_CONFLICT', `control.${request} can only be called from ${names}, not from ${hook}.`);
}

function checkLearningRate(value: unknown): void {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return;
  throw new RangeError(`control.setLearningRate expects a finite number of at least 0, not ${String(value)}`);
}

function checkRollsBack({ plugin, rollsBack }: Requester): void {
  if (rollsBack) return;
  throw new WhetstoneError('CONFIG_CONFLICT', `'${plugin}' calls control.rollback without the field rollsBack.`, {
    hint: 'Add `rollsBack: true` beside the hooks, so that the run keeps what a rollback restores.',
  });
}

function checkDeclared(request: RequestName, { plugin, requests }: Requester): void {
  if (requests === undefined || requests.includes(request)) return;
  throw new WhetstoneError('CONFIG_CONFLICT', `'${plugin}' calls control.${request}, which it does not declare.`, {
    place: { path: 'requests' },
    expected: requests.length === 0 ? 'no request' : requests.join(', '),
    found: request,
    hint: `Add '${request}' to requests, beside the hooks of the callback.`,
  });
}

/** The requests since they were last taken. */
interface Requested {
  stop: string | null;
  evaluate: boolean;
  save: boolean;
  markBest: boolean;
  learningRate: LearningRateRequest | null;
  rollback: string | null;
  skip: string | null;
}

const noRequests: Readonly<Requested> = {
  stop: null,
  evaluate: false,
  save: false,
  markBest: false,
  learningRate: null,
  rollback: null,
  skip: null,
};

/** Creates a store for requests of callbacks, from which the training loop takes them. */
export function createControlState(): ControlState {
  const requested: Requested = { ...noRequests };
  return {
    requests: createRequests(requested),
    controlFor: (hook, requester) => createControl(requested, hook, requester),
  };
}

/** Creates the side of the training loop, which takes the requests. */
function createRequests(requested: Requested): ControlRequests {
  const take = <K extends keyof Requested>(request: K): Requested[K] => {
    const answer = requested[request];
    requested[request] = noRequests[request];
    return answer;
  };
  return {
    get stopReason() {
      return requested.stop;
    },
    get rollbackReason() {
      return requested.rollback;
    },
    takeEvaluate: () => take('evaluate'),
    takeSave: () => take('save'),
    takeMarkBest: () => take('markBest'),
    takeLearningRate: () => take('learningRate'),
    takeSkipUpdate: () => take('skip'),
    pending: () => {
      const { skip: _, ...pending } = requested;
      return pending;
    },
    takeAll: () => ({
      stop: take('stop'),
      evaluate: take('evaluate'),
      save: take('save'),
      markBest: take('markBest'),
      learningRate: take('learningRate'),
      rollback: take('rollback'),
    }),
    merge: ({ stop, evaluate, save, markBest, learningRate, rollback }) => {
      requested.stop ??= stop;
      requested.evaluate ||= evaluate;
      requested.save ||= save;
      requested.markBest ||= markBest;
      requested.learningRate ??= learningRate;
      requested.rollback ??= rollback;
    },
    mergeStop: (reason) => {
      requested.stop ??= reason;
    },
  };
}

/** Creates the side of a callback, which makes the requests. Each request is checked against the hook. */
function createControl(requested: Requested, hook: HookName, requester: Requester): Control {
  return {
    stop: (reason) => {
      checkDeclared('stop', requester);
      requested.stop ??= reason;
    },
    evaluate: () => {
      checkDeclared('evaluate', requester);
      requested.evaluate = true;
    },
    save: () => {
      checkDeclared('save', requester);
      requested.save = true;
    },
    skipUpdate: (reason) => {
      checkDeclared('skipUpdate', requester);
      checkHook('skipUpdate', hook);
      requested.skip ??= reason;
    },
    markBest: () => {
      checkDeclared('markBest', requester);
      checkHook('markBest', hook);
      requested.markBest = true;
    },
    setLearningRate: (value, reason) => {
      checkDeclared('setLearningRate', requester);
      checkHook('setLearningRate', hook);
      checkLearningRate(value);
      requested.learningRate = { value, reason };
    },
    rollback: (reason) => {
      checkDeclared('rollback', requester);
      checkHook('rollback', hook);
      checkRollsBack(requester);
      requested.rollback ??= reason;
    },
  };
}
