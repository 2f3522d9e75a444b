import { EventEmitter } from 'eventemitter3';
import type { Callback, Logger, TrainerEvents } from './contract/index.js';
import { frozen, messageOf } from './util/index.js';

/** The name of an event of a Trainer. */
export type TrainerEvent = keyof TrainerEvents;
/** A listener of an event of a Trainer. */
export type TrainerListener<E extends TrainerEvent> = (...values: TrainerEvents[E]) => unknown;

/**
 * Typed events, whose data is frozen. The error of a listener that throws or rejects is logged, and other listeners are
 * still called.
 */
export interface EventHub {
  on<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): void;
  once<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): void;
  off<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): void;
  emit<E extends TrainerEvent>(event: E, ...values: TrainerEvents[E]): void;
  clear(): void;
}

/**
 * Creates an event hub.
 *
 * @param logger returns the logger for errors of listeners; called at each error
 */
export function createEventHub(logger: () => Logger): EventHub {
  const emitter = new EventEmitter();
  // eventemitter3 ignores promises, and stops at a listener that throws. Therefore each listener is wrapped: once per
  // event, so that errors of a function that listens to two events are reported for the right event.
  const guarded = new Map<TrainerEvent, Map<unknown, (...values: unknown[]) => void>>();
  const guardsOf = (event: TrainerEvent) => {
    const present = guarded.get(event) ?? new Map<unknown, (...values: unknown[]) => void>();
    guarded.set(event, present);
    return present;
  };
  const guard = <E extends TrainerEvent>(event: E, listener: TrainerListener<E>) => {
    const guards = guardsOf(event);
    const present = guards.get(listener);
    if (present !== undefined) return present;
    const report = (cause: unknown) =>
      logger().error(`A listener of '${event}' failed: ${messageOf(cause)}`, {
        event,
        cause,
      });
    const wrapped = (...values: unknown[]) => {
      try {
        const result = Reflect.apply(listener, undefined, values) as unknown;
        if (typeof (result as { then?: unknown } | null | undefined)?.then === 'function')
          void Promise.resolve(result).catch(report);
      } catch (cause) {
        report(cause);
      }
    };
    guards.set(listener, wrapped);
    return wrapped;
  };
  return {
    on: (event, listener) => void emitter.on(event, guard(event, listener)),
    once: (event, listener) => void emitter.once(event, guard(event, listener)),
    off: (event, listener) => void emitter.off(event, guard(event, listener)),
    emit: (event, ...values) => void emitter.emit(event, ...values.map(frozen)),
    clear: () => {
      emitter.removeAllListeners();
      guarded.clear();
    },
  };
}

/** Returns a callback that emits an event for each hook. Its hooks are called after those of all other callbacks. */
export function eventCallback(emit: EventHub['emit']): Callback {
  return {
    onRunStart: { order: 'post', handler: ({ loaded: _loaded, ...info }) => emit('run:start', info) },
    onStep: { order: 'post', handler: (report) => emit('step', report) },
    onEvaluate: { order: 'post', handler: (report) => emit('evaluate', report) },
    onSave: { order: 'post', handler: (checkpoint) => emit('save', checkpoint) },
    onEpochEnd: { order: 'post', handler: (epoch) => emit('epoch', { epoch }) },
    onRunEnd: { order: 'post', handler: (report) => emit('run:end', report) },
    onRunError: { order: 'post', handler: (error) => emit('run:error', error) },
  };
}
