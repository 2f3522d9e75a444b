import { scalar, tensor1d, tidy, type Scalar, type Tensor2D } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { describe, expect, it } from 'vitest';
import {
  hookTable,
  type Callback,
  type HookName,
  type MicrobatchContext,
  type RunReport,
  type StepContext,
  type StepReport,
  WhetstoneError,
} from '../contract/index.js';
import { createHookRunner } from './runner.js';

const report = { step: 3 } as StepReport;
const stepContext: StepContext = { step: 3, record: () => undefined };
const runner = (...callbacks: readonly Callback[]) =>
  createHookRunner(callbacks.map((callback, index) => ({ plugin: `callback-${index}`, callback })));

async function failureOf(action: () => unknown): Promise<WhetstoneError> {
  try {
    await action();
  } catch (error) {
    if (error instanceof WhetstoneError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('createHookRunner', () => {
  it('has one method for every entry of the hook table', () => {
    const methods = runner() as unknown as Record<HookName, unknown>;
    for (const hook of Object.keys(hookTable) as HookName[]) expect(methods[hook]).toBeTypeOf('function');
  });

  it('calls pre hooks, then configuration order, then post, and awaits each before the next', async () => {
    const calls: string[] = [];
    const slow = (name: string) => async () => {
      calls.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      calls.push(`${name} ends`);
    };
    await runner(
      { onStep: { order: 'post', handler: slow('post') } },
      { onStep: slow('first') },
      { onStep: slow('second') },
      { onStep: { order: 'pre', handler: slow('pre') } },
    ).onStep(report);
    expect(calls).toEqual(['pre', 'first', 'second', 'post'].flatMap((name) => [`${name} begins`, `${name} ends`]));
  });

  it('passes a transformed value to the next hook', () => {
    const hooks = runner(
      { transformBatch: (batch) => ({ ...batch, samples: batch.samples + 1 }) },
      { transformBatch: (batch) => ({ ...batch, samples: batch.samples * 10 }) },
    );
    expect(hooks.transformBatch({ samples: 1 } as never, stepContext).samples).toBe(20);
  });

  it('sums the terms of add hooks, and returns undefined if there are none', () => {
    const logits = undefined as unknown as Tensor2D;
    const microbatch = stepContext as MicrobatchContext;
    const total = tidy(
      () =>
        (
          runner({ addLoss: () => scalar(2) }, { addLoss: () => undefined }, { addLoss: () => scalar(3) }).addLoss(
            logits,
            microbatch,
          ) as Scalar
        ).dataSync()[0],
    );
    expect(total).toBe(5);
    expect(runner({ addLoss: () => undefined }).addLoss(logits, microbatch)).toBeUndefined();
  });

  it('reports which hooks exist', () => {
    expect(runner({ onStep: () => undefined }).has('onStep')).toBe(true);
    expect(runner({ onStep: () => undefined }).has('transformLogits')).toBe(false);
  });

  it('calls methods of an instance with the instance as this', async () => {
    class Counter implements Callback {
      steps = 0;
      onStep(): void {
        this.steps++;
      }
    }
    const counter = new Counter();
    await runner(counter).onStep(report);
    expect(counter.steps).toBe(1);
  });

  describe('failures', () => {
    it.each([
      [
        'sync',
        () => {
          throw new Error('no luck');
        },
      ],
      ['async', () => Promise.reject(new Error('no luck'))],
    ])('have plugin, hook, step and cause (%s)', async (_, handler) => {
      const hooks = runner({}, { onStep: handler });
      hooks.step = 7;
      const error = await failureOf(() => hooks.onStep(report));
      expect(error.code).toBe('HOOK_FAILED');
      expect(error.details).toEqual({ plugin: 'callback-1', hook: 'onStep', step: 7 });
      expect(error.message).toContain('no luck');
      expect(error.cause).toBeInstanceOf(Error);
    });

    it('keep code, place and hint of a WhetstoneError', async () => {
      const full = new WhetstoneError('DISK_FULL', 'no space', { place: { file: 'a.jsonl' }, hint: 'Make room.' });
      const error = await failureOf(() =>
        runner({
          onStep: () => {
            throw full;
          },
        }).onStep(report),
      );
      expect([error.code, error.place, error.hint, error.cause]).toEqual([
        'DISK_FULL',
        { file: 'a.jsonl' },
        'Make room.',
        full,
      ]);
      expect(error.details).toMatchObject({ plugin: 'callback-0', hook: 'onStep' });
    });

    it('include a promise from a transform hook', async () => {
      const transformBatch = (async (batch: unknown) => batch) as unknown as Callback['transformBatch'];
      const error = await failureOf(() => runner({ transformBatch }).transformBatch({} as never, stepContext));
      expect(error.message).toMatch(/returned a promise/);
    });

    it('include a transform hook that returns nothing', async () => {
      const transformBatch = (() => undefined) as unknown as Callback['transformBatch'];
      expect(
        (await failureOf(() => runner({ transformBatch }).transformBatch({} as never, stepContext))).message,
      ).toMatch(/returned nothing/);
    });

    it('include a loss term that is not a scalar', async () => {
      const addLoss = (() => tensor1d([1])) as unknown as Callback['addLoss'];
      expect(
        (await failureOf(() => runner({ addLoss }).addLoss(undefined as never, stepContext as MicrobatchContext)))
          .message,
      ).toMatch(/must return a scalar/);
    });
  });

  describe('control', () => {
    it('keeps the first stop reason, and returns every other request once', async () => {
      const hooks = runner({
        onStep: (_, control) => {
          control.stop('first');
          control.stop('second');
          control.evaluate();
          control.save();
        },
      });
      expect(hooks.requests.stopReason).toBeNull();
      await hooks.onStep(report);
      expect(hooks.requests.stopReason).toBe('first');
      expect([hooks.requests.takeEvaluate(), hooks.requests.takeEvaluate()]).toEqual([true, false]);
      expect([hooks.requests.takeSave(), hooks.requests.takeSave()]).toEqual([true, false]);
    });

    it('allows skipUpdate in transformGradients only, and markBest in onEvaluate and onStep only', async () => {
      const hooks = runner({
        transformGradients: (gradients, _, control) => {
          control.skipUpdate('spike');
          return gradients;
        },
        onEvaluate: (_, control) => control.markBest(),
        onStep: (_, control) => control.skipUpdate('late'),
        onSave: (_, control) => control.markBest(),
      });
      hooks.transformGradients(new Map(), { ...stepContext, parameters: new Map() });
      expect([hooks.requests.takeSkipUpdate(), hooks.requests.takeSkipUpdate()]).toEqual(['spike', null]);
      await hooks.onEvaluate({} as never);
      expect(hooks.requests.takeMarkBest()).toBe(true);
      expect((await failureOf(() => hooks.onStep(report))).message).toMatch(/only be called from transformGradients/);
      expect((await failureOf(() => hooks.onSave({ step: 1, folder: 'x' }))).message).toMatch(
        /only be called from onEvaluate/,
      );
    });

    it('allows setLearningRate in four hooks, with a finite number of at least 0; the last call counts', async () => {
      const hooks = runner({
        onRunStart: (_, control) => control.setLearningRate(1, 'first'),
        onEpochStart: (_, control) => control.setLearningRate(0, 'second'),
        onStep: ({ loss }, control) => control.setLearningRate(loss, 'third'),
        onSave: (_, control) => control.setLearningRate(1, 'late'),
      });
      await hooks.onRunStart({} as never);
      await hooks.onEpochStart(0);
      expect([hooks.requests.takeLearningRate(), hooks.requests.takeLearningRate()]).toEqual([
        { value: 0, reason: 'second' },
        null,
      ]);
      for (const loss of [NaN, Infinity, -1]) {
        const error = await failureOf(() => hooks.onStep({ ...report, loss }));
        expect([error.code, error.details]).toMatchObject(['HOOK_FAILED', { plugin: 'callback-0', hook: 'onStep' }]);
        expect(error.message).toContain(`expects a finite number of at least 0, not ${loss}`);
      }
      expect((await failureOf(() => hooks.onSave({ step: 1, folder: 'x' }))).message).toMatch(
        /setLearningRate can only be called from onRunStart, onEpochStart, onStep or onEvaluate, not from onSave/,
      );
      expect(hooks.requests.takeLearningRate()).toBeNull();
    });

    it('allows rollback in onStep and onEvaluate, to callbacks with rollsBack', async () => {
      const asking = (more: Partial<Callback> = {}): Callback => ({
        onStep: (_, control) => control.rollback('first'),
        onEvaluate: (_, control) => control.rollback('second'),
        onEpochEnd: (_, control) => control.rollback('late'),
        ...more,
      });
      const hooks = runner(asking({ rollsBack: true }));
      expect([hooks.rollsBack, runner(asking()).rollsBack]).toEqual([true, false]);
      await hooks.onStep(report);
      await hooks.onEvaluate({} as never);
      expect(hooks.requests.rollbackReason).toBe('first');
      expect(hooks.requests.takeAll()).toMatchObject({ rollback: 'first' });
      expect(hooks.requests.rollbackReason).toBeNull();
      expect((await failureOf(() => hooks.onEpochEnd(0))).message).toMatch(/only be called from onStep or onEvaluate/);
      // Another callback of the run declares it, but not this one.
      const error = await failureOf(() =>
        runner({ rollsBack: true, onSave: () => undefined }, asking()).onStep(report),
      );
      expect(error.code).toBe('CONFIG_CONFLICT');
      expect(error.message).toContain("'callback-1' calls control.rollback without the field rollsBack.");
    });

    it('is not passed to the hooks at the end of a run', async () => {
      let extra: unknown[] = [];
      await runner({
        onRunEnd: (...values: unknown[]) => {
          extra = values.slice(1);
        },
      }).onRunEnd({} as RunReport);
      expect(extra).toEqual([]);
    });
  });

  describe('state', () => {
    const counting = (start: number) => {
      let count = start;
      return {
        onStep: () => {
          count++;
        },
        saveState: () => ({ count }),
        loadState: (state: unknown) => {
          count = (state as { count: number }).count;
        },
      } satisfies Callback;
    };
    it('is saved by plugin name and occurrence, and restored', async () => {
      const make = (a: number, b: number) =>
        createHookRunner([
          { plugin: 'count', callback: counting(a) },
          { plugin: 'other', callback: {} },
          { plugin: 'count', callback: counting(b) },
        ]);
      const saved = await make(1, 2).saveState();
      expect(saved).toEqual({ count: { count: 1 }, 'count#2': { count: 2 } });
      const second = make(0, 0);
      second.loadState(saved);
      expect(await second.saveState()).toEqual(saved);
    });
    it('may be returned by a promise', async () => {
      const slow: Callback = {
        saveState: async () => {
          await new Promise((resolve) => setTimeout(resolve, 5));
          return { slow: true };
        },
      };
      expect(await runner(slow, counting(4)).saveState()).toEqual({
        'callback-0': { slow: true },
        'callback-1': { count: 4 },
      });
    });
    it.each<readonly [string, () => unknown, RegExp]>([
      [
        'thrown error',
        () => {
          throw new Error('no luck');
        },
        /no luck/,
      ],
      ['rejection', () => Promise.reject(new Error('no luck')), /no luck/],
      ['value that JSON cannot hold', async () => () => undefined, /returned a function, which JSON cannot hold/],
      ['big integer', () => ({ count: 1n }), /returned a BigInt at count, which/],
      ['number that is not finite', () => ({ means: [1, Infinity] }), /returned Infinity at means\[1\], which/],
      ['Map, of which JSON would keep nothing', () => ({ counts: new Map() }), /returned an instance of Map at counts/],
    ])('reports a %s of saveState with its plugin', async (_, saveState, message) => {
      const hooks = runner({}, { saveState: saveState as NonNullable<Callback['saveState']> });
      const error = await failureOf(() => hooks.saveState());
      expect([error.code, error.details]).toEqual(['PLUGIN_FAILED', { plugin: 'callback-1' }]);
      expect(error.message).toMatch(/^saveState of 'callback-1' failed: /);
      expect(error.message).toMatch(message);
    });
    it('that cannot be loaded is reported with its plugin', async () => {
      const hooks = runner({
        loadState: () => {
          throw new Error('bad');
        },
      });
      const error = await failureOf(() => hooks.loadState({ 'callback-0': 1 }));
      expect([error.code, error.details]).toEqual(['PLUGIN_FAILED', { plugin: 'callback-0' }]);
      expect((await failureOf(() => hooks.loadState([]))).code).toBe('CHECKPOINT_INVALID');
    });
  });

  it('disposes all callbacks in reverse order, even if one fails', async () => {
    const calls: string[] = [];
    const hooks = runner(
      {
        dispose: () => {
          calls.push('a');
        },
      },
      {
        dispose: () => {
          throw new Error('stuck');
        },
      },
      {
        dispose: () => {
          calls.push('c');
        },
      },
    );
    const error = await failureOf(() => hooks.dispose());
    expect(calls).toEqual(['c', 'a']);
    expect(error.code).toBe('PLUGIN_FAILED');
  });

  it('reports a dispose that is async, whose rejection would end the process', async () => {
    const dispose = async () => {
      throw new Error('late');
    };
    const error = await failureOf(() => runner({ dispose }).dispose());
    expect(error.code).toBe('PLUGIN_FAILED');
    expect(error.message).toMatch(/dispose of 'callback-0' failed: it returned a promise/);
  });
});
