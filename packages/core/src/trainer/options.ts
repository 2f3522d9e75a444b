import type { ConfigDefaults, Override } from '../config/index.js';
import type { ServiceRegistration } from '../container.js';
import type { Callback, Plugin } from '../contract/index.js';
import type { SharedModules } from '../plugins/shared-modules.js';

/** Options of a Trainer. */
export interface TrainerOptions {
  /** Plugins that configurations may call by name, beside the optimizers and schedules that core brings. */
  readonly plugins?: readonly Plugin[];
  /** Replace or complete what a run is made of; see `provide`. */
  readonly services?: readonly ServiceRegistration[];
  /** What a configuration means where it says nothing. */
  readonly defaults?: ConfigDefaults;
  /** For a configuration given as an object: where its relative paths start. The working directory by default. */
  readonly baseFolder?: string;
  /** Put into the configuration before it is validated, as `optimizer.learningRate=1e-4`. */
  readonly overrides?: readonly (string | Override)[];
  /** Callbacks given as objects; they come after those of the configuration. */
  readonly callbacks?: readonly Callback[];
  /** Modules that local plugin files get from this program. */
  readonly sharedModules?: SharedModules;
}
