import type { AdapterFormat } from '../contract/adapter.js';
import type { Strategy } from '../contract/strategy.js';

/** An instance and the name of the plugin that created it, for errors and checkpoints. */
export interface Named<T> {
  readonly plugin: string;
  readonly instance: T;
}

/** The strategy that an adapter names, so that commands find what reads it. */
interface StrategyOrigin {
  /** The name in the configuration: a package, a file or a registered name. */
  readonly use: string;
  readonly name: string;
  readonly version: string | null;
}

/** The owner of a run. */
export interface Owner extends Named<Strategy> {
  /** Absent if the strategy does not come from a plugin of the configuration. */
  readonly origin?: StrategyOrigin;
  /** What reads the adapters that it exports. */
  readonly adapter?: AdapterFormat;
}
