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

  it('shares no service with other containers', () => {
    const registrations = [provide(CLOCK, clock), provideClass(GREETER, ClockGreeter)];
    expect(createServices(registrations).get(GREETER)).not.toBe(createServices(registrations).get(GREETER));
    expect(createServices([]).has(CLOCK)).toBe(false);
  });
});
