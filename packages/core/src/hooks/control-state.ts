import { WhetstoneError, type Control, type HookName } from '../contract/index.js';
import type { ControlRequests } from './types.js';

/** The requests that only some hooks may make. */
const allowedHooks: Readonly<Record<'skipUpdate' | 'markBest', readonly HookName[]>> = {
  skipUpdate: ['transformGradients'],
  markBest: ['onEvaluate', 'onStep'],
};

/** The pending requests of all callbacks. */
export interface ControlState {
  readonly requests: ControlRequests;
  /** Returns the `control` argument of a hook. */
  controlFor(hook: HookName): Control;
}

/** Creates a store for requests of callbacks, from which the training loop takes them. */
export function createControlState(): ControlState {
  let stopReason: string | null = null;
  let skipReason: string | null = null;
  const requested = { evaluate: false, save: false, markBest: false };
  const take = (request: keyof typeof requested) => {
    const answer = requested[request];
    requested[request] = false;
    return answer;
  };
  const checkHook = (request: keyof typeof allowedHooks, hook: HookName) => {
    if (!allowedHooks[request].includes(hook)) {
      throw new WhetstoneError(
        'CONFIG_CONFLICT',
        `control.${request} can only be called from ${allowedHooks[request].join(' or ')}, not from ${hook}.`,
      );
    }
  };

  return {
    requests: {
      get stopReason() {
        return stopReason;
      },
      takeEvaluate: () => take('evaluate'),
      takeSave: () => take('save'),
      takeMarkBest: () => take('markBest'),
      mergeRequests: (requests) => {
        stopReason ??= requests.stopReason ?? null;
        requested.evaluate ||= requests.evaluate === true;
        requested.save ||= requests.save === true;
        requested.markBest ||= requests.markBest === true;
      },
      takeSkipUpdate: () => {
        const reason = skipReason;
        skipReason = null;
        return reason;
      },
    },
    controlFor: (hook) => ({
      stop: (reason) => {
        stopReason ??= reason;
      },
      evaluate: () => {
        requested.evaluate = true;
      },
      save: () => {
        requested.save = true;
      },
      skipUpdate: (reason) => {
        checkHook('skipUpdate', hook);
        skipReason ??= reason;
      },
      markBest: () => {
        checkHook('markBest', hook);
        requested.markBest = true;
      },
    }),
  };
}
