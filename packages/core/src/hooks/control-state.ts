import { WhetstoneError, type Control, type HookName } from '../contract/index.js';
import type { ControlRequests } from './types.js';

/** Requests that make sense from some hooks alone. */
const allowedHooks: Readonly<Record<'skipUpdate' | 'markBest', readonly HookName[]>> = {
  skipUpdate: ['transformGradients'],
  markBest: ['onEvaluate', 'onStep'],
};

export interface ControlState {
  readonly requests: ControlRequests;
  /** What a hook gets: it takes requests and grants none. */
  controlFor(hook: HookName): Control;
}

/** Keeps what callbacks ask for until the loop takes it. */
export function createControlState(): ControlState {
  let stopReason: string | null = null;
  let skipReason: string | null = null;
  const asked = { evaluate: false, save: false, markBest: false };
  const take = (request: keyof typeof asked) => {
    const answer = asked[request];
    asked[request] = false;
    return answer;
  };
  const refuse = (request: keyof typeof allowedHooks, hook: HookName) => {
    if (!allowedHooks[request].includes(hook)) {
      throw new WhetstoneError(
        'CONFIG_CONFLICT',
        `control.${request} can only be asked for from ${allowedHooks[request].join(' or ')}, not from ${hook}.`,
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
        asked.evaluate ||= requests.evaluate === true;
        asked.save ||= requests.save === true;
        asked.markBest ||= requests.markBest === true;
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
        asked.evaluate = true;
      },
      save: () => {
        asked.save = true;
      },
      skipUpdate: (reason) => {
        refuse('skipUpdate', hook);
        skipReason ??= reason;
      },
      markBest: () => {
        refuse('markBest', hook);
        asked.markBest = true;
      },
    }),
  };
}
