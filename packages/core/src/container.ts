import 'reflect-metadata';
import { container as root, instanceCachingFactory, type DependencyContainer, type InjectionToken } from 'tsyringe';
import { WhetstoneError, type Token } from './contract/index.js';

export { inject, injectable } from 'tsyringe';

/** A class whose constructor parameters all have `@inject(TOKEN)`. */
export type ServiceClass<T> = new (...parameters: never[]) => T;

/** A service for a token: the result of {@link provide}, {@link provideFactory} or {@link provideClass}. */
export interface ServiceRegistration {
  readonly token: symbol;
  /** Registers the service in the container of a run. */
  readonly register: (container: DependencyContainer, services: Services, own: (instance: unknown) => void) => void;
}

/** The services of one run. */
export interface Services {
  /**
   * Returns the service of a token.
   *
   * @throws `SERVICE_NOT_REGISTERED` if no service is registered for the token
   */
  get<T>(token: Token<T>): T;
  /** Returns whether a service is registered for the token. */
  has<T>(token: Token<T>): boolean;
  /**
   * Disposes the services that factories and classes created, in reverse order of creation. Services that were
   * registered with {@link provide} are not disposed: the caller owns them.
   */
  dispose(): Promise<void>;
}

const nameOf = (token: symbol): string => (token.description ?? 'a token without a name').replace(/^whetstone\./, '');

function notRegistered(token: symbol, cause?: unknown): WhetstoneError {
  return new WhetstoneError('SERVICE_NOT_REGISTERED', `No service is registered for ${nameOf(token)}.`, {
    hint: `Register it: new Trainer(config, { services: [provide(${nameOf(token)}, …)] }).`,
    details: { token: nameOf(token) },
    cause,
  });
}

/** Registers an existing object as a service. The caller owns it. */
export function provide<T>(token: Token<T>, value: T): ServiceRegistration {
  return { token, register: (container) => container.register(token as InjectionToken<T>, { useValue: value }) };
}

/** Registers a service that is created at its first use, once per run, and disposed when the run ends. */
export function provideFactory<T>(token: Token<T>, create: (services: Services) => T): ServiceRegistration {
  return {
    token,
    register: (container, services, own) => {
      const useFactory = instanceCachingFactory(() => {
        const instance = create(services);
        own(instance);
        return instance;
      });
      container.register(token as InjectionToken<T>, { useFactory });
    },
  };
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
  const tokens = injectedTokens(type);
  for (let index = 0; index < type.length; index += 1) {
    if (typeof tokens[index]?.token !== 'symbol') {
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
    register: (container, services, own) => {
      const useFactory = instanceCachingFactory((scope) => {
        for (const { token: needed, isOptional } of Object.values(tokens)) {
          if (isOptional !== true) services.get(needed as Token<unknown>);
        }
        const instance = scope.resolve<T>(type as InjectionToken<T>);
        own(instance);
        return instance;
      });
      container.register(token as InjectionToken<T>, { useFactory });
    },
  };
}

/**
 * Creates the services of one run, in a container of its own. A later registration of a token replaces an earlier one.
 */
export function createServices(registrations: readonly ServiceRegistration[]): Services {
  const container = root.createChildContainer();
  const owned: unknown[] = [];
  const services: Services = {
    get: <T>(token: Token<T>): T => {
      if (!container.isRegistered(token as InjectionToken<T>)) throw notRegistered(token);
      return container.resolve<T>(token as InjectionToken<T>);
    },
    has: <T>(token: Token<T>) => container.isRegistered(token as InjectionToken<T>),
    dispose: async () => {
      const failures: unknown[] = [];
      for (const instance of owned.toReversed()) {
        try {
          await (instance as { dispose?: () => unknown } | null)?.dispose?.();
        } catch (failure) {
          failures.push(failure);
        }
      }
      owned.length = 0;
      container.clearInstances();
      if (failures.length > 0) throw failures[0];
    },
  };
  const last = new Map(registrations.map((registration) => [registration.token, registration]));
  for (const registration of last.values())
    registration.register(container, services, (instance) => owned.push(instance));
  return services;
}
