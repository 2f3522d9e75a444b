import type { Plugin } from './contract/plugin.js';
import { adamw, sgd } from './optimizers/plugins.js';
import { schedulePlugins } from './schedules/index.js';

/** The plugins that core brings itself: optimizers and schedules. */
export const corePlugins: readonly Plugin[] = [adamw, sgd, ...schedulePlugins];
