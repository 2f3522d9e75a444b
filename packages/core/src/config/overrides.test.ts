import { describe, expect, it } from 'vitest';
import { WhetstoneError } from '../contract/index.js';
import { applyOverrides, parseOverride } from './overrides.js';
import { formatPath, parsePath } from './paths.js';

describe('parseOverride', () => {
  it.each([
    ['optimizer.learningRate=1e-4', ['optimizer', 'learningRate'], 1e-4],
    ['strategy.use=lora', ['strategy', 'use'], 'lora'],
    ['callbacks[0].options.maxNorm=2', ['callbacks', 0, 'options', 'maxNorm'], 2],
    ['callbacks.0.use="3"', ['callbacks', 0, 'use'], '3'],
    ['data.train=["a.jsonl","b=c.jsonl"]', ['data', 'train'], ['a.jsonl', 'b=c.jsonl']],
    ['data.train=x=y', ['data', 'train'], 'x=y'],
    ['output.folder=', ['output', 'folder'], ''],
  ])('parses %s', (text, path, value) => {
    expect(parseOverride(text)).toEqual({ path, value });
  });

  it.each(['', '=3', 'abc', 'a..b=3', '.a=3', 'a.=1'])("rejects '%s'", (text) => {
    expect(() => parseOverride(text)).toThrow(WhetstoneError);
  });
});

describe('applyOverrides', () => {
  it('changes a copy in order and creates missing objects', () => {
    const config = { model: 'm', training: { seed: 1 } };
    expect(applyOverrides(config, ['training.seed=2', 'training.seed=3', 'output.folder=out'])).toEqual({
      model: 'm',
      training: { seed: 3 },
      output: { folder: 'out' },
    });
    expect(config).toEqual({ model: 'm', training: { seed: 1 } });
  });

  it('replaces the name of a plugin by its long form if options are set', () => {
    expect(
      applyOverrides({ strategy: 'lora', callbacks: ['early-stopping'] }, [
        'strategy.options.rank=4',
        'callbacks[0].options.patience=2',
      ]),
    ).toEqual({
      strategy: { use: 'lora', options: { rank: 4 } },
      callbacks: [{ use: 'early-stopping', options: { patience: 2 } }],
    });
    expect(
      applyOverrides({ backend: 'cpu', model: 'm', optimizer: 'sgd' }, [
        'backend.threads=2',
        'model.options.a=1',
        'optimizer.momentum=0.9',
      ]),
    ).toEqual({
      backend: { name: 'cpu', threads: 2 },
      model: { path: 'm', options: { a: 1 } },
      optimizer: { use: 'sgd', momentum: 0.9 },
    });
    expect(() => applyOverrides({ data: { train: 'a.jsonl' } }, ['data.train.options.limit=1'])).toThrow(
      /cannot be set/,
    );
  });

  it('extends a list by one item only', () => {
    expect(applyOverrides({ callbacks: [] }, ['callbacks[0]=nan-guard'])).toEqual({ callbacks: ['nan-guard'] });
    expect(() => applyOverrides({ callbacks: [] }, ['callbacks[1]=nan-guard'])).toThrow(/cannot be set/);
    expect(() => applyOverrides({ callbacks: [] }, ['callbacks.first=nan-guard'])).toThrow(/cannot be set/);
  });

  it('rejects a path that leads through a value', () => {
    expect(() => applyOverrides({ training: { seed: 1 } }, ['training.seed.x=1'])).toThrow(/cannot be set/);
  });

  it('does not change a prototype', () => {
    const result = applyOverrides({}, ['__proto__.polluted=1']) as object;
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(Object.getPrototypeOf(result)).toBe(Object.prototype);
    expect(Object.hasOwn(result, '__proto__')).toBe(true);
  });
});

it('formatPath and parsePath are inverse functions', () => {
  for (const text of ['a', 'a.b', 'a[0].b', 'a.b[10]']) expect(formatPath(parsePath(text))).toBe(text);
});
