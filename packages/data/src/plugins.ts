/** The data plugins with their options. The code of a source or transform is loaded when it is created. */
import { augmentPlugins } from './augment/plugins.js';
import { conversations, mixture } from './sources/plugins.js';
import { transformPlugins } from './transforms/plugins.js';

export { remakeSplit, remakeTransform } from './transforms/plugins.js';

/** All plugins of this package. */
export const dataPlugins = [conversations, mixture, ...transformPlugins, ...augmentPlugins] as const;
