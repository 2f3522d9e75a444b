import 'reflect-metadata';
import { container as root, type InjectionToken } from 'tsyringe';
import { WhetstoneError, type Token } from './contract/index.js';

export { inject, injectable } from 'tsyringe';

/** A class whose constructor parameters all have `@inject(TOKEN)`. */
export type ServiceClass<T> = new (...parameters: never[]) => T;

/** Returns the services of a run by their tokens. Each is created at its first use, once per run. */
export interface Services {
  /**
   * Returns a service.
   *
   * @throws `SERVICE_NOT_REGISTERED` if no service is registered for the token
   * @throws `SERVICE_CIRCULAR` if the service needs itself
   * @throws `SERVICE_ASYNCHRONOUS` if its factory returns a promise that is not resolved yet
   */
  get<T>(token: Token<T>): T;
  /**
   * Returns a service once it is created. Its factory may return a promise.
   *
   * @throws `SERVICE_NOT_REGISTERED` if no service is registered for the token
   * @throws `SERVICE_CIRCULAR` if the service needs itself
   */
  resolve<T>(token: Token<T>): Promise<T>;
}

/** The services of one run, and their disposal. */
export interface RunServices extends Services {
  /** Adds an action to `dispose`. It runs before the disposal of everything that was created earlier. */
  onDispose(action: () => unknown): void;
  /**
   * Transfers a created service to the caller, who disposes it. Returns false for a service that is not disposed with
   * the run, because it was registered with {@link provide}.
   */
  release(token: Token<unknown>): boolean;
  /**
   * Disposes the services that factories and classes created, in reverse order of creation. Services that were
   * registered with {@link provide} are not disposed: the caller owns them.
   */
  dispose(): Promise<void>;
}

/** A service for a token: the result of {@link provide}, {@link provideFactory} or {@link provideClass}. */
export interface ServiceRegistration {
  readonly token: symbol;
  /** Returns the service, or a promise of it. `construct` calls a constructor with the services of its tokens. */
  readonly create: (services: Services, construct: <T>(type: ServiceClass<T>) => T) => unknown;
  /** Disposes a created service; null if the caller owns it. */
  readonly dispose: ((instance: unknown) => unknown) | null;
}

const nameOf = (token: symbol): string => (token.description ?? 'a token without a name').replace(/^whetstone\./, '');

function notRegistered(token: symbol): WhetstoneError {
  return new WhetstoneError('SERVICE_NOT_REGISTERED', `No service is registered for ${nameOf(token)}.`, {
    hint: `Register it: new Trainer(config, { services: [provide(${nameOf(token)}, …)] }).`,
    details: { token: nameOf(token) },
  });
}

function circular(tokens: readonly symbol[]): WhetstoneError {
  const names = tokens.map(nameOf);
  return new WhetstoneError('SERVICE_CIRCULAR', `Services need each other in a circle: ${names.join(' → ')}.`, {
    hint: 'Remove one of these dependencies from a factory that you registered.',
    details: { tokens: names },
  });
}

function asynchronous(token: symbol): WhetstoneError {
  const name = nameOf(token);
  return new WhetstoneError(
    'SERVICE_ASYNCHRONOUS',
    `The factory of ${name} returns a promise, but the service was requested synchronously.`,
    { hint: `Use await services.resolve(${name}) in an asynchronous factory.`, details: { token: name } },
  );
}

const disposeInstance = (instance: unknown): unknown => (instance as { dispose?: () => unknown } | null)?.dispose?.();

/** Registers an existing object as a service. The caller owns it. */
export function provide<T>(token: Token<T>, value: T): ServiceRegistration {
  return { token, create: () => value, dispose: null };
}

/**
 * Registers a service that is created at its first use, once per run, and disposed when the run ends.
 *
 * @param create returns the service, or a promise of it
 * @param dispose disposes the service; by default its method `dispose` does, if it has one
 */
export function provideFactory<T>(
  token: Token<T>,
  create: (services: Services) => T | Promise<T>,
  dispose: (service: T) => unknown = disposeInstance,
): ServiceRegistration {
  return { token, create, dispose: (instance) => dispose(instance as T) };
}

interface InjectedToken {
  readonly token: unknown;
  readonly isOptional?: boolean;
}

/** Returns the tokens that `@inject` recorded, by the index of the constructor's parameter. */
function injectedTokens(type: ServiceClass<unknown>): Readonly<Record<number, InjectedToken>> {
  return (Reflect.getOwnMetadata('injectionTokens', type) ?? {}) as Readonly<Record<number, InjectedToken>>;
}

/**
 * Registers an `@injectable()` class as a service, which is created at its first use and disposed when the run ends.
 * Every parameter of its constructor must have `@inject(TOKEN)` with a token instead of a class, because tsyringe
 * silently constructs classes that are not registered.
 *
 * @throws `SERVICE_NOT_REGISTERED` if a parameter has no token
 */
export function provideClass<T>(token: Token<T>, type: ServiceClass<T>): ServiceRegistration {
  const parameters = injectedTokens(type);
  for (let index = 0; index < type.length; index++) {
    if (typeof parameters[index]?.token !== 'symbol') {
      throw new WhetstoneError(
        'SERVICE_NOT_REGISTERED',
        `Parameter ${index + 1} of the constructor of ${type.name} has no token.`,
        {
          hint: 'Add @inject(TOKEN) to the parameter, with a token of the contract.',
          details: { class: type.name, parameter: index },
        },
      );
    }
  }
  return {
    token,
    create: (services, construct) => {
      for (const { token: needed, isOptional } of Object.values(parameters)) {
        if (isOptional !== true) services.get(needed as Token<unknown>);
      }
      return construct(type);
    },
    dispose: disposeInstance,
  };
}

