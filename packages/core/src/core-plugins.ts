import type { Plugin } from './contract/plugin.js';
import { adamw, sgd } from './optimizers/plugins.js';
import { schedulePlugins } from './schedules/index.js';

/** The built-in plugins of core: optimizers and schedules. */
export const corePlugins: readonly Plugin[] = [adamw, sgd, ...schedulePlugins];
