import type { ConfigDefaults, Override } from '../config/index.js';
import type { ServiceRegistration } from '../container.js';
import type { Callback, Plugin } from '../contract/index.js';
import type { SharedModules } from '../plugins/shared-modules.js';

/** Options of a Trainer. */
export interface TrainerOptions {
  /** Plugins that configurations may use by name, in addition to the optimizers and schedules of core. */
  readonly plugins?: readonly Plugin[];
  /** Services that replace or extend those of a run; see `provide`. */
  readonly services?: readonly ServiceRegistration[];
  /** Defaults for keys that a configuration does not set. */
  readonly defaults?: ConfigDefaults;
  /** Base of relative paths for a configuration given as an object. By default, the working directory. */
  readonly baseFolder?: string;
  /** Values set in the configuration before validation, such as `optimizer.learningRate=1e-4`. */
  readonly overrides?: readonly (string | Override)[];
  /** Callbacks given as objects. They run after those of the configuration. */
  readonly callbacks?: readonly Callback[];
  /** Modules of this program that local plugin files import. */
  readonly sharedModules?: SharedModules;
}
