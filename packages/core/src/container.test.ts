import { describe, expect, it } from 'vitest';
import { createServices, inject, injectable, provide, provideClass, provideFactory } from './container.js';
import { CLOCK, LOGGER, WhetstoneError, type Clock, type Logger, type Token } from './contract/index.js';

const clock: Clock = { now: () => 1, timestamp: () => 'now' };
interface Greeter {
  greet(): string;
}
const GREETER = Symbol.for('whetstone.GREETER') as Token<Greeter>;

@injectable()
class ClockGreeter implements Greeter {
  disposed = false;
  constructor(@inject(CLOCK) private readonly clock: Clock) {}
  greet(): string {
    return `hello at ${this.clock.now()}`;
  }
  dispose(): void {
    this.disposed = true;
  }
}

function failureOf(action: () => unknown): WhetstoneError {
  try {
    action();
  } catch (error) {
    if (error instanceof WhetstoneError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('createServices', () => {
  it('reports a token that is not registered', () => {
    const error = failureOf(() => createServices([]).get(CLOCK));
    expect([error.code, error.message, error.details]).toEqual([
      'SERVICE_NOT_REGISTERED',
      'No service is registered for CLOCK.',
      { token: 'CLOCK' },
    ]);
  });

  it('returns the service that was registered last', () => {
    const other: Clock = { ...clock, now: () => 2 };
    expect(createServices([provide(CLOCK, clock), provide(CLOCK, other)]).get(CLOCK)).toBe(other);
  });

  it('constructs a class with the services of its tokens, once', () => {
    const services = createServices([provide(CLOCK, clock), provideClass(GREETER, ClockGreeter)]);
    expect(services.get(GREETER).greet()).toBe('hello at 1');
    expect(services.get(GREETER)).toBe(services.get(GREETER));
  });

  it('reports a token that a class requires and that is not registered', () => {
    expect(failureOf(() => createServices([provideClass(GREETER, ClockGreeter)]).get(GREETER)).details).toEqual({
      token: 'CLOCK',
    });
  });

  it('rejects a class with a parameter without a token', () => {
    @injectable()
    class Silent {
      constructor(
        readonly clock: Clock,
        @inject(LOGGER) readonly logger: Logger,
      ) {}
      greet(): string {
        return '';
      }
    }
    expect(failureOf(() => provideClass(GREETER, Silent)).details).toEqual({ class: 'Silent', parameter: 0 });
  });

  it('disposes only services of factories and classes, in reverse order', async () => {
    const order: string[] = [];
    const disposable = (name: string) => ({ dispose: () => void order.push(name), greet: () => name });
    const A = Symbol('a') as Token<Greeter>;
    const B = Symbol('b') as Token<Greeter>;
    const C = Symbol('c') as Token<Greeter>;
    const services = createServices([
      provideFactory(A, () => disposable('a')),
      provideFactory(B, (all) => (all.get(A), disposable('b'))),
      provide(C, disposable('c')),
      provide(CLOCK, clock),
      provideClass(GREETER, ClockGreeter),
    ]);
    services.get(B);
    services.get(C);
    const greeter = services.get(GREETER) as ClockGreeter;
    await services.dispose();
    expect(order).toEqual(['b', 'a']);
    expect(greeter.disposed).toBe(true);
  });

  const NUMBER = Symbol('NUMBER') as Token<number>;
  const TEXT = Symbol('TEXT') as Token<string>;
  const WORDS = Symbol('WORDS') as Token<string[]>;
  const later = () => new Promise<void>((resolve) => setImmediate(resolve));

  it('calls an asynchronous factory once and awaits it', async () => {
    let calls = 0;
    const services = createServices([
      provideFactory(NUMBER, async () => {
        await later();
        return ++calls;
      }),
      provideFactory(TEXT, async (all) => `number ${await all.resolve(NUMBER)}`),
    ]);
    expect(await Promise.all([services.resolve(TEXT), services.resolve(NUMBER)])).toEqual(['number 1', 1]);
    expect(services.get(NUMBER)).toBe(1);
    expect(calls).toBe(1);
  });

  it('reports an asynchronous service that is requested synchronously', () => {
    const services = createServices([provideFactory(NUMBER, async () => 1)]);
    const error = failureOf(() => services.get(NUMBER));
    expect([error.code, error.details]).toEqual(['SERVICE_ASYNCHRONOUS', { token: 'NUMBER' }]);
  });

  it('rejects with the error of an asynchronous factory, which is not called again', async () => {
    let calls = 0;
    const services = createServices([
      provideFactory(NUMBER, async () => {
        calls++;
        await later();
        throw new RangeError('no number');
      }),
    ]);
    await expect(services.resolve(NUMBER)).rejects.toThrow('no number');
    await expect(services.resolve(NUMBER)).rejects.toThrow('no number');
    expect(calls).toBe(1);
  });

  it('reports services that need each other', () => {
    const services = createServices([
      provideFactory(NUMBER, (all) => all.get(TEXT).length),
      provideFactory(TEXT, (all) => all.get(WORDS).join()),
      provideFactory(WORDS, (all) => [String(all.get(NUMBER))]),
    ]);
    const error = failureOf(() => services.get(NUMBER));
    expect([error.code, error.details]).toEqual([
      'SERVICE_CIRCULAR',
      { tokens: ['NUMBER', 'TEXT', 'WORDS', 'NUMBER'] },
    ]);
    expect(failureOf(() => createServices([provideFactory(NUMBER, (all) => all.get(NUMBER))]).get(NUMBER)).code).toBe(
      'SERVICE_CIRCULAR',
    );
  });

  it('reports asynchronous services that would wait for each other forever', async () => {
    const services = createServices([
      provideFactory(NUMBER, async (all) => {
        await later();
        return (await all.resolve(TEXT)).length;
      }),
      provideFactory(TEXT, async (all) => {
        await later();
        await later();
        return String(await all.resolve(NUMBER));
      }),
    ]);
    const results = await Promise.allSettled([services.resolve(NUMBER), services.resolve(TEXT)]);
    for (const result of results)
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { code: 'SERVICE_CIRCULAR', details: { tokens: ['NUMBER', 'TEXT', 'NUMBER'] } },
      });
  });

  it('does not mistake two services that need a third one for a circle', async () => {
    const services = createServices([
      provideFactory(NUMBER, async () => {
        await later();
        return 1;
      }),
      provideFactory(TEXT, async (all) => String(await all.resolve(NUMBER))),
      provideFactory(WORDS, async (all) => {
        const [number, text] = await Promise.all([all.resolve(NUMBER), all.resolve(TEXT)]);
        return [text, String(number)];
      }),
    ]);
    expect(await services.resolve(WORDS)).toEqual(['1', '1']);
  });

  it('disposes with the function of a registration, waits for pending services, and leaves released ones', async () => {
    const disposed: string[] = [];
    const services = createServices([
      provideFactory(
        NUMBER,
        async () => {
          await later();
          return 1;
        },
        () => void disposed.push('number'),
      ),
      provideFactory(
        TEXT,
        () => 'text',
        () => void disposed.push('text'),
      ),
      provide(WORDS, []),
    ]);
    services.get(TEXT);
    services.onDispose(() => disposed.push('action'));
    void services.resolve(NUMBER);
    expect([services.release(TEXT), services.release(TEXT), services.release(WORDS)]).toEqual([true, false, false]);
    await services.dispose();
    expect(disposed).toEqual(['number', 'action']);
  });

  it('shares no service with other containers', () => {
    const registrations = [provide(CLOCK, clock), provideClass(GREETER, ClockGreeter)];
    expect(createServices(registrations).get(GREETER)).not.toBe(createServices(registrations).get(GREETER));
    expect(() => createServices([]).get(CLOCK)).toThrow('No service is registered for CLOCK.');
  });
});
