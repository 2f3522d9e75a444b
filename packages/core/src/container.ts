import 'reflect-metadata';
import { container as root, instanceCachingFactory, type DependencyContainer, type InjectionToken } from 'tsyringe';
import { WhetstoneError, type Token } from './contract/index.js';

export { inject, injectable } from 'tsyringe';

/** A class whose constructor parameters all carry `@inject(TOKEN)`. */
export type ServiceClass<T> = new (...parameters: never[]) => T;

/** What is registered for a token: made by {@link provide}, {@link provideFactory} or {@link provideClass}. */
export interface ServiceRegistration {
  readonly token: symbol;
  /** Registers the service in the container of a run. */
  readonly register: (container: DependencyContainer, services: Services, own: (instance: unknown) => void) => void;
}

/** The services of one run. */
export interface Services {
  /** Throws `SERVICE_NOT_REGISTERED` with the token's name. */
  get<T>(token: Token<T>): T;
  /** Whether a service is registered for the token. */
  has<T>(token: Token<T>): boolean;
  /**
   * Disposes what factories and classes made, the last first. What was registered ready-made belongs to whoever made
   * it.
   */
  dispose(): Promise<void>;
}

const nameOf = (token: symbol): string => (token.description ?? 'a nameless token').replace(/^whetstone\./, '');

function notRegistered(token: symbol, cause?: unknown): WhetstoneError {
  return new WhetstoneError('SERVICE_NOT_REGISTERED', `No service is registered for ${nameOf(token)}.`, {
    hint: `Register it: new Trainer(config, { services: [provide(${nameOf(token)}, …)] }).`,
    details: { token: nameOf(token) },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Registers a ready-made service. */
export function provide<T>(token: Token<T>, value: T): ServiceRegistration {
  return { token, register: (container) => container.register(token as InjectionToken<T>, { useValue: value }) };
}

/** Registers a service that is made when it is first asked for, once a run, and disposed with the run. */
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

/** What `@inject` noted for each parameter of a constructor. */
function injectedTokens(type: ServiceClass<unknown>): Readonly<Record<number, InjectedToken>> {
  return (Reflect.getOwnMetadata('injectionTokens', type) ?? {}) as Readonly<Record<number, InjectedToken>>;
}

/**
 * Registers an `@injectable()` class. Every parameter of its constructor must carry `@inject(TOKEN)` with a token, not
 * a class: tsyringe would make a class that nobody registered, silently.
 *
 * @throws WhetstoneError `SERVICE_NOT_REGISTERED` for a parameter without a token
 */
export function provideClass<T>(token: Token<T>, type: ServiceClass<T>): ServiceRegistration {
  const tokens = injectedTokens(type);
  for (let index = 0; index < type.length; index += 1) {
    if (typeof tokens[index]?.token !== 'symbol') {
      throw new WhetstoneError(
        'SERVICE_NOT_REGISTERED',
        `Parameter ${index + 1} of the constructor of ${type.name} has no token.`,
        {
          hint: 'Put @inject(TOKEN) before it, with a token of the contract.',
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
 * The container of one run: a child of tsyringe's, so that runs share nothing. A later registration of a token replaces
 * an earlier one.
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