/** Records which services wait for which others, so that a circle is an error instead of an endless wait. */
class WaitGraph {
  private readonly edges = new Map<symbol, Set<symbol>>();

  /**
   * Records that `from` waits for `to`.
   *
   * @throws `SERVICE_CIRCULAR` if `to` waits for `from`, directly or through others
   */
  add(from: symbol, to: symbol): void {
    const path = this.path(to, from);
    if (path !== null) throw circular([...path, to]);
    this.edges.set(from, (this.edges.get(from) ?? new Set()).add(to));
  }

  remove(from: symbol, to: symbol): void {
    this.edges.get(from)?.delete(to);
  }

  /** Returns the tokens on a way from one token to another; null if there is none. The graph has no circle. */
  private path(from: symbol, to: symbol): readonly symbol[] | null {
    if (from === to) return [from];
    for (const next of this.edges.get(from) ?? []) {
      const rest = this.path(next, to);
      if (rest !== null) return [from, ...rest];
    }
    return null;
  }
}

/** The state of a service that was requested. */
type ServiceState =
  | { readonly kind: 'pending'; readonly promise: Promise<unknown> }
  | { readonly kind: 'ready'; readonly value: unknown }
  | { readonly kind: 'failed'; readonly error: unknown };

const isPromise = (value: unknown): value is Promise<unknown> =>
  typeof (value as { readonly then?: unknown } | null)?.then === 'function';

/** Creates services at their first use, and disposes them in reverse order. */
class ServiceContainer implements RunServices {
  private readonly registered: ReadonlyMap<symbol, ServiceRegistration>;
  private readonly states = new Map<symbol, ServiceState>();
  private readonly disposals: { readonly token: symbol | null; readonly action: () => unknown }[] = [];
  private readonly waits = new WaitGraph();
  /** Calls constructors with the services of their tokens. */
  private readonly constructors = root.createChildContainer();
  private readonly services = this.servicesFor(null);
  readonly get = this.services.get;
  readonly resolve = this.services.resolve;

  constructor(registrations: readonly ServiceRegistration[]) {
    this.registered = new Map(registrations.map((registration) => [registration.token, registration]));
    for (const token of this.registered.keys())
      this.constructors.register(token as InjectionToken, { useFactory: () => this.get(token as Token<unknown>) });
  }

  onDispose(action: () => unknown): void {
    this.disposals.push({ token: null, action });
  }

  release(token: Token<unknown>): boolean {
    const index = this.disposals.findIndex((disposal) => disposal.token === token);
    if (index >= 0) this.disposals.splice(index, 1);
    return index >= 0;
  }

  async dispose(): Promise<void> {
    const pending = [...this.states.values()].flatMap((state) => (state.kind === 'pending' ? [state.promise] : []));
    await Promise.allSettled(pending);
    const failures: unknown[] = [];
    for (let last = this.disposals.pop(); last !== undefined; last = this.disposals.pop()) {
      try {
        await last.action();
      } catch (failure) {
        failures.push(failure);
      }
    }
    this.constructors.clearInstances();
    if (failures.length > 0) throw failures[0];
  }

  /** Returns the services as the factory of `needer` receives them; null: as the caller of the container does. */
  private servicesFor(needer: symbol | null): Services {
    return {
      get: <T>(token: Token<T>): T => {
        const state = this.request(token, needer);
        if (state.kind === 'failed') throw state.error;
        if (state.kind === 'pending') throw asynchronous(token);
        return state.value as T;
      },
      resolve: async <T>(token: Token<T>): Promise<T> => {
        const state = this.request(token, needer);
        if (state.kind === 'failed') throw state.error;
        return (state.kind === 'pending' ? await state.promise : state.value) as T;
      },
    };
  }

  /** Returns the state of a service, which is created if it does not exist. */
  private request(token: symbol, needer: symbol | null): ServiceState {
    const registration = this.registered.get(token);
    if (registration === undefined) throw notRegistered(token);
    const known = this.states.get(token);
    if (known !== undefined && known.kind !== 'pending') return known;
    if (needer === null) return known ?? this.create(registration);
    this.waits.add(needer, token);
    const state = known ?? this.create(registration);
    const forget = (): void => this.waits.remove(needer, token);
    if (state.kind === 'pending') state.promise.then(forget, forget);
    else forget();
    return state;
  }

  /** Calls the factory of a service. */
  private create(registration: ServiceRegistration): ServiceState {
    const { token } = registration;
    const failed = (error: unknown): ServiceState => this.setState(token, { kind: 'failed', error });
    try {
      const made = registration.create(this.servicesFor(token), (type) =>
        this.constructors.resolve(type as InjectionToken),
      );
      if (!isPromise(made)) return this.setReady(registration, made);
      const promise = made.then(
        (value) => {
          this.setReady(registration, value);
          return value;
        },
        (error: unknown) => {
          failed(error);
          throw error;
        },
      );
      // Those who resolve the service receive its error.
      promise.catch(() => undefined);
      return this.setState(token, { kind: 'pending', promise });
    } catch (error) {
      return failed(error);
    }
  }

  private setReady({ token, dispose }: ServiceRegistration, value: unknown): ServiceState {
    if (dispose !== null) this.disposals.push({ token, action: () => dispose(value) });
    return this.setState(token, { kind: 'ready', value });
  }

  private setState(token: symbol, state: ServiceState): ServiceState {
    this.states.set(token, state);
    return state;
  }
}

/**
 * Creates the services of one run, in a container of its own. A later registration of a token replaces an earlier one.
 */
export const createServices = (registrations: readonly ServiceRegistration[]): RunServices =>
  new ServiceContainer(registrations);
